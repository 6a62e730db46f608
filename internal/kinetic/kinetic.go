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
func paced(b capability.Budget) bool { return b.IO > 0 || b.Energy > 0 || LimitsCPU(b) }

// CountsCPU reports whether all of a cell's CPU time must be counted (Tally).
func CountsCPU(b capability.Budget) bool { return b.Energy > 0 || LimitsCPU(b) }

// LimitsCPU reports whether a budget gives less CPU time than the host has.
func LimitsCPU(b capability.Budget) bool { return b.CPU > 0 && b.CPU < 100*runtime.NumCPU() }

// Meter watches over one cell, on one thread.
type Meter struct {
	config Config
	table  table
	credit credit // of CPU time
	flow   credit // of bytes read and written
	power  credit // of energy
	drawn  drawn
	memory ceiling
	near   bool // half of it is used
	disk   volume
	// When to look at these again.
	memoryAt, diskAt time.Duration
	grew             time.Duration // when processes were last found
	cores            int           // processors of the host
	held             bool          // the cell is suspended
	quiet            int           // for how many steps nobody has run
	whole            time.Duration // when more than the clocks was last looked at
	paused           time.Duration // how long it paused then
	last             time.Duration // when the credit was brought up to date
	spent            time.Duration // of CPU time until then, by the processes that are known
	unseen           time.Duration // and by others, as far as that was charged
	audited          time.Duration // when what was not seen was last added
	dead             atomic.Int64  // CPU time of processes that the supervisor has reaped, ns
	market           *market       // nil: there is none
	traded           time.Duration // when it was last told anything
	sold             time.Duration // CPU time that the cell had used then
	fair             bool          // it is held to its share
	ready            float64       // how many processes could run, on the average of the last looks
	next             atomic.Pointer[capability.Budget]
	ended            chan struct{}

	alarm   chan os.Signal        // somebody has run; nil: it has not dozed yet
	pulse   atomic.Pointer[Pulse] // nil: nobody watches
	stir    chan struct{}         // it shall look, if it dozes
	deep    time.Duration         // how long it will doze
	dozing  atomic.Bool
	stirs   atomic.Uint32 // how often it was told of processes to be made
	stirred uint32        // of which it knows
	told    time.Duration // when it knew the last of these
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
	m := &Meter{config: c, cores: runtime.NumCPU(), wake: wake, ended: make(chan struct{}), stir: make(chan struct{}, 1), deep: shortestDoze}
	m.table.fiber, m.table.began, m.table.kept = c.Fiber, time.Now(), keeps()
	m.credit, m.flow, m.power = newCredits(c.Budget)
	m.memory = ceiling{limit: c.Budget.Memory, tell: c.Tell}
	m.disk.limit, m.disk.dirs, m.disk.alone, m.disk.tell = c.Budget.Disk, c.Dirs, c.Alone, c.Tell
	m.disk.empty, m.disk.disks = inodesOf(c.Empty), onePerDisk(c.Dirs)
	m.disk.on = c.Budget.Disk > 0
	m.disk.left.Store(c.Budget.Disk)
	return m, nil
}

// Show has the meter beat from its next step on, for who watches over it. It is safe for
// concurrent use.
func (m *Meter) Show(p *Pulse) {
	m.pulse.Store(p)
	m.rouse()
}

// Change has the meter hold the cell to another budget from its next step on. It is safe
// for concurrent use.
func (m *Meter) Change(b capability.Budget) {
	m.next.Store(&b)
	m.rouse()
}

func (m *Meter) adopt(b capability.Budget) {
	m.config.Budget = b
	left, flow, power := m.credit.left, m.flow.left, m.power.left
	m.credit, m.flow, m.power = newCredits(b)
	m.credit.left, m.flow.left, m.power.left = min(m.credit.left, left), min(m.flow.left, flow), min(m.power.left, power)
	m.memory.limit, m.memoryAt, m.diskAt = b.Memory, 0, 0
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
	m.last, m.spent, m.unseen = m.table.now, m.table.spent, m.others()
	defer func() { m.pulse.Load().rest() }()
	for {
		m.pulse.Load().wake()
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
	watch    = 16 * time.Millisecond // while the cell is suspended
	idle     = 20 * time.Millisecond
	shortly  = 3 * time.Millisecond  // after others have come
	young    = 50 * time.Millisecond // a cell is, so long, one that others may come to
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
	if m.mayHaveMade(ran) {
		before := len(m.table.all)
		if m.table.look(); len(m.table.all) > before {
			m.awake()
			m.memoryAt, m.diskAt, m.grew = 0, 0, m.table.now
		}
	}
	m.watchHeld()
	pause = idle
	m.trade(m.table.now)
	if m.paces() {
		pause = m.pace(ran)
	} else if m.market != nil && m.takeTurns() {
		pause = tradeTime / 5
	}
	due := idle
	if m.table.now-m.grew < shortly || m.table.now < young {
		due = shortly // there may be more of them at any time
	}
	if m.memory.limit > 0 {
		due = min(due, m.whenDue(&m.memoryAt, m.watchMemory))
	}
	if m.disk.limit > 0 {
		due = min(due, m.whenDue(&m.diskAt, m.watchDisk))
	}
	if m.held {
		return pause // who still runs has little time to grow in
	}
	return min(pause, due)
}

// whenDue looks, if the time has come that the last look has named, or almost, and returns
// how long it is until the next.
func (m *Meter) whenDue(at *time.Duration, look func() time.Duration) time.Duration {
	const almost = 3 * time.Millisecond // it would be a pity to wake up for that
	if m.table.now+almost >= *at {
		pause := look()
		*at = m.table.now + pause
	}
	return *at - m.table.now
}

// mayHaveMade reports whether the cell may have made processes since somebody looked for
// them: who does that runs, and where the meter is told, it knows. A number may be found
// only some time after that.
func (m *Meter) mayHaveMade(ran bool) bool {
	if m.held && !ran {
		return false
	}
	const late = 50 * time.Millisecond
	if stirs := m.stirs.Load(); stirs != m.stirred {
		m.stirred, m.told = stirs, m.table.now
	}
	return !m.config.Told || m.table.now-m.told <= late || m.table.now-m.table.scanned > rescan
}
