package cell

import (
	"fmt"
	"time"

	"nipcells/internal/ledger"
	"nipcells/internal/membrane"
)

// A cell's first faultBurst faults are recorded and told at once, from then on
// one each faultPause: a cell that does nothing else must fill neither the disk
// nor the screen.
const (
	faultBurst = 50
	faultPause = 10 * time.Second
)

// faults counts a cell's faults.
type faults struct {
	all, untold int64
	last        time.Time // when one was told
}

// tell reports whether a fault at time now is to be told, and how many before it
// were not.
func (f *faults) tell(now time.Time) (untold int64, ok bool) {
	f.all++
	if f.all > faultBurst && now.Sub(f.last) < faultPause {
		f.untold++
		return 0, false
	}
	untold, f.untold, f.last = f.untold, 0, now
	return untold, true
}

// onFault writes what the cell tried into the ledger and tells the person.
func (c *cell) onFault(f membrane.Fault) {
	if c.learner != nil {
		c.learner.fault(f)
	}
	untold, ok := c.faults.tell(time.Now())
	if !ok {
		return
	}
	missing := ""
	if f.Missing != 0 {
		missing = f.Missing.String()
	}
	verdict := "killed"
	if !f.Killed {
		verdict = "denied"
	}
	fields := []ledger.Field{
		ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package), ledger.Text("program", f.Program),
		ledger.Number("pid", int64(f.PID)), ledger.Text("call", f.Call), ledger.Text("missing", missing), ledger.Text("verdict", verdict),
	}
	if untold > 0 {
		fields = append(fields, ledger.Number("untold", untold))
	}
	_, err := c.ledger.Append("fault", fields...)
	line := fmt.Sprintf("%s: capability fault: %s (process %d) called %s", c.Plan.Package, f.Program, f.PID, f.Call)
	switch {
	case missing == "":
		line += ", which no cell may: " + verdict
	case !c.Plan.Ceiling.Has(f.Missing):
		line += fmt.Sprintf(", which needs %s: %s; the host's policy allows no cell that", missing, verdict)
	default:
		line += fmt.Sprintf(", which needs %s: %s; grant it with --pledge %s", missing, verdict, c.pledge|f.Missing)
	}
	c.Report(line)
	if err != nil {
		c.Report("ledger: " + err.Error())
	}
}
