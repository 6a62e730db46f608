package ion

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSeals: a file that could be made shorter is never mapped.
func TestSeals(t *testing.T) {
	lanes := Duplex(9, Lane{SlotSize: 64, Slots: 4})
	l, err := lay("seals", 1, lanes)
	if err != nil {
		t.Fatal(err)
	}
	header := make([]byte, lanesStart)
	l.encode(header)
	memfd := func(seals, flags int, size uint64) *os.File {
		fd, err := unix.MemfdCreate("ion:seals", unix.MFD_ALLOW_SEALING|flags)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "seals")
		if err := f.Truncate(int64(size)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(header, 0); err != nil && size >= lanesStart && flags&unix.MFD_HUGETLB == 0 {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
			t.Fatal(err)
		}
		return f
	}
	disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Truncate(int64(l.size)); err != nil {
		t.Fatal(err)
	}
	zero, err := os.OpenFile("/dev/zero", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]*os.File{
		"none":       memfd(0, 0, l.size),
		"no shrink":  memfd(unix.F_SEAL_GROW|unix.F_SEAL_SEAL, 0, l.size),
		"no grow":    memfd(unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL, 0, l.size),
		"no seal":    memfd(unix.F_SEAL_SHRINK|unix.F_SEAL_GROW, 0, l.size),
		"too small":  memfd(seals, 0, l.size-4096),
		"empty":      memfd(seals, 0, 0),
		"huge pages": memfd(seals, unix.MFD_HUGETLB, 1<<21),
		"a file":     disk,
		"a device":   zero,
	} {
		s, err := Attach(f, Guest)
		if format := new(FormatError); err == nil || !errors.As(err, &format) {
			t.Errorf("%s: attached: %v", name, err)
		}
		if s != nil {
			s.Close()
		}
	}
	s, err := Attach(memfd(seals, 0, l.size), Guest)
	if err != nil {
		t.Fatalf("all seals: %v", err)
	}
	s.Close()
}

