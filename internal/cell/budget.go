package cell

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/kinetic"
	"nipcells/internal/ledger"
	"nipcells/internal/membrane"
	"nipcells/internal/wall"
)

// economy is how a cell is held to its budget.
type economy struct {
	tally   *kinetic.Tally                // nil: none is needed, or permitted
	meter   atomic.Pointer[kinetic.Meter] // nil: none is needed
	census  *kinetic.Census               // nil: nobody counts its processes and threads
	strikes kinetic.Strikes

	mutex  sync.Mutex // over the following
	budget capability.Budget
	told   map[string]time.Time // when it was last told of a kind of event
}

// budgetNow is the budget that the cell has now.
func (c *cell) budgetNow() capability.Budget {
	c.economy.mutex.Lock()
	defer c.economy.mutex.Unlock()
	return c.economy.budget
}

// beginEconomy has the membrane ask for what a budget limits.
func (c *cell) beginEconomy(config *membrane.Config) {
	c.economy.budget, c.economy.told = c.budget, map[string]time.Time{}
	if c.budget.Fibers > 0 {
		c.economy.census = kinetic.NewCensus(c.state.id, c.budget.Fibers, c.onBudget)
	}
	if c.told() {
		config.Admit = c.admit
	}
	if c.budget.Disk > 0 {
		config.Disk = diskOf{c}
	}
}

// admit says whether a thread may make another, or a process, and wakes the meter for it.
func (c *cell) admit(tid int, last bool) (admitted bool, wait time.Duration) {
	if census := c.economy.census; census != nil {
		if admitted, wait = census.Admit(tid, last); !admitted {
			return false, wait
		}
	}
	if meter := c.economy.meter.Load(); meter != nil {
		meter.Stir()
	}
	return true, 0
}

// told reports whether the cell asks before it makes a process.
func (c *cell) told() bool { return slices.Contains(wall.AskedFor(c.budget), wall.Forks[0]) }

// regroup has the scheduler treat the session of a cell that has one of its own as its
// spectrum says.
func (c *cell) regroup(b capability.Budget) {
	if c.Detached {
		kinetic.Regroup(c.child.PID, b)
	}
}

// startMeter has the cell held to a budget, if there is anything to enforce.
func (c *cell) startMeter(b capability.Budget) {
	if !kinetic.Needed(b) {
		return
	}
	meter, err := kinetic.New(kinetic.Config{
		Fiber: c.state.id, Budget: b, Tally: c.economy.tally, Tell: c.onBudget, Market: c.Root.Cells() + "/.market",
		Told: c.told(),
		Dirs: []string{c.state.tmp(), c.state.run(), c.home}, Empty: c.punched, Alone: !c.writesElsewhere(),
	})
	if err != nil {
		c.Report("the budget is not enforced: " + err.Error())
		return
	}
	c.economy.meter.Store(meter)
	go meter.Run()
}

