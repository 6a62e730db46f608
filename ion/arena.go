package ion

import (
	"encoding/binary"
	"sync/atomic"
	"time"
	"unsafe"
)

// Buffer is a piece of a channel's arena. Its bytes are shared memory: who holds the
// buffer may write them, but the other side can always change them too, against the
// rules. Copy what you check before you check it.
//
// Bytes must not be used after the ring was garbage, nor after the buffer has left the
// hands of this side.
type Buffer struct {
	Index uint32
	Bytes []byte
}

// hand says who has a buffer of a sender's arena.
type hand uint8

const (
	free    hand = iota
	taken        // this side's user
	granted      // the other side, or a message on its way there
)

// granter is the sender's part of an arena. Whose a buffer is stands in private memory
// alone.
type granter struct {
	lane       Lane
	c          *control
	returns    []byte
	arena      []byte
	hands      []hand
	free       []uint32
	returnHead uint64
	returnTail uint64 // the last that was seen, and checked
	out        uint64 // how many are granted
}

func (g *granter) buffer(i uint32) Buffer {
	size := uint64(g.lane.BufferSize)
	at := uint64(i) * size
	return Buffer{i, g.arena[at : at+size : at+size]}
}

// look reads how many buffers came back.
func (g *granter) look() (wrong string) {
	tail := g.c.returnTail.Load()
	n := tail - g.returnHead
	if n > g.out || n < g.returnTail-g.returnHead {
		return "the index of returned buffers"
	}
	g.returnTail = tail
	return ""
}

// next takes the next buffer that came back, if there is one.
func (g *granter) next() (b Buffer, length uint32, ok bool, wrong string) {
	if g.returnHead == g.returnTail {
		if wrong = g.look(); wrong != "" || g.returnHead == g.returnTail {
			return b, 0, false, wrong
		}
	}
	i, length := g.returned(g.returnHead)
	if i >= g.lane.Buffers || g.hands[i] != granted || length > g.lane.BufferSize {
		return b, 0, false, "a returned buffer"
	}
	g.hands[i] = taken
	g.out--
	g.returnHead++
	g.c.returnHead.Store(g.returnHead) // before the buffer is granted again: a successor relies on it
	return g.buffer(i), length, true, ""
}

// returned reads a slot of the ring of returned buffers, once.
func (g *granter) returned(index uint64) (buffer, length uint32) {
	var slot [returnSize]byte
	at := (index & (uint64(g.lane.returns()) - 1)) * returnSize
	copy(slot[:], g.returns[at:at+returnSize])
	return binary.LittleEndian.Uint32(slot[:]), binary.LittleEndian.Uint32(slot[4:])
}

// recover finds whose the buffers are after another process has been the sender: the other
// side's are those that messages on their way grant, and those that it says it holds. What
// it has returned meanwhile is free. The order counts (ABI.md, Resynchronisation): head,
// then what is held, then what was returned.
func (g *granter) recover(head, tail uint64, slots []byte, held []atomic.Uint32) (wrong string) {
	grants(g.lane, slots, head, tail, func(b uint32) { g.hands[b] = granted })
	for i := range held {
		if held[i].Load() != notHeld {
			g.hands[i] = granted
		}
	}
	g.returnHead = g.c.returnHead.Load()
	g.returnTail = g.c.returnTail.Load()
	if g.returnTail-g.returnHead > uint64(g.lane.returns()) {
		return "the index of returned buffers"
	}
	for ; g.returnHead != g.returnTail; g.returnHead++ {
		if i, _ := g.returned(g.returnHead); i < g.lane.Buffers {
			g.hands[i] = free
		}
	}
	g.c.returnHead.Store(g.returnHead)
	g.free = g.free[:0]
	for i := len(g.hands) - 1; i >= 0; i-- {
		if g.hands[i] == free {
			g.free = append(g.free, uint32(i))
		} else {
			g.out++
		}
	}
	return ""
}

// grants calls found with the buffer of each grant in the messages from head to tail.
func grants(lane Lane, slots []byte, head, tail uint64, found func(b uint32)) {
	for ; head != tail; head++ {
		var m [MessageHeader + GrantSize]byte
		copy(m[:], slots[(head&uint64(lane.Slots-1))*uint64(lane.SlotSize):])
		if _, wrong := incoming(m[:], uint64(lane.SlotSize), true); wrong != "" || m[5]&flagGrant == 0 {
			continue
		}
		if b := binary.LittleEndian.Uint32(m[MessageHeader:]); b < lane.Buffers {
			found(b)
		}
	}
}

