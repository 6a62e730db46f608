package capability

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"testing/quick"
)

func TestVerbCosts(t *testing.T) {
	want := map[string]Joule{"SPAWN": 500, "SEND": 5, "RECV": 2, "MAP": 10, "MASK": 3, "TICK": 1, "GRANT": 20} // SPEC section 4
	for _, v := range []Verb{Spawn, Send, Recv, Map, Mask, Tick, Grant} {
		if cost, ok := want[v.String()]; !ok || cost != v.Cost() {
			t.Errorf("%s costs %d, want %d", v, v.Cost(), cost)
		}
		delete(want, v.String())
	}
	if len(want) > 0 || Verb(7).String() != "verb 7" {
		t.Errorf("not there: %v", want)
	}
}

// The worlds that the tests play in are small, so that random deeds meet.
const (
	worldSpaces   = 4
	worldSlots    = 5
	worldChannels = 3
)

// title is the oracle's idea of a right: not what it is but how it came about.
// It knows no epochs and keeps no mask that is cut down; what a title is worth is
// worked out from its history, each time it is asked.
type title struct {
	from    *title     // what it was granted or masked from; nil: endowed
	kept    Permission // at most this was passed on
	granted bool       // by GRANT
	channel ChannelID
	born    int // endowed at this moment
	depth   int // endowed with this depth
}

func (t *title) root() *title {
	for t.from != nil {
		t = t.from
	}
	return t
}

func (t *title) permission() Permission {
	p := Permission(7)
	for ; t != nil; t = t.from {
		p &= t.kept
	}
	return p
}

func (t *title) grantsLeft() int {
	left := min(t.root().depth, MaxDepth)
	for ; t.from != nil; t = t.from {
		if t.granted {
			left--
		}
	}
	return left
}

// world is the real thing and the oracle side by side.
type world struct {
	channels Channels
	spaces   [worldSpaces]*CSpace
	titles   [worldSpaces][Slots]*title
	revoked  [worldChannels][]int // when
	now      int
	endowed  [worldChannels]Permission // ever, all together
	spent    [7]int
}

func newWorld() *world {
	w := &world{}
	for i := range w.spaces {
		w.spaces[i] = &CSpace{Charge: func(v Verb, j Joule) bool {
			w.spent[v] += int(j)
			return true
		}}
	}
	for id := range worldChannels {
		if err := w.channels.Open(ChannelID(id)); err != nil {
			panic(err)
		}
	}
	return w
}

func (w *world) endow(space, at, channel int, p Permission, depth int) {
	err := w.channels.Endow(w.spaces[space], at, ChannelID(channel), p, uint8(depth))
	if want := w.alive(space, at) == nil && p&7 != 0; (err == nil) != want {
		panic(fmt.Sprintf("endow %d/%d: %v, want %t", space, at, err, want))
	}
	if err == nil {
		w.titles[space][at] = &title{kept: p & 7, channel: ChannelID(channel), born: w.now, depth: depth}
		w.endowed[channel] |= p & 7
	}
}

// alive returns the title in a slot if it is worth anything.
func (w *world) alive(space, at int) *title {
	t := w.titles[space][at]
	if t == nil || t.permission() == 0 {
		return nil
	}
	for _, when := range w.revoked[t.channel] {
		if when > t.root().born {
			return nil
		}
	}
	return t
}

