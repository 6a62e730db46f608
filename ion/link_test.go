package ion

import (
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// linked offers a segment through a socket pair, and accepts it.
func linked(t *testing.T, s *Segment) (a, b *Link, other *Segment) {
	t.Helper()
	x, y, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	if a, err = Offer(x, s); err != nil {
		t.Fatal(err)
	}
	other, b, err = Accept(y, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
		other.Close()
	})
	return a, b, other
}

func TestLink(t *testing.T) {
	host, err := Create("link", Duplex(9, Lane{SlotSize: 64, Slots: 4})...)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	a, b, guest := linked(t, host)
	if guest.Side() != Guest || guest.Name() != "link" {
		t.Errorf("accepted %v of %q", guest.Side(), guest.Name())
	}
	exchange(t, "link", ringOf(t, host, 9), ringOf(t, guest, 9), 100)

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SendFile(7, w); err != nil {
		t.Fatal(err)
	}
	if err := a.SendFile(8, r); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.Close()
	r2, err := b.File(8) // in another order
	if err != nil {
		t.Fatal(err)
	}
	w2, err := b.File(7)
	if err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(w2.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("a descriptor that came would be inherited: %v", err)
	}
	if _, err := w2.WriteString("through"); err != nil {
		t.Fatal(err)
	}
	w2.Close()
	if text, err := io.ReadAll(r2); err != nil || string(text) != "through" {
		t.Errorf("read %q: %v", text, err)
	}
	r2.Close()

	// The end: sleepers hear of it, and another process can come.
	got := make(chan error, 1)
	go func() { _, err := ringOf(t, guest, 9).Recv(make([]byte, 64)); got <- err }()
	asleep(t, ringOf(t, guest, 9).in)
	a.Close()
	if err := <-got; !errors.Is(err, ErrPeerGone) {
		t.Errorf("a sleeper got %v", err)
	}
	<-b.Done()
	if !errors.Is(b.Err(), io.EOF) {
		t.Errorf("the link ended with %v", b.Err())
	}
	if _, err := b.File(1); !errors.Is(err, ErrPeerGone) {
		t.Errorf("a descriptor after the end: %v", err)
	}
	_, _, host2 := linked(t, guest) // this time the guest offers
	if host2.Side() != Host {
		t.Errorf("the guest made another %v", host2.Side())
	}
	exchange(t, "second link", ringOf(t, host2, 9), ringOf(t, guest, 9), 100)
}

// TestHostileLink sends what is no packet, or too much.
func TestHostileLink(t *testing.T) {
	good := packet{kind: packetFile, token: 1}.encode()
	wrong := func(at int, v byte) []byte { b := good; b[at] = v; return b[:] }
	for name, send := range map[string]func(fd int){
		"nothing with descriptors": func(fd int) { raw(t, fd, nil, 1) },
		"short":                    func(fd int) { raw(t, fd, good[:23], 1) },
		"long":                     func(fd int) { raw(t, fd, append(good[:], 0), 1) },
		"no descriptor":            func(fd int) { raw(t, fd, good[:], 0) },
		"two descriptors":          func(fd int) { raw(t, fd, good[:], 2) },
		"many descriptors":         func(fd int) { raw(t, fd, good[:], 200) },
		"another magic":            func(fd int) { raw(t, fd, wrong(0, 1), 1) },
		"another version":          func(fd int) { raw(t, fd, wrong(4, 2), 1) },
		"no such kind":             func(fd int) { raw(t, fd, wrong(6, 3), 1) },
		"a second segment":         func(fd int) { raw(t, fd, wrong(6, 1), 1) },
		"no such side":             func(fd int) { raw(t, fd, wrong(8, 2), 1) },
		"not zero":                 func(fd int) { raw(t, fd, wrong(12, 1), 1) },
		"a token twice":            func(fd int) { raw(t, fd, good[:], 1); raw(t, fd, good[:], 1) },
		"65 descriptors": func(fd int) {
			for i := range uint64(maxFiles + 1) {
				p := packet{kind: packetFile, token: i}.encode()
				raw(t, fd, p[:], 1)
			}
		},
	} {
		runtime.GC()
		before := openFiles(t)
		host, err := Create("hostile", Lane{ID: 9, SlotSize: 64, Slots: 4})
		if err != nil {
			t.Fatal(err)
		}
		x, y, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		l, err := Offer(x, host)
		if err != nil {
			t.Fatal(err)
		}
		send(int(y.Fd()))
		select {
		case <-l.Done():
			if !errors.Is(l.Err(), ErrLink) {
				t.Errorf("%s: the link ended with %v", name, l.Err())
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the link goes on", name)
		}
		l.Close()
		y.Close()
		host.Close()
		if after := openFiles(t); after > before { // fewer: what earlier tests left went
			t.Errorf("%s: %d descriptors are left open", name, after-before)
		}
	}
}

// raw sends bytes and so many descriptors; the link may be closed already.
func raw(t *testing.T, fd int, b []byte, descriptors int) {
	t.Helper()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fds := make([]int, descriptors)
	for i := range fds {
		fds[i] = int(null.Fd())
	}
	var oob []byte
	if descriptors > 0 {
		oob = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(fd, b, oob, nil, unix.MSG_NOSIGNAL); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		t.Fatal(err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestAcceptMistakes: a descriptor that is no segment is not attached to.
func TestAcceptMistakes(t *testing.T) {
	x, y, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	p := packet{kind: packetSegment, side: Guest}.encode()
	raw(t, int(x.Fd()), p[:], 1) // /dev/null
	if _, _, err := Accept(y, Options{}); err == nil {
		t.Error("attached to /dev/null")
	}
}
