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

// onBudget records that the meter killed a process.
func (c *cell) onBudget(e kinetic.Event) {
	fields := []ledger.Field{ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package),
		ledger.Text("what", e.What), ledger.Text("program", e.Program), ledger.Number("pid", int64(e.PID))}
	why := "it went on while its cell was suspended, again and again"
	if e.What == "memory" {
		fields = append(fields, ledger.Number("used", e.Used), ledger.Number("limit", e.Limit))
		why = fmt.Sprintf("its cell had %d MB of memory, and it most of that", e.Used>>20)
	}
	if _, err := c.ledger.Append("budget", fields...); err != nil {
		c.Report("ledger: " + err.Error())
	}
	c.Report(fmt.Sprintf("%s (process %d) was killed: %s (budget %s)", e.Program, e.PID, why, c.budget))
}
