package ion

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Options are what a side may choose for itself.
type Options struct {
	// Patience is how long an end looks before it sleeps: 0 is DefaultPatience, less is
	// not at all.
	Patience time.Duration
	// Notifier makes the bell of one end of a lane; nil, or a nil result, is a futex. The
	// other side must ring in the same way.
	Notifier func(lane Lane, waits Bell) Notifier
}

// Segment is memory that two sides share, and one side's view of it.
type Segment struct {
	mem    []byte
	file   *os.File // nil for a window of RAM
	layout *layout
	side   Side
	epoch  uint32
	rings  []*Ring
	gone   atomic.Bool
}

// Create makes a segment of these lanes, and is its host side. The name is for people: at
// most 32 bytes of printable ASCII without blanks and slashes.
func Create(name string, lanes ...Lane) (*Segment, error) {
	return CreateWith(Options{}, name, lanes...)
}

// CreateWith is Create with options.
func CreateWith(o Options, name string, lanes ...Lane) (*Segment, error) {
	l, err := lay(name, newSerial(), lanes)
	if err != nil {
		return nil, fmt.Errorf("create an ION segment: %w", err)
	}
	f, err := newMemory(name, l.size)
	if err != nil {
		return nil, fmt.Errorf("create an ION segment: %w", err)
	}
	mem, err := mapShared(int(f.Fd()), l.size, true)
	if err != nil {
		f.Close()
		return nil, err
	}
	l.encode(mem)
	s := newSegment(o, mem, f, l, Host)
	return s, nil
}

// Attach becomes one side of a segment in a memory file that somebody else has made, or
// that a dead process has left. The file is the segment's from then on, also if there is an
// error. It refuses what could be truncated, and what is no segment (FormatError).
func Attach(f *os.File, side Side) (*Segment, error) { return AttachWith(Options{}, f, side) }

// AttachWith is Attach with options.
func AttachWith(o Options, f *os.File, side Side) (*Segment, error) {
	s, err := attachFile(o, f, side)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("attach to an ION segment: %w", err)
	}
	return s, nil
}

func attachFile(o Options, f *os.File, side Side) (*Segment, error) {
	mem, l, err := mapSegment(int(f.Fd()), true)
	if err != nil {
		return nil, err
	}
	if side > Guest {
		_ = unix.Munmap(mem) // it is ours, and mapped
		return nil, fmt.Errorf("%v does not exist", side)
	}
	return newSegment(o, mem, f, l, side), nil
}

// mapSegment checks a memory file that somebody else has made, maps it, and reads what must
// not change.
func mapSegment(fd int, write bool) (mem []byte, l *layout, err error) {
	size, err := checkMemory(fd)
	if err != nil {
		return nil, nil, err
	}
	if mem, err = mapShared(fd, size, write); err != nil {
		return nil, nil, err
	}
	if l, err = readLayout(mem); err != nil {
		_ = unix.Munmap(mem) // it is ours, and mapped
		return nil, nil, err
	}
	return mem, l, nil
}

// Format writes the header of a segment of these lanes into a window of RAM whose contents
// nobody uses yet, and is its host side. The window must begin on a page, stay mapped as
// long as the segment is reachable, and be as large as ABI.md says at least; what is behind
// the segment is left alone. Options must name a notifier unless the other side is a process
// of this host.
func Format(o Options, window []byte, name string, lanes ...Lane) (*Segment, error) {
	l, err := lay(name, newSerial(), lanes)
	if err == nil {
		err = checkWindow(window, l.size)
	}
	if err != nil {
		return nil, fmt.Errorf("format an ION segment: %w", err)
	}
	window = window[:l.size:l.size]
	clear(window)
	l.encode(window)
	return newSegment(o, window, nil, l, Host), nil
}

// AttachWindow becomes one side of the segment in a window of RAM, like Format's.
func AttachWindow(o Options, window []byte, side Side) (*Segment, error) {
	err := checkWindow(window, lanesStart)
	if err != nil {
		return nil, fmt.Errorf("attach to an ION segment: %w", err)
	}
	l, err := readLayout(window)
	if err != nil {
		return nil, fmt.Errorf("attach to an ION segment: %w", err)
	}
	return newSegment(o, window[:l.size:l.size], nil, l, side), nil
}

