package wall

import (
	"runtime"
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

// restrictSelf is landlock_restrict_self(2).
func restrictSelf(ruleset int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0)
	return errnoOrNil(errno)
}

// setFilter is seccomp(2) with SECCOMP_SET_MODE_FILTER; it returns the
// listener's descriptor (close-on-exec).
func setFilter(filter []byte) (int, error) {
	prog := struct {
		len    uint16
		_      [6]byte
		filter *byte
	}{len: uint16(len(filter) / InstructionSize), filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// prctl is prctl(2).
func prctl(option int, a, b uintptr) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, uintptr(option), a, b, 0, 0, 0)
	return errnoOrNil(errno)
}

// capset is capset(2) with all three sets of the calling thread empty.
func dropCapabilities() error {
	header := struct {
		version uint32
		pid     int32
	}{version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]struct{ effective, permitted, inheritable uint32 }
	_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
	return errnoOrNil(errno)
}

// setgroups is setgroups(2) with no groups, setresgid and setresuid are the
// calls of that name, for this thread: the C library's wrappers would change
// all threads.
func setgroupsNone() error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
	return errnoOrNil(errno)
}

func setresgid(gid int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid))
	return errnoOrNil(errno)
}

func setresuid(uid int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
	return errnoOrNil(errno)
}

func errnoOrNil(e unix.Errno) error {
	if e != 0 {
		return e
	}
	return nil
}