// play does the deeds that the bytes say, four to a deed, and returns what went
// wrong. With verbsOnly there are no revocations and endowments among them.
func (w *world) play(deeds []byte, verbsOnly bool) error {
	for ; len(deeds) >= 4; deeds = deeds[4:] {
		w.now++
		if err := w.deed(deeds[0], int(deeds[1]), int(deeds[2]), deeds[3], verbsOnly); err != nil {
			return err
		}
		if err := w.compare(); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) deed(what byte, a, b int, p byte, verbsOnly bool) error {
	space, at := a%worldSpaces, a/worldSpaces%worldSlots
	other, into := b%worldSpaces, b/worldSpaces%worldSlots
	mask := Permission(p % 16) // one bit more than there are
	mine := w.alive(space, at)
	kind := what % 9
	if verbsOnly {
		kind %= 7
	}
	allowed := func(need Permission) bool { return mine != nil && mine.permission()&need == need }
	var err error
	want := true
	switch kind {
	case 0, 1, 2:
		err = w.spaces[space].Grant(at, mask, w.spaces[other], into)
		want = allowed(mask) && mask != 0 && mine.grantsLeft() > 0 && w.alive(other, into) == nil
		if want {
			w.titles[other][into] = &title{from: mine, kept: mask, granted: true, channel: mine.channel}
		}
	case 3:
		err = w.spaces[space].Mask(at, mask)
		if want = mine != nil; want {
			w.titles[space][at] = &title{from: mine, kept: mask, channel: mine.channel}
		}
	case 4:
		var child *CSpace
		child, err = w.spaces[space].Spawn(at)
		if want = allowed(MayExecute); want && err == nil { // it takes the place of another cell, which ends
			w.spaces[other], w.titles[other] = child, [Slots]*title{}
		}
	case 5:
		_, err = w.spaces[space].Map(at, mask)
		want = allowed(mask) && mask != 0
	case 6:
		err = w.spaces[space].Tick()
	case 7:
		w.channels.Revoke(ChannelID(b % worldChannels))
		w.revoked[b%worldChannels] = append(w.revoked[b%worldChannels], w.now)
	case 8:
		w.endow(space, at, b%worldChannels, mask, int(p>>4))
	}
	if (err == nil) != want {
		return fmt.Errorf("deed %d (kind %d, slot %d/%d, to %d/%d, %v): %v, want %t", w.now, kind, space, at, other, into, mask, err, want)
	}
	return nil
}

// compare asks every slot for all that it may allow.
func (w *world) compare() error {
	for i, c := range w.spaces {
		for at := range worldSlots {
			var want Permission
			var channel ChannelID
			if t := w.alive(i, at); t != nil {
				want, channel = t.permission(), t.channel
			}
			var got Permission
			note := func(p Permission, id ChannelID, err error) {
				if err == nil && id == channel {
					got |= p
				}
			}
			id, err := c.Send(at)
			note(MayWrite, id, err)
			id, err = c.Recv(at)
			note(MayRead, id, err)
			for _, p := range []Permission{MayRead, MayWrite, MayExecute} {
				id, err = c.Map(at, p)
				note(p, id, err)
			}
			s, live := c.At(at)
			if got != want || live != (want != 0) || live && s.Permission != want {
				return fmt.Errorf("after deed %d slot %d/%d allows %v on %v, want %v on %v; says %+v, %t", w.now, i, at, got, s.Channel, want, channel, s, live)
			}
			if live && want&^w.endowed[channel] != 0 {
				return fmt.Errorf("after deed %d slot %d/%d has %v on %v, endowed were only %v", w.now, i, at, want, channel, w.endowed[channel])
			}
		}
	}
	return nil
}

// furnish endows the world as the bytes say.
func (w *world) furnish(r *rand.Rand) {
	for range 1 + r.IntN(4) {
		space, at := r.IntN(worldSpaces), r.IntN(worldSlots)
		if w.alive(space, at) == nil {
			w.endow(space, at, r.IntN(worldChannels), Permission(1+r.IntN(7)), r.IntN(9))
		}
	}
}

func randomDeeds(r *rand.Rand) []byte {
	b := make([]byte, 4*(1+r.IntN(60)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestNoSequenceYieldsARight: whatever cells do with their verbs, no right comes
// about that the initial set did not have, and each slot allows what the history
// of its right says.
func TestNoSequenceYieldsARight(t *testing.T) {
	play := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld()
		w.furnish(r)
		initial := w.endowed
		if err := w.play(randomDeeds(r), true); err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return false
		}
		return w.endowed == initial
	}
	if err := quick.Check(play, &quick.Config{MaxCount: 3000}); err != nil {
		t.Error(err)
	}
}

// TestRevokedMeansRevoked: the same with revocations and new endowments among
// the deeds.
func TestRevokedMeansRevoked(t *testing.T) {
	play := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 2))
		w := newWorld()
		w.furnish(r)
		if err := w.play(randomDeeds(r), false); err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return false
		}
		return true
	}
	if err := quick.Check(play, &quick.Config{MaxCount: 3000}); err != nil {
		t.Error(err)
	}
}

func FuzzCSpace(f *testing.F) {
	f.Add(uint64(1), []byte{8, 0, 0, 0xff, 0, 0, 1, 7, 7, 0, 0, 0, 3, 1, 0, 1})
	f.Add(uint64(2), []byte{4, 0, 1, 0, 0, 0, 5, 3, 6, 0, 0, 0})
	f.Fuzz(func(t *testing.T, seed uint64, deeds []byte) {
		w := newWorld()
		w.furnish(rand.New(rand.NewPCG(seed, 3)))
		if err := w.play(deeds[:min(len(deeds), 4*200)], false); err != nil {
			t.Fatal(err)
		}
	})
}

