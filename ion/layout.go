package ion

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What a segment begins with, and what limits it (ABI.md, Limits).
const (
	Magic   = 0x494F4E52
	Version = 1

	HeaderSize = 1024 // bytes before the directory
	EntrySize  = 64   // bytes of a directory entry
	MaxLanes   = 64

	MinSlotSize, MaxSlotSize     = 64, 4096
	MinSlots, MaxSlots           = 2, 1 << 16
	MinBufferSize, MaxBufferSize = 64, 1 << 24
	MaxBuffers                   = 1 << 16
	MaxSegment                   = 1 << 30 // bytes

	NameSize = 32 // bytes for a segment's name, filled up with zeros

	page       = 4096
	line       = 128                               // what processors may fetch at once
	lanesStart = 2 * page                          // after header and directory
	returnSize = 8                                 // a slot of the returns: buffer, length
	heldSize   = 4                                 // an entry of the table of buffers that are held
	dirSize    = MaxLanes * EntrySize              // bytes
	_          = uint(lanesStart - 1024 - dirSize) // it fits
)

// Side is one of the two sides of a segment.
type Side uint32

const (
	Host  Side = 0 // made the segment
	Guest Side = 1 // was given it
)

func (s Side) other() Side { return s ^ 1 }

func (s Side) String() string {
	switch s {
	case Host:
		return "host"
	case Guest:
		return "guest"
	}
	return fmt.Sprintf("side %d", uint32(s))
}

// Well-known channels (SPEC section 7).
const (
	NetReceive  = 0x0500 // frames to the guest
	NetTransmit = 0x0501 // frames from the guest
	Reserved0   = 0x0600
	Reserved1   = 0x0601
	ConsoleIn   = 0x1000 // bytes to the guest
	ConsoleOut  = 0x1001 // bytes from the guest
	Files       = 0x2000 // requests from the guest, answers to it
)

// Lane is one direction of a channel: a ring of slots and, where Buffers is not 0, an
// arena. A channel that goes both ways has two lanes with the same ID.
type Lane struct {
	ID       uint32 // of the channel; not 0
	From     Side   // who sends
	SlotSize uint32 // bytes, a power of two from 64 to 4096: the largest message
	Slots    uint32 // a power of two from 2 to 65536

	BufferSize uint32 // bytes, a power of two from 64 to 16 MiB; 0 without an arena
	Buffers    uint32 // from 1 to 65536; 0 without an arena
}

// Duplex returns the two lanes of a channel that goes both ways, each like l.
func Duplex(id uint32, l Lane) []Lane {
	l.ID = id
	to, from := l, l
	to.From, from.From = Host, Guest
	return []Lane{to, from}
}

// FormatError says why memory is not a segment of this version.
type FormatError struct{ What string }

func (e *FormatError) Error() string { return "no ION segment: " + e.What }

func malformed(format string, values ...any) error {
	return &FormatError{fmt.Sprintf(format, values...)}
}

func powerOfTwo(n uint32) bool { return n != 0 && n&(n-1) == 0 }

func (l Lane) check() error {
	switch {
	case l.ID == 0:
		return errors.New("channel 0 does not exist")
	case l.From > Guest:
		return fmt.Errorf("channel %#x: %v does not exist", l.ID, l.From)
	case !powerOfTwo(l.SlotSize) || l.SlotSize < MinSlotSize || l.SlotSize > MaxSlotSize:
		return fmt.Errorf("channel %#x: slots of %d bytes: want a power of two from %d to %d", l.ID, l.SlotSize, MinSlotSize, MaxSlotSize)
	case !powerOfTwo(l.Slots) || l.Slots < MinSlots || l.Slots > MaxSlots:
		return fmt.Errorf("channel %#x: %d slots: want a power of two from %d to %d", l.ID, l.Slots, MinSlots, MaxSlots)
	case l.Buffers == 0 && l.BufferSize == 0:
		return nil
	case l.Buffers == 0 || l.Buffers > MaxBuffers:
		return fmt.Errorf("channel %#x: %d buffers: want 1 to %d", l.ID, l.Buffers, MaxBuffers)
	case !powerOfTwo(l.BufferSize) || l.BufferSize < MinBufferSize || l.BufferSize > MaxBufferSize:
		return fmt.Errorf("channel %#x: buffers of %d bytes: want a power of two from %d to %d", l.ID, l.BufferSize, MinBufferSize, MaxBufferSize)
	}
	return nil
}

// returns is how many slots the ring of returned buffers has: never full, as it has one
// for each buffer.
func (l Lane) returns() uint32 {
	if l.Buffers == 0 {
		return 0
	}
	n := uint32(MinSlots)
	for n < l.Buffers {
		n *= 2
	}
	return n
}

// place is where the parts of a lane lie, in bytes from the start of the segment. It
// follows from the lanes alone; parts that a lane does not have are at 0.
type place struct {
	control, slots, returns, held, arena uint64
}

// layout is a segment's private copy of what must not change.
type layout struct {
	size   uint64
	name   string
	serial uint64 // tells a segment from others of its name
	lanes  []Lane
	places []place
}

func up(n, to uint64) uint64 { return (n + to - 1) &^ (to - 1) }

