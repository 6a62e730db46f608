package cell

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
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
//  3. (root descriptors and the zone belong to native views)
//  4. the ledger says what is about to run, before it can run;
//  5. the mark, so that every process of the cell carries it from its first
//     instruction;
//  6. the launcher's wall; 7. fork and exec from behind it;
//  8. the listener serves.
func (c *cell) start() error {
	c.started = time.Now()
	c.ledger = ledger.Open(c.Root.Ledger())
	if err := c.state.describe(c.Plan.Package, c.Plan.Version, c.command.Name, c.started); err != nil {
		return err
	}
	_, err := c.ledger.Append("start", ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package),
		ledger.Text("version", c.Plan.Version), ledger.Text("command", c.command.Name), ledger.Text("pledge", c.pledge.String()))
	if err != nil {
		return fmt.Errorf("record the start: %w", err)
	}
	c.ruleset, err = wall.NewRuleset(c.rules(), wall.Network(c.pledge.Has(capability.Inet)), c.abi)
	if err != nil {
		return err
	}
	// Orphans of the cell become our children, so that none is lost.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of the cell's orphans: %w", err)
	}
	if err := wall.SetMark(c.state.id); err != nil {
		return err
	}
	err = c.launch()
	if e := wall.ClearMark(c.state.id); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return c.state.running(c.first)
}

// launched is what the launcher tells: first that it is behind the wall, then
// that the program runs.
type launched struct {
	listener int
	pid      int
	err      error
}

// launch runs the launcher: a thread that goes behind the wall, forks and
// executes the program from there and ends. It is in the cell's own Landlock
// domain, so the cell could signal it; it lives for some 100 us after the
// program's first instruction, and the filter refuses its number.
func (c *cell) launch() error {
	if runtime.GOMAXPROCS(0) < 2 {
		runtime.GOMAXPROCS(2) // the launcher waits in vfork while the listener answers
	}
	argv := append(append([]string{}, c.command.Args...), c.Args...)
	env, filter := c.environment(), c.compileFilter()
	attr := &syscall.ProcAttr{Dir: c.cwd, Env: env, Files: c.descriptors()}
	confined, serving, done := make(chan launched, 1), make(chan int, 1), make(chan launched, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		launcher := unix.Gettid()
		if err := wall.Patch(filter, launcher); err != nil {
			confined <- launched{err: err}
			return
		}
		listener, err := wall.Confine(wall.Confinement{Identity: c.identity, Ruleset: c.ruleset, Filter: filter})
		confined <- launched{listener: listener, pid: launcher, err: err}
		if err != nil {
			return
		}
		<-serving
		pid, err := syscall.ForkExec(c.command.Path, argv, attr)
		done <- launched{pid: pid, err: err}
	}()
	l := <-confined
	if l.err != nil {
		return l.err
	}
	_, ready := membrane.Start(membrane.Config{
		Listener: l.listener, Arch: wall.Host(), Pledge: c.pledge, Deny: c.Deny, Launcher: l.pid,
		Writable: c.writable(), Readable: c.readable(), Confine: c.confineOpener, OnFault: c.onFault,
	})
	<-ready
	serving <- 0
	l = <-done
	if l.err != nil {
		return &ExecError{c.command.Path, l.err}
	}
	c.first = l.pid
	return nil
}

// descriptors are the program's 0, 1 and 2.
func (c *cell) descriptors() []uintptr {
	if c.Detached {
		out := c.Log.Fd()
		return []uintptr{0, out, out}
	}
	return []uintptr{0, 1, 2}
}

// confineOpener puts the cell's rules around the calling thread, without its
// filter.
func (c *cell) confineOpener() error {
	_, err := wall.Confine(wall.Confinement{Identity: c.identity, Ruleset: c.ruleset})
	return err
}

// onFault writes what the cell tried into the ledger and tells the person.
func (c *cell) onFault(f membrane.Fault) {
	missing := ""
	if f.Missing != 0 {
		missing = f.Missing.String()
	}
	verdict := "killed"
	if !f.Killed {
		verdict = "denied"
	}
	_, err := c.ledger.Append("fault", ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package),
		ledger.Text("program", f.Program), ledger.Number("pid", int64(f.PID)), ledger.Text("call", f.Call),
		ledger.Text("missing", missing), ledger.Text("verdict", verdict))
	line := fmt.Sprintf("%s: capability fault: %s (process %d) called %s", c.Plan.Package, f.Program, f.PID, f.Call)
	if missing != "" {
		line += fmt.Sprintf(", which needs %s: %s; grant it with --pledge %s", missing, verdict, c.pledge|f.Missing)
	} else {
		line += ", which no cell may: " + verdict
	}
	c.Report(line)
	if err != nil {
		c.Report("ledger: " + err.Error())
	}
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
