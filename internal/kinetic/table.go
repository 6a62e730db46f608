package kinetic

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// process is one that carries the cell's mark.
type process struct {
	pid    int
	fiber  uint32
	kept   bool          // the next three stay open
	pidfd  int           // -1: it is not open, nor the next two
	stat   int           // /proc/<pid>/stat
	status               // as last read
	statm  int           // /proc/<pid>/statm
	clock  time.Duration // its CPU time when it was last read
	passed time.Duration // of which since the reading before
	load   time.Duration // what it has used in this window, half of that in the last, and so on

	handles  bool          // SIGCHLD means something to it, as far as it was known
	known    time.Duration // when
	resident int64         // bytes that it has in memory, as they were last read
	own      int64         // and those that count
	counted  time.Duration // when those were read
	counting time.Duration // its clock then
	data     int64         // bytes that it could write to
	lease    int64         // how many it may have of these
	killed   bool
	timer    int32 // that wakes the meter, if it is timed
	timed    bool
	written  int64   // bytes that it had written when the disk was last looked at
	short    bool    // the length of its files is limited
	flow     traffic // what it had read and written when that was last asked
	asked    time.Duration
	owed     traffic       // what children had, that are gone, and that it may have inherited
	since    time.Duration // when that was last more

	held     bool          // we have stopped it
	went     time.Duration // when it was last continued
	notes    bool          // it could have seen a child stopped when it was last looked at
	looked   time.Duration // its clock then, where it cannot have changed without that
	again    bool          // more than once
	settled  time.Duration // its clock when it had stopped
	evasions int           // how often it ran although it was stopped
	evaded   time.Duration // when the first of these was
}

// table is the cell's processes, parents before the children that they had when they
// were found.
type table struct {
	kept    int // of how many processes descriptors are kept
	fiber   uint32
	began   time.Time
	now     time.Duration // since then, at the last reading: the time that all here means
	all     []*process
	load    int           // /proc/loadavg, 0: not open
	newest  int           // the number that the host had given out last at the last look
	tried   int           // and at the one before: up to there all were tried twice
	scanned time.Duration // when all processes were last looked at
	passed  time.Duration // what they used between the last two readings
	lost    int           // how many processes have gone
	met     int           // how many were found
	spent   time.Duration // what the processes in the table, and those that were, have been seen to use

	finished time.Duration // largest sum of what living processes and their waited children used
	inherits time.Duration // when that was summed up
}

// look finds processes that have come since the last look. Numbers are given out in
// turn, so that the new ones are above the newest of then, but for the time when
// numbers begin anew. A number is given out before its process can be found, so that
// each is tried at two looks; and whatever happens in between, all are tried now and
// then.
func (t *table) look() {
	newest := 0
	if t.load == 0 {
		if fd, err := unix.Open("/proc/loadavg", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			t.load = fd
		}
	}
	if t.load != 0 {
		newest = wall.NewestProcess(t.load)
	}
	switch {
	case newest == 0 || newest < t.tried || newest-t.tried > farApart || t.now-t.scanned > rescan:
		t.scan()
		t.scanned = t.now
	default:
		for pid := t.tried + 1; pid <= newest; pid++ {
			t.add(pid)
		}
	}
	t.tried, t.newest = t.newest, newest
}

// rescan is how often all processes are looked at.
const rescan = time.Second

// farApart is from how many numbers on reading /proc is quicker than trying each.
const farApart = 2000

// scan looks at all processes.
func (t *table) scan() {
	_ = wall.EachProcess(t.add) // without /proc there is nothing to find
}

// add takes in a process that carries the mark.
func (t *table) add(pid int) {
	if f, ok := wall.MarkOf(pid); !ok || f != t.fiber || slices.ContainsFunc(t.all, func(p *process) bool { return p.pid == pid }) {
		return
	}
	p := &process{pid: pid, fiber: t.fiber, pidfd: -1, stat: -1, statm: -1}
	p.load = 1 // who is new runs
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // a thread's number, or gone
	}
	// The descriptor is of whom we asked about.
	if f, ok := wall.MarkOf(pid); !ok || f != t.fiber {
		unix.Close(fd)
		return
	}
	if p.kept = len(t.all) < t.kept; p.kept {
		p.pidfd = fd
	} else {
		unix.Close(fd)
	}
	t.all = append(t.all, p)
	t.met++
}

// keeps is of how many processes descriptors are kept, three of each, so that they are
// at most three eighths of those that the supervisor may have. Those of others are
// opened for each use.
func keeps() int {
	const most, part = 200, 8
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return int(min(most, l.Cur/part))
}

