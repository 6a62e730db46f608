package kinetic

import "time"

// pace brings the books of CPU time up to date, suspends or resumes.
//
// The clocks of processes are read each time, the tally once a window, and if it can be
// while the cell is suspended: a count that is running must be fetched from the other
// processor.
func (m *Meter) pace(ran bool) time.Duration {
	now := m.table.now
	passed := now - m.last
	m.last = now
	used := m.table.spent - m.spent
	m.spent = m.table.spent
	m.credit.pass(passed, used)
	m.passFlow(passed, used)
	if m.held {
		m.stop(m.busy())
		if m.full() {
			m.audit(now)
		}
		if !m.full() {
			return min(m.wait(), watch)
		}
		m.resume()
		return m.runFor(m.threads())
	}
	left := m.some()
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
	if unseen := m.others(); unseen > m.unseen {
		m.credit.pass(0, unseen-m.unseen)
		m.draw(0, unseen-m.unseen, traffic{})
		m.unseen = unseen
	}
	return m.some()
}

// paces reports whether the cell is suspended when something is used up.
func (m *Meter) paces() bool {
	return m.credit.percent > 0 || m.flow.percent > 0 || m.power.percent > 0
}

// some reports whether something of everything is left.
func (m *Meter) some() bool { return m.credit.some() && m.flow.some() && m.power.some() }

// full reports whether a whole window's share of everything is there, or almost.
func (m *Meter) full() bool { return m.credit.full() && m.flow.full() && m.power.full() }

// wait is how long it takes to have that.
func (m *Meter) wait() time.Duration { return max(m.credit.wait(), m.flow.wait(), m.power.wait()) }

// runFor is how long what is left, and what comes in meanwhile, lasts if so many
// processors work for the cell.
func (m *Meter) runFor(processors int) time.Duration {
	processors = min(max(processors, 1), m.cores)
	lasts := m.credit.window
	if m.credit.percent > 0 {
		lasts = min(lasts, m.credit.lasts(100*processors))
	}
	if m.power.percent > 0 {
		lasts = min(lasts, m.power.lasts(int(100*float64(processors)*JoulesPerSecond/m.watts())))
	}
	switch { // who reads and writes is quick
	case m.flow.percent > 0 && m.credit.percent == 0:
		return shortest
	case m.flow.percent > 0:
		lasts = min(lasts, 4*shortest)
	}
	return max(lasts, shortest)
}

// passFlow takes what was read and written from its credit, and all that was used from
// that of energy.
func (m *Meter) passFlow(passed, used time.Duration) {
	if m.flow.percent == 0 && m.power.percent == 0 {
		return
	}
	flow := m.table.flowed()
	if rate := m.config.Budget.IO; rate > 0 {
		m.flow.pass(passed, time.Duration(float64(flow.read+flow.written)/float64(rate)*float64(time.Second)))
	}
	m.draw(passed, used, flow)
}

// threads is how many threads may run in the processes that were not stopped, as far as
// is known.
func (m *Meter) threads() (n int) {
	for _, p := range m.table.all {
		if !p.held && p.load > m.credit.share()/counts {
			n += max(p.threads, 1)
		}
	}
	return n
}

// others is the CPU time that the cell has used beyond what its known processes have been
// seen to use: by children that nobody has met.
func (m *Meter) others() time.Duration {
	if m.config.Tally == nil {
		return max(0, m.table.inherited(time.Duration(m.dead.Load()))-m.table.spent)
	}
	t, err := m.config.Tally.Read()
	if err != nil {
		return 0
	}
	return max(0, t-m.table.spent)
}
