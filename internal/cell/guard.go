package cell

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/ledger"
)

// The guard is a second small process that ends the cell when the supervisor
// dies. It is nip itself, started in the background once the cell has lived for
// GuardDelay; before that, the next nip command cleans up.

// guard is the supervisor's hold on its guard.
type guard struct {
	mu    sync.Mutex
	pidfd int  // 0: there is none
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
	var pidfd int
	_, err = syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{uintptr(null), uintptr(null), uintptr(null)},
		Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd},
	})
	if err != nil {
		c.Report("start the guard: " + err.Error())
		return
	}
	c.guard.pidfd = pidfd
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

// Guard waits until supervisor, which must be the caller's parent, is gone and
// then ends the cell. It returns early without an error if the parent is gone
// already; the cell is ended all the same.
func Guard(root *hier.Root, fiber string, supervisor int) error {
	id, err := strconv.ParseUint(fiber, 16, 32)
	if err != nil {
		return fmt.Errorf("guard: fiber-id %q: %w", fiber, err)
	}
	if pidfd, err := unix.PidfdOpen(supervisor, 0); err == nil {
		defer unix.Close(pidfd)
		for unix.Getppid() == supervisor { // else the number may be another process's by now
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
			if err == nil {
				break
			}
			if err != unix.EINTR {
				return fmt.Errorf("guard: wait for supervisor %d: %w", supervisor, err)
			}
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
