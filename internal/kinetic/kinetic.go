// Package kinetic holds a running cell to its budget (SPEC section 5): it finds the
// cell's processes by their mark, measures what they use, and suspends them when a
// window's share is used up. It needs no cgroup, no namespace and no privilege: clocks
// of processes, /proc, and signals by process descriptor.
//
// It never touches a process that does not carry the cell's mark, and never continues
// one that somebody else has stopped.
package kinetic

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// Config says whom a Meter watches over, and what for.
type Config struct {
	Fiber  uint32 // the mark
	Budget capability.Budget
	Tally  *Tally // nil: CPU time is what the cell's processes and their parents say
	// Dirs are the cell's own directories, which its budget of disk space is about, and
	// Alone says that it can write in no others. Empty are directories below them in
	// which the cell can make nothing, as other names cover them.
	Dirs, Empty []string
	Alone       bool
	// Market is a file by which the meters of a root share the processors fairly; empty:
	// there are no others.
	Market string
	// Told: Stir is called before the cell makes a process, each time.
	Told bool
	Tell func(Event) // runs on the meter's thread
}

// Event is something that a meter did and that people should know.
type Event struct {
	// Hidden: the disk cannot be measured.
	Hidden bool
	// What is "cpu-evasion" where a process ran on while it was suspended, and "memory"
	// where the cell had more than its budget, and this process most of it: both are
	// killed. "fibers": this thread was refused another. "disk": nothing more can be
	// written, or, where there is a process, it went on all the same and was killed.
	What        string
	PID         int
	Program     string
	Used, Limit int64 // bytes of memory or on the disk, or processes and threads
}

// Needed reports whether a budget limits anything that a Meter enforces here.
func Needed(b capability.Budget) bool {
	return b.Memory > 0 || b.Disk > 0 || b.Spectrum != "" || paced(b)
}

// paced reports whether a cell is suspended when it has used up what a window brings.
func paced(b capability.Budget) bool { return b.IO > 0 || LimitsCPU(b) }

// LimitsCPU reports whether a budget gives less CPU time than the host has.
func LimitsCPU(b capability.Budget) bool { return b.CPU > 0 && b.CPU < 100*runtime.NumCPU() }

// Meter watches over one cell, on one thread.
type Meter struct {
	config  Config
	table   table
	credit  credit // of CPU time
	flow    credit // of bytes read and written
	memory  ceiling
	disk    volume
	cores   int           // processors of the host
	held    bool          // the cell is suspended
	quiet   int           // for how many steps nobody has run
	whole   time.Duration // when more than the clocks was last looked at
	paused  time.Duration // how long it paused then
	last    time.Duration // when the credit was brought up to date
	spent   time.Duration // of CPU time until then
	audited time.Duration // when what was not seen was last added
	dead    atomic.Int64  // CPU time of processes that the supervisor has reaped, ns
	market  *market       // nil: there is none
	traded  time.Duration // when it was last told anything
	sold    time.Duration // CPU time that the cell had used then
	fair    bool          // it is held to its share
	ready   float64       // how many processes could run, on the average of the last looks
	next    atomic.Pointer[capability.Budget]
	ended   chan struct{}

	alarm   chan os.Signal // somebody has run; nil: it has not dozed yet
	stir    chan struct{}  // it shall look, if it dozes
	deep    time.Duration  // how long it will doze
	dozing  atomic.Bool
	stirs   atomic.Uint32 // how often it was told of processes to be made
	stirred uint32        // of which it knows
	ending  atomic.Bool   // it shall end
	waking  sync.Mutex    // over the next
	wake    int           // eventfd: likewise, if it does not doze; -1: it has ended
}

// New returns a meter for a cell that runs already, or is about to.
func New(c Config) (*Meter, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make the meter's eventfd: %w", err)
	}
	m := &Meter{config: c, cores: runtime.NumCPU(), wake: wake, ended: make(chan struct{}), stir: make(chan struct{}, 1)}
	m.table.fiber, m.table.began, m.table.kept = c.Fiber, time.Now(), keeps()
	m.credit, m.flow = newCredits(c.Budget)
	m.memory = ceiling{limit: c.Budget.Memory, tell: c.Tell}
	m.disk.limit, m.disk.dirs, m.disk.alone, m.disk.tell = c.Budget.Disk, c.Dirs, c.Alone, c.Tell
	m.disk.empty = inodesOf(c.Empty)
	m.disk.on = c.Budget.Disk > 0
	m.disk.left.Store(c.Budget.Disk)
	return m, nil
}

