package ion

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair makes a segment and attaches both sides in this process, by two mappings.
func pair(t testing.TB, o Options, lanes ...Lane) (host, guest *Segment) {
	t.Helper()
	host, err := CreateWith(o, "test", lanes...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	return host, attach(t, o, host, Guest)
}

// attach becomes a side of a segment by a descriptor of its own, as another process would.
func attach(t testing.TB, o Options, s *Segment, side Side) *Segment {
	t.Helper()
	again, err := AttachWith(o, dup(t, s.File()), side)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func dup(t testing.TB, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), f.Name())
}

func ringOf(t testing.TB, s *Segment, id uint32) *Ring {
	t.Helper()
	r, err := s.Ring(id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// numbered is a message with a number in it, and bytes that follow from the number.
func numbered(size int, n uint64) []byte {
	m := make([]byte, size)
	PutHeader(m, 7, 1)
	fill(m[MessageHeader:], n)
	return m
}

func fill(b []byte, n uint64) {
	for i := range b {
		b[i] = byte(n>>(8*(i%8))) + byte(i/8)
	}
}

func sameNumber(m []byte, n uint64) bool {
	want := make([]byte, len(m)-MessageHeader)
	fill(want, n)
	return bytes.Equal(m[MessageHeader:], want)
}

var notifiers = []struct {
	name string
	make func(t testing.TB) Options
}{
	{"futex", func(testing.TB) Options { return Options{} }},
	{"futex, asleep at once", func(testing.TB) Options { return Options{Patience: -1} }},
	{"eventfd", eventOptions},
	{"polling", func(testing.TB) Options {
		return Options{Patience: -1, Notifier: func(Lane, Bell) Notifier { return NewPollNotifier(0) }}
	}},
}

// eventOptions are for two sides in one process: both ends of a lane find its eventfds.
func eventOptions(t testing.TB) Options {
	type key struct {
		id   uint32
		from Side
	}
	bells := make(map[key][2]*os.File)
	return Options{Patience: -1, Notifier: func(l Lane, b Bell) Notifier {
		k := key{l.ID, l.From}
		if _, ok := bells[k]; !ok {
			a, b, err := Eventfds()
			if err != nil {
				t.Fatal(err)
			}
			bells[k] = [2]*os.File{a, b}
		}
		n := NewEventNotifier(dup(t, bells[k][b]), dup(t, bells[k][1-b]))
		t.Cleanup(func() { n.Close() })
		return n
	}}
}

func TestBothWays(t *testing.T) {
	for _, n := range notifiers {
		for _, slots := range []uint32{2, 64} {
			for _, size := range []uint32{64, 256, 4096} {
				host, guest := pair(t, n.make(t), Duplex(Files, Lane{SlotSize: size, Slots: slots})...)
				a, b := ringOf(t, host, Files), ringOf(t, guest, Files)
				var wg sync.WaitGroup
				for _, way := range [][2]*Ring{{a, b}, {b, a}} {
					wg.Go(func() { exchange(t, n.name, way[0], way[1], 500) })
				}
				wg.Wait()
				if a.Sent() != 500 || b.Received() != 500 {
					t.Errorf("%s: sent %d, received %d", n.name, a.Sent(), b.Received())
				}
			}
		}
	}
}

// exchange sends numbered messages of changing sizes and compares what arrives.
func exchange(t *testing.T, name string, from, to *Ring, count uint64) {
	var wg sync.WaitGroup
	size := func(n uint64) int {
		return MessageHeader + int(n*37)%(from.SendSize()-MessageHeader+1)
	}
	wg.Go(func() {
		for n := range count {
			if err := from.Send(numbered(size(n), n)); err != nil {
				t.Errorf("%s: send %d: %v", name, n, err)
				return
			}
		}
	})
	m := make([]byte, to.RecvSize())
	for n := range count {
		k, err := to.RecvFor(m, 20*time.Second)
		if err != nil || k != size(n) || !sameNumber(m[:k], n) {
			t.Errorf("%s: message %d: %d bytes, want %d: %v", name, n, k, size(n), err)
			break
		}
	}
	wg.Wait()
}

func TestBatches(t *testing.T) {
	for _, size := range []uint32{64, 128} {
		host, guest := pair(t, Options{}, Lane{ID: 9, From: Host, SlotSize: size, Slots: 64})
		a, b := ringOf(t, host, 9), ringOf(t, guest, 9)
		const count = 100_000
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := uint64(0); n < count; {
				k := min(1+n%97, count-n)
				var batch []byte
				for i := range k {
					batch = append(batch, numbered(int(size), n+i)...)
				}
				sent, err := a.SendBatch(batch)
				if err != nil || sent != int(k) {
					t.Errorf("sent %d of %d: %v", sent, k, err)
					return
				}
				n += k
			}
		})
		dst := make([]byte, 41*size)
		for n := uint64(0); n < count; {
			k, err := b.RecvBatchFor(dst, 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for i := range k {
				m := dst[i*int(size):]
				if m = m[:Size(m)]; !sameNumber(m, n) {
					t.Fatalf("message %d is another one", n)
				}
				n++
			}
		}
		wg.Wait()
	}
}

func TestMistakes(t *testing.T) {
	host, guest := pair(t, Options{}, Lane{ID: 9, From: Host, SlotSize: 64, Slots: 2})
	a, b := ringOf(t, host, 9), ringOf(t, guest, 9)
	m, dst := numbered(64, 1), make([]byte, 64)
	check := func(what string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("too large", a.Send(numbered(65, 1)), ErrMessage)
	check("no header", a.Send(m[:4]), ErrMessage)
	check("another size", a.Send(m[:60]), ErrMessage)
	check("the wrong way", b.Send(m), ErrDirection)
	_, err := a.Recv(dst)
	check("the wrong way", err, ErrDirection)
	_, err = b.Recv(dst[:63])
	check("no room", err, ErrShort)
	_, err = host.Ring(8)
	check("no channel", err, ErrNoChannel)
	_, _, err = a.TryTake()
	check("no arena", err, ErrDirection)
	_, err = b.RecvFor(dst, time.Millisecond)
	check("nothing there", err, ErrTimeout)
	for range 2 {
		check("send", a.Send(m), nil)
	}
	if sent, err := a.TrySend(m); sent || err != nil {
		t.Errorf("there is room for a third message in two slots: %v", err)
	}
	check("full", a.SendFor(m, time.Millisecond), ErrTimeout)
}

func TestClose(t *testing.T) {
	for _, n := range notifiers {
		host, guest := pair(t, n.make(t), append(Duplex(9, Lane{SlotSize: 64, Slots: 4}), Duplex(10, Lane{SlotSize: 64, Slots: 4})...)...)
		a, b := ringOf(t, host, 9), ringOf(t, guest, 9)
		dst := make([]byte, 64)
		if err := a.Send(numbered(64, 1)); err != nil {
			t.Fatal(err)
		}
		a.Close()
		if k, err := b.Recv(dst); err != nil || !sameNumber(dst[:k], 1) {
			t.Errorf("%s: what was sent before the close is lost: %v", n.name, err)
		}
		if _, err := b.Recv(dst); !errors.Is(err, ErrPeerClosed) {
			t.Errorf("%s: received after the close: %v", n.name, err)
		}
		if err := b.Send(numbered(64, 1)); !errors.Is(err, ErrPeerClosed) {
			t.Errorf("%s: sent after the close: %v", n.name, err)
		}
		if err := a.Send(numbered(64, 1)); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: sent on a closed ring: %v", n.name, err)
		}
		// The other channel goes on, and a sleeper hears of the end, whoever brings it.
		for _, end := range []struct {
			bring func(a *Ring)
			want  error
		}{
			{func(*Ring) { guest.PeerGone() }, ErrPeerGone},
			{func(a *Ring) { a.Close() }, ErrPeerClosed},
			{func(*Ring) { ringOf(t, guest, 10).Close() }, ErrClosed},
		} {
			guest.PeerBack()
			if end.want == ErrClosed {
				host, guest = pair(t, n.make(t), Duplex(10, Lane{SlotSize: 64, Slots: 4})...)
			}
			b := ringOf(t, guest, 10)
			got := make(chan error, 1)
			go func() { _, err := b.Recv(make([]byte, 64)); got <- err }()
			asleep(t, b.in)
			end.bring(ringOf(t, host, 10))
			select {
			case err := <-got:
				if !errors.Is(err, end.want) {
					t.Errorf("%s: a sleeper got %v, want %v", n.name, err, end.want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: a sleeper was not woken: want %v", n.name, end.want)
			}
		}
	}
}

// asleep waits until the receiver sleeps or is about to.
func asleep(t *testing.T, r *receiver) {
	t.Helper()
	for start := time.Now(); !r.asleep.Load(); runtime.Gosched() {
		if time.Since(start) > 10*time.Second {
			t.Fatal("it does not go to sleep")
		}
	}
}

func TestNoAllocations(t *testing.T) {
	host, guest := pair(t, Options{Patience: -1}, Lane{ID: 9, From: Host, SlotSize: 64, Slots: 64, BufferSize: 4096, Buffers: 4})
	a, b := ringOf(t, host, 9), ringOf(t, guest, 9)
	m, dst := numbered(64, 1), make([]byte, 64*64)
	batch := bytes.Repeat(m, 32)
	for name, f := range map[string]func() error{
		"one by one": func() error {
			if err := a.Send(m); err != nil {
				return err
			}
			_, err := b.Recv(dst)
			return err
		},
		"batches": func() error {
			if _, err := a.SendBatch(batch); err != nil {
				return err
			}
			_, err := b.RecvBatch(dst)
			return err
		},
		"buffers": func() error {
			buf, err := a.Take()
			if err != nil {
				return err
			}
			if err := a.SendGrant(m, buf, 100); err != nil {
				return err
			}
			n, err := b.Recv(dst)
			if err != nil {
				return err
			}
			got, ok := b.Granted(dst[:n])
			if !ok || len(got.Bytes) != 100 {
				return errors.New("no grant")
			}
			return b.Return(got, 0)
		},
		"a sleep": func() error {
			if _, err := b.RecvFor(dst, time.Microsecond); !errors.Is(err, ErrTimeout) {
				return err
			}
			return nil
		},
	} {
		var err error
		if n := testing.AllocsPerRun(1000, func() { err = errors.Join(err, f()) }); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", name, n, err)
		}
	}
}

func TestArena(t *testing.T) {
	host, guest := pair(t, Options{}, Lane{ID: 9, From: Host, SlotSize: 64, Slots: 4, BufferSize: 4096, Buffers: 3})
	a, b := ringOf(t, host, 9), ringOf(t, guest, 9)
	var wg sync.WaitGroup
	const count = 2000
	wg.Go(func() { // grants, and reads what the other side has put behind its data
		for n := range uint64(count) {
			buf, err := a.Take()
			if err != nil {
				t.Errorf("take %d: %v", n, err)
				return
			}
			fill(buf.Bytes[:1000], n)
			if err := a.SendGrant(numbered(32, n), buf, 1000); err != nil {
				t.Errorf("grant %d: %v", n, err)
				return
			}
		}
	})
	dst, want := make([]byte, 64), make([]byte, 1000)
	for n := range uint64(count) {
		k, err := b.Recv(dst)
		if err != nil {
			t.Fatal(err)
		}
		buf, ok := b.Granted(dst[:k])
		fill(want, n)
		if !ok || !bytes.Equal(buf.Bytes, want) {
			t.Fatalf("grant %d: %v, %d bytes", n, ok, len(buf.Bytes))
		}
		if err := b.Return(buf, 0); err != nil {
			t.Fatal(err)
		}
		if err := b.Return(buf, 0); !errors.Is(err, ErrBuffer) {
			t.Fatalf("returned twice: %v", err)
		}
	}
	wg.Wait()
}

// TestReturned has the other side fill a buffer, as a block device would.
func TestReturned(t *testing.T) {
	host, guest := pair(t, Options{}, Lane{ID: 9, From: Guest, SlotSize: 64, Slots: 4, BufferSize: 512, Buffers: 2})
	a, b := ringOf(t, guest, 9), ringOf(t, host, 9)
	buf, ok, err := a.TryTake()
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := a.SendGrant(numbered(16, 1), buf, 512); err != nil {
		t.Fatal(err)
	}
	if err := a.Put(buf); !errors.Is(err, ErrBuffer) {
		t.Errorf("put a granted buffer back: %v", err)
	}
	if _, _, err := a.Returned(time.Millisecond); !errors.Is(err, ErrTimeout) {
		t.Errorf("returned before it was: %v", err)
	}
	dst := make([]byte, 64)
	n, err := b.Recv(dst)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := b.Granted(dst[:n])
	binary.LittleEndian.PutUint64(got.Bytes, 4711)
	if err := b.Return(got, 8); err != nil {
		t.Fatal(err)
	}
	back, length, err := a.Returned(-1)
	if err != nil || back.Index != buf.Index || length != 8 || binary.LittleEndian.Uint64(back.Bytes) != 4711 {
		t.Errorf("returned %d, %d bytes: %v", back.Index, length, err)
	}
	if err := a.Put(back); err != nil {
		t.Error(err)
	}
}

// TestPatient: who looks without an end, and does not sleep, hears of the end all the same.
func TestPatient(t *testing.T) {
	for name, end := range map[string]func(host, guest *Segment){
		"closed": func(host, _ *Segment) { ringOf(t, host, 9).Close() },
		"over":   func(_, guest *Segment) { ringOf(t, guest, 9).Close() },
		"gone":   func(_, guest *Segment) { guest.PeerGone() },
	} {
		host, guest := pair(t, Options{Patience: time.Hour}, Duplex(9, Lane{SlotSize: 64, Slots: 4})...)
		got := make(chan error, 1)
		go func() {
			_, err := ringOf(t, guest, 9).Recv(make([]byte, 64))
			got <- err
		}()
		time.Sleep(time.Millisecond) // it looks by now, or will
		end(host, guest)
		select {
		case err := <-got:
			if err == nil {
				t.Errorf("%s: it received something", name)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: it looks on", name)
		}
	}
}
