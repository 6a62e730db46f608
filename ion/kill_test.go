package ion

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// honestMain is a process that answers on channel 1 of the segment that comes through
// descriptor 3, and counts what it has answered.
func honestMain() error {
	s, l, err := Accept(os.NewFile(3, "link"), Options{})
	if err != nil {
		return err
	}
	defer l.Close()
	r, err := s.Ring(honestChannel)
	if err != nil {
		return err
	}
	return answerCounting(r)
}

// answerCounting takes numbers, and answers each with the number; it acknowledges a number
// after the answer is sent. What it gets must follow, or come again.
func answerCounting(r *Ring) error {
	m := make([]byte, 64)
	last := uint64(0)
	for first := true; ; first = false {
		n, err := r.Recv(m)
		if err != nil {
			return nil // the other side has had enough
		}
		number := binary.LittleEndian.Uint64(m[MessageHeader:n])
		if !first && number != last+1 {
			return fmt.Errorf("%d after %d", number, last)
		}
		last = number
		if err := r.Send(m[:n]); err != nil {
			return nil
		}
		if err := r.Ack(); err != nil {
			return nil
		}
	}
}

// TestKilled has the other side killed at random points, again and again: this side notices,
// loses nothing, and goes on with the next process where the last one was. The other side
// answers numbers; each must be answered, in order, and again only if it was not
// acknowledged.
func TestKilled(t *testing.T) {
	killed(t, 200, func(link *os.File) *exec.Cmd { return process(t, "honest", link) })
}

// killed does it with processes that start makes, to which it gives the socket of a link.
func killed(t *testing.T, kills int, start func(link *os.File) *exec.Cmd) {
	switch {
	case os.Getenv("NIP_SOAK") != "":
		kills = 10_000
	case testing.Short():
		kills = 20
	}
	host, err := Create("killed", Duplex(honestChannel, Lane{SlotSize: 64, Slots: 32})...)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	r := ringOf(t, host, honestChannel)

	var sender sync.WaitGroup
	stop := make(chan struct{})
	sender.Go(func() {
		m := make([]byte, 64)
		PutHeader(m, 7, 1)
		for n := uint64(0); ; {
			binary.LittleEndian.PutUint64(m[MessageHeader:], n)
			err := r.SendFor(m, time.Second)
			switch {
			case err == nil:
				n++
			case errors.Is(err, ErrClosed):
				return
			case !errors.Is(err, ErrPeerGone) && !errors.Is(err, ErrTimeout):
				t.Errorf("send %d: %v", n, err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
			if rand.IntN(64) == 0 { // so that both sides sleep now and then
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	s := &survivor{t: t, host: host, ring: r, start: start}
	for k := 0; k < kills && !t.Failed(); k++ {
		s.killOne(k)
	}
	close(stop)
	r.Close()
	sender.Wait()
	t.Logf("%d kills, %d numbers answered, %d of them twice, the slowest notice took %v", kills, s.next, s.twice, s.slowest)
	if s.next < uint64(kills) {
		t.Errorf("only %d numbers were answered between %d kills", s.next, kills)
	}
}

type survivor struct {
	t           *testing.T
	start       func(link *os.File) *exec.Cmd
	host        *Segment
	ring        *Ring
	next, twice uint64 // the next answer, and how many came again
	slowest     time.Duration
}

// killOne starts a process, lets it answer for a random time, kills it, and takes what it
// has answered.
func (s *survivor) killOne(k int) {
	a, b, err := Pair()
	if err != nil {
		s.t.Fatal(err)
	}
	acked, err := s.ring.ackedByPeer()
	if err != nil {
		s.t.Fatal(err)
	}
	c := s.start(b)
	b.Close()
	l, err := Offer(a, s.host)
	if err != nil {
		s.t.Fatal(err)
	}
	var killed time.Time
	var wg sync.WaitGroup
	wait := time.Duration(rand.IntN(3000)) * time.Microsecond
	m := make([]byte, 64)
	for first := true; ; first = false {
		n, err := s.ring.RecvFor(m, 20*time.Second)
		if errors.Is(err, ErrPeerGone) {
			break
		}
		if err != nil {
			s.t.Errorf("kill %d: %v", k, err)
			break
		}
		got := binary.LittleEndian.Uint64(m[MessageHeader:n])
		if first {
			wg.Go(func() { killed = kill(c, wait) })
			if got < acked {
				s.t.Errorf("kill %d: %d was acknowledged, and came again", k, got)
			}
		}
		switch {
		case got == s.next:
			s.next++
		case first && got < s.next && got >= acked:
			s.twice += s.next - got
			s.next = got + 1
		default:
			s.t.Errorf("kill %d: answer %d, want %d", k, got, s.next)
			return
		}
	}
	noticed := time.Now()
	wg.Wait()
	if took := noticed.Sub(killed); took > s.slowest {
		s.slowest = took
	}
	if s.slowest > 100*time.Millisecond {
		s.t.Errorf("kill %d: noticed after %v", k, s.slowest)
	}
	l.Close()
}

func kill(c *exec.Cmd, after time.Duration) time.Time {
	time.Sleep(after)
	killed := time.Now()
	_ = c.Process.Kill() // it is there: nobody has waited for it
	_ = c.Wait()
	return killed
}

// ackedByPeer reads the other side's head without the sender's goroutine.
func (r *Ring) ackedByPeer() (uint64, error) { return r.out.c.head.Load(), r.closed() }
