package ion

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// TestABI compares the control block and the sides' blocks with the tables of ABI.md.
func TestABI(t *testing.T) {
	text, err := os.ReadFile("ABI.md")
	if err != nil {
		t.Fatal(err)
	}
	var c control
	var s statistics
	producer, consumer := unsafe.Offsetof(c.producer), unsafe.Offsetof(c.consumer)
	want := map[string]uintptr{
		"tail": unsafe.Offsetof(c.tail), "data event": unsafe.Offsetof(c.dataEvent), "consumer's state": unsafe.Offsetof(c.consumerState),
		"room bell": unsafe.Offsetof(c.roomBell), "head": unsafe.Offsetof(c.head), "room event": unsafe.Offsetof(c.roomEvent),
		"return event": unsafe.Offsetof(c.returnEvent), "producer's state": unsafe.Offsetof(c.producerState), "data bell": unsafe.Offsetof(c.dataBell),
		"return tail": unsafe.Offsetof(c.returnTail), "return head": unsafe.Offsetof(c.returnHead),
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| \d+ \| (?:producer|consumer) \| \*\*([a-z' ]+)\*\*`).FindAllStringSubmatch(string(text), -1)
	if len(rows) != len(want) {
		t.Errorf("%d named fields in ABI.md, want %d", len(rows), len(want))
	}
	for _, row := range rows {
		if at, ok := want[row[2]]; !ok || strconv.Itoa(int(at)) != row[1] {
			t.Errorf("ABI.md has %s at %s, the code at %d", row[2], row[1], at)
		}
	}
	for row, at := range map[string]uintptr{
		"| producer | statistics: index": producer + unsafe.Offsetof(s.sampleIndex), "| producer | statistics: CLOCK": producer + unsafe.Offsetof(s.sampleTime),
		"| producer | statistics: rings": producer + unsafe.Offsetof(s.rings), "| producer | statistics: sleeps": producer + unsafe.Offsetof(s.waits),
		"| consumer | statistics: rings": consumer + unsafe.Offsetof(s.rings), "| consumer | statistics: sleeps": consumer + unsafe.Offsetof(s.waits),
		"| consumer | statistics: 32": unsafe.Offsetof(c.latency),
	} {
		if !regexp.MustCompile(`(?m)^\| ` + strconv.Itoa(int(at)) + ` \| \d+ ` + regexp.QuoteMeta(row)).Match(text) {
			t.Errorf("ABI.md has no row %q at %d", row, at)
		}
	}
	if unsafe.Sizeof(c) != controlSize || !strings.Contains(string(text), "the control block ("+strconv.Itoa(controlSize)) {
		t.Errorf("a control block has %d bytes, its constant says %d", unsafe.Sizeof(c), controlSize)
	}
	var p peerBlock
	if unsafe.Offsetof(p.since) != 16 || sideOffset(Host) != 128 || sideOffset(Guest) != 256 {
		t.Error("the blocks of the sides lie elsewhere than in ABI.md")
	}
}

func TestLayout(t *testing.T) {
	lanes := []Lane{
		{ID: 1, From: Host, SlotSize: 64, Slots: 2, BufferSize: 4096, Buffers: 5},
		{ID: 1, From: Guest, SlotSize: 4096, Slots: 8},
		{ID: 2, From: Guest, SlotSize: 128, Slots: 4, BufferSize: 4096, Buffers: 1},
	}
	l, err := lay("name", 42, lanes)
	if err != nil {
		t.Fatal(err)
	}
	// Worked out by hand from ABI.md.
	want := []place{
		{8192, 9472, 9600, 9728, 12288},
		{32768, 34048, 0, 0, 0},
		{66816, 68096, 68608, 68736, 69632},
	}
	for i := range want {
		if l.places[i] != want[i] {
			t.Errorf("lane %d lies at %v, want %v", i, l.places[i], want[i])
		}
	}
	if l.size != 73728 {
		t.Errorf("%d bytes, want 73728", l.size)
	}
	header := make([]byte, lanesStart)
	l.encode(header)
	back, err := decode(header, l.size)
	if err != nil || back.name != "name" || back.serial != 42 || len(back.lanes) != 3 || back.lanes[2] != lanes[2] {
		t.Errorf("decoded %+v: %v", back, err)
	}
	for at := range 64 { // every bit of the first bytes counts, but for serial and name
		if at >= 24 {
			break
		}
		for bit := range 8 {
			header[at] ^= 1 << bit
			if _, err := decode(header, l.size); err == nil {
				t.Errorf("bit %d of byte %d is not looked at", bit, at)
			}
			header[at] ^= 1 << bit
		}
	}
	for at := HeaderSize; at < HeaderSize+3*EntrySize; at++ {
		for bit := range 8 {
			header[at] ^= 1 << bit
			if l, err := decode(header, l.size); err == nil && (at-HeaderSize)%EntrySize >= 8 {
				t.Errorf("bit %d of byte %d is not looked at: %+v", bit, at, l.lanes)
			}
			header[at] ^= 1 << bit
		}
	}
}

// FuzzLayout: whatever a header says, the parts of what is accepted lie inside of the
// memory, apart from each other, and say the same when they are written again.
func FuzzLayout(f *testing.F) {
	for _, lanes := range [][]Lane{
		Duplex(Files, Lane{SlotSize: 64, Slots: 2}),
		{{ID: 1, SlotSize: 64, Slots: 2, BufferSize: 64, Buffers: 3}, {ID: 7, From: Guest, SlotSize: 4096, Slots: 65536, BufferSize: 1 << 20, Buffers: 64}},
	} {
		l, err := lay("seed", 1, lanes)
		if err != nil {
			f.Fatal(err)
		}
		b := make([]byte, lanesStart)
		l.encode(b)
		f.Add(b[:HeaderSize+len(lanes)*EntrySize], l.size)
	}
	f.Fuzz(func(t *testing.T, head []byte, size uint64) {
		b := make([]byte, lanesStart)
		copy(b, head)
		l, err := decode(b, size)
		if err != nil {
			return
		}
		end := uint64(lanesStart)
		part := func(what string, at, n uint64) {
			if at < end || n > size || at > size-n {
				t.Fatalf("%s at %d with %d bytes, after %d, in %d", what, at, n, end, size)
			}
			end = at + n
		}
		for i, p := range l.places {
			lane := l.lanes[i]
			part("control block", p.control, controlSize)
			part("slots", p.slots, uint64(lane.Slots)*uint64(lane.SlotSize))
			if lane.Buffers > 0 {
				part("returns", p.returns, returnSize*uint64(lane.Buffers))
				part("table", p.held, heldSize*uint64(lane.Buffers))
				part("arena", p.arena, uint64(lane.Buffers)*uint64(lane.BufferSize))
			}
		}
		again := make([]byte, lanesStart)
		l.encode(again)
		second, err := decode(again, size)
		if err != nil || second.size != l.size || second.name != l.name || len(second.lanes) != len(l.lanes) {
			t.Fatalf("not the same again: %v", err)
		}
	})
}

// FuzzIncoming: a size that a header's check returns is one that a slot has.
func FuzzIncoming(f *testing.F) {
	f.Add(numbered(64, 1)[:16], uint8(0), true)
	f.Add([]byte{16, 0, 1, 0, 1, 1, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0}, uint8(6), false)
	f.Fuzz(func(t *testing.T, head []byte, size uint8, arena bool) {
		var h [beginning]byte
		copy(h[:], head)
		slot := uint64(64) << (size % 7)
		n, wrong := incoming(h[:], slot, arena)
		if wrong != "" {
			return
		}
		if n < MessageHeader || uint64(n) > slot || h[5]&1 == 1 && (n < MessageHeader+GrantSize || !arena) || h[5] > 1 {
			t.Fatalf("accepted %v in a slot of %d", h[:16], slot)
		}
	})
}
