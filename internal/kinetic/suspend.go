package kinetic

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// A cell is suspended by SIGSTOP, so that it costs nothing, and only as far as it has
// to be: who uses CPU time, and whose children do, since a parent that waits would see
// its child stopped. Parents are stopped before their children and continued after
// them: when they look, it is as if nothing had happened (waitpid(2): a stop is
// reported until the process is continued).

const (
	// lasting is how long it is believed which signals a process handles.
	lasting = time.Second
	// few processes are all asked for signals that stop them, beyond that only those
	// with a terminal: it takes 6 us each.
	few = 16
	// slack is what a process may still use while it is being stopped.
	slack = 300 * time.Microsecond
	// evasions within evasionTime make a process one that has itself continued.
	evasions    = 30
	evasionTime = 3 * time.Second
)

// suspend stops who uses CPU time.
func (m *Meter) suspend() {
	m.held = true
	m.stop(m.busy())
}

// busy is who is not stopped and uses CPU time that counts: a sixteenth of what a
// window brings, or, where so many use less that together it counts, anything.
func (m *Meter) busy() (list []*process) {
	const counts, together = 16, 4
	floor, light := m.credit.share()/counts, time.Duration(0)
	for _, p := range m.table.all {
		if !p.held && p.load <= floor {
			light += p.load
		}
	}
	if light > m.credit.share()/together {
		floor = 0
	}
	for _, p := range m.table.all {
		if !p.held && p.load > floor {
			list = append(list, p)
		}
	}
	return list
}

// again stops who has run since, and ends who makes others continue it.
func (m *Meter) again() {
	for _, p := range m.table.all {
		if p.held && p.settled > 0 && p.clock-p.settled > slack {
			m.evaded(p, m.table.now)
		}
		p.settled = p.clock
	}
	m.stop(m.busy())
}

// evaded stops a process once more that ran although it was stopped: whoever has the
// right to signal it may have continued it, once. Again and again it is a program that
// evades its budget, and is ended.
func (m *Meter) evaded(p *process, now time.Duration) {
	if now-p.evaded > evasionTime {
		p.evaded, p.evasions = now, 0
	}
	if p.evasions++; p.evasions < evasions {
		p.again = true
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGSTOP, nil, 0) // ESRCH: it has ended
		return
	}
	if unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0) == nil {
		m.config.Tell(Event{"cpu-evasion", p.pid, wall.ProgramName(p.pid)})
	}
	p.evasions = 0
}

// stop stops processes, and before them those of the cell that would notice.
func (m *Meter) stop(busy []*process) {
	var list []*process // children behind their parents
	parents := make(map[*process]bool)
	var add func(p *process)
	add = func(p *process) {
		if p.held || p.update() != nil || p.state == 'T' {
			return // gone, or stopped by others; 'Z' says nothing of threads that are left
		}
		p.held, p.settled = true, 0 // before its parent is looked at: numbers of parents may lead in a circle
		if parent := m.table.find(p.parent); parent != nil && (slices.Contains(busy, parent) || parent.notices(m.table.now)) {
			add(parent)
			parents[parent] = true
		}
		list = append(list, p)
	}
	for _, p := range busy {
		add(p)
	}
	for _, p := range list {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGSTOP, nil, 0) // ESRCH: it has ended
		if parents[p] {
			p.settle()
		}
	}
}

// notices reports whether a process could see that a child of it is stopped: it waits
// for one, or for the signal, or has a handler that is called.
func (p *process) notices(now time.Duration) bool {
	if p.update() != nil || p.state == 'R' || p.threads > 1 {
		return true
	}
	if p.known == 0 || now-p.known > lasting {
		p.handles, p.known = signals(p.pid, "SigCgt", "SigBlk")>>(unix.SIGCHLD-1)&1 != 0, now
	}
	return p.handles || waitsForChildren(p.pid)
}

// settle waits until a process that was sent SIGSTOP has stopped, or is not about to.
func (p *process) settle() {
	const looks, pause = 20, 30 * time.Microsecond
	for range looks {
		if p.update() != nil || p.state == 'T' || p.state == 'Z' {
			return
		}
		napFor(pause)
	}
}

// resume continues who was stopped, children before the parents that had stopped
// before them.
func (m *Meter) resume() {
	m.held = false
	for _, p := range m.table.all {
		p.load /= 2
	}
	list := slices.DeleteFunc(slices.Clone(m.table.all), func(p *process) bool { return !p.held })
	for _, p := range slices.Backward(list) {
		stop := unix.Signal(0)
		if p.terminal || len(list) <= few {
			stop = pendingStop(p.pid, !p.again && p.update() == nil && p.state == 'T')
		}
		p.held, p.settled, p.again = false, 0, false
		if stop == unix.SIGSTOP {
			continue // it stays what somebody else wants it to be
		}
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGCONT, nil, 0) // ESRCH: it has ended
		if stop != 0 {
			// A key of its terminal, say, which SIGCONT has taken back: it may have a handler.
			_ = unix.PidfdSendSignal(p.pidfd, stop, nil, 0)
		}
	}
}
