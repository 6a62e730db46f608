package kinetic

import (
	"os"
	"os/signal"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A meter whose cell does nothing dozes: it looks no more, but has the kernel wake it
// when a process of the cell has run (timer_create(2) on the clock of that process,
// which takes no privilege). The kernel looks at these timers at its ticks, so that who
// runs for less, and never when there is a tick, is met only by the looks that are left,
// the rarer the longer nothing happens. What he has used until then he pays back.
//
// A process that is made while the meter dozes has no timer. Where the supervisor is told
// of forks, that wakes it (Stir); else it dozes more lightly.
const (
	// drowsy is after how many steps of quiet the meter dozes.
	drowsy = 10
	// A doze lasts for the first of these, the next one for four times as long, and so on,
	// up to the second, or the third where forks are not told of.
	shortestDoze = time.Second
	longestDoze  = 10 * time.Second
	lightDoze    = 4 * time.Second
	// longestBlind is after how long the meter looks at everything all the same.
	longestBlind = time.Minute
	// wakeful is how long a process has to have run to wake the meter.
	wakeful = time.Millisecond
	// mostAlarms is of how many processes clocks are watched: each is a signal that the
	// user could have pending (RLIMIT_SIGPENDING).
	mostAlarms = 256
	// alarmSignal is what the kernel sends.
	alarmSignal = unix.Signal(42)
)

// watch has alarmSignal sent to the supervisor when the process has run for a while from
// now on.
func (p *process) watch() error {
	if !p.timed {
		var err error
		if p.timer, err = clockTimer(p.pid); err != nil {
			return err
		}
		p.timed = true
	}
	return setTimer(p.timer, wakeful)
}

// clockTimer makes a timer that sends alarmSignal to the caller, by the clock of a process
// (timer_create(2), which package unix does not have).
func clockTimer(pid int) (timer int32, err error) {
	const processes = 0 // SIGEV_SIGNAL, asm-generic/siginfo.h
	event := struct {   // struct sigevent, 64 bytes
		value          uint64
		signal, notify int32
		_              [12]int32
	}{signal: int32(alarmSignal), notify: processes}
	_, _, errno := unix.RawSyscall(unix.SYS_TIMER_CREATE, processClock(pid), uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&timer)))
	if errno != 0 {
		return 0, errno
	}
	return timer, nil
}

// setTimer has it expire once, so much later.
func setTimer(timer int32, d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if _, _, errno := unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(timer), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0); errno != 0 {
		return errno // ESRCH: the process is gone
	}
	return nil
}

func deleteTimer(timer int32) {
	_, _, _ = unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(timer), 0, 0) // it was made
}

// Stir wakes a meter that dozes: a process is about to be made. It is safe for concurrent
// use, and quick where the meter is awake.
func (m *Meter) Stir() {
	m.stirs.Add(1)
	if m.dozing.Load() {
		m.rouse()
	}
}

// awake has the meter look often again.
func (m *Meter) awake() { m.quiet, m.deep = 0, shortestDoze }

// tired reports whether the meter may doze.
func (m *Meter) tired() bool { return m.quiet > drowsy && len(m.table.all) <= mostAlarms }

// deepest is how long a doze may last. CPU time can be paid back; memory and disk space
// that a child takes, of which nobody tells, are gone.
func (m *Meter) deepest() time.Duration {
	switch {
	case m.config.Told:
		return longestDoze
	case m.memory.limit == 0 && m.disk.limit == 0:
		return lightDoze
	}
	return idle
}

// blind is for how long the meter may look at clocks alone: who makes a process runs.
func (m *Meter) blind() time.Duration {
	if m.config.Told {
		return longestBlind
	}
	return max(rescan, m.deepest())
}

// doze waits until somebody runs, or for long, and reports whether the meter shall end.
// It waits as Go's scheduler likes best: a thread that waits in the kernel would be looked
// after for 10 ms, each time.
func (m *Meter) doze() (end bool) {
	if m.alarm == nil {
		m.alarm = make(chan os.Signal, 1)
		signal.Notify(m.alarm, alarmSignal)
	}
	m.dozing.Store(true)
	defer m.dozing.Store(false)
	forget(m.alarm)
	forget(m.stir)
	// From here on what is not seen rouses it.
	if m.stirs.Load() != m.stirred || m.next.Load() != nil || m.ending.Load() {
		m.awake()
		return m.sleep(shortest)
	}
	for _, p := range m.table.all {
		if p.watch() != nil { // it is gone, or there are no more timers
			m.awake()
			return m.sleep(idle)
		}
	}
	m.pulse.Load().rest()
	for !m.table.read() {
		if m.table.now-m.whole > m.blind() {
			return m.ending.Load() // for a look at everything, and to doze again
		}
		late := time.NewTimer(min(m.deep, m.deepest()))
		m.deep = min(4*m.deep, longestDoze)
		select {
		case <-late.C:
			continue
		case <-m.alarm:
		case <-m.stir:
		}
		late.Stop()
		break
	}
	m.awake()
	return m.ending.Load()
}

// forget drops what a channel has to tell.
func forget[T any](c chan T) {
	select {
	case <-c:
	default:
	}
}
