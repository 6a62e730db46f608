package wall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file holds the raw system calls of the package. Each takes effect on
// the calling thread only. They are RawSyscall, because a thread on its way
// into a cell must not be handed back to the scheduler in between.

// rulesetAttr is struct landlock_ruleset_attr (linux/landlock.h).
type rulesetAttr struct{ fs, net, scoped uint64 }

// createRuleset is landlock_create_ruleset(2). The size tells the kernel which
// version of the struct this is; trailing zeroes are accepted by older ones.
func createRuleset(attr *rulesetAttr) (int, error) {
	size := unsafe.Sizeof(*attr)
	if attr.scoped == 0 {
		size = 16
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(attr)), size, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// addPathRule is landlock_add_rule(2) with LANDLOCK_RULE_PATH_BENEATH. The
// struct is packed: 8 bytes of rights, 4 of descriptor.
func addPathRule(ruleset, fd int, access uint64) error {
	if access == 0 {
		return nil // the kernel answers ENOMSG to a rule that grants nothing
	}
	var attr [12]byte
	*(*uint64)(unsafe.Pointer(&attr[0])) = access
	*(*int32)(unsafe.Pointer(&attr[8])) = int32(fd)
	_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// actionAvailable is seccomp(2) with SECCOMP_GET_ACTION_AVAIL.
func actionAvailable(action uint32) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	return errno == 0
}
