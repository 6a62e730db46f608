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

// onBudget records what the meter did to a process.
func (c *cell) onBudget(e kinetic.Event) {
	_, err := c.ledger.Append("budget", ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package),
		ledger.Text("what", e.What), ledger.Text("program", e.Program), ledger.Number("pid", int64(e.PID)))
	if err != nil {
		c.Report("ledger: " + err.Error())
	}
	c.Report(fmt.Sprintf("%s (process %d) was killed: it went on while its cell was suspended, again and again (budget %s)", e.Program, e.PID, c.budget))
}
