package kinetic

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// The market is where the meters of a root tell each other what their cells use and want,
// so that cells of one spectrum get equal shares of the processors that they compete for,
// whatever their number of processes: the kernel shares by threads. It is a file of
// places, one for each cell, that only meters read and write; a lock on a place's bytes
// says that it is taken, and ends with its meter.
//
// A place (all numbers in the host's order):
//
//	offset  size  meaning
//	0       4     the cell's fiber-id
//	4       4     rank of its spectrum, 1 to 4
//	8       8     when this was written, CLOCK_BOOTTIME in nanoseconds
//	16      4     what it used then, in thousandths of a processor
//	20      4     what it would use if it could, likewise
//	24      104   the processors that its first process may run on, a bit each
const (
	placeSize = 128
	places    = 256
	maskWords = 13
	// tradeTime is how often a meter tells and looks.
	tradeTime = 50 * time.Millisecond
	// ownPart is what the meters need themselves, in thousandths of a processor.
	ownPart = 50
	// staleTime is how old what others have told may be.
	staleTime = 5 * tradeTime
)

// offer is what a meter tells.
type offer struct {
	fiber, rank uint32
	at          int64
	used, wants uint32 // thousandths of a processor
	mask        [maskWords]uint64
}

// market is a meter's place in it.
type market struct {
	fd, place int
	path      string
}

// openMarket takes a place in the market of that name.
func openMarket(path string) (*market, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
		m := &market{fd: fd, path: path}
		for m.place = range places {
			if m.lock(m.place*placeSize, placeSize) == nil {
				break
			}
			if m.place == places-1 {
				unix.Close(fd)
				return nil, fmt.Errorf("%s has no place for another cell", path)
			}
		}
		// Who was the last may have taken it away meanwhile.
		var ours, theirs unix.Stat_t
		if unix.Fstat(fd, &ours) == nil && unix.Lstat(path, &theirs) == nil && ours.Ino == theirs.Ino && ours.Dev == theirs.Dev {
			return m, nil
		}
		unix.Close(fd)
	}
}

// lock takes bytes of the file, if no other meter has them.
func (m *market) lock(start, length int) error {
	return unix.FcntlFlock(uintptr(m.fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: int64(start), Len: int64(length)})
}

// close leaves the market, and takes it away if nobody else is there.
func (m *market) close() {
	if m.lock(0, places*placeSize) == nil {
		_ = unix.Unlink(m.path) // by somebody else, with the cells
	}
	unix.Close(m.fd)
}

func (o *offer) bytes() []byte {
	b := make([]byte, 0, placeSize)
	b = binary.NativeEndian.AppendUint32(b, o.fiber)
	b = binary.NativeEndian.AppendUint32(b, o.rank)
	b = binary.NativeEndian.AppendUint64(b, uint64(o.at))
	b = binary.NativeEndian.AppendUint32(b, o.used)
	b = binary.NativeEndian.AppendUint32(b, o.wants)
	for _, word := range o.mask {
		b = binary.NativeEndian.AppendUint64(b, word)
	}
	return b
}

func readOffer(b []byte) (o offer) {
	o.fiber, o.rank = binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])
	o.at = int64(binary.NativeEndian.Uint64(b[8:]))
	o.used, o.wants = binary.NativeEndian.Uint32(b[16:]), binary.NativeEndian.Uint32(b[20:])
	for i := range o.mask {
		o.mask[i] = binary.NativeEndian.Uint64(b[24+8*i:])
	}
	return o
}

// tell writes an offer and returns those of the others.
func (m *market) tell(o offer) (others []offer, err error) {
	if _, err := unix.Pwrite(m.fd, o.bytes(), int64(m.place*placeSize)); err != nil {
		return nil, err
	}
	var b [places * placeSize]byte
	n, err := unix.Pread(m.fd, b[:], 0)
	if err != nil {
		return nil, err
	}
	for at := 0; at+placeSize <= n; at += placeSize {
		other := readOffer(b[at:])
		if age := o.at - other.at; at != m.place*placeSize && age < int64(staleTime) && age > -int64(staleTime) {
			others = append(others, other)
		}
	}
	return others, nil
}