// What the table of held buffers says of one; a successor of the receiver reads it. Other
// values are the low 30 bits of the index at which it is being returned, shifted by two,
// and returning.
const (
	notHeld   = 0
	isHeld    = 1
	returning = 2
)

// holder is the receiver's part of an arena.
type holder struct {
	lane       Lane
	c          *control
	returns    []byte
	arena      []byte
	held       []atomic.Uint32 // for a successor
	mine       []bool          // what counts
	returnTail uint64
}

// heldTable is the table of held buffers at an offset that lay computed.
func heldTable(mem []byte, at uint64, n uint32) []atomic.Uint32 {
	_ = mem[at+heldSize*uint64(n)-1]
	return unsafe.Slice((*atomic.Uint32)(unsafe.Pointer(&mem[at])), n)
}

// hold notes the buffer that a message in private memory grants.
func (r *receiver) hold(m []byte) error {
	h := r.holder
	i, length := binary.LittleEndian.Uint32(m[MessageHeader:]), binary.LittleEndian.Uint32(m[MessageHeader+4:])
	if i >= h.lane.Buffers || length > h.lane.BufferSize || h.mine[i] {
		return r.ring.violated("a grant")
	}
	h.mine[i] = true
	h.held[i].Store(isHeld) // before the message is acknowledged
	return nil
}

// giveBack puts a buffer into the ring of returned ones. The message that granted it is
// acknowledged: a successor would grant it to itself again otherwise.
func (h *holder) giveBack(i, length uint32) (wrong string) {
	if h.returnTail-h.c.returnHead.Load() >= uint64(h.lane.returns()) {
		return "the index of taken returns"
	}
	h.mine[i] = false
	h.held[i].Store(uint32(h.returnTail)<<2 | returning)
	h.put(i, length)
	h.held[i].Store(notHeld)
	return ""
}

func (h *holder) put(i, length uint32) {
	var slot [returnSize]byte
	binary.LittleEndian.PutUint32(slot[:], i)
	binary.LittleEndian.PutUint32(slot[4:], length)
	at := (h.returnTail & (uint64(h.lane.returns()) - 1)) * returnSize
	copy(h.returns[at:at+returnSize], slot[:])
	h.returnTail++
	announce(&h.c.returnTail, h.returnTail)
}

// recover returns what an earlier process on this side held when it ended, but for what the
// messages grant that it had not acknowledged: those come again.
func (h *holder) recover(head, tail uint64, slots []byte) (wrong string) {
	again := make([]bool, h.lane.Buffers)
	grants(h.lane, slots, head, tail, func(b uint32) { again[b] = true })
	h.returnTail = h.c.returnTail.Load()
	if h.returnTail-h.c.returnHead.Load() > uint64(h.lane.returns()) {
		return "the index of returned buffers"
	}
	began := uint32(h.returnTail) // when that process ended
	for i := range h.held {
		state := h.held[i].Load()
		h.held[i].Store(notHeld)
		done := state&3 == returning && state>>2 != began&(1<<30-1) // it is in the ring already
		if state == notHeld || again[i] || done {
			continue
		}
		if wrong := h.giveBack(uint32(i), 0); wrong != "" {
			return wrong
		}
	}
	return ""
}

// TryTake takes a buffer of the arena of what this side sends, if one is free. It is the
// caller's until it is granted (SendGrant) or put back (Put).
func (r *Ring) TryTake() (b Buffer, ok bool, err error) {
	g, err := r.granter()
	if err != nil {
		return b, false, err
	}
	if n := len(g.free); n > 0 {
		i := g.free[n-1]
		g.free = g.free[:n-1]
		g.hands[i] = taken
		return g.buffer(i), true, nil
	}
	b, _, ok, err = r.TryReturned()
	return b, ok, err
}

// Take is TryTake that waits until a buffer is free.
func (r *Ring) Take() (b Buffer, err error) {
	for {
		b, ok, err := r.TryTake()
		if ok || err != nil {
			return b, err
		}
		if err := r.awaitReturn(-1); err != nil {
			return b, err
		}
	}
}

// Put gives a buffer that was taken, and not granted, back to the arena.
func (r *Ring) Put(b Buffer) error {
	g, err := r.granter()
	if err != nil {
		return err
	}
	if b.Index >= g.lane.Buffers || g.hands[b.Index] != taken {
		return ErrBuffer
	}
	g.hands[b.Index] = free
	g.free = append(g.free, b.Index) // within its capacity: one for each buffer
	return nil
}

