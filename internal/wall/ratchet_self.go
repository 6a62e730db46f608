package wall

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// ErrNotHeld reports a promise that the process has given up already.
var ErrNotHeld = errors.New("a promise that is not held any more")

// Held returns the promises that the filters of the calling process hold: all of
// them where there are none.
func Held() (held capability.Pledge) {
	for _, p := range bits() {
		if holds(uint64(p)) {
			held |= p
		}
	}
	return held
}

// Ratchet takes from this process, all its threads and all that it makes and executes
// every promise that pledge does not have. refusal is KillProcess or Refuse.
func Ratchet(pledge capability.Pledge, refusal Verdict) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if missing := pledge &^ Held(); missing != 0 {
		return fmt.Errorf("pledge %s: %w: %w", missing, ErrNotHeld, unix.EPERM)
	}
	if hasZone() {
		pledge |= ByZone
	}
	filter := RatchetTemplate(Host()).Cut(pledge, refusal)
	if err := installForAll(filter.Bytes()); err != nil {
		return fmt.Errorf("install the seccomp filter: %w", err)
	}
	return nil
}

// Narrow puts one Landlock layer around all threads of this process, behind which
// there is what the unveils grant, as far as it was there before. A path that is not
// there is an error.
func Narrow(unveils []capability.Unveil) error {
	version, err := LandlockABI()
	if err != nil {
		return err
	}
	rules := make([]Rule, 0, len(unveils))
	defer func() {
		for _, r := range rules {
			unix.Close(r.FD)
		}
	}()
	for _, u := range unveils {
		fd, err := openToName(u.Path)
		if err != nil {
			return fmt.Errorf("unveil %s: %w", u.Path, err)
		}
		rules = append(rules, Rule{Path: u.Path, Access: accessAt(fd, u.Rights), FD: fd})
	}
	ruleset, err := fill(&rulesetAttr{fs: abis()[min(version, newestKnownABI)].fs}, rules)
	if err != nil {
		return err
	}
	defer unix.Close(ruleset)
	if err := restrictAll(ruleset); err != nil {
		return fmt.Errorf("enter the landlock domain: %w", err)
	}
	return nil
}

// openToName opens what a rule is to be about. In a cell that asks, a device has no
// path descriptor (package membrane); one that is open for reading names it as well.
func openToName(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == unix.EACCES {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// accessAt is AccessOf for what fd leads to: who may read or write a device that he
// was given by name may control it.
func accessAt(fd int, r capability.Rights) Access {
	a := AccessOf(r, capability.AllPledges)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
		a |= accessIoctl
	}
	return a
}
