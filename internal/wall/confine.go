package wall

import (
	"errors"
	"fmt"
	"sort"
	"unsafe"

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

// Confinement is what goes around a process or thread.
type Confinement struct {
	Identity Identity
	Ruleset  int // from NewRuleset
}

// step is one raw system call on the way behind the wall.
type step struct {
	what string // what it is for, in messages
	nr   uintptr
	args [6]uintptr
}

// script is the way behind the wall as a list of system calls, so that a child
// between fork and exec, where no Go code may run, can go it too. What the
// arguments point to is kept alive by the script.
type script struct {
	steps []step
	caps  *capSets
}

// capSets is what capset(2) takes: version 3, this thread, and its three sets.
type capSets struct {
	version uint32
	pid     int32
	sets    [2]struct{ effective, permitted, inheritable uint32 }
}

// steps lists the way behind the wall, without the filter. The order is
// security:
//
//  1. groups, bounding set, uid and capabilities first: changing them needs the
//     rights that the later steps take away, and a filter may refuse the calls.
//     Securebits keep an exec as uid 0 from bringing capabilities back;
//  2. no_new_privs, without which the kernel lets an ordinary user neither
//     restrict itself nor install a filter (a set-user-id program could be
//     fooled by them);
//  3. Landlock before seccomp, whose filter need not allow landlock_* then;
//  4. seccomp last (Spawn does it): from there on only what the cell may.
func (c Confinement) script() *script {
	s := &script{steps: make([]step, 0, 64), caps: &capSets{version: unix.LINUX_CAPABILITY_VERSION_3}}
	add := func(what string, nr uintptr, args ...uintptr) {
		st := step{what: what, nr: nr}
		copy(st.args[:], args)
		s.steps = append(s.steps, st)
	}
	if id := c.Identity; id.Change {
		uid, gid := uintptr(id.UID), uintptr(id.GID)
		add("drop supplementary groups", unix.SYS_SETGROUPS, 0, 0)
		for c := range capabilities() {
			add("drop a capability from the bounding set", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c))
		}
		const noRoot = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<6 | 1<<7 // SECBIT_NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each locked
		add("set securebits", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, noRoot)
		add("change the group", unix.SYS_SETRESGID, gid, gid, gid)
		add("change the user", unix.SYS_SETRESUID, uid, uid, uid)
		add("empty the capability sets", unix.SYS_CAPSET, uintptr(unsafe.Pointer(s.caps)), uintptr(unsafe.Pointer(&s.caps.sets)))
	}
	add("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	add("enter the landlock domain", unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(c.Ruleset), 0)
	return s
}

// capabilities returns how many capabilities the kernel has: all numbers below that.
// There can be 64 at most.
func capabilities() int {
	return sort.Search(64, func(c int) bool {
		_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0, 0)
		return errno != 0
	})
}

// Confine puts the wall without a filter around the calling thread, which must
// be locked to its goroutine and must end with it: such threads open and change
// files on a cell's behalf. On an error the thread may be half confined and
// must end all the same.
func Confine(c Confinement) error {
	s := c.script()
	for i := range s.steps {
		st := &s.steps[i]
		if _, _, errno := unix.RawSyscall6(st.nr, st.args[0], st.args[1], st.args[2], st.args[3], st.args[4], st.args[5]); errno != 0 {
			return fmt.Errorf("%s: %w", st.what, errno)
		}
	}
	return nil
}

// ErrListener reports that a filter with a listener is installed already: the
// kernel allows one for each process and its descendants.
var ErrListener = errors.New("a seccomp filter with a listener is there already")
