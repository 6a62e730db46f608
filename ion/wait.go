package ion

import (
	"runtime"
	"sync/atomic"
	"time"
)

// DefaultPatience is for how long an end looks before it sleeps: about what a sleep and a
// wake-up take. Spinning without a bound starves the other side where there are few
// processors (FACTS D: p50 of 8 ms on two).
const DefaultPatience = 50 * time.Microsecond

// waiter is how one end of a lane waits for an index that the other side moves.
type waiter struct {
	ring      *Ring
	bell      Notifier
	patience  time.Duration
	peerState *atomic.Uint32 // what the other side says of this lane
	stats     *statistics
	waits     uint64
	rings     uint64
	asleep    atomic.Bool
}

// await returns nil when *index is no longer seen, or when there is another reason to look
// (the ring is closed, the other side closed it or is gone), and ErrTimeout after d; d < 0
// is without end.
//
// This is the sleeper's half of the wake-up protocol. The order is what keeps wake-ups from
// being lost (TestModel): 1. prepare the bell, 2. say in event what to wait for, 3. look
// again, 4. sleep. The other side moves the index before it looks at event, and both are
// sequentially consistent: one of the two sees what the other did.
func (w *waiter) await(index, event *atomic.Uint64, seen uint64, d time.Duration) error {
	if w.spin(index, seen, d) {
		return nil
	}
	var deadline time.Time
	if d >= 0 {
		deadline = time.Now().Add(d)
	}
	for {
		w.bell.Prepare()
		announce(event, seen)
		if index.Load() != seen || w.otherwise() {
			if p, ok := w.bell.(*PollNotifier); ok {
				p.found()
			}
			return nil
		}
		left := time.Duration(-1)
		if d >= 0 {
			if left = time.Until(deadline); left <= 0 {
				return ErrTimeout
			}
		}
		w.waits++
		w.stats.waits.Store(w.waits)
		w.asleep.Swap(true) // with a barrier, like announce
		if !w.otherwise() { // whoever closes the ring looks at asleep afterwards
			w.bell.Wait(left)
		}
		w.asleep.Store(false)
	}
}

// otherwise reports whether there is a reason not to wait.
func (w *waiter) otherwise() bool {
	return w.ring.over() || w.peerState.Load() != laneOpen || w.ring.seg.gone.Load()
}

// wakeOther is the other half: published says that this side has moved an index from old
// to now; the other side is woken if it waits for what lies between.
func (w *waiter) wakeOther(event *atomic.Uint64, old, now uint64) bool {
	if event.Load()-old >= now-old {
		return false
	}
	w.rings++
	w.stats.rings.Store(w.rings)
	return true
}

// interrupt ends the sleep of this end, from another goroutine. It is tried more than once:
// who can write to the word that the end sleeps on can undo it until the end sleeps.
func (w *waiter) interrupt() {
	for try := 0; w.asleep.Load() && try < 100; try++ {
		w.bell.Interrupt()
		if !w.asleep.Load() {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// spin looks until *index is no longer seen, or there is another reason to look, for at
// most the waiter's patience, and d if that is not negative.
func (w *waiter) spin(index *atomic.Uint64, seen uint64, d time.Duration) bool {
	most := w.patience
	if d >= 0 && d < most {
		most = d
	}
	if index.Load() != seen {
		return true
	}
	if most <= 0 {
		return false
	}
	start := time.Now()
	for {
		for range 100 {
			if index.Load() != seen {
				return true
			}
		}
		if w.otherwise() {
			return true
		}
		if time.Since(start) > most {
			return false
		}
		runtime.Gosched()
	}
}

// patience is how long a call may still wait, over all its attempts: an other side that
// has it look again and again for nothing gains no time.
type patience struct {
	d     time.Duration // < 0: without end
	until time.Time
}

func (p *patience) left() time.Duration {
	switch {
	case p.d < 0:
		return p.d
	case p.until.IsZero(): // the first time: most calls need no clock
		p.until = time.Now().Add(p.d)
		return p.d
	}
	return max(0, time.Until(p.until))
}

// announce stores what the other side is to see before this side looks at what that one
// stores: a store and a full barrier. Swap is both everywhere; Store is, too, but not under
// the race detector, whose stores are releases only, and lose wake-ups.
func announce(word *atomic.Uint64, v uint64) { word.Swap(v) }
