package ion

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Channels of the segments that the attacker gets: one on which both sides are honest, the
// others are attacked.
const (
	honestChannel = 1
	plainChannel  = 2
	arenaChannel  = 3
)

func attackedLanes() (lanes []Lane) {
	lanes = Duplex(honestChannel, Lane{SlotSize: 64, Slots: 8})
	lanes = append(lanes, Duplex(plainChannel, Lane{SlotSize: 64, Slots: 16})...)
	return append(lanes, Duplex(arenaChannel, Lane{SlotSize: 256, Slots: 8, BufferSize: 256, Buffers: 8})...)
}

// attackerMain is the hostile process. Descriptor 3 brings it one link after the other, each
// with a segment; it answers on the honest channel of each, and attacks the rest until the
// link ends.
func attackerMain() error {
	carrier, err := newLink(os.NewFile(3, "carrier"))
	if err != nil {
		return err
	}
	for {
		p, conn, err := carrier.receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s, l, err := Accept(conn, Options{})
		if err != nil {
			return fmt.Errorf("attack %d: %w", p.token, err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { answer(s) })
		a := newAttack(s, p.token)
		for ended := false; !ended; {
			for range 64 {
				a.strike()
			}
			select {
			case <-l.Done():
				ended = true
			default:
			}
		}
		l.Close()
		s.Close()
		wg.Wait()
	}
}

// answer sends back what comes on the honest channel.
func answer(s *Segment) {
	r, err := s.Ring(honestChannel)
	if err != nil {
		return
	}
	m := make([]byte, r.RecvSize())
	for {
		n, err := r.Recv(m)
		if err == nil {
			err = r.Send(m[:n])
		}
		if err != nil {
			return
		}
	}
}

// attack writes into the parts of a segment that are not the honest channel's.
type attack struct {
	random *rand.Rand
	s      *Segment
	lanes  []int // indices of attacked lanes
	plan   uint64
	pace   time.Duration
}

func newAttack(s *Segment, seed uint64) *attack {
	a := &attack{random: rand.New(rand.NewPCG(seed, 1)), s: s, plan: seed % 8}
	for i, lane := range s.layout.lanes {
		if lane.ID != honestChannel {
			a.lanes = append(a.lanes, i)
		}
	}
	if seed/8%3 == 0 { // rarely enough that some things work in between
		a.pace = time.Duration(a.random.IntN(200)) * time.Microsecond
	}
	return a
}

// strike writes one value. Plans 0 to 2 do everything; the others keep to one kind of
// field, so that what comes first does not hide what comes behind it.
func (a *attack) strike() {
	if a.pace > 0 {
		time.Sleep(a.pace)
	}
	i := a.lanes[a.random.IntN(len(a.lanes))]
	lane, p := a.s.layout.lanes[i], a.s.layout.places[i]
	c := controlAt(a.s.mem, p.control)
	switch a.plan {
	case 3:
		a.index(c, lane)
	case 4:
		a.state(c, lane)
	case 5:
		a.send(c, lane, p)
	case 6:
		a.giveBack(c, lane, p)
	case 7:
		a.take(c, lane, p)
	default:
		switch a.random.IntN(8) {
		case 0:
			a.anywhere(lane, p)
		case 1:
			a.header()
		case 2:
			a.index(c, lane)
		case 3:
			a.state(c, lane)
		case 4:
			a.send(c, lane, p)
		case 5:
			a.giveBack(c, lane, p)
		case 6:
			a.take(c, lane, p)
		case 7:
			futexWake(word(&c.dataBell))
			futexWake(word(&c.roomBell))
		}
	}
}

// anywhere writes random bytes to a random place of a lane.
func (a *attack) anywhere(lane Lane, p place) {
	end := p.slots + uint64(lane.SlotSize)*uint64(lane.Slots)
	if lane.Buffers > 0 {
		end = p.arena + uint64(lane.BufferSize)*uint64(lane.Buffers)
	}
	at := p.control + a.random.Uint64N(end-p.control-8)
	binary.LittleEndian.PutUint64(a.s.mem[at:], a.random.Uint64())
}

// header spoils what only counts for who attaches, and the other side's block.
func (a *attack) header() {
	at := a.random.IntN(lanesStart - 8)
	binary.LittleEndian.PutUint64(a.s.mem[at:], a.random.Uint64())
}

// near returns a value beside one that would be right.
func (a *attack) near(right uint64, lane Lane) uint64 {
	steps := []uint64{0, 1, 2, uint64(lane.Slots) - 1, uint64(lane.Slots), uint64(lane.Slots) + 1, 1 << 31, 1 << 32, 1<<32 + 1, 1 << 63, ^uint64(0), a.random.Uint64()}
	step := steps[a.random.IntN(len(steps))]
	if a.random.IntN(2) == 0 {
		return right - step
	}
	return right + step
}

func (a *attack) index(c *control, lane Lane) {
	words := []*atomic.Uint64{&c.tail, &c.head, &c.dataEvent, &c.roomEvent, &c.returnEvent, &c.returnTail, &c.returnHead, &c.producer.sampleIndex, &c.producer.sampleTime}
	to := words[a.random.IntN(len(words))]
	to.Store(a.near(words[a.random.IntN(len(words))].Load(), lane))
	if a.random.IntN(4) == 0 {
		to.Store(a.near(to.Load(), lane))
	}
}

func (a *attack) state(c *control, lane Lane) {
	words := []*atomic.Uint32{&c.producerState, &c.consumerState, &c.dataBell, &c.roomBell}
	words[a.random.IntN(len(words))].Store([]uint32{0, 0, 0, 1, 2, 3, 77, 1 << 31, a.random.Uint32()}[a.random.IntN(9)])
}

// send sends by the rules, but for what is in the message.
func (a *attack) send(c *control, lane Lane, p place) {
	if lane.From != a.s.side {
		return
	}
	tail := c.tail.Load()
	if tail-c.head.Load() >= uint64(lane.Slots) {
		return
	}
	m := a.s.mem[p.slots+(tail%uint64(lane.Slots))*uint64(lane.SlotSize):]
	sizes := []int{16, 16, 17, 8, 0, 7, 63, 64, 65, int(lane.SlotSize), int(lane.SlotSize) + 1, 0xffff}
	if a.random.IntN(20) > 0 {
		sizes = sizes[:4]
	}
	binary.LittleEndian.PutUint16(m, uint16(sizes[a.random.IntN(len(sizes))]))
	flags := []byte{0, 0, 1, 1, 2, 0xff}
	if a.random.IntN(20) > 0 {
		flags = flags[:4]
	}
	m[5] = flags[a.random.IntN(len(flags))]
	m[6], m[7] = 0, 0
	if a.random.IntN(100) == 0 {
		m[7] = 1
	}
	buffers := []uint32{0, 1, 2, 3, 4, 5, lane.Buffers - 1, lane.Buffers, 1 << 31, a.random.Uint32()}
	lengths := []uint32{0, 1, lane.BufferSize, lane.BufferSize + 1, ^uint32(0)}
	binary.LittleEndian.PutUint32(m[8:], buffers[a.random.IntN(len(buffers))])
	binary.LittleEndian.PutUint32(m[12:], lengths[a.random.IntN(len(lengths))])
	c.tail.Store(tail + 1)
	c.dataBell.Add(1)
	futexWake(word(&c.dataBell))
	m[a.random.IntN(16)] = byte(a.random.Uint32()) // after it was sent
}

// giveBack returns buffers, by the rules or not.
func (a *attack) giveBack(c *control, lane Lane, p place) {
	if lane.From == a.s.side || lane.Buffers == 0 {
		return
	}
	tail := c.returnTail.Load()
	m := a.s.mem[p.returns+(tail%uint64(lane.returns()))*returnSize:]
	binary.LittleEndian.PutUint32(m, []uint32{0, 1, 2, 3, 4, 5, 6, 7, lane.Buffers, ^uint32(0)}[a.random.IntN(10)])
	binary.LittleEndian.PutUint32(m[4:], []uint32{0, lane.BufferSize, lane.BufferSize + 1, ^uint32(0)}[a.random.IntN(4)])
	c.returnTail.Store(tail + 1)
	c.roomBell.Add(1)
	futexWake(word(&c.roomBell))
}

// take acknowledges what was sent, by the rules or not, and forgets returned buffers.
func (a *attack) take(c *control, lane Lane, p place) {
	if lane.From == a.s.side {
		if lane.Buffers > 0 && a.random.IntN(3) == 0 {
			c.returnHead.Store(a.near(c.returnTail.Load(), lane))
		}
		a.send(c, lane, p)
		return
	}
	head, tail := c.head.Load(), c.tail.Load()
	switch {
	case a.random.IntN(300) == 0:
		c.head.Store(a.near(head, lane))
	case head != tail:
		c.head.Store(head + 1)
		c.roomBell.Add(1)
		futexWake(word(&c.roomBell))
	}
}
