package ion

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// This is a model of the wake-up protocol (ABI.md, Waiting and waking), small enough that
// every interleaving of it is looked at: a producer that sends a few messages through a ring
// of one or two slots, a consumer that takes them, a bell for each, and the end: the
// producer stops, closes, or one of the two is killed anywhere and another goes on in its
// place. Stores wait in a buffer of their processor and become visible at any later time, in
// order, as on x86; a full barrier waits until they are. That is what ARM processors can do
// to this protocol, too: it matters to it only that a load can come before an earlier store.
//
// In every state that can be reached, a good end must still be in reach: else a side is
// stuck, or they go round for ever.

// rules are what can be left out of the protocol, to see that it is missed.
type rules struct {
	events    bool // bells are eventfds, which count, instead of futexes
	slots     uint8
	messages  uint8
	closes    bool // the producer closes at the end; else it just stops
	crashes   uint8
	noBarrier [2]bool // after moving the index: of producer, consumer
	noFence   [2]bool // after announcing the event
	noRecheck bool    // after announcing the event
	noState   bool    // the other side's state is not looked at before sleeping
	latePrep  bool    // the bell is prepared after looking again
	softClose bool    // closing does not ring
	noHello   bool    // who takes over does not ring
	early     bool    // the event is looked at before the index is moved
}

// Places of memory.
const (
	mTail = iota
	mHead
	mDataEvent
	mRoomEvent
	mClosed
	places
)

const never = 0xff

// store is one that nobody else sees yet.
type store struct{ at, value uint8 }

// actor is a side. Side 0 is the producer.
type actor struct {
	pc       step
	mine     uint8 // own index
	seen     uint8 // the other's, as last believed
	prepared uint8 // the bell's word
	asleep   bool
	old      uint8 // event that was loaded early
	buffer   [4]store
	stored   uint8
}

type world struct {
	memory  [places]uint8
	bells   [2]uint8 // that side 0, side 1 sleeps on
	actors  [2]actor
	crashes uint8
}

type step uint8

// Steps of both sides. What a side publishes is its index; what it waits for is the other's.
const (
	look         step = iota // is there room, or a message?
	publish                  // move the own index
	barrier                  //
	event                    // does the other side wait for that?
	ring                     // count its bell up
	wake                     // and wake it
	closing                  // the producer's end
	closeRing                //
	closeWake                //
	state                    // nothing there: is it the end?
	last                     // it is: look once more
	prepare                  //
	announceStep             // say what is waited for
	fence                    //
	recheck                  //
	restate                  //
	latePrepare              //
	sleep                    //
	hello                    // a process that takes over rings
	helloWake                //
	done                     //
)

var names = [...]string{"look", "publish", "barrier", "event", "ring", "wake", "closing", "closeRing", "closeWake", "state", "last", "prepare", "announce",
	"fence", "recheck", "restate", "latePrepare", "sleep", "hello", "helloWake", "done"}

func (w *world) load(i int, at uint8) uint8 {
	a := &w.actors[i]
	for k := int(a.stored) - 1; k >= 0; k-- {
		if a.buffer[k].at == at {
			return a.buffer[k].value
		}
	}
	return w.memory[at]
}

// put stores; it reports false if the buffer is full, and one must become visible first.
func (w *world) put(i int, at, value uint8) bool {
	a := &w.actors[i]
	if int(a.stored) == len(a.buffer) {
		return false
	}
	a.buffer[a.stored] = store{at, value}
	a.stored++
	return true
}

func (w *world) drain(i int) {
	a := &w.actors[i]
	w.memory[a.buffer[0].at] = a.buffer[0].value
	copy(a.buffer[:], a.buffer[1:])
	a.stored--
	a.buffer[a.stored] = store{}
}

