package wall

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Identity is the user that a cell's processes run as.
type Identity struct {
	UID, GID int
	// Change says that the caller is root: groups are dropped, the user is
	// changed and every capability set emptied. Without it the caller is an
	// ordinary user already and keeps uid, gid and groups.
	Change bool
}

// Confinement is what goes around a thread.
type Confinement struct {
	Identity Identity
	Ruleset  int    // from NewRuleset
	Filter   []byte // from Filter.Bytes, patched; nil for openers, which have none
}

// Confine puts the wall around the calling thread, which must be locked to its
// goroutine and must end with it. It returns the descriptor of the filter's
// listener, -1 without a filter. On an error the thread may be half confined:
// it must end all the same.
//
// The order is security:
//  1. groups, uid and capabilities first: changing them needs the rights that
//     the later steps take away, and a filter may refuse the calls;
//  2. no_new_privs, without which the kernel lets an ordinary user neither
//     restrict itself nor install a filter (a set-user-id program could be
//     fooled by them);
//  3. Landlock before seccomp, whose filter need not allow landlock_* then;
//  4. seccomp last: from here on the thread can do only what the cell may.
func Confine(c Confinement) (listener int, err error) {
	if c.Identity.Change {
		if err := become(c.Identity); err != nil {
			return -1, err
		}
	}
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return -1, fmt.Errorf("set no_new_privs: %w", err)
	}
	if err := restrictSelf(c.Ruleset); err != nil {
		return -1, fmt.Errorf("enter landlock domain: %w", err)
	}
	if c.Filter == nil {
		return -1, nil
	}
	listener, err = setFilter(c.Filter)
	if errors.Is(err, unix.EBUSY) {
		return -1, fmt.Errorf("install seccomp filter: %w: this process already has a filter with a listener", err)
	}
	if err != nil {
		return -1, fmt.Errorf("install seccomp filter: %w", err)
	}
	return listener, nil
}

// become turns a thread of root's into one of id without any capability. The
// bounding set goes while CAP_SETPCAP is still there; securebits keep an exec
// as uid 0 from bringing capabilities back; the ambient set goes with the
// permitted one.
func become(id Identity) error {
	if err := setgroupsNone(); err != nil {
		return fmt.Errorf("drop supplementary groups: %w", err)
	}
	for c := uintptr(0); ; c++ {
		if err := prctl(unix.PR_CAPBSET_DROP, c, 0); err != nil {
			if errors.Is(err, unix.EINVAL) && c > unix.CAP_LAST_CAP-5 {
				break // past the last capability that this kernel knows
			}
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
	const noRoot = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<6 | 1<<7 // SECBIT_NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each locked
	if err := prctl(unix.PR_SET_SECUREBITS, noRoot, 0); err != nil {
		return fmt.Errorf("set securebits: %w", err)
	}
	if err := setresgid(id.GID); err != nil {
		return fmt.Errorf("become group %d: %w", id.GID, err)
	}
	if err := setresuid(id.UID); err != nil {
		return fmt.Errorf("become user %d: %w", id.UID, err)
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("empty the capability sets: %w", err)
	}
	return nil
}