func (c *cell) stopMeter() {
	if meter := c.economy.meter.Load(); meter != nil {
		meter.Stop()
	}
	if c.economy.tally != nil {
		c.economy.tally.Close()
	}
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

func (d diskOf) Room(n int64) bool {
	meter := d.c.economy.meter.Load()
	if meter == nil || meter.Room(n) {
		return true
	}
	d.c.press("disk")
	return false
}

func (d diskOf) Removing() {
	if meter := d.c.economy.meter.Load(); meter != nil {
		meter.Removing()
	}
}

func (d diskOf) Lengthen(pid int, length int64) {
	if meter := d.c.economy.meter.Load(); meter != nil {
		meter.Lengthen(pid, length)
	}
}

// onBudget records that a process was killed, or refused something, for the budget. The
// same is not told again for a while.
func (c *cell) onBudget(e kinetic.Event) {
	if e.PID > 0 { // else it is a state, and no refusal yet
		defer c.press(e.What)
	}
	if e.What == "fibers" && !c.tellAgain(e.What) {
		return
	}
	if e.Program == "" && e.PID > 0 {
		e.Program = wall.ProgramName(e.PID)
	}
	fields := []ledger.Field{ledger.Text("what", e.What)}
	who := c.Plan.Package
	if e.PID > 0 {
		fields = append(fields, ledger.Text("program", e.Program), ledger.Number("pid", int64(e.PID)))
		who = fmt.Sprintf("%s (process %d)", e.Program, e.PID)
	}
	if e.Limit > 0 {
		fields = append(fields, ledger.Number("used", e.Used), ledger.Number("limit", e.Limit))
	}
	c.record("budget", fields...)
	c.Report(fmt.Sprintf("%s %s (budget %s)", who, story(e), c.budgetNow()))
}

// tellAgain reports whether it is time to tell of this kind of event.
func (c *cell) tellAgain(what string) bool {
	const often = 10 * time.Second
	c.economy.mutex.Lock()
	defer c.economy.mutex.Unlock()
	if now := time.Now(); now.Sub(c.economy.told[what]) >= often {
		c.economy.told[what] = now
		return true
	}
	return false
}

// story says what happened, behind a name.
func story(e kinetic.Event) string {
	const until = "; it can make and write nothing more until there is room again"
	switch {
	case e.What == "memory":
		return fmt.Sprintf("was killed: its cell had %d MB of memory, and it most of that", e.Used>>20)
	case e.What == "fibers":
		return fmt.Sprintf("could not make another process or thread: its cell has %d", e.Used)
	case e.What == "disk" && e.Hidden:
		return "has directories that are too deep, or shut, to be measured" + until
	case e.What == "disk" && e.PID == 0:
		return fmt.Sprintf("has %d MB on the disk%s", e.Used>>20, until)
	case e.What == "disk":
		return fmt.Sprintf("was killed: it went on writing when its cell's files took %d MB of the disk", e.Used>>20)
	}
	return "was killed: it went on while its cell was suspended, again and again"
}

// press notes a refusal, and punishes a cell that does not leave off.
func (c *cell) press(what string) {
	strike := c.economy.strikes.Refused(time.Now())
	if strike == kinetic.NoStrike {
		return
	}
	c.record("strike", ledger.Text("what", what), ledger.Text("strike", strike.String()), ledger.Text("budget", c.budgetNow().String()))
	switch strike {
	case kinetic.Warn:
		c.Report(fmt.Sprintf("%s does not leave off though it is refused (%s): the first strike", c.Plan.Package, what))
	case kinetic.Demote:
		lower := kinetic.Lower(c.budgetNow())
		c.Report(fmt.Sprintf("%s does not leave off though it is refused (%s): the second strike makes it %s", c.Plan.Package, what, lower))
		c.adopt(capability.Budget{Spectrum: lower})
	case kinetic.Terminate:
		c.Report(fmt.Sprintf("%s does not leave off though it is refused (%s): the third strike ends it", c.Plan.Package, what))
		_ = unix.PidfdSendSignal(c.child.PIDFD, unix.SIGKILL, nil, 0) // ESRCH: it has ended by itself
	}
	c.writeState()
}

// record puts something about this cell into the ledger.
func (c *cell) record(event string, fields ...ledger.Field) {
	fields = append([]ledger.Field{ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package)}, fields...)
	if _, err := c.ledger.Append(event, fields...); err != nil {
		c.Report("ledger: " + err.Error())
	}
}

// adopt takes over the items of a budget that are set.
func (c *cell) adopt(change capability.Budget) capability.Budget {
	c.economy.mutex.Lock()
	b := &c.economy.budget
	for _, item := range strings.Split(change.String(), ",") {
		if key, value, ok := strings.Cut(item, "="); ok {
			_ = b.Put(key, value) // it comes from a budget
		}
	}
	now := *b
	c.economy.mutex.Unlock()
	if change.Fibers > 0 && c.economy.census != nil {
		c.economy.census.Change(change.Fibers)
	}
	if change.Spectrum != "" {
		kinetic.Reschedule(c.state.id, now)
		c.regroup(now)
	}
	if meter := c.economy.meter.Load(); meter != nil {
		meter.Change(now)
	} else {
		c.startMeter(now)
		c.renewGuard()
	}
	return now
}

// Reasons why a running cell's budget cannot be changed.
var (
	errNotCounted = errors.New("a cell that started without a limit of fibers or disk gets none: start it with one, such as nip run --budget fibers=1000")
	errRaise      = errors.New("the spectrum of a running cell can be lowered only")
)

// change answers a request for another budget. What the package is given is the most.
func (c *cell) change(text string) (string, error) {
	change, err := capability.ParseBudget(text)
	if err != nil {
		return "", err
	}
	if now := c.budgetNow(); change.Fibers > 0 && now.Fibers == 0 || change.Disk > 0 && now.Disk == 0 {
		return "", errNotCounted
	} else if both := now.Intersect(capability.Budget{Spectrum: change.Spectrum}); change.Spectrum != "" && both.Spectrum != change.Spectrum {
		return "", errRaise
	}
	if least := change.Intersect(c.Plan.Budget); !within(change, least) {
		return "", fmt.Errorf("package %s is given %s: nip policy set gives it more", c.Plan.Package, c.Plan.Budget)
	}
	now := c.adopt(change)
	c.record("budget", ledger.Text("what", "changed"), ledger.Text("budget", now.String()))
	c.writeState()
	return now.String(), nil
}

// within reports whether all that change sets is in least, the tighter of it and another.
func within(change, least capability.Budget) bool {
	for _, item := range strings.Split(change.String(), ",") {
		if item != "" && !slices.Contains(strings.Split(least.String(), ","), item) {
			return false
		}
	}
	return true
}
