package cell

import (
	"fmt"

	"nipcells/internal/kinetic"
	"nipcells/internal/ledger"
)

// startMeter has the cell held to its budget, if there is anything to enforce.
func (c *cell) startMeter() {
	if !kinetic.Needed(c.budget) {
		return
	}
	meter, err := kinetic.New(kinetic.Config{Fiber: c.state.id, Budget: c.budget, Tally: c.tally, Tell: c.onBudget})
	if err != nil {
		c.Report("the budget is not enforced: " + err.Error())
		return
	}
	c.meter = meter
	go meter.Run()
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
	fields := []ledger.Field{ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package),
		ledger.Text("what", e.What), ledger.Text("program", e.Program), ledger.Number("pid", int64(e.PID))}
	if e.Limit > 0 {
		fields = append(fields, ledger.Number("used", e.Used), ledger.Number("limit", e.Limit))
	}
	var why string
	switch e.What {
	case "memory":
		why = fmt.Sprintf("was killed: its cell had %d MB of memory, and it most of that", e.Used>>20)
	case "fibers":
		why = fmt.Sprintf("could not make another process or thread: its cell has %d", e.Used)
	default:
		why = "was killed: it went on while its cell was suspended, again and again"
	}
	if _, err := c.ledger.Append("budget", fields...); err != nil {
		c.Report("ledger: " + err.Error())
	}
	c.Report(fmt.Sprintf("%s (process %d) %s (budget %s)", e.Program, e.PID, why, c.budget))
}
