package kinetic

import (
	"cmp"
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
	// together is how many processes go on at a time for each processor of the host.
	together = 2
	// lasting is how long it is believed which signals a process handles.
	lasting = time.Second
	// few processes are all asked for signals that stop them, beyond that only those
	// with a terminal: it takes 6 us each.
	few = 16
	// counts is of a window's share the part that a process has to use to be stopped.
	counts = 16
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
	const all = 4
	floor, light := m.credit.share()/counts, time.Duration(0)
	for _, p := range m.table.all {
		if !p.held && p.load <= floor {
			light += p.load
		}
	}
	if light > m.credit.share()/all {
		floor = 0
	}
	for _, p := range m.table.all {
		if !p.held && p.load > floor {
			list = append(list, p)
		}
	}
	return list
}

// watchHeld ends who makes others continue it.
func (m *Meter) watchHeld() {
	for _, p := range m.table.all {
		if p.held && p.settled > 0 && p.clock-p.settled > slack {
			m.evaded(p, m.table.now)
		}
		p.settled = p.clock
	}
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
		_ = p.signal(unix.SIGSTOP) // ESRCH: it has ended
		return
	}
	if p.signal(unix.SIGKILL) == nil {
		m.config.Tell(Event{What: "cpu-evasion", PID: p.pid, Program: wall.ProgramName(p.pid)})
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
		if parent := m.table.find(p.parent); parent != nil {
			if parent.notes = parent.notices(m.table.now); parent.notes || slices.Contains(busy, parent) {
				add(parent)
				parents[parent] = true
			}
		}
		list = append(list, p)
	}
	for _, p := range busy {
		add(p)
	}
	awake := make(map[int]bool) // parents that have not stopped yet: their children go on till the next look
	for _, p := range list {
		if awake[p.parent] {
			p.held, awake[p.pid] = false, true
			continue
		}
		_ = p.signal(unix.SIGSTOP) // ESRCH: it has ended
		if parents[p] && !p.settle() {
			awake[p.pid] = true
		}
	}
}

// notices reports whether a process could see that a child of it is stopped: it waits
// for that, or for the signal, or has a handler that is called.
func (p *process) notices(now time.Duration) bool {
	clock, err := clockOf(p.pid)
	if err == nil && clock == p.looked {
		return p.notes // it has not run since, and is where it was
	}
	p.looked = 0
	if p.update() != nil || p.threads > 1 || p.state == 'R' {
		return true // it may be about to wait
	}
	if p.known == 0 || now-p.known > lasting {
		p.handles, p.known = signals(p.pid, "SigCgt", "SigBlk")>>(unix.SIGCHLD-1)&1 != 0, now
	}
	notes := p.handles || waitsForStops(p.pid)
	p.looked = clock
	return notes
}

// settle waits until a process that was sent SIGSTOP has stopped, and reports whether
// it has: beside many others it may have to wait for a processor to do that.
func (p *process) settle() bool {
	const looks, pause = 100, 50 * time.Microsecond
	for range looks {
		if p.update() != nil || p.state == 'T' || p.state == 'Z' {
			return true
		}
		napFor(pause)
	}
	return false
}

// resume continues who was stopped. If these are many they take turns, so that neither
// the meter nor the rest of the host waits behind all of them.
func (m *Meter) resume() {
	m.held = false
	for _, p := range m.table.all {
		p.load /= 2
	}
	list := m.stopped()
	if len(list) > m.crowd() {
		list = m.turn(list)
	}
	m.goOn(list)
}

// release continues all at once if nothing is limited any more by which they would be
// suspended: nobody would give them their turns.
func (m *Meter) release() {
	if !m.paces() {
		m.held = false
		m.goOn(m.stopped())
	}
}

// stopped is whom we have stopped, parents before children.
func (m *Meter) stopped() []*process {
	return slices.DeleteFunc(slices.Clone(m.table.all), func(p *process) bool { return !p.held })
}

// turn is who of the stopped goes on: who has waited longest, and with a parent that must
// not see a child stopped all its children. They may go on without it.
func (m *Meter) turn(list []*process) []*process {
	chosen := make(map[*process]bool)
	var choose func(p *process)
	choose = func(p *process) {
		if chosen[p] {
			return
		}
		chosen[p] = true
		if !p.notes {
			return
		}
		for _, child := range list {
			if child.parent == p.pid {
				choose(child)
			}
		}
	}
	waited := slices.Clone(list)
	slices.SortStableFunc(waited, func(a, b *process) int { return cmp.Compare(a.went, b.went) })
	for _, p := range waited[:m.crowd()] {
		choose(p)
	}
	return slices.DeleteFunc(list, func(p *process) bool { return !chosen[p] })
}

// goOn continues processes, children before the parents that had stopped before them.
func (m *Meter) goOn(list []*process) {
	for _, p := range slices.Backward(list) {
		stop := unix.Signal(0)
		if p.terminal || len(list) <= few {
			stop = pendingStop(p.pid, !p.again && p.update() == nil && p.state == 'T')
		}
		p.held, p.settled, p.again, p.went = false, 0, false, m.table.now
		if stop == unix.SIGSTOP {
			continue // it stays what somebody else wants it to be
		}
		_ = p.signal(unix.SIGCONT) // ESRCH: it has ended
		if stop != 0 {
			// A key of its terminal, say, which SIGCONT has taken back: it may have a handler.
			_ = p.signal(stop)
		}
	}
}
