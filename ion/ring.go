package ion

import (
	"errors"
	"sync/atomic"
	"time"
)

// Ring is one side's end of a channel: what it sends goes through one lane, what it
// receives comes through the other; a channel of one lane has one of them.
type Ring struct {
	seg *Segment
	id  uint32
	out *sender
	in  *receiver
	end atomic.Pointer[ending] // nil while it is open
}

type ending struct{ err error }

// ID is the number of the channel.
func (r *Ring) ID() uint32 { return r.id }

// SendSize and RecvSize are the bytes of a slot, and so of the largest message, in each
// direction; 0 where there is no lane.
func (r *Ring) SendSize() int {
	if r.out == nil {
		return 0
	}
	return int(r.out.slotSize)
}

// RecvSize is like SendSize.
func (r *Ring) RecvSize() int {
	if r.in == nil {
		return 0
	}
	return int(r.in.slotSize)
}

// over reports whether this side has closed the ring, or given up on it.
func (r *Ring) over() bool { return r.end.Load() != nil }

// closed says why the ring is over; nil if it is not.
func (r *Ring) closed() error {
	if e := r.end.Load(); e != nil {
		return e.err
	}
	return nil
}

// peerSays turns what the other side says of a lane, if it is not that it is open, into an
// error.
func (r *Ring) peerSays(state uint32) error {
	switch state {
	case laneClosed:
		return ErrPeerClosed
	case laneViolated:
		return ErrPeerAbort
	}
	return r.violated("the state of a lane")
}

// violated closes the channel because the other side broke its rules.
func (r *Ring) violated(what string) error {
	r.shut(&ViolationError{r.id, what}, laneViolated)
	return r.closed()
}

// shut ends both directions, once; the first reason stays.
func (r *Ring) shut(err error, state uint32) {
	if !r.end.CompareAndSwap(nil, &ending{err}) {
		return
	}
	if r.out != nil {
		r.out.c.producerState.Store(state)
		r.out.interrupt()
	}
	if r.in != nil {
		r.in.c.consumerState.Store(state)
		r.in.interrupt()
	}
	r.ringAll()
}

// ringAll wakes the other side, whatever it waits for.
func (r *Ring) ringAll() {
	if r.out != nil {
		r.out.bell.Ring()
	}
	if r.in != nil {
		r.in.bell.Ring()
	}
}

// Close ends the channel in both directions. What was sent before can still be taken by the
// other side; calls that wait return ErrClosed. A second Close does nothing.
func (r *Ring) Close() error {
	r.shut(ErrClosed, laneClosed)
	return nil
}

// Send sends a message, all of m, and waits for room. m begins with its header (PutHeader).
//
// It returns ErrMessage if m is no message or larger than a slot; ErrPeerClosed, ErrPeerAbort
// or ErrPeerGone if nobody will take it; ErrClosed after Close; a ViolationError if the other
// side broke the rules. After ErrPeerGone the ring is as it was: another process may come.
func (r *Ring) Send(m []byte) error { return r.SendFor(m, -1) }

// SendFor is Send that waits for at most d, and returns ErrTimeout then.
func (r *Ring) SendFor(m []byte, d time.Duration) error {
	if r.out == nil {
		return ErrDirection
	}
	if err := outgoing(m, r.out.slotSize); err != nil {
		return err
	}
	return r.send(m, d)
}

func (r *Ring) send(m []byte, d time.Duration) error {
	t := patience{d: d}
	for {
		sent, err := r.out.try(m)
		if sent || err != nil {
			return err
		}
		if err := r.out.wait(t.left()); err != nil {
			return err
		}
	}
}

// TrySend is Send that does not wait: it reports whether there was room.
func (r *Ring) TrySend(m []byte) (sent bool, err error) {
	if r.out == nil {
		return false, ErrDirection
	}
	if err := outgoing(m, r.out.slotSize); err != nil {
		return false, err
	}
	return r.out.try(m)
}

// TrySendBatch sends messages that lie one after the other in slots of SendSize bytes,
// each with its header, as many as there is room for, and wakes the other side at most
// once. It returns how many were sent. A message that is none is not sent, nor is any after
// it; alone it is ErrMessage.
func (r *Ring) TrySendBatch(slots []byte) (n int, err error) {
	if r.out == nil {
		return 0, ErrDirection
	}
	size := int(r.out.slotSize)
	good := 0
	for ; (good+1)*size <= len(slots); good++ {
		m := slots[good*size:]
		if n := Size(m); n < MessageHeader || n > size || m[5]|m[6]|m[7] != 0 {
			break
		}
	}
	if good == 0 {
		return 0, ErrMessage
	}
	return r.out.tryBatch(slots[:good*size])
}

