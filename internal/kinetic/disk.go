package kinetic

import (
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// What a cell takes on the disk is the blocks of all files in its own directories, and of
// files that it has open there and that have no name any more. To add them up takes the
// longer the more there are, so the meter does that, while the cell is suspended, only
// where half of what was left the last time may be gone. How much may be gone tell the
// file systems, which have the less free the more the cell has taken, and the kernel's
// count of what its processes have written.
//
// Files may grow by what is left (RLIMIT_FSIZE), so that one long write is refused what is
// beyond; where nothing is left, nothing grows and nothing is made any more. Who goes on
// all the same, through a mapping, say, is killed.
const (
	// spill is up to how far beyond the limit nobody is killed, in bytes, and farBeyond
	// where somebody is at once.
	spill     = 4 << 20
	farBeyond = 12 << 20
	// rests is how much longer than the last look the time until the next is at least,
	// as long as the limit cannot have been passed.
	rests = 8
	// filling is how much of files can be written in a second, in bytes, by two processors:
	// they are written to memory first, page by page (4.3 GB by 16 processes at once were
	// measured).
	filling = 6 << 30
)

// volume is a limit of what is in some directories.
type volume struct {
	on    bool // it is limited, then and later
	limit int64
	dirs  []string
	disks []string // of which one on each file system
	alone bool     // the cell writes in no other: the length of its files can be limited
	tell  func(Event)

	survey               // the last
	free   int64         // on the file systems, then
	lost   int           // how many processes had gone by then
	at     time.Duration // when it was over
	took   time.Duration // 0: there was none
	told   time.Duration // when somebody was told that nothing is left; 0: never

	full atomic.Bool
	left atomic.Int64 // what may be allocated at once (fallocate(2))
	// longest is how long somebody has said that a file shall be since the last look.
	longest atomic.Int64
	longer  int64 // and before that, since the one before

	removes  atomic.Bool // a file may have lost a name since the last look
	nameless bool        // or ever
}

// Room reports whether the cell may take n bytes more on the disk at once, and if n is 0,
// whether it may make files. It is safe for concurrent use.
func (m *Meter) Room(n int64) bool {
	v := &m.disk
	switch {
	case !v.on:
		return true
	case v.full.Load():
		return false
	case v.left.Add(-n) >= 0:
		return true
	}
	v.left.Add(n)
	return false
}

// Lengthen lets a process have a file of that many bytes, if there is room at all, which
// may consist of holes. It is safe for concurrent use.
func (m *Meter) Lengthen(pid int, length int64) {
	var l unix.Rlimit
	if !m.disk.alone || m.disk.full.Load() || length <= 0 || unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &l) != nil || l.Cur >= uint64(length) {
		return
	}
	m.disk.longest.Store(max(m.disk.longest.Load(), length)) // this thread alone raises it
	_ = wall.Limit(pid, unix.RLIMIT_FSIZE, uint64(length))   // else it is refused
}

// Removing says that a file may lose a name now, or have none from its beginning. It is
// safe for concurrent use.
func (m *Meter) Removing() { m.disk.removes.Store(true) }

// watchDisk looks how much the cell takes on the disk if that may be too much, and says
// when to look again.
func (m *Meter) watchDisk() time.Duration {
	v, t := &m.disk, &m.table
	if v.full.Load() {
		v.permit(t) // new processes, and who has helped himself
	}
	free := v.freeNow()
	left := v.limit - v.bytes
	grown := max(0, v.free-free)
	if grown >= left/2 && t.lost == v.lost { // else somebody may have written and gone
		grown = min(grown, t.wrote())
	}
	if v.due(free, grown, left, t.now) {
		thawed := !m.held
		if thawed {
			m.freeze()
		}
		v.look(t, free)
		if thawed {
			m.resume()
		}
		left, grown = v.limit-v.bytes, 0
	} else {
		m.takeTurns()
	}
	if v.full.Load() {
		return farthest / 2
	}
	return until(left/2-grown, filling)
}