// TestOrderOfMasksDoesNotMatter, nor does repeating them.
func TestOrderOfMasksDoesNotMatter(t *testing.T) {
	r := random()
	for range 2000 {
		p, masks := Permission(1+r.IntN(7)), make([]Permission, r.IntN(5))
		for i := range masks {
			masks[i] = Permission(r.IntN(8))
		}
		result := func(order []int) (Slot, bool) {
			w := newWorld()
			w.endow(0, 0, 0, p, 3)
			for _, i := range order {
				w.spaces[0].Mask(0, masks[i]) // refused once the slot is empty
			}
			return w.spaces[0].At(0)
		}
		slot, live := result(r.Perm(len(masks)))
		again, live2 := result(append(r.Perm(len(masks)), r.Perm(len(masks))...))
		if slot != again || live != live2 {
			t.Fatalf("%v under %v: %+v, %+v", p, masks, slot, again)
		}
	}
}

// TestRevokeReachesGrants follows one right through four cells.
func TestRevokeReachesGrants(t *testing.T) {
	w := newWorld()
	w.endow(0, 0, 0, 7, MaxDepth)
	w.endow(0, 1, 1, 7, MaxDepth)
	for i := range 3 {
		for at := range 2 {
			if err := w.spaces[i].Grant(at, MayRead|MayWrite, w.spaces[i+1], at); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.channels.Revoke(0)
	for i, c := range w.spaces {
		if _, err := c.Send(0); !errors.Is(err, ErrRevoked) {
			t.Errorf("cell %d sends: %v", i, err)
		}
		if err := c.Grant(0, MayRead, w.spaces[0], 4); !errors.Is(err, ErrRevoked) {
			t.Errorf("cell %d grants: %v", i, err)
		}
		if _, err := c.Send(1); err != nil {
			t.Errorf("cell %d, the other channel: %v", i, err)
		}
	}
	w.channels.Close(1)
	if err := w.channels.Open(1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.spaces[3].Recv(1); !errors.Is(err, ErrRevoked) {
		t.Errorf("another channel of the same id: %v", err)
	}
	if err := w.channels.Endow(w.spaces[3], 1, 1, MayRead, 0); err != nil {
		t.Errorf("a dead slot is not free: %v", err)
	}
	if _, err := w.spaces[3].Recv(1); err != nil {
		t.Errorf("endowed anew: %v", err)
	}
}

// TestRevokeWhileCellsRun: once Revoke has returned, no verb succeeds.
func TestRevokeWhileCellsRun(t *testing.T) {
	var channels Channels
	if err := channels.Open(1); err != nil {
		t.Fatal(err)
	}
	var running, ready sync.WaitGroup
	revoked := make(chan struct{})
	for range 4 {
		c, d := new(CSpace), new(CSpace)
		if err := channels.Endow(c, 0, 1, MayRead|MayWrite, MaxDepth); err != nil {
			t.Fatal(err)
		}
		ready.Add(1)
		running.Go(func() {
			for i := 0; ; i++ {
				if i == 100 {
					ready.Done()
				}
				select {
				case <-revoked:
					_, err := c.Send(0)
					_, err2 := d.Recv(0)
					if !errors.Is(err, ErrRevoked) || !errors.Is(err2, ErrRevoked) {
						t.Errorf("after the revocation: %v, %v", err, err2)
					}
					return
				default:
				}
				if _, err := c.Send(0); err == nil {
					c.Grant(0, MayRead, d, 0) // is taken but for the first time
				}
			}
		})
	}
	ready.Wait()
	channels.Revoke(1)
	close(revoked)
	running.Wait()
}

func TestDecay(t *testing.T) {
	var channels Channels
	var c CSpace
	if err := channels.Open(1); err != nil {
		t.Fatal(err)
	}
	if err := channels.Endow(&c, 0, 1, 7, 255); err != nil {
		t.Fatal(err)
	}
	for i := range MaxDepth {
		if err := c.Grant(i, 7, &c, i+1); err != nil {
			t.Fatalf("grant %d: %v", i, err)
		}
	}
	if err := c.Grant(MaxDepth, 7, &c, MaxDepth+1); !errors.Is(err, ErrDepth) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := c.Send(MaxDepth); err != nil {
		t.Errorf("the last of the chain: %v", err)
	}
}

func TestRefusedVerbs(t *testing.T) {
	w := newWorld()
	w.endow(0, 0, 2, MayRead, 1)
	c := w.spaces[0]
	for name, test := range map[string]struct {
		got  error
		want string
	}{
		"no slot":       {second(c.Send(64)), "SEND on slot 64: no such slot"},
		"negative slot": {second(c.Recv(-1)), "RECV on slot -1: no such slot"},
		"empty":         {second(c.Map(1, MayRead)), "MAP on slot 1: slot is empty"},
		"not readable":  {second(c.Send(0)), "SEND on slot 0: slot has no such permission"},
		"map nothing":   {second(c.Map(0, 0)), "MAP on slot 0: slot has no such permission"},
		"map the rest":  {second(c.Map(0, 8)), "MAP on slot 0: slot has no such permission"},
		"grant more":    {c.Grant(0, 3, w.spaces[1], 0), "GRANT on slot 0: slot has no such permission"},
		"grant nothing": {c.Grant(0, 0, w.spaces[1], 0), "GRANT on slot 0: slot has no such permission"},
		"grant onto":    {c.Grant(0, MayRead, c, 0), "GRANT on slot 0: slot is taken"},
		"grant outside": {c.Grant(0, MayRead, c, 64), "GRANT on slot 0: no such slot"},
		"spawn":         {second(c.Spawn(0)), "SPAWN on slot 0: slot has no such permission"},
		"mask empty":    {c.Mask(3, 7), "MASK on slot 3: slot is empty"},
		"endow closed":  {w.channels.Endow(c, 2, 99, 7, 1), "channel is not open"},
		"endow nothing": {w.channels.Endow(c, 2, 1, 8, 1), "slot has no such permission"},
		"endow taken":   {w.channels.Endow(c, 0, 1, 7, 1), "slot is taken"},
		"endow outside": {w.channels.Endow(c, 64, 1, 7, 1), "no such slot"},
		"open twice":    {w.channels.Open(1), "channel is open already"},
	} {
		if test.got == nil || test.got.Error() != test.want {
			t.Errorf("%s: %v, want %s", name, test.got, test.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestVerbsAreCharged: each once, refused or not, and without energy nothing
// happens.
func TestVerbsAreCharged(t *testing.T) {
	var spent []Verb
	rich := true
	w := newWorld()
	w.endow(0, 0, 0, 7, 3)
	c := w.spaces[0]
	c.Charge = func(v Verb, j Joule) bool {
		if j != v.Cost() {
			t.Errorf("%s is charged %d", v, j)
		}
		spent = append(spent, v)
		return rich
	}
	all := func() []error {
		_, e1 := c.Spawn(0)
		return []error{e1, second(c.Send(0)), second(c.Recv(9)), second(c.Map(0, 7)), c.Grant(0, 1, w.spaces[1], 1), c.Tick(), c.Mask(0, 0)}
	}
	rich = false
	for _, err := range all() {
		if !errors.Is(err, ErrEnergy) {
			t.Errorf("without energy: %v", err)
		}
	}
	if s, live := c.At(0); !live || s.Permission != 7 {
		t.Errorf("a verb that was not paid for did something: %+v", s)
	}
	if _, live := w.spaces[1].At(1); live {
		t.Error("a grant that was not paid for")
	}
	rich = true
	all()
	want := []Verb{Spawn, Send, Recv, Map, Grant, Tick, Mask}
	if !reflect.DeepEqual(spent, append(want, want...)) {
		t.Errorf("charged %v", spent)
	}
	child, err := newChild(w)
	if err != nil {
		t.Fatal(err)
	}
	before := w.spent[Tick]
	if child.Tick(); w.spent[Tick] != before+1 {
		t.Error("a spawned cell does not live on its maker's energy")
	}
}

func newChild(w *world) (*CSpace, error) {
	w.endow(2, 0, 0, MayExecute, 0)
	return w.spaces[2].Spawn(0)
}

func BenchmarkSend(b *testing.B) {
	w := newWorld()
	w.endow(0, 0, 0, 7, 3)
	c := &CSpace{slots: w.spaces[0].slots}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Send(0); err != nil {
			b.Fatal(err)
		}
	}
}
