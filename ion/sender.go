package ion

import "time"

// sampleEvery is how many messages are sent for one whose way is timed.
const sampleEvery = 1024

// sender is the producer's end of a lane.
type sender struct {
	waiter
	c        *control
	slots    []byte
	slotSize uint64
	count    uint64 // of slots
	tail     uint64 // ours; what the memory says of it is never read again
	head     uint64 // the last that was seen, and checked
	sampleAt uint64 // message that is being timed
	timed    bool   // the other side has the same clock
	granter  *granter
}

// try sends a message that outgoing accepts, or reports that there is no room.
func (s *sender) try(m []byte) (sent bool, err error) {
	if err := s.ring.closed(); err != nil {
		return false, err
	}
	if state := s.c.consumerState.Load(); state != laneOpen {
		return false, s.ring.peerSays(state)
	}
	if s.tail-s.head == s.count {
		if err := s.look(); err != nil || s.tail-s.head == s.count {
			return false, err
		}
	}
	at := (s.tail & (s.count - 1)) * s.slotSize
	copy(s.slots[at:at+s.slotSize], m)
	s.publish(s.tail + 1)
	return true, nil
}

// tryBatch sends as many of the messages in whole slots as there is room for.
func (s *sender) tryBatch(slots []byte) (n int, err error) {
	if err := s.ring.closed(); err != nil {
		return 0, err
	}
	if state := s.c.consumerState.Load(); state != laneOpen {
		return 0, s.ring.peerSays(state)
	}
	want := uint64(len(slots)) / s.slotSize
	if s.count-(s.tail-s.head) < want {
		if err := s.look(); err != nil {
			return 0, err
		}
	}
	room := min(want, s.count-(s.tail-s.head))
	if room == 0 {
		return 0, nil
	}
	first := s.tail & (s.count - 1)
	k := copy(s.slots[first*s.slotSize:], slots[:room*s.slotSize])
	copy(s.slots, slots[k:room*s.slotSize])
	s.publish(s.tail + room)
	return int(room), nil
}

// look reads how far the other side is.
func (s *sender) look() error {
	head := s.c.head.Load()
	if head-s.head > s.tail-s.head { // behind what it was, or ahead of what was sent
		return s.ring.violated("head")
	}
	s.head = head
	return nil
}

// publish makes the messages up to now the other side's.
func (s *sender) publish(now uint64) {
	old := s.tail
	s.tail = now
	if (old^now) >= sampleEvery && s.timed && s.head >= s.sampleAt {
		s.stamp(now &^ (sampleEvery - 1))
	}
	announce(&s.c.tail, now)
	if s.wakeOther(&s.c.dataEvent, old, now) {
		if s.timed && s.head >= s.sampleAt {
			s.stamp(now)
		}
		s.bell.Ring()
	}
}

// stamp times the message before index. The next one is stamped when that has been taken.
func (s *sender) stamp(index uint64) {
	s.sampleAt = index
	s.c.producer.sampleTime.Store(monotonic())
	s.c.producer.sampleIndex.Store(index)
}

// wait returns when there may be room.
func (s *sender) wait(d time.Duration) error {
	if s.ring.seg.gone.Load() {
		return ErrPeerGone
	}
	return s.await(&s.c.head, &s.c.roomEvent, s.head, d)
}