// SendBatch is TrySendBatch that waits until all are sent, or an error: n were sent before.
func (r *Ring) SendBatch(slots []byte) (n int, err error) {
	for n*r.SendSize() < len(slots) {
		k, err := r.TrySendBatch(slots[n*r.SendSize():])
		n += k
		if err != nil {
			return n, err
		}
		if k == 0 {
			if err := r.out.wait(-1); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// Recv takes the next message into dst, which must have room for RecvSize bytes, and waits
// for it. It returns the message's size. What it put into dst is checked as far as the ring
// goes: size, flags, grant. The contents are the other side's: check them.
//
// Errors are those of Send; what was sent before the other side closed or was gone is taken
// first. The other side gets to know that a message was taken when a quarter of the slots
// was, when nothing is left, or by Ack. A process that takes over after this one has died
// gets those messages again that were not acknowledged.
func (r *Ring) Recv(dst []byte) (n int, err error) { return r.RecvFor(dst, -1) }

// RecvFor is Recv that waits for at most d, and returns ErrTimeout then.
func (r *Ring) RecvFor(dst []byte, d time.Duration) (n int, err error) {
	t := patience{d: d}
	for {
		n, err = r.TryRecv(dst)
		if n > 0 || err != nil {
			return n, err
		}
		if err := r.in.wait(t.left()); err != nil {
			return 0, err
		}
	}
}

// TryRecv is Recv that does not wait: 0 without an error says that there is nothing.
func (r *Ring) TryRecv(dst []byte) (n int, err error) {
	if r.in == nil {
		return 0, ErrDirection
	}
	if uint64(len(dst)) < r.in.slotSize {
		return 0, ErrShort
	}
	return r.in.try(dst)
}

// TryRecvBatch takes as many messages as there are and dst has room for, into slots of
// RecvSize bytes one after the other. Bytes of a slot behind the message's size mean
// nothing. It returns how many messages it took.
func (r *Ring) TryRecvBatch(dst []byte) (n int, err error) {
	if r.in == nil {
		return 0, ErrDirection
	}
	if uint64(len(dst)) < r.in.slotSize {
		return 0, ErrShort
	}
	return r.in.tryBatch(dst)
}

// RecvBatch is TryRecvBatch that waits for at least one message.
func (r *Ring) RecvBatch(dst []byte) (n int, err error) { return r.RecvBatchFor(dst, -1) }

// RecvBatchFor is RecvBatch that waits for at most d, and returns ErrTimeout then.
func (r *Ring) RecvBatchFor(dst []byte, d time.Duration) (n int, err error) {
	t := patience{d: d}
	for {
		n, err = r.TryRecvBatch(dst)
		if n > 0 || err != nil {
			return n, err
		}
		if err := r.in.wait(t.left()); err != nil {
			return 0, err
		}
	}
}

// Ack lets the other side know at once what was received: its slots are free, and no
// process that takes over gets those messages again.
func (r *Ring) Ack() error {
	switch {
	case r.in == nil:
		return ErrDirection
	case r.over():
		return r.closed()
	case r.in.acked != r.in.head:
		r.in.ack()
	}
	return nil
}

// Acked is the number of messages that the other side has acknowledged, of those that were
// ever sent through this lane (Sent). What lies between is on its way; a process that takes
// over on the other side gets it.
func (r *Ring) Acked() (uint64, error) {
	if r.out == nil {
		return 0, ErrDirection
	}
	if err := r.out.look(); err != nil {
		return 0, err
	}
	return r.out.head, r.closed()
}

// Sent is how many messages were ever sent through this lane, by this process and those
// before it.
func (r *Ring) Sent() uint64 {
	if r.out == nil {
		return 0
	}
	return r.out.tail
}

// Received is how many messages were ever taken from this lane, by this process and those
// before it.
func (r *Ring) Received() uint64 {
	if r.in == nil {
		return 0
	}
	return r.in.head
}

// IsOver reports whether an error of a ring says that nothing more will come of it:
// anything but a lack of room, of time, or of the other side's process.
func IsOver(err error) bool {
	v := new(ViolationError)
	return errors.Is(err, ErrClosed) || errors.Is(err, ErrPeerClosed) || errors.Is(err, ErrPeerAbort) || errors.As(err, &v)
}