func checkWindow(window []byte, size uint64) error {
	if uint64(len(window)) < size || !aligned(window) {
		return malformed("a window of %d bytes, want %d on a page", len(window), size)
	}
	return nil
}

// readLayout copies the header and reads the copy.
func readLayout(mem []byte) (*layout, error) {
	header := make([]byte, lanesStart)
	copy(header, mem)
	return decode(header, uint64(len(mem)))
}

func newSerial() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand does not return errors
	return binary.LittleEndian.Uint64(b[:])
}

// newSegment takes its place on one side: each lane goes on where a process before this one
// stopped. In a new segment all indices are 0.
func newSegment(o Options, mem []byte, f *os.File, l *layout, side Side) *Segment {
	s := &Segment{mem: mem, file: f, layout: l, side: side}
	for i, lane := range l.lanes {
		r := s.find(lane.ID)
		if r == nil {
			r = &Ring{seg: s, id: lane.ID}
			s.rings = append(s.rings, r)
		}
		if lane.From == side {
			r.out = s.newSender(o, r, lane, l.places[i])
		} else {
			r.in = s.newReceiver(o, r, lane, l.places[i])
		}
	}
	for _, r := range s.rings {
		r.resume()
	}
	me := sideAt(mem, side)
	s.epoch = me.epoch.Load() + 1
	if s.epoch == 0 {
		s.epoch = 1
	}
	me.pid.Store(uint32(os.Getpid()))
	me.since.Store(uint64(time.Now().UnixNano()))
	me.epoch.Store(s.epoch)
	me.state.Store(sideAttached)
	for _, r := range s.rings { // the process before this one may have died before it rang
		r.ringAll()
	}
	if f != nil {
		// Rings and buffers are used without a lock: the memory goes when nobody can use it.
		runtime.AddCleanup(s, func(mem []byte) { _ = unix.Munmap(mem) }, mem)
	}
	return s
}

// set makes a waiter ready for a lane.
func (w *waiter) set(o Options, r *Ring, lane Lane, c *control, b Bell) {
	w.ring, w.patience = r, o.Patience
	if w.patience == 0 {
		w.patience = DefaultPatience
	}
	if o.Notifier != nil {
		w.bell = o.Notifier(lane, b)
	}
	if w.bell == nil {
		w.bell = newFutex(c, b)
	}
	if b == Data {
		w.peerState, w.stats = &c.producerState, &c.consumer
	} else {
		w.peerState, w.stats = &c.consumerState, &c.producer
	}
	w.waits, w.rings = w.stats.waits.Load(), w.stats.rings.Load()
}

func (s *Segment) newSender(o Options, r *Ring, lane Lane, p place) *sender {
	c := controlAt(s.mem, p.control)
	out := &sender{
		c: c, timed: s.file != nil,
		slots: s.slots(lane, p), slotSize: uint64(lane.SlotSize), count: uint64(lane.Slots),
	}
	if lane.Buffers > 0 {
		out.granter = &granter{
			lane: lane, c: c, returns: s.returns(lane, p), arena: s.arena(lane, p),
			hands: make([]hand, lane.Buffers), free: make([]uint32, 0, lane.Buffers),
		}
	}
	out.set(o, r, lane, c, Room)
	return out
}

func (s *Segment) newReceiver(o Options, r *Ring, lane Lane, p place) *receiver {
	c := controlAt(s.mem, p.control)
	in := &receiver{
		c: c, lazy: uint64(lane.Slots+3) / 4,
		slots: s.slots(lane, p), slotSize: uint64(lane.SlotSize), count: uint64(lane.Slots),
	}
	if lane.Buffers > 0 {
		in.holder = &holder{
			lane: lane, c: c, returns: s.returns(lane, p), arena: s.arena(lane, p),
			held: heldTable(s.mem, p.held, lane.Buffers), mine: make([]bool, lane.Buffers),
		}
	}
	in.set(o, r, lane, c, Data)
	return in
}

// part is a piece of the segment that cannot be grown beyond its end.
func (s *Segment) part(at, size uint64) []byte { return s.mem[at : at+size : at+size] }

func (s *Segment) slots(l Lane, p place) []byte {
	return s.part(p.slots, uint64(l.SlotSize)*uint64(l.Slots))
}

func (s *Segment) returns(l Lane, p place) []byte {
	return s.part(p.returns, returnSize*uint64(l.returns()))
}

