package ion

import (
	"os"
	"slices"
	"testing"
)

// TestInspect: who only looks finds a segment among the open files of processes, sees what
// goes through it, and copies messages as they go by without holding them up.
func TestInspect(t *testing.T) {
	host, guest := pair(t, Options{}, Duplex(9, Lane{SlotSize: 64, Slots: 8})...)
	found, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(found, func(f Found) bool { return f.Serial == host.layout.serial })
	if i < 0 || !slices.Contains(found[i].Processes, os.Getpid()) || found[i].Name != host.Name() || found[i].Size != host.Size() {
		t.Fatalf("found %+v", found)
	}
	v, err := Inspect(found[i])
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Side(Guest).PID != os.Getpid() || !v.Side(Host).Attached {
		t.Errorf("sides %+v, %+v", v.Side(Host), v.Side(Guest))
	}
	a, b, dst := ringOf(t, host, 9), ringOf(t, guest, 9), make([]byte, 64)
	var at, next uint64
	tap := func(sent, missed uint64) {
		t.Helper()
		got, err := v.Tap(0, &at, func(index uint64, m []byte) {
			if index != next+missed && missed > 0 {
				t.Errorf("message %d after %d missed, want %d", index, missed, next+missed)
			}
			if next = index + 1; !sameNumber(m, index) {
				t.Errorf("message %d is %x", index, m)
			}
			missed = 0
		})
		if err != nil || at != sent {
			t.Errorf("tapped up to %d of %d, %d missed: %v", at, sent, got, err)
		}
	}
	send := func(from, to uint64) {
		t.Helper()
		for n := from; n < to; n++ {
			if err := a.Send(numbered(16+int(n), n)); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Recv(dst); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(0, 5)
	tap(5, 0)
	send(5, 30) // 8 slots: 17 are gone, and the next could be written over at any time
	tap(30, 18)
	lanes := v.Lanes()
	if len(lanes) != 2 || lanes[0].Sent != 30 || lanes[0].Taken != 30 || !lanes[0].SenderOpen || lanes[1].Sent != 0 {
		t.Errorf("%+v", lanes)
	}
	at = 1 << 63 // not of this lane: from the oldest that is there
	next = 23
	tap(30, 0)
	a.Close()
	if lanes := v.Lanes(); lanes[0].SenderOpen || !lanes[1].SenderOpen {
		t.Errorf("after the close: %+v", lanes)
	}
}

func TestPercentile(t *testing.T) {
	s := LaneStatus{}
	if s.Percentile(50) != 0 {
		t.Error("nothing was timed")
	}
	s.Latency[10], s.Latency[20] = 90, 10
	for percent, want := range map[int]int64{0: 2 << 10, 50: 2 << 10, 89: 2 << 10, 90: 2 << 20, 99: 2 << 20, 100: 2 << 31} {
		if got := s.Percentile(percent); int64(got) != want {
			t.Errorf("%d of 100: %v, want %d", percent, got, want)
		}
	}
}