// fairShare is how many thousandths of a processor a cell gets of those that it competes
// for with others of its spectrum: all that want less than an equal share get that, and
// share the rest equally. limited is false where there is enough for all.
func fairShare(mine offer, others []offer) (share uint32, limited bool) {
	wants, mask := []uint32{mine.wants}, mine.mask
	for _, o := range others {
		if o.rank != mine.rank || !overlap(&mine.mask, &o.mask) {
			continue
		}
		wants = append(wants, o.wants)
		for i := range mask {
			mask[i] |= o.mask[i]
		}
	}
	processors := 0
	for _, word := range mask {
		processors += bits.OnesCount64(word)
	}
	slices.Sort(wants)
	left := uint32(max(0, 1000*processors-ownPart))
	for i, w := range wants {
		equal := left / uint32(len(wants)-i)
		if w > equal {
			return equal, mine.wants > equal
		}
		left -= w
	}
	return 0, false
}

func overlap(a, b *[maskWords]uint64) bool {
	for i := range a {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}

// trade tells the others what the cell uses and wants, and has it held to its fair share.
func (m *Meter) trade(now time.Duration) {
	passed := now - m.traded
	if m.market == nil || passed < tradeTime {
		return
	}
	used := float64(m.table.spent-m.sold) / float64(passed)
	m.traded, m.sold = now, m.table.spent
	var clock unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &clock) != nil {
		return
	}
	mine := offer{fiber: m.config.Fiber, rank: uint32(capability.SpectrumRank(spectrumName(m.config.Budget))), at: clock.Nano()}
	mine.used, mine.wants = uint32(1000*used), uint32(1000*m.wants(used))
	mine.mask = m.processors()
	others, err := m.market.tell(mine)
	if err != nil {
		return // the next time
	}
	most := 0
	if LimitsCPU(m.config.Budget) {
		most = m.config.Budget.CPU
	}
	// Who gets less than his share is not held back: what is left may be his.
	share, limited := fairShare(mine, others)
	m.fair = limited && len(others) > 0 && (m.fair || mine.used > share)
	if fair := max(1, int(share/10)); m.fair && (most == 0 || fair < most) {
		most = fair
	}
	m.limitCPU(most)
}

// wants is how many processors the cell would use if it could: half as much again as it
// used, or, where that is more, as many as it has processes that could run whenever it is
// looked at; but no more than it has threads in processes that ran, or want to.
func (m *Meter) wants(used float64) float64 {
	threads, ready := 0, 0
	for _, p := range m.table.all {
		if threads >= m.cores && ready >= m.cores {
			break
		}
		if p.update() != nil {
			continue // it is gone
		}
		runs := p.state == 'R' || p.held && p.load > 0
		if runs {
			ready++
		}
		if runs || p.load > 0 {
			threads += p.threads
		}
	}
	const slowly = 2
	m.ready += (float64(min(ready, m.cores)) - m.ready) / slowly
	return min(float64(threads), max(1.5*used, m.ready))
}

// processors are those that the cell's first process may run on.
func (m *Meter) processors() (mask [maskWords]uint64) {
	for _, p := range m.table.all {
		var set unix.CPUSet
		if unix.SchedGetaffinity(p.pid, &set) == nil {
			for i := range mask {
				mask[i] = uint64(set[i])
			}
			return mask
		}
	}
	return mask
}

// limitCPU has the cell use so many per cent of a core from now on; 0: it is not limited.
func (m *Meter) limitCPU(percent int) {
	switch {
	case percent == m.credit.percent:
		return
	case percent == 0:
		m.credit = newCredit(0, m.credit.window)
		m.release()
	case m.credit.percent == 0:
		m.credit = newCredit(percent, m.credit.window)
		m.last, m.spent, m.unseen = m.table.now, m.table.spent, m.others()
	default:
		m.credit.percent = percent
	}
}