// due reports whether all must be looked at.
func (v *volume) due(free, grown, left int64, now time.Duration) bool {
	rested := now-v.at >= rests*v.took
	switch {
	case v.took == 0:
		return true
	case v.full.Load():
		return rested && free != v.free
	case grown >= left:
		return true
	}
	// Where much was removed, files may become longer than they are allowed now.
	return rested && (grown >= left/2 || v.removes.Load() && free-v.free > v.limit/8)
}

// look adds up what there is, and limits what may come.
func (v *volume) look(t *table, free int64) {
	begin, before, full := time.Now(), v.bytes, v.full.Load()
	v.longer = v.longest.Swap(0) // it may not be so long yet
	if v.removes.Swap(false) {
		v.nameless = true
	}
	v.survey = takeSurvey(v.dirs, v.empty)
	if v.nameless {
		for _, p := range t.all {
			v.survey.nameless(p)
		}
	}
	v.took = max(time.Since(begin), time.Microsecond)
	v.at, v.free, v.lost = time.Since(t.began), free, t.lost
	if t.now = v.at; v.hidden {
		v.bytes = max(v.bytes, v.limit)
	}
	over := v.bytes - v.limit
	v.left.Store(max(0, -over))
	v.full.Store(over >= 0)
	if over >= 0 && v.told == 0 {
		v.told = v.at
		v.tell(Event{What: "disk", Used: v.bytes, Limit: v.limit, Hidden: v.hidden})
	}
	// What was on its way when nothing was left is no attack.
	if over > farBeyond || over > spill && full && v.bytes > before {
		v.end(t)
	}
	t.markWritten()
	v.permit(t)
}

// permit sets how long files may become: what is left longer than the longest.
func (v *volume) permit(t *table) {
	most := uint64(unix.RLIM_INFINITY)
	switch {
	case v.full.Load():
		most = 0
	case v.alone:
		const whole = 4096 // what is written with O_DIRECT is cut off there, and must stay aligned
		most = uint64(max(v.largest, v.longer, v.longest.Load())+v.limit-v.bytes) &^ (whole - 1)
	}
	for _, p := range t.all {
		if most == unix.RLIM_INFINITY && !p.short {
			continue
		}
		p.short = wall.Limit(p.pid, unix.RLIMIT_FSIZE, most) == nil
	}
}

// end kills who has written most since the last look.
func (v *volume) end(t *table) {
	var worst *process
	most := int64(0)
	for _, p := range t.all {
		if n := trafficOf(p.pid).written - p.written; n > most && !p.killed {
			worst, most = p, n
		}
	}
	if worst == nil {
		return
	}
	name := wall.ProgramName(worst.pid)
	if worst.signal(unix.SIGKILL) == nil {
		worst.killed = true
		v.tell(Event{What: "disk", PID: worst.pid, Program: name, Used: v.bytes, Limit: v.limit})
	}
}

// wrote is how much the processes, and children for whom they have waited, have written
// since they were last marked.
func (t *table) wrote() (sum int64) {
	for _, p := range t.all {
		sum += trafficOf(p.pid).written - p.written
	}
	return sum
}

func (t *table) markWritten() {
	for _, p := range t.all {
		p.written = trafficOf(p.pid).written
	}
}

// onePerDisk leaves one of the directories on each file system.
func onePerDisk(dirs []string) (list []string) {
	var seen []uint64
	for _, dir := range dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && slices.Contains(seen, st.Dev) {
			continue
		}
		seen, list = append(seen, st.Dev), append(list, dir)
	}
	return list
}

// freeNow is how many bytes are free on the file systems of the directories.
func (v *volume) freeNow() (sum int64) {
	for _, dir := range v.disks {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil { // else it is gone, with the cell
			sum += int64(st.Bfree) * st.Bsize
		}
	}
	return sum
}