// TryReturned takes the next buffer that has come back from the other side, if there is
// one, with the length that the other side says it wrote, at most the buffer's size. It is
// the caller's then, as if taken. Who does not care for what is in them need not ask: Take
// finds them.
func (r *Ring) TryReturned() (b Buffer, length int, ok bool, err error) {
	g, err := r.granter()
	if err != nil {
		return b, 0, false, err
	}
	b, n, ok, wrong := g.next()
	if wrong != "" {
		return b, 0, false, r.violated(wrong)
	}
	if !ok {
		if state := r.out.peerState.Load(); state != laneOpen {
			return b, 0, false, r.peerSays(state)
		}
	}
	return b, int(n), ok, nil
}

// Returned is TryReturned that waits for at most d; d < 0 is without end.
func (r *Ring) Returned(d time.Duration) (b Buffer, length int, err error) {
	t := patience{d: d}
	for {
		b, length, ok, err := r.TryReturned()
		if ok || err != nil {
			return b, length, err
		}
		if err := r.awaitReturn(t.left()); err != nil {
			return b, 0, err
		}
	}
}

func (r *Ring) awaitReturn(d time.Duration) error {
	if r.seg.gone.Load() {
		return ErrPeerGone
	}
	g := r.out.granter
	return r.out.await(&g.c.returnTail, &g.c.returnEvent, g.returnHead, d)
}

func (r *Ring) granter() (*granter, error) {
	if r.out == nil || r.out.granter == nil {
		return nil, ErrDirection
	}
	return r.out.granter, r.closed()
}

// SendGrant is Send of a message that grants a taken buffer to the other side: the first
// length bytes of it are what the other side is to see. The eight bytes of the message
// behind its header are overwritten with the grant. It waits for room. After an error the
// buffer is still the caller's.
func (r *Ring) SendGrant(m []byte, b Buffer, length int) error {
	return r.SendGrantFor(m, b, length, -1)
}

// SendGrantFor is SendGrant that waits for at most d, and returns ErrTimeout then.
func (r *Ring) SendGrantFor(m []byte, b Buffer, length int, d time.Duration) error {
	g, err := r.granter()
	if err != nil {
		return err
	}
	if err := outgoing(m, r.out.slotSize); err != nil || len(m) < MessageHeader+GrantSize {
		return ErrMessage
	}
	if b.Index >= g.lane.Buffers || g.hands[b.Index] != taken || length < 0 || length > int(g.lane.BufferSize) {
		return ErrBuffer
	}
	m[5] = flagGrant
	binary.LittleEndian.PutUint32(m[MessageHeader:], b.Index)
	binary.LittleEndian.PutUint32(m[MessageHeader+4:], uint32(length))
	g.hands[b.Index] = granted
	g.out++
	err = r.send(m, d)
	if err != nil {
		g.hands[b.Index] = taken
		g.out--
	}
	m[5] = 0
	return err
}

// Granted returns the buffer that a received message grants, cut to the length that the
// sender says; ok is false if it grants none. This side holds it until Return.
func (r *Ring) Granted(m []byte) (b Buffer, ok bool) {
	if r.in == nil || r.in.holder == nil || len(m) < MessageHeader+GrantSize || m[5]&flagGrant == 0 {
		return b, false
	}
	h := r.in.holder
	i, length := binary.LittleEndian.Uint32(m[MessageHeader:]), binary.LittleEndian.Uint32(m[MessageHeader+4:])
	if i >= h.lane.Buffers || !h.mine[i] || length > h.lane.BufferSize {
		return b, false
	}
	at, size := uint64(i)*uint64(h.lane.BufferSize), uint64(h.lane.BufferSize)
	return Buffer{i, h.arena[at : at+uint64(length) : at+size]}, true
}

// Return gives a buffer that the other side had granted back to it; length says how many
// bytes of it this side has written. It acknowledges all messages that were received, and
// belongs to the receiving goroutine.
func (r *Ring) Return(b Buffer, length int) error {
	if r.in == nil || r.in.holder == nil {
		return ErrDirection
	}
	if err := r.closed(); err != nil {
		return err
	}
	h := r.in.holder
	if b.Index >= h.lane.Buffers || !h.mine[b.Index] || length < 0 || length > int(h.lane.BufferSize) {
		return ErrBuffer
	}
	if r.in.acked != r.in.head {
		r.in.ack()
	}
	old := h.returnTail
	if wrong := h.giveBack(b.Index, uint32(length)); wrong != "" {
		return r.violated(wrong)
	}
	if r.in.wakeOther(&h.c.returnEvent, old, h.returnTail) {
		r.in.bell.Ring()
	}
	return nil
}