func (p *process) close() {
	for _, fd := range []*int{&p.statm, &p.stat, &p.pidfd} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// end gives up all that belongs to a process that is no longer in the table.
func (p *process) end() {
	p.close()
	if p.timed {
		deleteTimer(p.timer)
		p.timed = false
	}
}

// using opens what is not open yet, for which the process must still be one of the cell's,
// and closes it after use if it is not kept.
func (p *process) using(fd *int, open func() (int, error), use func(fd int) error) error {
	if *fd >= 0 {
		return use(*fd)
	}
	opened, err := open()
	if err != nil {
		return err
	}
	if fiber, ok := wall.MarkOf(p.pid); !ok || fiber != p.fiber {
		unix.Close(opened)
		return unix.ESRCH
	}
	if p.kept {
		*fd = opened
	} else {
		defer unix.Close(opened)
	}
	return use(opened)
}

// reading uses an open file of /proc/<pid>.
func (p *process) reading(fd *int, name string, use func(fd int) error) error {
	return p.using(fd, func() (int, error) { return openOf(p.pid, name) }, use)
}

// handling uses the process's descriptor (pidfd_open(2)).
func (p *process) handling(use func(fd int) error) error {
	return p.using(&p.pidfd, func() (int, error) { return unix.PidfdOpen(p.pid, 0) }, use)
}

// update reads what /proc says of the process.
func (p *process) update() error {
	return p.reading(&p.stat, "stat", func(fd int) (err error) {
		p.status, err = statusOf(fd)
		return err
	})
}

// measure reads how much memory the process has; nothing if it is gone.
func (p *process) measure() {
	p.resident, p.data = 0, 0
	_ = p.reading(&p.statm, "statm", func(fd int) error {
		p.resident, p.data = memoryOf(fd)
		return nil
	})
}

// awaitEnd waits for a process that was killed, for a moment.
func (p *process) awaitEnd() {
	const moment = 20 * time.Millisecond
	_ = p.handling(func(fd int) error {
		pollFor(&unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}, moment)
		return nil
	}) // it is gone
}

// signal sends the process a signal. ESRCH: it has ended.
func (p *process) signal(s unix.Signal) error {
	return p.handling(func(fd int) error { return unix.PidfdSendSignal(fd, s, nil, 0) })
}

// read reads the clocks and forgets who has ended. It reports whether anybody ran.
func (t *table) read() (ran bool) {
	t.now = time.Since(t.began)
	before := t.spent
	t.all = slices.DeleteFunc(t.all, func(p *process) bool {
		clock, err := clockOf(p.pid)
		if err != nil || clock < p.clock { // it has gone, or its number is another's
			p.end()
			t.lost++
			t.bequeath(p)
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

// traffic is how many bytes were read from disks, and made dirty for them.
type traffic struct{ read, written int64 }

func (a traffic) plus(b traffic) traffic  { return traffic{a.read + b.read, a.written + b.written} }
func (a traffic) minus(b traffic) traffic { return traffic{a.read - b.read, a.written - b.written} }
func (a traffic) max(b traffic) traffic {
	return traffic{max(a.read, b.read), max(a.written, b.written)}
}
func (a traffic) min(b traffic) traffic {
	return traffic{min(a.read, b.read), min(a.written, b.written)}
}

// flowed is how much the processes that ran have read from disks, and written for them,
// since they were last asked. What a process has inherited from a child that it has
// waited for (proc_pid_io(5)) was the child's already.
func (t *table) flowed() (sum traffic) {
	const late = 200 * time.Millisecond
	for _, p := range t.all {
		if p.asked > 0 && p.passed == 0 && p.asked+late > t.now {
			continue // it cannot have
		}
		if p.parent == 0 {
			_ = p.update() // for who inherits from it; it is gone, otherwise
		}
		p.asked = t.now
		flow := trafficOf(p.pid)
		more := flow.minus(p.flow).max(traffic{})
		p.flow = p.flow.max(flow)
		inherited := more.min(p.owed)
		if p.owed = p.owed.minus(inherited); t.now-p.since > late {
			p.owed = traffic{} // it has not waited
		}
		sum = sum.plus(more.minus(inherited))
	}
	return sum
}

// bequeath notes what the parent of a process that is gone may inherit.
func (t *table) bequeath(gone *process) {
	if parent := t.find(gone.parent); parent != nil && gone.flow != (traffic{}) {
		parent.owed, parent.since = parent.owed.plus(gone.flow), t.now
	}
}

func (t *table) find(pid int) *process {
	if i := slices.IndexFunc(t.all, func(p *process) bool { return p.pid == pid }); i >= 0 {
		return t.all[i]
	}
	return nil
}

func (t *table) close() {
	for _, p := range t.all {
		p.end()
	}
	t.all = nil
	if t.load != 0 {
		unix.Close(t.load)
	}
}
