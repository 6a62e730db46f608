package cell

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/kinetic"
	"nipcells/internal/ledger"
	"nipcells/internal/wall"
)

// GuardDelay is how long a cell lives before its guard is started: programs
// that end at once do not pay for one.
const GuardDelay = 50 * time.Millisecond

// wait waits for the program and ends everything that it leaves behind. The
// supervisor is a subreaper, so that orphans of the cell become its children
// whatever they do: when it has none left, none are left.
func (c *cell) wait() int {
	c.releaseStdio()
	status, ended := 0, false
	// Not if somebody may want to stop it as soon as he knows of it, or it is metered.
	if c.Started == nil && !kinetic.Needed(c.budget) {
		status, ended = c.young()
	}
	if !ended {
		status = c.grown()
	}
	c.stopMeter()
	c.killRest()
	_, err := c.ledger.Append("exit", ledger.Text("fiber", c.state.fiber), ledger.Text("package", c.Plan.Package),
		ledger.Number("status", int64(status)), ledger.Number("milliseconds", time.Since(c.started).Milliseconds()))
	if err != nil {
		c.Report("ledger: " + err.Error())
	}
	return status
}

// threads is how many threads of a supervisor at work block in the kernel, and one.
const threads = 4

// young serves the cell on this thread alone until GuardDelay has passed, it
// needs more, or the program ends: what ends at once pays for no thread.
func (c *cell) young() (status int, ended bool) {
	fds := []unix.PollFd{{Fd: int32(c.child.PIDFD), Events: unix.POLLIN}, {Fd: int32(c.child.Listener), Events: unix.POLLIN}}
	deadline := c.started.Add(GuardDelay)
	for !c.busy {
		left := time.Until(deadline)
		if left <= 0 {
			return 0, false
		}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return 0, false
		}
		if fds[1].Revents&unix.POLLIN != 0 {
			c.busy = c.membrane.Step()
		}
		if fds[0].Revents != 0 {
			return c.reapFirst(), true
		}
		if fds[1].Revents&unix.POLLHUP != 0 {
			fds[1].Fd = -1 // the last process is ending: there is nothing more to hear
		}
	}
	return 0, false
}

// grown serves a cell that lives on: with a listener's thread, a guard, and
// signals that are forwarded.
func (c *cell) grown() int {
	c.hasGrown = true
	// One each for the threads that block in the kernel: this one, the listener, the
	// opener, and one more that may run. With fewer processors of the runtime a
	// thread that comes back may wait for as long as ten milliseconds for one.
	runtime.GOMAXPROCS(max(threads, runtime.GOMAXPROCS(0)))
	c.startMeter(c.budget)
	c.regroup(c.budget)
	go c.membrane.Serve()
	defer c.forwardSignals()()
	c.writeState()
	if c.Started != nil {
		c.Started(c.state.fiber)
	}
	guard := time.AfterFunc(time.Until(c.started.Add(GuardDelay)), c.startGuard)
	defer guard.Stop()
	return c.reapFirst()
}

// reapFirst collects children until the program itself ends.
func (c *cell) reapFirst() int {
	for {
		var ws unix.WaitStatus
		var used unix.Rusage
		pid, err := unix.Wait4(c.learnDead(0), &ws, 0, &used)
		if meter := c.economy.meter.Load(); err == nil && meter != nil {
			meter.Reaped(&used)
		}
		switch {
		case err == unix.EINTR:
		case err != nil:
			c.Report("wait for the program: " + err.Error())
			return 125
		case pid == c.child.PID && ws.Exited():
			return ws.ExitStatus()
		case pid == c.child.PID && ws.Signaled():
			return 128 + int(ws.Signal())
		}
	}
}

// killRest kills all processes that carry the cell's mark until none is left.
func (c *cell) killRest() {
	c.stopGuard()
	const longest = 50 * time.Millisecond
	for wait := 100 * time.Microsecond; ; {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(c.learnDead(unix.WNOHANG), &ws, unix.WNOHANG, nil)
		if err == unix.ECHILD {
			return
		}
		if err == nil && pid > 0 {
			continue
		}
		if KillMarked(c.state.id) == 0 {
			// What is left is dying, or the guard. A look at /proc may have
			// missed something: it is taken again, not waited for for ever.
			time.Sleep(wait)
			wait = min(2*wait, longest)
		}
	}
}

// signalExactly sends pid a signal if it still carries the mark: the number may have been
// given to another process between the look and the signal, a pidfd is not.
// Zombies still show their mark and count as gone, but only when the last of
// their threads has ended, which is what a pidfd becomes readable for: what
// /proc says of a process is the state of its first thread alone.
func signalExactly(pid int, fiber uint32, s unix.Signal) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if f, ok := wall.MarkOf(pid); !ok || f != fiber {
		return false
	}
	if over, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err == nil && over > 0 {
		return false
	}
	return unix.PidfdSendSignal(fd, s, nil, 0) == nil
}

// forwardSignals passes what is sent to the supervisor on to the program.
// Signals from the terminal's keys reach the program by themselves, as it is in
// the same process group.
func (c *cell) forwardSignals() (stop func()) {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, requestSignal)
	end := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case s := <-ch:
				if s == requestSignal {
					c.answerRequests()
					continue
				}
				if (s == unix.SIGINT || s == unix.SIGQUIT) && !c.Detached && foreground() {
					continue
				}
				_ = unix.PidfdSendSignal(c.child.PIDFD, s.(syscall.Signal), nil, 0) // ESRCH: it has ended just now
			}
		}
	}()
	return func() {
		signal.Stop(ch)
		close(end)
		<-ended
	}
}

// foreground reports whether the process is in the foreground of a terminal:
// then an interrupt came from its keys and went to the whole group.
func foreground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	pgrp, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

// releaseStdio gives up the supervisor's copies of standard input and output,
// so that pipelines end when the program does.
func (c *cell) releaseStdio() {
	for fd := range 2 {
		if err := openNull(fd); err != nil {
			c.Report(fmt.Sprintf("release descriptor %d: %v", fd, err))
		}
	}
}
