package cell

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
)

var (
	// ErrNoCell reports a name that no running cell has.
	ErrNoCell = errors.New("no such running cell")
	// ErrAmbiguous reports a package that several cells run.
	ErrAmbiguous = errors.New("several cells run that package")
)

// Find returns the running cell with that fiber-id, or the only one that runs
// the package of that name.
func Find(root *hier.Root, name string) (Info, error) {
	list, err := List(root)
	if err != nil {
		return Info{}, err
	}
	var found []Info
	for _, c := range list {
		if c.Fiber == name && !c.Dead {
			return c, nil
		}
		if c.Package == name && !c.Dead {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return Info{}, fmt.Errorf("%s: %w", name, ErrNoCell)
	case 1:
		return found[0], nil
	}
	ids := ""
	for _, c := range found {
		ids += " " + c.Fiber
	}
	return Info{}, fmt.Errorf("%s: %w:%s", name, ErrAmbiguous, ids)
}

// Stop asks the program of a cell to end (SIGTERM), and kills the cell if it has
// not ended after grace. It returns when the cell is gone.
func Stop(root *hier.Root, c Info, grace time.Duration) (killed bool, err error) {
	id, err := strconv.ParseUint(c.Fiber, 16, 32)
	if err != nil {
		return false, fmt.Errorf("fiber-id %q: %w", c.Fiber, err)
	}
	supervisor, err := unix.PidfdOpen(c.Supervisor, 0)
	if errors.Is(err, unix.ESRCH) {
		_, err = Recover(root)
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("stop cell %s: %w", c.Fiber, err)
	}
	defer unix.Close(supervisor)
	// The number may have been another process's already when we opened it;
	// while the cell's lock is held it is the supervisor's.
	if now, err := read(root, c.Fiber); err != nil || now.Dead || now.Supervisor != c.Supervisor {
		_, err := Recover(root)
		return false, err
	}
	if err := unix.PidfdSendSignal(supervisor, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, fmt.Errorf("stop cell %s: signal its supervisor: %w", c.Fiber, err)
	}
	if gone(supervisor, grace) {
		// A supervisor that is too young to take signals dies of them, and
		// leaves the rest to who comes next.
		_, err := Recover(root)
		return false, err
	}
	// The supervisor sees its program die and cleans up; one that hangs is
	// killed too, and what it should have done is done here.
	KillMarked(uint32(id))
	if gone(supervisor, grace) {
		_, err := Recover(root)
		return true, err
	}
	if err := unix.PidfdSendSignal(supervisor, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return true, fmt.Errorf("stop cell %s: kill its supervisor: %w", c.Fiber, err)
	}
	gone(supervisor, grace)
	return true, end(root, c.Fiber, uint32(id), "stop", endPatience)
}

// gone waits until the process behind a pidfd has ended, at most d.
func gone(pidfd int, d time.Duration) bool {
	for deadline := time.Now().Add(d); ; {
		left := max(0, time.Until(deadline).Milliseconds())
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left))
		if n > 0 {
			return true
		}
		if err != unix.EINTR && (left == 0 || err != nil) {
			return false
		}
	}
}