// next is all that can happen in a state.
func (r *rules) next(w world) (worlds []world, what []string) {
	add := func(n world, text string) { worlds, what = append(worlds, n), append(what, text) }
	for i, who := range []string{"producer", "consumer"} {
		a := w.actors[i]
		if a.stored > 0 {
			n := w
			n.drain(i)
			add(n, who+": a store becomes visible")
		}
		if w.crashes > 0 && a.pc != done {
			n := w
			for n.actors[i].stored > 0 {
				n.drain(i)
			}
			n.crashes--
			mine := n.memory[mTail+i]
			n.actors[i] = actor{pc: hello, mine: mine, seen: n.memory[mHead-i], old: never}
			if r.noHello {
				n.actors[i].pc = look
			}
			add(n, who+": killed; another takes over")
		}
		if a.pc == done || a.asleep {
			continue
		}
		n := w
		if r.act(&n, i) {
			add(n, who+": "+names[a.pc])
		}
	}
	return worlds, what
}

// act does the step that side i is at, or reports that it cannot yet.
func (r *rules) act(w *world, i int) bool {
	a := &w.actors[i]
	ownIndex, otherIndex := uint8(mTail+i), uint8(mHead-i)
	ownEvent, otherEvent := uint8(mRoomEvent-i), uint8(mDataEvent+i) // what i waits for; what the other waits for
	flushed := a.stored == 0
	switch a.pc {
	case look:
		a.seen = w.load(i, otherIndex)
		switch {
		case i == 0 && a.mine == r.messages:
			a.pc = done
			if r.closes {
				a.pc = closing
			}
		case i == 0 && a.mine-a.seen < r.slots, i == 1 && a.seen != a.mine:
			a.pc = publish
			if r.early {
				a.old = w.load(i, otherEvent)
			}
		case i == 1:
			a.pc = state
		default:
			a.pc = prepare
		}
	case publish:
		if !w.put(i, ownIndex, a.mine+1) {
			return false
		}
		a.mine++
		a.pc = barrier
	case barrier:
		if !flushed && !r.noBarrier[i] {
			return false
		}
		a.pc = event
	case event:
		e := w.load(i, otherEvent)
		if r.early {
			e = a.old
		}
		a.pc = look
		if e == a.mine-1 {
			a.pc = ring
		}
	case ring, closeRing, hello:
		if !flushed { // a locked instruction
			return false
		}
		if w.bells[1-i]++; r.events {
			w.bells[1-i] = 1
		}
		a.pc++
	case wake, closeWake, helloWake:
		if o := &w.actors[1-i]; o.asleep {
			o.asleep, o.pc = false, look
			if r.events {
				w.bells[1-i] = 0
			}
		}
		a.pc = look
		if w.load(i, mClosed) != 0 && i == 0 {
			a.pc = done
		}
	case closing:
		if !w.put(i, mClosed, 1) {
			return false
		}
		a.pc = closeRing
		if r.softClose {
			a.pc = done
		}
	case state:
		a.pc = prepare
		if w.load(i, mClosed) != 0 {
			a.pc = last
		}
	case last:
		a.pc = look
		if w.load(i, otherIndex) == a.mine {
			a.pc = done
		}
	default:
		return r.wait(w, i, ownEvent, otherIndex)
	}
	return true
}

// wait is the part of act that leads to sleep.
func (r *rules) wait(w *world, i int, ownEvent, otherIndex uint8) bool {
	a := &w.actors[i]
	switch a.pc {
	case prepare:
		a.prepared = w.bells[i]
		a.pc = announceStep
	case announceStep:
		if !w.put(i, ownEvent, a.seen) {
			return false
		}
		a.pc = fence
	case fence:
		if a.stored > 0 && !r.noFence[i] {
			return false
		}
		a.pc = recheck
		if r.noRecheck {
			a.pc = restate
		}
	case recheck:
		a.pc = restate
		if w.load(i, otherIndex) != a.seen {
			a.pc = look
		}
	case restate:
		a.pc = latePrepare
		if i == 1 && !r.noState && w.load(i, mClosed) != 0 {
			a.pc = look
		}
	case latePrepare:
		if r.latePrep {
			a.prepared = w.bells[i]
		}
		a.pc = sleep
	case sleep: // the kernel looks at the bell under a lock
		if a.stored > 0 {
			return false
		}
		switch {
		case r.events && w.bells[i] != 0:
			w.bells[i] = 0
			a.pc = look
		case !r.events && w.bells[i] != a.prepared:
			a.pc = look
		default:
			a.asleep = true
		}
	}
	return true
}

