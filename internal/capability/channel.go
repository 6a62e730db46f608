package capability

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
)

// ChannelID names a channel, such as 0x1000 for a cell's console (SPEC section 7).
type ChannelID uint32

// String returns the number as people write it, 0x1000.
func (id ChannelID) String() string { return "0x" + strconv.FormatUint(uint64(id), 16) }

// Errors of Channels.
var (
	ErrOpen    = errors.New("channel is open already")
	ErrNotOpen = errors.New("channel is not open")
)

// Channels is the table of channels that the slots of all CSpaces lead to. It
// belongs to whoever serves the channels; cells never reach it. A channel is in
// an epoch, and a slot is alive only in the epoch it was made in: a new epoch
// ends all slots of the channel at once, whichever CSpaces they were granted to,
// without looking for them. No epoch ever comes back, not even if a channel is
// closed and another is opened under its id.
//
// The zero Channels has no channels. It is safe for concurrent use.
type Channels struct {
	mu    sync.Mutex
	epoch uint64 // the latest of any channel
	open  map[ChannelID]*atomic.Uint64
}

// Open opens a channel. If it is open already the error is ErrOpen.
func (c *Channels) Open(id ChannelID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[id] != nil {
		return ErrOpen
	}
	if c.open == nil {
		c.open = make(map[ChannelID]*atomic.Uint64)
	}
	c.open[id] = new(atomic.Uint64)
	c.open[id].Store(c.next())
	return nil
}

// next returns an epoch that has never been. The caller holds the lock.
func (c *Channels) next() uint64 {
	c.epoch++
	return c.epoch
}

// Revoke begins a new epoch of a channel: when it returns, every slot that led
// there is dead, and no verb that begins later succeeds with one. The channel
// stays open for who is endowed with it anew. An id that is not open has no
// slots, so that there is nothing to do.
func (c *Channels) Revoke(id ChannelID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.open[id]; now != nil {
		now.Store(c.next())
	}
}

// Close revokes a channel for good.
func (c *Channels) Close(id ChannelID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.open[id]; now != nil {
		now.Store(c.next()) // slots hold the epoch even when the table has none
		delete(c.open, id)
	}
}

// Endow puts a right to an open channel into a free slot. This is where rights
// come from: no verb of a cell makes one. depth says how many times the right
// can be granted on, at most MaxDepth.
func (c *Channels) Endow(to *CSpace, at int, id ChannelID, p Permission, depth uint8) error {
	if at < 0 || at >= Slots {
		return ErrSlot
	}
	if p = p.known(); p == 0 {
		return ErrPermission
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.open[id]
	if now == nil {
		return ErrNotOpen
	}
	if _, live := to.At(at); live {
		return ErrOccupied
	}
	to.slots[at] = slot{Slot{id, p, now.Load(), min(depth, MaxDepth)}, now}
	return nil
}
