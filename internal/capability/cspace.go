package capability

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Slots is how many capabilities a cell can hold.
const Slots = 64

// MaxDepth is how many times a capability can be granted on at most.
const MaxDepth = 7

// Permission says what a slot allows on its channel.
type Permission uint8

// The permissions, and what needs them.
const (
	MayRead    Permission = 1 << iota // RECV, MAP to read
	MayWrite                          // SEND, MAP to write
	MayExecute                        // SPAWN, MAP to execute

	allPermissions = MayRead | MayWrite | MayExecute
)

func (p Permission) known() Permission { return p & allPermissions }

// Has reports whether p contains all of q.
func (p Permission) Has(q Permission) bool { return p&q == q }

// String returns letters out of rwx, or "none".
func (p Permission) String() string {
	var b []byte
	for i, letter := range []byte("rwx") {
		if p&(1<<i) != 0 {
			b = append(b, letter)
		}
	}
	if len(b) == 0 {
		return "none"
	}
	return string(b)
}

// Slot is one capability. None of what it says ever grows.
type Slot struct {
	Channel    ChannelID
	Permission Permission
	Epoch      uint64 // of the channel; in any other the slot is dead
	Depth      uint8  // how many times it can still be granted on
}

// slot is a Slot with where its channel's epoch is looked up: a revocation
// reaches it without a lock or a table on the way of every SEND. An empty slot
// has no now.
type slot struct {
	Slot
	now *atomic.Uint64
}

func (s *slot) live() bool { return s.now != nil && s.now.Load() == s.Epoch }

// CSpace is what a cell can reach: 64 slots, empty in the zero value. A cell
// acts on it by the seven verbs, each of which is charged first. A verb makes a
// right only out of one that is there, never a larger one: MASK takes
// permissions away, GRANT hands on what the giver has, or less, with one
// delegation less to go (the law of decay, so that every chain of grants ends).
//
// A CSpace is for one goroutine at a time, the two of a GRANT included, that is
// the one which serves the cells. Channels.Revoke may come from any.
type CSpace struct {
	// Charge takes a verb's cost from the cell's energy and reports whether it
	// was there; if not, the verb is refused. Where it is nil all verbs are free.
	Charge func(Verb, Joule) bool

	slots [Slots]slot
}

// Why verbs are refused.
var (
	ErrSlot       = errors.New("no such slot")
	ErrEmpty      = errors.New("slot is empty")
	ErrRevoked    = errors.New("right was revoked")
	ErrPermission = errors.New("slot has no such permission")
	ErrDepth      = errors.New("right was granted on too often")
	ErrOccupied   = errors.New("slot is taken")
	ErrEnergy     = errors.New("out of energy")
)

// VerbError reports a refused verb. Nothing was changed.
type VerbError struct {
	Verb Verb
	Slot int
	Err  error // one of those above
}

// Error returns one line such as: SEND on slot 3: right was revoked.
func (e *VerbError) Error() string { return fmt.Sprintf("%s on slot %d: %v", e.Verb, e.Slot, e.Err) }
func (e *VerbError) Unwrap() error { return e.Err }

// At returns what is in a slot and whether it is alive. A dead slot is as good
// as an empty one.
func (c *CSpace) At(at int) (s Slot, live bool) {
	if at < 0 || at >= Slots {
		return Slot{}, false
	}
	return c.slots[at].Slot, c.slots[at].live()
}

// use charges a verb and returns the slot it is about, which is alive and has
// the permissions. All refusals are *VerbError.
func (c *CSpace) use(v Verb, at int, need Permission) (*slot, error) {
	refuse := func(err error) (*slot, error) { return nil, &VerbError{v, at, err} }
	if !c.pay(v) {
		return refuse(ErrEnergy)
	}
	if at < 0 || at >= Slots {
		return refuse(ErrSlot)
	}
	s := &c.slots[at]
	switch {
	case s.now == nil:
		return refuse(ErrEmpty)
	case !s.live():
		return refuse(ErrRevoked)
	case !s.Permission.Has(need):
		return refuse(ErrPermission)
	}
	return s, nil
}

func (c *CSpace) pay(v Verb) bool { return c.Charge == nil || c.Charge(v, v.Cost()) }

// Spawn makes the CSpace of a new cell, where the slot may be executed. It is
// empty: the new cell gets what it is granted. Until somebody gives it energy of
// its own it lives on its maker's, so that nobody spawns his way out of a budget.
func (c *CSpace) Spawn(at int) (*CSpace, error) {
	if _, err := c.use(Spawn, at, MayExecute); err != nil {
		return nil, err
	}
	return &CSpace{Charge: c.Charge}, nil
}

// Send returns the channel that the slot may send to.
func (c *CSpace) Send(at int) (ChannelID, error) { return c.channel(Send, at, MayWrite) }

// Recv returns the channel that the slot may receive from.
func (c *CSpace) Recv(at int) (ChannelID, error) { return c.channel(Recv, at, MayRead) }

// Map returns the channel whose memory the slot may map in that way. A way that
// is none is refused with ErrPermission.
func (c *CSpace) Map(at int, how Permission) (ChannelID, error) {
	if how == 0 {
		how = ^Permission(0) // which no slot has
	}
	return c.channel(Map, at, how)
}

func (c *CSpace) channel(v Verb, at int, need Permission) (ChannelID, error) {
	s, err := c.use(v, at, need)
	if err != nil {
		return 0, err
	}
	return s.Channel, nil
}

// Mask leaves a slot those of its permissions that are in keep. It only takes
// away; what it takes nothing gives back. A slot with none left is empty.
func (c *CSpace) Mask(at int, keep Permission) error {
	s, err := c.use(Mask, at, 0)
	if err != nil {
		return err
	}
	if s.Permission &= keep; s.Permission == 0 {
		*s = slot{}
	}
	return nil
}

// Tick ends a turn. It needs no right, only energy.
func (c *CSpace) Tick() error {
	if !c.pay(Tick) {
		return &VerbError{Tick, 0, ErrEnergy}
	}
	return nil
}

// Grant puts the permissions p of a slot into a free slot of another CSpace, or
// of the same. The giver must have them all, and the right must not have come to
// the end of its delegations; the copy has one delegation less. It dies with the
// original's channel epoch, not with the original: a giver who drops or masks
// his own slot takes nothing back.
//
// Which slot of the receiver takes it is the receiver's choice, which the caller
// has asked for: nobody fills another's CSpace.
func (c *CSpace) Grant(at int, p Permission, to *CSpace, into int) error {
	if p == 0 {
		p = ^Permission(0) // a right to nothing is none
	}
	s, err := c.use(Grant, at, p)
	if err != nil {
		return err
	}
	refuse := func(err error) error { return &VerbError{Grant, at, err} }
	switch {
	case s.Depth == 0:
		return refuse(ErrDepth)
	case into < 0 || into >= Slots:
		return refuse(ErrSlot)
	case to.slots[into].live():
		return refuse(ErrOccupied)
	}
	to.slots[into] = slot{Slot{s.Channel, p, s.Epoch, s.Depth - 1}, s.now}
	return nil
}
