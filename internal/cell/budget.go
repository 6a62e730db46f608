package cell

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/kinetic"
	"nipcells/internal/ledger"
)

// startMeter has the cell held to its budget, if there is anything to enforce.
func (c *cell) startMeter() {
	if !kinetic.Needed(c.budget) {
		return
	}
	meter, err := kinetic.New(kinetic.Config{
		Fiber: c.state.id, Budget: c.budget, Tally: c.tally, Tell: c.onBudget,
		Dirs: []string{c.state.tmp(), c.state.run(), c.home}, Empty: c.punched, Alone: !c.writesElsewhere(),
	})
	if err != nil {
		c.Report("the budget is not enforced: " + err.Error())
		return
	}
	c.meter = meter
	go meter.Run()
}

// writesElsewhere reports whether the cell may write in directories that are not its own.
func (c *cell) writesElsewhere() bool {
	return slices.ContainsFunc(c.unveil, func(u capability.Unveil) bool { return u.Rights.Has(capability.Write) })
}

// fileSize is how long files may become that the cell makes before its meter has looked;
// nil where it is not metered for that.
func (c *cell) fileSize() *unix.Rlimit {
	var l unix.Rlimit
	if c.budget.Disk == 0 || unix.Getrlimit(unix.RLIMIT_FSIZE, &l) != nil {
		return nil
	}
	if !c.writesElsewhere() {
		l.Cur = min(l.Cur, uint64(c.budget.Disk))
	}
	return &l
}

// diskOf is what a cell's membrane is told of its disk space.
type diskOf struct{ c *cell }

func (d diskOf) Room(n int64) bool { return d.c.meter == nil || d.c.meter.Room(n) }

func (d diskOf) Removing() {
	if d.c.meter != nil {
		d.c.meter.Removing()
	}
}

func (d diskOf) Lengthen(pid int, length int64) {
	if d.c.meter != nil {
		d.c.meter.Lengthen(pid, length)
	}
}

func (c *cell) stopMeter() {
	if c.meter != nil {
		c.meter.Stop()
	}
	if c.tally != nil {
		c.tally.Close()
	}
}

// onBudget records that a process was killed, or refused something, for the budget.
func (c *cell) onBudget(e kinetic.Event) {
	fields := []ledger.Field{ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package), ledger.Text("what", e.What)}
	who := c.Plan.Package
	if e.PID > 0 {
		fields = append(fields, ledger.Text("program", e.Program), ledger.Number("pid", int64(e.PID)))
		who = fmt.Sprintf("%s (process %d)", e.Program, e.PID)
	}
	if e.Limit > 0 {
		fields = append(fields, ledger.Number("used", e.Used), ledger.Number("limit", e.Limit))
	}
	var why string
	switch e.What {
	case "memory":
		why = fmt.Sprintf("was killed: its cell had %d MB of memory, and it most of that", e.Used>>20)
	case "disk":
		const until = "; it can make and write nothing more until there is room again"
		switch {
		case e.Hidden:
			why = "has directories that are too deep, or shut, to be measured" + until
		case e.PID == 0:
			why = fmt.Sprintf("has %d MB on the disk%s", e.Used>>20, until)
		default:
			why = fmt.Sprintf("was killed: it went on writing when its cell's files took %d MB of the disk", e.Used>>20)
		}
	case "fibers":
		why = fmt.Sprintf("could not make another process or thread: its cell has %d", e.Used)
	default:
		why = "was killed: it went on while its cell was suspended, again and again"
	}
	if _, err := c.ledger.Append("budget", fields...); err != nil {
		c.Report("ledger: " + err.Error())
	}
	c.Report(fmt.Sprintf("%s %s (budget %s)", who, why, c.budget))
}