// Change has the meter hold the cell to another budget from its next step on. It is safe
// for concurrent use.
func (m *Meter) Change(b capability.Budget) {
	m.next.Store(&b)
	m.rouse()
}

func (m *Meter) adopt(b capability.Budget) {
	m.config.Budget = b
	left, flow := m.credit.left, m.flow.left
	m.credit, m.flow = newCredits(b)
	m.credit.left, m.flow.left = min(m.credit.left, left), min(m.flow.left, flow)
	m.memory.limit = b.Memory
	if m.disk.on && b.Disk > 0 {
		m.disk.limit, m.disk.took = b.Disk, 0 // it must be looked at again
	}
	m.release()
}

// Reaped tells the meter what a process of the cell has used that the supervisor
// waited for: itself and the children that it had waited for. It is safe for
// concurrent use.
func (m *Meter) Reaped(u *unix.Rusage) { m.dead.Add(u.Utime.Nano() + u.Stime.Nano()) }

// Run watches until Stop is called.
func (m *Meter) Run() {
	runtime.LockOSThread()         // what it waits for must not be another goroutine's turn
	defer runtime.UnlockOSThread() // a thread that ends would end what it has forked (wall.Spawner)
	defer close(m.ended)
	beQuick()
	hearNoStops()
	defer func() {
		m.table.close() // before, as its timers send what alarm hears
		if m.alarm != nil {
			signal.Stop(m.alarm)
		}
	}()
	if m.config.Market != "" {
		// Without one the cell is held to its own budget alone.
		if m.market, _ = openMarket(m.config.Market); m.market != nil {
			defer m.market.close()
		}
	}
	m.table.look()
	m.table.read()
	m.last, m.spent = m.table.now, m.used()
	for {
		pause, end := m.step(), false
		if m.tired() {
			end = m.doze()
		} else {
			end = m.sleep(pause)
		}
		if end {
			m.goOn(m.stopped()) // what is left may want to end in order
			return
		}
	}
}

// Stop ends Run, which continues all that it has suspended, and waits for that.
func (m *Meter) Stop() {
	m.ending.Store(true)
	m.rouse()
	<-m.ended
	m.waking.Lock()
	defer m.waking.Unlock()
	unix.Close(m.wake)
	m.wake = -1
}