// good is how it should end: all is taken, and who is to hear of the end has.
func (r *rules) good(w world) bool {
	c := w.actors[1]
	if w.actors[0].pc != done || c.mine != r.messages || w.memory[mHead] != r.messages {
		return false
	}
	return c.pc == done || !r.closes && c.asleep
}

// explore looks at all that can happen, and returns how many states there are and, if there
// is one, a way into a state that no good end can be reached from.
func (r *rules) explore() (states int, stuck []string) {
	start := world{crashes: r.crashes}
	start.memory[mDataEvent], start.memory[mRoomEvent] = never, never
	start.actors[0].old, start.actors[1].old = never, never
	number := map[world]int{start: 0}
	worlds := []world{start}
	var from []int   // which state each was reached from first
	var how []string // and by what
	from, how = append(from, -1), append(how, "start")
	back := make([][]int, 1)
	for k := 0; k < len(worlds); k++ {
		nexts, what := r.next(worlds[k])
		for j, n := range nexts {
			m, ok := number[n]
			if !ok {
				m = len(worlds)
				number[n] = m
				worlds, from, how, back = append(worlds, n), append(from, k), append(how, what[j]), append(back, nil)
			}
			back[m] = append(back[m], k)
		}
	}
	reaches := make([]bool, len(worlds))
	var queue []int
	for k, w := range worlds {
		if r.good(w) {
			reaches[k] = true
			queue = append(queue, k)
		}
	}
	for len(queue) > 0 {
		k := queue[0]
		queue = queue[1:]
		for _, b := range back[k] {
			if !reaches[b] {
				reaches[b] = true
				queue = append(queue, b)
			}
		}
	}
	for k := range worlds {
		if !reaches[k] {
			for at := k; at >= 0; at = from[at] {
				stuck = append(stuck, how[at])
			}
			slices.Reverse(stuck)
			break
		}
	}
	return len(worlds), stuck
}

func TestModel(t *testing.T) {
	total := 0
	for _, events := range []bool{false, true} {
		for slots := uint8(1); slots <= 2; slots++ {
			for _, closes := range []bool{false, true} {
				for crashes := range uint8(3) {
					r := rules{events: events, slots: slots, messages: 3, closes: closes, crashes: crashes}
					n, stuck := r.explore()
					total += n
					if stuck != nil {
						t.Errorf("%+v gets stuck:\n\t%s", r, strings.Join(stuck, "\n\t"))
					}
				}
			}
		}
	}
	t.Logf("%d states", total)
}

// TestModelFinds leaves out one rule after the other, each of which must be missed.
func TestModelFinds(t *testing.T) {
	base := rules{slots: 1, messages: 3, closes: true}
	for name, change := range map[string]func(*rules){
		"no barrier after sending":           func(r *rules) { r.noBarrier[0] = true },
		"no barrier after taking":            func(r *rules) { r.noBarrier[1] = true },
		"no barrier before looking for room": func(r *rules) { r.noFence[0] = true },
		"no barrier before looking for data": func(r *rules) { r.noFence[1] = true },
		"not looking again":                  func(r *rules) { r.noRecheck = true },
		"preparing the bell too late":        func(r *rules) { r.latePrep = true },
		"closing without a ring":             func(r *rules) { r.softClose = true },
		"looking at the event too early":     func(r *rules) { r.early = true },
		"taking over without a ring":         func(r *rules) { r.noHello, r.crashes = true, 1 },
		"not looking at the state":           func(r *rules) { r.noState = true },
	} {
		for _, events := range []bool{false, true} {
			r := base
			change(&r)
			r.events = events
			if events && (r.latePrep || r.noState) {
				continue // an eventfd counts: it needs no preparing, and remembers the ring of the end
			}
			_, stuck := r.explore()
			if stuck == nil {
				t.Errorf("%s, eventfds %v: the model does not miss it", name, events)
			} else if testing.Verbose() {
				fmt.Printf("%s, eventfds %v, is stuck after %d steps\n", name, events, len(stuck))
			}
		}
	}
}