// lay puts the lanes where they belong.
func lay(name string, serial uint64, lanes []Lane) (*layout, error) {
	if len(lanes) == 0 || len(lanes) > MaxLanes {
		return nil, fmt.Errorf("%d lanes: want 1 to %d", len(lanes), MaxLanes)
	}
	if len(name) > NameSize || !plain(name) {
		return nil, fmt.Errorf("segment name %q: want at most %d bytes of printable ASCII without blanks", name, NameSize)
	}
	l := &layout{name: name, serial: serial, lanes: lanes, places: make([]place, len(lanes))}
	at := uint64(lanesStart)
	take := func(size, align uint64) uint64 {
		start := up(at, align)
		at = start + size
		return start
	}
	for i, lane := range lanes {
		if err := lane.check(); err != nil {
			return nil, err
		}
		for _, other := range lanes[:i] {
			if other.ID == lane.ID && other.From == lane.From {
				return nil, fmt.Errorf("channel %#x: two lanes from the %v", lane.ID, lane.From)
			}
		}
		p := &l.places[i]
		p.control = take(controlSize, line)
		p.slots = take(uint64(lane.SlotSize)*uint64(lane.Slots), line)
		if lane.Buffers > 0 {
			p.returns = take(returnSize*uint64(lane.returns()), line)
			p.held = take(heldSize*uint64(lane.Buffers), line)
			p.arena = take(uint64(lane.BufferSize)*uint64(lane.Buffers), page)
		}
		if at > MaxSegment {
			return nil, fmt.Errorf("a segment of more than %d bytes", MaxSegment)
		}
	}
	l.size = up(at, page)
	return l, nil
}

// plain reports whether a name can be shown and stand in a file's name as it is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '/' {
			return false
		}
	}
	return true
}

// encode writes header and directory into b, the first lanesStart bytes of a segment.
func (l *layout) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], Magic)
	le.PutUint16(b[4:], Version)
	le.PutUint16(b[6:], EntrySize)
	le.PutUint64(b[8:], l.size)
	le.PutUint32(b[16:], uint32(len(l.lanes)))
	le.PutUint32(b[20:], HeaderSize)
	le.PutUint64(b[24:], l.serial)
	copy(b[32:32+NameSize], l.name)
	for i, lane := range l.lanes {
		e, p := b[HeaderSize+i*EntrySize:], l.places[i]
		le.PutUint32(e[0:], lane.ID)
		le.PutUint32(e[4:], uint32(lane.From))
		le.PutUint32(e[8:], lane.SlotSize)
		le.PutUint32(e[12:], lane.Slots)
		le.PutUint32(e[16:], lane.BufferSize)
		le.PutUint32(e[20:], lane.Buffers)
		le.PutUint64(e[24:], p.control)
		le.PutUint64(e[32:], p.slots)
		le.PutUint64(e[40:], p.returns)
		le.PutUint64(e[48:], p.held)
		le.PutUint64(e[56:], p.arena)
	}
}

// decode reads header and directory from b, a private copy of the first lanesStart bytes
// of memory of the given size. The offsets in it are not followed but compared: all that a
// lane's parts could overlap or leave, they do not, as they lie where lay puts them.
func decode(b []byte, size uint64) (*layout, error) {
	le := binary.LittleEndian
	if len(b) < lanesStart || size < lanesStart {
		return nil, malformed("only %d bytes", size)
	}
	if m := le.Uint32(b[0:]); m != Magic {
		return nil, malformed("magic %#x, want %#x", m, Magic)
	}
	if v := le.Uint16(b[4:]); v != Version {
		return nil, malformed("version %d, this program speaks %d", v, Version)
	}
	if n := le.Uint16(b[6:]); n != EntrySize {
		return nil, malformed("directory entries of %d bytes, want %d", n, EntrySize)
	}
	if at := le.Uint32(b[20:]); at != HeaderSize {
		return nil, malformed("directory at %d, want %d", at, HeaderSize)
	}
	n := le.Uint32(b[16:])
	if n == 0 || n > MaxLanes {
		return nil, malformed("%d lanes, want 1 to %d", n, MaxLanes)
	}
	name := b[32 : 32+NameSize]
	for len(name) > 0 && name[len(name)-1] == 0 {
		name = name[:len(name)-1]
	}
	lanes := make([]Lane, n)
	for i := range lanes {
		e := b[HeaderSize+i*EntrySize:]
		lanes[i] = Lane{
			ID: le.Uint32(e[0:]), From: Side(le.Uint32(e[4:])),
			SlotSize: le.Uint32(e[8:]), Slots: le.Uint32(e[12:]),
			BufferSize: le.Uint32(e[16:]), Buffers: le.Uint32(e[20:]),
		}
	}
	l, err := lay(string(name), le.Uint64(b[24:]), lanes)
	if err != nil {
		return nil, malformed("%v", err)
	}
	if said := le.Uint64(b[8:]); said != l.size || size < said {
		return nil, malformed("%d bytes of %d, and its lanes take %d", size, said, l.size)
	}
	for i, p := range l.places {
		e := b[HeaderSize+i*EntrySize:]
		said := place{le.Uint64(e[24:]), le.Uint64(e[32:]), le.Uint64(e[40:]), le.Uint64(e[48:]), le.Uint64(e[56:])}
		if said != p {
			return nil, malformed("channel %#x lies at %v, want %v", lanes[i].ID, said, p)
		}
	}
	return l, nil
}
