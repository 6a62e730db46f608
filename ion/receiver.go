package ion

import (
	"math/bits"
	"time"
)

// receiver is the consumer's end of a lane.
type receiver struct {
	waiter
	c        *control
	slots    []byte
	slotSize uint64
	count    uint64 // of slots
	head     uint64 // ours
	acked    uint64 // what the other side knows of it
	lazy     uint64 // so far head may be ahead of acked
	tail     uint64 // the last that was seen, and checked
	sampleAt uint64 // index at which to look whether the message before was timed
	holder   *holder
}

// beginning is how much of a slot is copied before its header is looked at.
const beginning = MinSlotSize

// try takes a message into dst, which has room for a slot. Nothing there is 0 and no error.
func (r *receiver) try(dst []byte) (n int, err error) {
	if err := r.ring.closed(); err != nil {
		return 0, err
	}
	if r.head == r.tail {
		if some, err := r.look(); !some {
			return 0, err
		}
	}
	n, err = r.take(dst[:r.slotSize], r.head)
	if err != nil {
		return 0, err
	}
	r.advance(1)
	return n, nil
}

// tryBatch takes as many messages as there are and dst has slots for.
func (r *receiver) tryBatch(dst []byte) (n int, err error) {
	if err := r.ring.closed(); err != nil {
		return 0, err
	}
	want := uint64(len(dst)) / r.slotSize
	if r.tail-r.head < want {
		if some, err := r.look(); !some {
			return 0, err
		}
	}
	want = min(want, r.tail-r.head)
	if r.slotSize == beginning {
		n, err = r.takeSmall(dst, int(want))
	} else {
		for n < int(want) && err == nil {
			if _, err = r.take(dst[uint64(n)*r.slotSize:][:r.slotSize], r.head+uint64(n)); err == nil {
				n++
			}
		}
	}
	r.advance(uint64(n))
	if n > 0 {
		return n, nil // what is wrong with the next one is said by the next call
	}
	return 0, err
}

// take copies the message in a slot: the beginning, then, by the size in that copy, the
// rest.
func (r *receiver) take(dst []byte, index uint64) (n int, err error) {
	at := (index & (r.count - 1)) * r.slotSize
	slot := r.slots[at : at+r.slotSize]
	copy(dst[:beginning], slot)
	n, wrong := incoming(dst, r.slotSize, r.holder != nil)
	if wrong != "" {
		return 0, r.ring.violated(wrong)
	}
	if n > beginning {
		copy(dst[beginning:n], slot[beginning:])
	}
	if dst[5] != 0 {
		return n, r.hold(dst)
	}
	return n, nil
}

// takeSmall copies slots that are no larger than their beginning, all at once.
func (r *receiver) takeSmall(dst []byte, want int) (n int, err error) {
	at := (r.head & (r.count - 1)) * beginning
	k := copy(dst[:want*beginning], r.slots[at:])
	copy(dst[k:want*beginning], r.slots)
	for ; n < want; n++ {
		m := dst[n*beginning : n*beginning+beginning]
		if _, wrong := incoming(m, beginning, r.holder != nil); wrong != "" {
			return n, r.ring.violated(wrong)
		}
		if m[5] != 0 {
			if err := r.hold(m); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// look reads how far the other side is, and reports whether there is something to take.
// Where there is nothing, the other side gets to know all that was taken.
func (r *receiver) look() (some bool, err error) {
	for again := false; ; again = true {
		tail := r.c.tail.Load()
		if tail-r.head > r.count || tail-r.head < r.tail-r.head {
			return false, r.ring.violated("tail")
		}
		r.tail = tail
		if tail != r.head {
			return true, nil
		}
		if r.acked != r.head {
			r.ack()
		}
		// What was sent before the end counts: so look once more after having seen the end.
		state, gone := r.c.producerState.Load(), r.ring.seg.gone.Load()
		switch {
		case state == laneOpen && !gone:
			return false, nil
		case !again:
		case state != laneOpen:
			return false, r.ring.peerSays(state)
		default:
			return false, ErrPeerGone
		}
	}
}

// advance lets go of n slots.
func (r *receiver) advance(n uint64) {
	r.head += n
	if r.head >= r.sampleAt {
		r.sample()
	}
	if r.head-r.acked >= r.lazy {
		r.ack()
	}
}

// ack gives the other side the slots of what was taken.
func (r *receiver) ack() {
	old := r.acked
	r.acked = r.head
	announce(&r.c.head, r.head)
	if r.wakeOther(&r.c.roomEvent, old, r.head) {
		r.bell.Ring()
	}
}

// wait returns when there may be something to take.
func (r *receiver) wait(d time.Duration) error {
	if r.acked != r.head {
		r.ack()
	}
	if err := r.await(&r.c.tail, &r.c.dataEvent, r.head, d); err != nil {
		return err
	}
	// The message that woke this side may have been timed.
	if i := r.c.producer.sampleIndex.Load(); i > r.head && i-r.head <= r.count {
		r.sampleAt = i
	}
	return nil
}

// sample adds to the histogram of latencies if the message before sampleAt was timed.
func (r *receiver) sample() {
	p := &r.c.producer
	if p.sampleIndex.Load() == r.sampleAt {
		took := monotonic() - p.sampleTime.Load()
		b := min(max(bits.Len64(took)-1, 0), latencyBuckets-1)
		r.c.latency[b].Add(1)
	}
	r.sampleAt = r.head&^(sampleEvery-1) + sampleEvery
}
