package ion

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Notifier is one end's bell on one lane: how it wakes the other side, and how it sleeps
// until the other side wakes it. Prepare and Wait are called by the end's goroutine,
// Ring and Interrupt by any.
//
// What it must hold, so that no wake-up is lost: a Ring by the other side after Prepare
// ends the next Wait, and so does Interrupt. Wait may return early for no reason; the
// caller looks again. Ring never blocks, whatever the other side does.
type Notifier interface {
	Ring()
	Prepare()
	Wait(d time.Duration) // d < 0: without end
	Interrupt()
}

// Bell says which of the two bells of a lane an end waits for.
type Bell int

// Bells of a lane.
const (
	Data Bell = iota // waited for by the receiver, rung by the sender
	Room             // waited for by the sender, rung by the receiver: slots and buffers came back
)

// futexNotifier sleeps on a word of the lane's control block (futex(2)). It needs no
// descriptor, and there is nothing in it that the other side could make block.
type futexNotifier struct {
	wait, ring *atomic.Uint32
	seen       uint32
}

func newFutex(c *control, b Bell) *futexNotifier {
	if b == Data {
		return &futexNotifier{wait: &c.dataBell, ring: &c.roomBell}
	}
	return &futexNotifier{wait: &c.roomBell, ring: &c.dataBell}
}

func word(w *atomic.Uint32) *uint32 { return (*uint32)(unsafe.Pointer(w)) }

func (f *futexNotifier) Ring()                { f.ring.Add(1); futexWake(word(f.ring)) }
func (f *futexNotifier) Prepare()             { f.seen = f.wait.Load() }
func (f *futexNotifier) Wait(d time.Duration) { futexWait(word(f.wait), f.seen, d) }
func (f *futexNotifier) Interrupt()           { f.wait.Add(1); futexWake(word(f.wait)) }

// EventNotifier rings by eventfd(2), for who waits for descriptors too. Both sides have
// the same open file, whose flags the other side can change: one that clears O_NONBLOCK and
// fills the counter makes Ring block. So it is for sides that trust each other that far;
// across a wall the futex is better.
type EventNotifier struct {
	wait, ring *os.File
	waitFD     int // the files are in blocking mode for Go: no poller between the bell and the thread
	ringFD     int
}

// NewEventNotifier makes a notifier of two eventfds with EFD_NONBLOCK. The other side has
// them the other way round. They are the notifier's from now on; Close closes them.
func NewEventNotifier(wait, ring *os.File) *EventNotifier {
	return &EventNotifier{wait, ring, int(wait.Fd()), int(ring.Fd())}
}

// Eventfds makes two, for the bells of one lane.
func Eventfds() (a, b *os.File, err error) {
	var f [2]*os.File
	for i := range f {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			if i > 0 {
				f[0].Close()
			}
			return nil, nil, fmt.Errorf("make an eventfd: %w", err)
		}
		f[i] = os.NewFile(uintptr(fd), "eventfd")
	}
	return f[0], f[1], nil
}

// one is what an eventfd takes.
var one = [8]byte{1}

// Ring adds one to the counter; EAGAIN means that it is full, and so has been rung.
func (e *EventNotifier) Ring() { _, _ = unix.Write(e.ringFD, one[:]) }

// Prepare does nothing: the counter remembers.
func (e *EventNotifier) Prepare() {}

// Wait sleeps until the counter is not zero, and makes it so.
func (e *EventNotifier) Wait(d time.Duration) {
	fds := [1]unix.PollFd{{Fd: int32(e.waitFD), Events: unix.POLLIN}}
	var timeout *unix.Timespec
	if d >= 0 {
		t := unix.NsecToTimespec(int64(d))
		timeout = &t
	}
	if n, err := unix.Ppoll(fds[:], timeout, nil); err != nil || n == 0 { // EINTR: the caller looks again
		return
	}
	var count [8]byte
	_, _ = unix.Read(e.waitFD, count[:]) // EAGAIN: somebody else has read it
}

// Interrupt ends this side's own Wait.
func (e *EventNotifier) Interrupt() { _, _ = unix.Write(e.waitFD, one[:]) }

// File is what becomes readable when the other side rings, for poll(2).
func (e *EventNotifier) File() *os.File { return e.wait }

// Close closes both eventfds. The ring must not be used any more.
func (e *EventNotifier) Close() error {
	err := e.wait.Close()
	if e := e.ring.Close(); err == nil {
		err = e
	}
	return err
}

// PollNotifier needs nothing from the other side: it looks again after a while. Pauses
// double from 20 us to Longest.
type PollNotifier struct {
	Longest time.Duration // 0: 1 ms
	pause   time.Duration
	wake    chan struct{}
}

// NewPollNotifier returns a notifier that looks at least so often.
func NewPollNotifier(longest time.Duration) *PollNotifier {
	if longest <= 0 {
		longest = time.Millisecond
	}
	return &PollNotifier{Longest: longest, wake: make(chan struct{}, 1)}
}

const shortestPause = 20 * time.Microsecond

// Ring does nothing: the other side looks.
func (p *PollNotifier) Ring() {}

// Prepare is called anew for each pause, so that the pauses of one wait grow.
func (p *PollNotifier) Prepare() {}

// Wait pauses. The first one after a pause that was cut short is short again.
func (p *PollNotifier) Wait(d time.Duration) {
	p.pause = min(max(2*p.pause, shortestPause), p.Longest)
	if d >= 0 && d < p.pause {
		p.pause = d
	}
	timer := time.NewTimer(p.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.wake:
		p.pause = 0
	}
}

// Interrupt ends this side's own Wait.
func (p *PollNotifier) Interrupt() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// found tells a notifier that the wait was not in vain.
func (p *PollNotifier) found() { p.pause = 0 }
