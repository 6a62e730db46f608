package kinetic

import (
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// process is one that carries the cell's mark.
type process struct {
	pid    int
	pidfd  int
	stat   int           // /proc/<pid>/stat
	status               // as last read
	statm  int           // /proc/<pid>/statm
	clock  time.Duration // its CPU time when it was last read
	passed time.Duration // of which since the reading before
	load   time.Duration // what it has used in this window, half of that in the last, and so on

	handles  bool          // SIGCHLD means something to it, as far as it was known
	known    time.Duration // when
	resident int64         // bytes that it has in memory, or those that count, as they were last read
	data     int64         // bytes that it could write to
	lease    int64         // how many it may have of these
	killed   bool

	held     bool          // we have stopped it
	went     time.Duration // when it was last continued
	notes    bool          // it could have seen a child stopped when it was last looked at
	again    bool          // more than once
	settled  time.Duration // its clock when it had stopped
	evasions int           // how often it ran although it was stopped
	evaded   time.Duration // when the first of these was
}

// table is the cell's processes, parents before the children that they had when they
// were found.
type table struct {
	fiber  uint32
	began  time.Time
	now    time.Duration // since then, at the last reading: the time that all here means
	all    []*process
	load   int           // /proc/loadavg, 0: not open
	newest int           // the number that the host had given out last at the last look
	passed time.Duration // what they used between the last two readings
	spent  time.Duration // what the processes in the table, and those that were, have been seen to use

	finished time.Duration // largest sum of what living processes and their waited children used
	inherits time.Duration // when that was summed up
}

// look finds processes that have come since the last look. Numbers are given out in
// turn, so that the new ones are above the newest of then, but for the time when
// numbers begin anew.
func (t *table) look() {
	if t.load == 0 {
		fd, err := unix.Open("/proc/loadavg", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.scan()
			return
		}
		t.load = fd
	}
	newest := Newest(t.load)
	switch {
	case newest == t.newest && newest > 0:
		return
	case t.newest == 0 || newest < t.newest || newest-t.newest > farApart:
		t.scan()
	default:
		for pid := t.newest + 1; pid <= newest; pid++ {
			t.add(pid)
		}
	}
	t.newest = newest
}

// farApart is from how many numbers on reading /proc is quicker than trying each.
const farApart = 2000

// scan looks at all processes.
func (t *table) scan() {
	_ = EachProcess(func(pid int) { t.add(pid) }) // without /proc there is nothing to find
}

// add takes in a process that carries the mark.
func (t *table) add(pid int) {
	if f, ok := wall.MarkOf(pid); !ok || f != t.fiber || slices.ContainsFunc(t.all, func(p *process) bool { return p.pid == pid }) {
		return
	}
	p := &process{pid: pid}
	var err error
	if p.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		return // a thread's number, or gone
	}
	if p.stat, err = unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		unix.Close(p.pidfd)
		return
	}
	if p.statm, err = unix.Open("/proc/"+strconv.Itoa(pid)+"/statm", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		unix.Close(p.stat)
		unix.Close(p.pidfd)
		return
	}
	// The descriptors are those of whom we asked about.
	if f, ok := wall.MarkOf(pid); !ok || f != t.fiber || p.update() != nil {
		p.close()
		return
	}
	t.all = append(t.all, p)
}

// update reads what /proc says of the process.
func (p *process) update() (err error) {
	p.status, err = statusOf(p.stat)
	return err
}

func (p *process) close() {
	unix.Close(p.statm)
	unix.Close(p.stat)
	unix.Close(p.pidfd)
}

// read reads the clocks and forgets who has ended. It reports whether anybody ran.
func (t *table) read() (ran bool) {
	t.now = time.Since(t.began)
	before := t.spent
	t.all = slices.DeleteFunc(t.all, func(p *process) bool {
		clock, err := clockOf(p.pid)
		if err != nil || clock < p.clock { // it has gone, or its number is another's
			p.close()
			return true
		}
		p.passed, p.clock = clock-p.clock, clock
		p.load += p.passed
		t.spent += p.passed
		if p.passed > 0 {
			ran = true
		}
		return false
	})
	t.passed = t.spent - before
	return ran
}

// inherited is the CPU time of the living and of all for whom they, or the supervisor
// (reaped), have waited. Who ends unwaited for takes his time along.
func (t *table) inherited(reaped time.Duration) time.Duration {
	const often = 20 * time.Millisecond
	if t.now-t.inherits < often {
		return t.finished
	}
	t.inherits = t.now
	sum := reaped
	for _, p := range t.all {
		if p.update() == nil {
			sum += p.clock + p.children
		}
	}
	t.finished = max(t.finished, sum)
	return t.finished
}

func (t *table) find(pid int) *process {
	if i := slices.IndexFunc(t.all, func(p *process) bool { return p.pid == pid }); i >= 0 {
		return t.all[i]
	}
	return nil
}

func (t *table) close() {
	for _, p := range t.all {
		p.close()
	}
	t.all = nil
	if t.load != 0 {
		unix.Close(t.load)
	}
}
