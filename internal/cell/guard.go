package cell

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/kinetic"
	"nipcells/internal/ledger"
)

// The guard is a second small process that ends the cell when the supervisor
// dies, or hangs while a budget is to be held (see watch). It is nip itself, started in the background once the cell has lived for
// GuardDelay; before that, the next nip command cleans up.

// guard is the supervisor's hold on its guard.
type guard struct {
	mu    sync.Mutex
	pidfd int // 0: there is none
	pulse *kinetic.Pulse
	over  bool // the cell has ended: none must be started any more
}

// startGuard runs Options.Guard with the root, the fiber-id and our pid added.
// It has none of our descriptors and a process group of its own, so that keys
// of the terminal do not reach it.
func (c *cell) startGuard() {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	if c.guard.over || len(c.Guard) == 0 {
		return
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		c.Report("start the guard: open /dev/null: " + err.Error())
		return
	}
	defer unix.Close(null)
	argv := append(append([]string{}, c.Options.Guard...), c.Root.Path(), c.state.fiber, strconv.Itoa(os.Getpid()))
	files := []uintptr{uintptr(null), uintptr(null), uintptr(null)}
	if pulse := c.pulseForGuard(); pulse != nil {
		memory, event := pulse.Files()
		files = append(files, memory.Fd(), event.Fd())
		argv = append(argv, guardWatches)
	}
	var pidfd int
	_, err = syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: files,
		Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd},
	})
	if err != nil {
		c.Report("start the guard: " + err.Error())
		return
	}
	c.guard.pidfd = pidfd
}

// renewGuard starts another guard in place of one that does not watch over the meter.
func (c *cell) renewGuard() {
	c.guard.mu.Lock()
	old := c.guard.pidfd
	c.guard.pidfd = 0
	c.guard.mu.Unlock()
	if old == 0 {
		return // it is about to be started
	}
	c.startGuard()
	_ = unix.PidfdSendSignal(old, unix.SIGKILL, nil, 0) // ESRCH: it has ended
	unix.Close(old)
}

// stopGuard ends the guard, and any that would still be started.
func (c *cell) stopGuard() {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	c.guard.over = true
	if c.guard.pidfd != 0 {
		// It may have ended and been reaped like any child; its number is then
		// another's, its pidfd nobody's.
		_ = unix.PidfdSendSignal(c.guard.pidfd, unix.SIGKILL, nil, 0)
		unix.Close(c.guard.pidfd)
		c.guard.pidfd = 0
	}
}

// guardWatches says that descriptors 3 and 4 of a guard are the pulse of the cell's meter.
const guardWatches = "pulse"

// pulseForGuard has the cell's meter beat for the guard; nil where there is no meter, or
// none can be made.
func (c *cell) pulseForGuard() *kinetic.Pulse {
	meter := c.economy.meter.Load()
	if meter == nil {
		return nil
	}
	if c.guard.pulse == nil {
		pulse, err := kinetic.NewPulse()
		if err != nil {
			c.Report("watch over the supervisor: " + err.Error())
			return nil
		}
		c.guard.pulse = pulse
	}
	meter.Show(c.guard.pulse)
	return c.guard.pulse
}

// Guard waits until supervisor, which must be the caller's parent, is gone and
// then ends the cell. It returns early without an error if the parent is gone
// already; the cell is ended all the same. more are further words of the guard's argument
// vector.
func Guard(root *hier.Root, fiber string, supervisor int, more ...string) error {
	id, err := strconv.ParseUint(fiber, 16, 32)
	if err != nil {
		return fmt.Errorf("guard: fiber-id %q: %w", fiber, err)
	}
	if pidfd, err := unix.PidfdOpen(supervisor, 0); err == nil {
		defer unix.Close(pidfd)
		w := &watch{fiber: uint32(id), supervisor: supervisor, pidfd: pidfd}
		if slices.Contains(more, guardWatches) {
			const memory, event = 3, 4
			w.pulse, _ = kinetic.OpenPulse(os.NewFile(memory, "pulse"), os.NewFile(event, "pulse's event")) // nil: it waits for the end alone
		}
		if err := w.over(); err != nil {
			return fmt.Errorf("guard: wait for supervisor %d: %w", supervisor, err)
		}
	}
	return end(root, fiber, uint32(id), "guard", 0)
}

// end kills what is left of a cell whose supervisor is gone, removes its
// directory and says so in the ledger.
func end(root *hier.Root, fiber string, id uint32, by string, patience time.Duration) error {
	killed, err := killAll(id, patience)
	if err != nil {
		return fmt.Errorf("end cell %s: %w", fiber, err)
	}
	if err := removeCell(root.Cell(fiber)); err != nil {
		return fmt.Errorf("remove cell %s: %w", fiber, err)
	}
	_, err = ledger.Open(root.Ledger()).Append("orphan", ledger.Text("fiber", fiber), ledger.Text("by", by), ledger.Number("killed", int64(killed)))
	return err
}

// Recover ends the cells whose supervisor is gone and reports their fiber-ids.
// Without such cells it costs one directory listing.
func Recover(root *hier.Root) ([]string, error) {
	list, err := List(root)
	if err != nil {
		return nil, err
	}
	var ended []string
	for _, c := range list {
		if !c.Dead {
			continue
		}
		id, err := strconv.ParseUint(c.Fiber, 16, 32)
		if err != nil {
			continue // List lets through none
		}
		if err := end(root, c.Fiber, uint32(id), "recover", endPatience); err != nil {
			return ended, err
		}
		ended = append(ended, c.Fiber)
	}
	return ended, nil
}