// rouse ends a wait of the meter.
func (m *Meter) rouse() {
	select {
	case m.stir <- struct{}{}:
	default: // it knows
	}
	m.waking.Lock()
	defer m.waking.Unlock()
	if m.wake >= 0 {
		_, _ = unix.Write(m.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // an eventfd takes that
	}
}

// sleep waits, and reports whether the meter shall end.
func (m *Meter) sleep(d time.Duration) (end bool) {
	fds := [1]unix.PollFd{{Fd: int32(m.wake), Events: unix.POLLIN}}
	return pollFor(&fds[0], d) > 0 && m.roused()
}

// roused takes note that somebody ended a wait, and reports whether the meter shall end.
func (m *Meter) roused() (end bool) {
	var b [8]byte
	_, _ = unix.Read(m.wake, b[:]) // EAGAIN: it was none
	return m.ending.Load()
}

// Bounds of a step's pause. Idle is for a cell that uses nothing; what it uses in that
// time before anybody looks it pays back.
const (
	shortest = 500 * time.Microsecond
	watch    = 8 * time.Millisecond // while the cell is suspended
	idle     = 20 * time.Millisecond
)

// step looks for new processes, has each limit kept, and says when to look again.
//
// Where nobody has run since the last step, nothing has changed, and nobody is there who
// was not: one reading of the clocks is all. But for the first times, as numbers of
// processes are tried twice, and now and then.
func (m *Meter) step() (pause time.Duration) {
	if b := m.next.Swap(nil); b != nil {
		m.adopt(*b)
		m.awake()
	}
	ran := m.table.read()
	if ran || m.held || m.disk.full.Load() || len(m.stopped()) > 0 {
		m.awake()
	} else {
		m.quiet++
	}
	const twice = 2
	if m.quiet > twice && m.table.now-m.whole <= rescan {
		return m.paused
	}
	m.whole = m.table.now
	defer func() { m.paused = pause }()
	if ran || !m.held { // who makes processes runs
		if before := len(m.table.all); m.table.look() > before {
			m.awake()
		}
	}
	m.watchHeld()
	pause = idle
	m.trade(m.table.now)
	if m.credit.percent > 0 || m.flow.percent > 0 {
		pause = m.pace(ran)
	} else if m.market != nil && m.takeTurns() {
		pause = tradeTime / 5
	}
	if m.memory.limit > 0 {
		pause = min(pause, m.watchMemory())
	}
	if m.disk.limit > 0 {
		pause = min(pause, m.watchDisk())
	}
	return pause
}

// pace brings the books of CPU time up to date, suspends or resumes.
//
// The clocks of processes are read each time, the tally once a window, and if it can be
// while the cell is suspended: a count that is running must be fetched from the other
// processor.
func (m *Meter) pace(ran bool) time.Duration {
	now := m.table.now
	passed := now - m.last
	m.last = now
	m.credit.pass(passed, m.unpaid(m.table.spent))
	if rate := m.config.Budget.IO; rate > 0 {
		m.flow.pass(passed, time.Duration(float64(m.table.flowed())/float64(rate)*float64(time.Second)))
	}
	if m.held {
		m.stop(m.busy())
		if m.full() {
			m.audit(now)
		}
		if !m.full() {
			return min(m.wait(), watch)
		}
		m.resume()
		return m.runFor(m.cores)
	}
	left := m.credit.some() && m.flow.some()
	if left && now-m.audited > m.credit.window {
		left = m.audit(now)
	}
	switch {
	case !left:
		m.suspend()
		return min(m.wait(), watch)
	case !ran && len(m.stopped()) > 0: // whose turn it is waits for others
		m.resume()
		return nearest
	case !ran && m.flow.percent > 0:
		return idle / 4 // a disk's cache takes much in that time
	case !ran:
		return idle
	}
	// As many processors as before, and what was begun of another.
	return m.runFor(int((m.table.passed + passed - 1) / max(passed, 1)))
}

// audit charges what nobody has seen run, and reports whether anything is left.
func (m *Meter) audit(now time.Duration) (left bool) {
	m.audited = now
	m.credit.pass(0, m.unpaid(m.used()))
	return m.credit.some() && m.flow.some()
}

// full reports whether a whole window's share of everything is there.
func (m *Meter) full() bool { return m.credit.full() && m.flow.full() }

// wait is how long it takes to have that.
func (m *Meter) wait() time.Duration { return max(m.credit.wait(), m.flow.wait()) }

// unpaid is how much of what the cell has spent in all has not been charged.
func (m *Meter) unpaid(spent time.Duration) time.Duration {
	used := max(0, spent-m.spent)
	m.spent += used
	return used
}

// runFor is how long what is left lasts if so many processors work for the cell.
func (m *Meter) runFor(processors int) time.Duration {
	processors = min(max(processors, 1), m.cores)
	if m.credit.percent == 0 {
		return shortest // who reads and writes is quick
	}
	if m.flow.percent > 0 {
		return min(max(m.credit.left/time.Duration(processors), shortest), 4*shortest)
	}
	return min(max(m.credit.left/time.Duration(processors), shortest), m.credit.window)
}

// used is the CPU time that the cell has used in all.
func (m *Meter) used() time.Duration {
	sum := m.table.spent
	if m.config.Tally != nil {
		if t, err := m.config.Tally.Read(); err == nil {
			sum = max(sum, t)
		}
		return sum
	}
	return max(sum, m.table.inherited(time.Duration(m.dead.Load())))
}
