package ion

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Found is a segment that processes of this host have open.
type Found struct {
	Name      string
	Serial    uint64
	Size      int   // bytes
	Processes []int // that have its file, and let us see that
	file      string
}

// Find looks for segments among the open files of all processes that let us see theirs: our
// own, and for root everybody's. It never writes to them.
func Find() ([]Found, error) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil, err
	}
	type inode struct{ device, number uint64 }
	found := map[inode]*Found{}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(to, "/memfd:"+memfdPrefix) {
			continue // it has been closed, or is another file
		}
		var st unix.Stat_t
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil || unix.Stat(link, &st) != nil {
			continue
		}
		key := inode{st.Dev, st.Ino}
		if f := found[key]; f != nil {
			if !slices.Contains(f.Processes, pid) {
				f.Processes = append(f.Processes, pid)
			}
			continue
		}
		v, err := inspect(link)
		if err != nil {
			continue // its name says that it is a segment; it is none
		}
		found[key] = &Found{Name: v.layout.name, Serial: v.layout.serial, Size: int(v.layout.size), Processes: []int{pid}, file: link}
		v.Close()
	}
	list := make([]Found, 0, len(found))
	for _, f := range found {
		slices.Sort(f.Processes)
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b Found) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Serial, b.Serial)) })
	return list, nil
}

// View is a segment that is looked at and not taken part in. What it tells is what the two
// sides say, and no more to be relied on.
type View struct {
	mem    []byte
	layout *layout
}

// Inspect opens a segment that was found.
func Inspect(f Found) (*View, error) {
	v, err := inspect(f.file)
	if err == nil && v.layout.serial != f.Serial {
		v.Close()
		err = fs.ErrNotExist // the process has another file by that number now
	}
	return v, err
}

func inspect(path string) (*View, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mem, l, err := mapSegment(int(f.Fd()), false)
	if err != nil {
		return nil, err
	}
	return &View{mem, l}, nil
}

// Close ends the look.
func (v *View) Close() {
	_ = unix.Munmap(v.mem) // it is ours, and mapped
	v.mem = nil
}

// Side is what a side says of itself.
func (v *View) Side(s Side) Peer { return peerAt(v.mem, s) }

// LaneStatus is what the two ends of a lane say.
type LaneStatus struct {
	Lane
	Sent, Taken, Returned uint64 // messages, and buffers that came back, ever
	SenderOpen, TakerOpen bool
	SenderRings           uint64 // how often the sender woke the taker
	TakerRings            uint64
	SenderSleeps          uint64
	TakerSleeps           uint64
	Latency               [latencyBuckets]uint64 // timed messages that took 2^i to 2^(i+1) ns
}

// Lanes looks at all lanes.
func (v *View) Lanes() []LaneStatus {
	list := make([]LaneStatus, len(v.layout.lanes))
	for i, lane := range v.layout.lanes {
		c := controlAt(v.mem, v.layout.places[i].control)
		s := LaneStatus{
			Lane: lane, Taken: c.head.Load(), Sent: c.tail.Load(), Returned: c.returnTail.Load(),
			SenderOpen: c.producerState.Load() == laneOpen, TakerOpen: c.consumerState.Load() == laneOpen,
			SenderRings: c.producer.rings.Load(), SenderSleeps: c.producer.waits.Load(),
			TakerRings: c.consumer.rings.Load(), TakerSleeps: c.consumer.waits.Load(),
		}
		for b := range s.Latency {
			s.Latency[b] = c.latency[b].Load()
		}
		list[i] = s
	}
	return list
}

// Percentile is below which time so many of a hundred timed messages arrived, in powers of
// two; 0 where none was timed.
func (s *LaneStatus) Percentile(percent int) time.Duration {
	sum := uint64(0)
	for _, n := range s.Latency {
		sum += n
	}
	if sum == 0 {
		return 0
	}
	rest := sum * uint64(percent) / 100
	for b, n := range s.Latency {
		if n > rest || b == len(s.Latency)-1 {
			return time.Duration(2) << b
		}
		rest -= n
	}
	return 0
}

// Tap copies the messages of a lane as they go by, from index *at on; it does not hold them
// up, so that some may be gone: it returns how many were missed. A value of *at that is not
// in the lane begins with the oldest message that is still there.
func (v *View) Tap(lane int, at *uint64, visit func(index uint64, m []byte)) (missed uint64, err error) {
	if lane < 0 || lane >= len(v.layout.lanes) {
		return 0, ErrNoChannel
	}
	l, p := v.layout.lanes[lane], v.layout.places[lane]
	tail := &controlAt(v.mem, p.control).tail
	slots := v.mem[p.slots : p.slots+uint64(l.SlotSize)*uint64(l.Slots)]
	m := make([]byte, l.SlotSize)
	for *at != tail.Load() {
		now := tail.Load()
		if behind := now - *at; behind > uint64(l.Slots) {
			if behind > 1<<63 { // ahead of what was sent: it is not of this lane
				behind = min(now, uint64(l.Slots))
			} else {
				missed += behind - uint64(l.Slots)
				behind = uint64(l.Slots)
			}
			*at = now - behind
			continue
		}
		copy(m, slots[(*at&uint64(l.Slots-1))*uint64(l.SlotSize):][:l.SlotSize])
		// What was read above is read before this: loads of sync/atomic order both ways.
		if tail.Load()-*at >= uint64(l.Slots) {
			missed++ // it was written over meanwhile, or may have been
			*at++
			continue
		}
		n, wrong := incoming(m, uint64(l.SlotSize), l.Buffers > 0)
		if wrong != "" {
			return missed, errors.New("a message breaks the rules: " + wrong)
		}
		visit(*at, m[:n])
		*at++
	}
	return missed, nil
}
