package cell

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"nipcells/internal/kinetic"
	"nipcells/internal/ledger"
	"nipcells/internal/membrane"
	"nipcells/internal/wall"
)

// ExecError reports a program that the kernel would not execute.
type ExecError struct {
	Path string
	Err  error
}

func (e *ExecError) Error() string { return fmt.Sprintf("execute %s: %v", e.Path, e.Err) }
func (e *ExecError) Unwrap() error { return e.Err }

// start does the steps of a start that follow /Cell/<id>:
//
//  3. root descriptors and the zone at their numbers, which every program of the
//     cell has from its first instruction;
//  4. the ledger says what is about to run, before it can run;
//  5. the mark, 6. the launcher's wall, 7. the program: the child does these
//     itself, so that every process of the cell carries the mark from its first
//     instruction and the supervisor never does;
//  8. the listener serves.
func (c *cell) start() error {
	c.ledger = ledger.Open(c.Root.Ledger())
	if err := c.punch(); err != nil {
		return err
	}
	if err := c.placeRoots(); err != nil {
		return err
	}
	_, err := c.ledger.Append("start", ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package),
		ledger.Text("version", c.Plan.Version), ledger.Text("command", c.command.Name), ledger.Text("pledge", c.pledge.String()))
	if err != nil {
		return fmt.Errorf("record the start: %w", err)
	}
	c.ruleset, err = wall.NewRuleset(c.rules(), c.landlockNet(), c.abi)
	if err != nil {
		return err
	}
	// Orphans of the cell become our children, so that none is lost.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of the cell's orphans: %w", err)
	}
	return c.launch()
}

// recordFailure ends the record of a start that failed. That it was tried is in
// the ledger by then, unless the ledger was the trouble.
func (c *cell) recordFailure(why error) {
	_, err := c.ledger.Append("failed", ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package), ledger.Text("why", why.Error()))
	if err != nil {
		c.Report("ledger: " + err.Error())
	}
}

// launch makes the program run: the child goes behind the wall by itself
// (package wall).
func (c *cell) launch() error {
	mark := wall.Mark(c.state.id)
	spawner := &wall.Spawner{
		Mark: &mark, Confinement: c.confinement(), Filter: c.compileFilter(), Path: c.command.Path,
		Args: append(append([]string{}, c.command.Args...), c.Args...), Env: c.environment(), Dir: c.cwd,
	}
	spawner.Scheduling = kinetic.Scheduling(c.budget)
	spawner.Session = c.Detached
	spawner.FileSize, spawner.SmallPages = c.fileSize(), kinetic.SmallPages(c.budget)
	child, err := c.spawn(spawner)
	if err == nil {
		c.child = child
		config := membrane.Config{
			Listener: child.Listener, Arch: wall.Host(), Pledge: c.pledge, Deny: c.Deny,
			Writable: c.writable(), Readable: c.readable(), OnFault: c.onFault, Hide: c.names(), Count: c.Count,
			OnError: func(err error) { c.Report(err.Error()) },
			Confine: c.confineOpener, Identity: c.identity, Network: c.forMembrane(),
		}
		config.Own = config.Writable[:3]
		c.beginEconomy(&config)
		if c.sight == wall.Learned {
			c.learnFrom(&config)
		}
		c.membrane = membrane.New(config)
	}
	var failed *wall.SpawnError
	if errors.As(err, &failed) && failed.Exec {
		return &ExecError{c.command.Path, failed.Err}
	}
	return err
}

// spawn starts the program. A cell whose CPU time must be known is counted from its first
// instruction on.
func (c *cell) spawn(s *wall.Spawner) (*wall.Child, error) {
	if kinetic.CountsCPU(c.budget) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		// Where the host forbids it to an ordinary user, clocks of processes must do.
		c.economy.tally, _ = kinetic.OpenTally()
	}
	return s.Spawn()
}

// confineOpener puts the cell's wall around the calling thread, which answers for
// the supervisor.
func (c *cell) confineOpener() error {
	if c.sight < wall.Native {
		return wall.Confine(c.confinement())
	}
	lengths, err := wall.KeepLengths(c.lengthRules())
	if err != nil {
		return err
	}
	defer unix.Close(lengths)
	if err := wall.Confine(c.confinement()); err != nil {
		return err
	}
	return wall.Confine(wall.Confinement{Ruleset: lengths})
}

func (c *cell) confinement() wall.Confinement {
	return wall.Confinement{Identity: c.identity, Ruleset: c.ruleset}
}

// ExitStatus says how nip ends when Run returned err, as a shell would: 126
// for a program that is there but cannot be executed, 127 for one that is not
// there, 125 for nip's own errors.
func ExitStatus(err error) int {
	var exec *ExecError
	var command *CommandError
	switch {
	case errors.As(err, &command):
		return 127
	case errors.As(err, &exec) && errors.Is(err, unix.ENOENT):
		return 127
	case errors.As(err, &exec):
		return 126
	}
	return 125
}