// TestSealed: what Create makes can be neither shortened, nor lengthened, nor executed.
func TestSealed(t *testing.T) {
	s, err := Create("sealed", Lane{ID: 1, SlotSize: 64, Slots: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, size := range []int64{0, 4096, int64(s.Size()) + 4096} {
		if err := s.File().Truncate(size); !errors.Is(err, unix.EPERM) {
			t.Errorf("truncate to %d: %v", size, err)
		}
	}
	if err := s.File().Chmod(0o777); !errors.Is(err, unix.EPERM) {
		t.Errorf("make it executable: %v", err)
	}
	if _, err := unix.FcntlInt(s.File().Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); !errors.Is(err, unix.EPERM) {
		t.Errorf("seal it further: %v", err)
	}
	// What can be done is to punch holes: they read as zeros, which is a wrong magic for who
	// attaches later, and a wrong tail for who is attached.
	if err := unix.Fallocate(int(s.File().Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(s.Size())); err != nil {
		t.Fatal(err)
	}
	if err := ringOf(t, s, 1).Send(numbered(64, 1)); err != nil {
		t.Errorf("send after a hole was punched: %v", err)
	}
}

func TestCreateMistakes(t *testing.T) {
	ok := Lane{ID: 1, SlotSize: 64, Slots: 2}
	with := func(f func(*Lane)) []Lane { l := ok; f(&l); return []Lane{l} }
	many := make([]Lane, MaxLanes+1)
	for i := range many {
		many[i] = ok
		many[i].ID = uint32(i + 1)
	}
	for says, lanes := range map[string][]Lane{
		"0 lanes":                nil,
		"65 lanes":               many,
		"two lanes":              {ok, ok},
		"channel 0":              with(func(l *Lane) { l.ID = 0 }),
		"side 2 does not exist":  with(func(l *Lane) { l.From = 2 }),
		"slots of 63 bytes":      with(func(l *Lane) { l.SlotSize = 63 }),
		"slots of 8192":          with(func(l *Lane) { l.SlotSize = 8192 }),
		"3 slots":                with(func(l *Lane) { l.Slots = 3 }),
		"1 slots":                with(func(l *Lane) { l.Slots = 1 }),
		"0 buffers":              with(func(l *Lane) { l.BufferSize = 64 }),
		"buffers of 0":           with(func(l *Lane) { l.Buffers = 64 }),
		"buffers of 100":         with(func(l *Lane) { l.Buffers, l.BufferSize = 64, 100 }),
		"65537 buffers":          with(func(l *Lane) { l.Buffers, l.BufferSize = 65537, 64 }),
		"more than 1073741824 b": with(func(l *Lane) { l.Buffers, l.BufferSize = 64, 1<<24 }),
	} {
		if s, err := Create("x", lanes...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
			if s != nil {
				s.Close()
			}
		}
	}
	for _, name := range []string{"a b", "a/b", "ä", strings.Repeat("x", 33), "\n"} {
		if _, err := Create(name, ok); err == nil {
			t.Errorf("name %q is accepted", name)
		}
	}
}

// TestTakeOver: one side ends without a word, and another process takes its place. What was
// not acknowledged comes again, what was is not, and no buffer is lost or in two hands.
func TestTakeOver(t *testing.T) {
	lane := Lane{ID: 9, From: Host, SlotSize: 64, Slots: 16, BufferSize: 64, Buffers: 8}
	host, guest := pair(t, Options{}, lane)
	a, b := ringOf(t, host, 9), ringOf(t, guest, 9)
	dst := make([]byte, 64)
	grant := func(n uint64) {
		t.Helper()
		buf, ok, err := a.TryTake()
		if !ok || err != nil {
			t.Fatalf("take for %d: %v %v", n, ok, err)
		}
		fill(buf.Bytes, n)
		if err := a.SendGrant(numbered(32, n), buf, 64); err != nil {
			t.Fatal(err)
		}
	}
	take := func(n uint64) Buffer {
		t.Helper()
		k, err := b.RecvFor(dst, 0)
		if err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
		buf, ok := b.Granted(dst[:k])
		want := make([]byte, 64)
		if fill(want, n); !ok || string(buf.Bytes) != string(want) {
			t.Fatalf("message %d: another one", n)
		}
		return buf
	}
	for n := range uint64(8) {
		grant(n)
	}
	first := take(0)
	take(1) // held when the receiver ends
	if err := b.Return(first, 0); err != nil {
		t.Fatal(err)
	}
	take(2) // held, and not acknowledged: less than a quarter of the slots
	if acked, err := a.Acked(); err != nil || acked != 2 {
		t.Fatalf("acknowledged %d, want 2: %v", acked, err)
	}

	guest = attach(t, Options{}, host, Guest)
	b = ringOf(t, guest, 9)
	if p := host.Peer(); p.Epoch != 2 || !p.Attached || p.PID != os.Getpid() {
		t.Errorf("the host sees %+v", p)
	}
	held := []Buffer{take(2), take(3)}
	// The sender has 0 back, which was returned, and 1, which its holder took along.
	grant(8)
	grant(9)
	if _, ok, err := a.TryTake(); ok || err != nil {
		t.Errorf("a ninth buffer: %v", err)
	}
	for _, h := range held {
		if err := b.Return(h, 0); err != nil {
			t.Fatal(err)
		}
	}
	// Now the sender ends: with two buffers on their way back, one that it has taken, and
	// messages 4 to 9 on their way.
	if _, ok, err := a.TryTake(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	host2 := attach(t, Options{}, host, Host)
	a = ringOf(t, host2, 9)
	if a.Sent() != 10 {
		t.Errorf("the new sender goes on at %d", a.Sent())
	}
	grant(10)
	grant(11)
	if _, ok, err := a.TryTake(); ok || err != nil {
		t.Errorf("a buffer too many: %v", err)
	}
	for n := uint64(4); n < 12; n++ {
		if err := b.Return(take(n), 0); err != nil {
			t.Fatal(err)
		}
	}
	for range lane.Buffers {
		if _, ok, err := a.TryTake(); !ok || err != nil {
			t.Fatalf("a buffer is lost: %v", err)
		}
	}
}
