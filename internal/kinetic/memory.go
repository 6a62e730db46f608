package kinetic

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/wall"
)

// A cell's memory is what its processes have in it, pages that several share counted
// once, without the page cache of files. The kernel tells that exactly, but slowly
// (proc_pid_smaps_rollup(5)); what it tells at once, the sum of what is resident, is
// never less. So the exact figure is asked for only where the sum is beyond the limit.
//
// Nothing tells when memory grows, so that the meter looks again before what is left
// can be used up. What helps programs most is that the kernel refuses them memory:
// their limits of data leave them what is left. That holds back who asks for memory,
// not who has it already, or shares it; and who has it beyond the limit is killed, the
// largest process first.
const (
	// growth is how much memory a host's processes can fill in a second, in bytes.
	growth = 14 << 30
	// slowly is what is expected of a cell that did not grow at the last exact look: one
	// that has much in common, whose sum says nothing.
	slowly = 1 << 30
	// calmly is at how many exact looks in turn it must not have grown to be believed that.
	calmly = 8
	// swing is how much faster than before it may grow until the next.
	swing = 8
	// Between two looks passes at least the first, and at most the second.
	nearest  = 500 * time.Microsecond
	farthest = 20 * time.Millisecond
)

// ceiling is a limit of memory.
type ceiling struct {
	limit int64
	tell  func(Event)
	left  int64         // what was left at the last exact look
	at    time.Duration // when that was; 0: the last look was none
	calm  int           // at how many it had not grown
}

// watchMemory looks at the cell's memory, kills what is beyond the limit, and says when
// to look again.
func (m *Meter) watchMemory() time.Duration {
	c, t := &m.memory, &m.table
	var sum int64
	for _, p := range t.all {
		if p.measure(); !p.killed {
			sum += p.resident
		}
	}
	left := c.limit - sum
	m.near = left < c.limit/2
	if left >= 0 {
		c.at = 0
		c.lend(t, left)
		m.takeTurns()
		return until(left, growth)
	}
	// Who grows would grow on while he is looked at, the longer the more there are.
	begin, free := time.Now(), !m.held
	if free {
		m.freeze()
	}
	left, rate := c.limit-c.exact(t), int64(growth)
	m.near = left < c.limit/2
	if passed := t.now - c.at; c.at > 0 && passed > 0 {
		rate = min(max(swing*(c.left-left)*int64(time.Second)/int64(passed), slowly), growth)
	}
	c.left, c.at = left, t.now
	if left < 0 {
		c.left += c.end(t, -left)
	} else {
		c.lend(t, left)
	}
	if free {
		m.resume() // in turns, if they are many
	}
	if rate > slowly || left < 0 {
		c.calm = 0
	}
	if c.calm++; c.calm <= calmly {
		return until(left, max(rate, growth/4))
	}
	return max(until(left, rate), time.Since(begin)) // half of the meter's time at most
}

// freeze stops all that run, also what they have forked since somebody looked.
func (m *Meter) freeze() {
	const tries = 4
	for range tries {
		m.stop(m.busy())
		before := len(m.table.all)
		m.table.look()
		m.table.read()
		if len(m.table.all) <= before && len(m.busy()) == 0 {
			return
		}
	}
}

// takeTurns has the processes of a cell whose CPU time is not limited take turns, if
// they are many: neither the meter nor others must wait behind all of them. It reports
// whether somebody waits for his.
func (m *Meter) takeTurns() bool {
	if m.credit.percent > 0 && (m.held || !m.near) {
		return false
	}
	if len(m.busy()) > m.crowd() {
		m.freeze()
	}
	if len(m.stopped()) > 0 {
		m.resume()
	}
	return len(m.stopped()) > 0
}

// crowd is how many processes may run at a time. Where memory is short a processor is
// left to the meter: it must not wait for its turn.
func (m *Meter) crowd() int {
	if m.near {
		return max(1, m.cores-1)
	}
	return together * m.cores
}

// SmallPages reports whether a cell with this budget must do without huge pages: these are
// filled so quickly that a tight limit would be passed before anybody looks.
func SmallPages(b capability.Budget) bool {
	const tight = 4 << 30
	return b.Memory > 0 && b.Memory < tight
}

// until is how long it takes to use up what is left.
func until(left, rate int64) time.Duration {
	return min(max(time.Duration(float64(left)/float64(rate)*float64(time.Second)), nearest), farthest)
}

// exact adds up what the processes have, but for those that have been killed. Who has not
// run has what he had, but for pages that others shared with him and do no more: that is
// let pass for a moment.
func (c *ceiling) exact(t *table) (sum int64) {
	const moment = 10 * time.Millisecond
	for _, p := range t.all {
		if p.killed {
			p.own = 0
			continue
		}
		if clock, err := clockOf(p.pid); err != nil || clock != p.counting || t.now-p.counted > moment {
			p.own, p.counted, p.counting = exactMemoryOf(p.pid), t.now, clock
		}
		sum += p.own
	}
	return sum
}

// end kills the largest processes until what is over is gone, and returns how much more
// that is.
func (c *ceiling) end(t *table, over int64) (freed int64) {
	var victims []*process
	list := slices.Clone(t.all)
	slices.SortFunc(list, func(a, b *process) int { return int(min(max(b.own-a.own, -1), 1)) })
	for _, p := range list {
		if freed >= over || p.killed {
			break
		}
		name := wall.ProgramName(p.pid)
		if p.signal(unix.SIGKILL) == nil {
			c.tell(Event{What: "memory", PID: p.pid, Program: name, Used: c.limit + over - freed, Limit: c.limit})
		}
		p.killed = true
		freed += p.own
		victims = append(victims, p)
	}
	for _, p := range victims { // the others wait until it has been freed
		p.awaitEnd()
	}
	return freed
}

// lend sets how much more data each process may have: what is left, or plenty as long
// as half of the limit is. Programs reserve far more than they use.
func (c *ceiling) lend(t *table, left int64) {
	const plenty = 4
	for _, p := range t.all {
		more := left
		if left > c.limit/2 {
			more = plenty * c.limit
		}
		lease := p.data + more
		// A lease that is half used up, or much too large, is renewed.
		if p.lease == 0 || p.lease-p.data < more/2 || p.lease-p.data > more+more/4 {
			if wall.Limit(p.pid, unix.RLIMIT_DATA, uint64(lease)) == nil {
				p.lease = lease
			}
		}
	}
}