func (s *Segment) arena(l Lane, p place) []byte {
	return s.part(p.arena, uint64(l.BufferSize)*uint64(l.Buffers))
}

// resume goes on where a process before this one stopped, if that makes sense; if not, the
// ring is closed from the start.
func (r *Ring) resume() {
	if r.out != nil {
		r.out.c.producerState.Store(laneOpen)
		if wrong := r.out.resume(r.seg); wrong != "" {
			_ = r.violated(wrong) // every call will say so
		}
	}
	if r.in != nil && !r.over() {
		r.in.c.consumerState.Store(laneOpen)
		if wrong := r.in.resume(); wrong != "" {
			_ = r.violated(wrong)
		}
	}
}

func (s *sender) resume(seg *Segment) (wrong string) {
	s.tail = s.c.tail.Load()
	s.head = s.c.head.Load()
	if s.tail-s.head > s.count {
		return "head and tail"
	}
	s.sampleAt = s.head
	if s.granter == nil {
		return ""
	}
	lane, p := s.granter.lane, seg.placeOf(s.granter.lane)
	return s.granter.recover(s.head, s.tail, s.slots, heldTable(seg.mem, p.held, lane.Buffers))
}

func (r *receiver) resume() (wrong string) {
	r.head = r.c.head.Load()
	r.tail = r.c.tail.Load()
	if r.tail-r.head > r.count {
		return "head and tail"
	}
	r.acked = r.head
	r.sampleAt = r.head&^(sampleEvery-1) + sampleEvery
	if r.holder == nil {
		return ""
	}
	return r.holder.recover(r.head, r.tail, r.slots)
}

func (s *Segment) placeOf(l Lane) place {
	for i := range s.layout.lanes {
		if s.layout.lanes[i] == l {
			return s.layout.places[i]
		}
	}
	return place{} // not reached: l is one of them
}

func (s *Segment) find(id uint32) *Ring {
	for _, r := range s.rings {
		if r.id == id {
			return r
		}
	}
	return nil
}

// Ring returns this side's end of a channel: always the same one.
func (s *Segment) Ring(id uint32) (*Ring, error) {
	if r := s.find(id); r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("channel %#x: %w", id, ErrNoChannel)
}

// Name is what the segment was called when it was made.
func (s *Segment) Name() string { return s.layout.name }

// Side is which side of the segment this is.
func (s *Segment) Side() Side { return s.side }

// Lanes returns the lanes of the segment.
func (s *Segment) Lanes() []Lane { return append([]Lane(nil), s.layout.lanes...) }

// Size is how many bytes of memory the segment takes.
func (s *Segment) Size() int { return int(s.layout.size) }

// File is the memory file, to hand to the other side; nil for a window. It stays the
// segment's.
func (s *Segment) File() *os.File { return s.file }

// Peer is what the other side says of itself. Nothing in it can be relied on.
type Peer struct {
	Epoch    uint32 // how often that side was attached; 0: never
	Attached bool
	PID      int
	Since    time.Time
}

// Peer looks at what the other side says of itself.
func (s *Segment) Peer() Peer { return peerAt(s.mem, s.side.other()) }

func peerAt(mem []byte, side Side) Peer {
	b := sideAt(mem, side)
	return Peer{
		Epoch: b.epoch.Load(), Attached: b.state.Load() == sideAttached,
		PID: int(b.pid.Load()), Since: time.Unix(0, int64(b.since.Load())),
	}
}

// PeerGone is told by whoever knows that the other side's process has ended (a Link does):
// calls that wait for it return ErrPeerGone once what it had sent is taken.
func (s *Segment) PeerGone() {
	s.gone.Swap(true) // with a barrier, like announce
	for _, r := range s.rings {
		if r.out != nil {
			r.out.interrupt()
		}
		if r.in != nil {
			r.in.interrupt()
		}
	}
}

// PeerBack is told before another process becomes the other side.
func (s *Segment) PeerBack() { s.gone.Store(false) }

// Close closes all channels and the memory file. The memory goes when no ring of it is
// used any more.
func (s *Segment) Close() error {
	for _, r := range s.rings {
		r.shut(ErrClosed, laneClosed)
	}
	sideAt(s.mem, s.side).state.Store(sideLeft)
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
