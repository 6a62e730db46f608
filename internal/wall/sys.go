package wall

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file holds the raw system calls of the package. Each takes effect on
// the calling thread only, but where its name says otherwise. They are RawSyscall, because a thread on its way
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

// addPathRule adds a rule that grants something.
func addPathRule(ruleset, fd int, access uint64) error {
	if access == 0 {
		return nil // the kernel answers ENOMSG to a rule that grants nothing
	}
	return AddRule(ruleset, fd, access)
}

// actionAvailable is seccomp(2) with SECCOMP_GET_ACTION_AVAIL.
func actionAvailable(action uint32) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	return errno == 0
}

// peek copies n bytes, a pipe's worth at most, from an address that nothing may be
// mapped at: write(2) fails then instead of ending the program.
func peek(addr uintptr, n int) ([]byte, bool) {
	var p [2]int
	if unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil, false
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	if wrote, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(p[1]), addr, uintptr(n)); errno != 0 || int(wrote) != n {
		return nil, false
	}
	b := make([]byte, n)
	got, err := unix.Read(p[0], b)
	return b, err == nil && got == n
}

// sealed reports whether the kernel refuses to give memory the protection that the
// zone has already: mseal(2) does that, and nothing else.
func sealed(addr, size uintptr) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_MPROTECT, addr, size, unix.PROT_READ)
	return errno == unix.EPERM
}

// holds reports whether the filters of the calling thread hold a promise.
func holds(promise uint64) bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, HeldOption, uintptr(promise), 0, 0, 0, 0)
	return errno != unix.EPERM
}

// installForAll is seccomp(2) with no_new_privs before it, for all threads of the
// process: the kernel gives the others both (SECCOMP_FILTER_FLAG_TSYNC). The caller is
// locked to its thread.
func installForAll(filter []byte) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	prog := sockFprog{uint16(len(filter) / InstructionSize), &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return errno
	}
	return nil
}

// restrictAll is landlock_restrict_self(2) with no_new_privs before it, on all threads
// of the process (psx; the kernel itself does it from Landlock version 8 on).
func restrictAll(ruleset int) error {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// AddRule is landlock_add_rule(2) with LANDLOCK_RULE_PATH_BENEATH, for a supervisor
// that makes the call in the place of a program, with descriptors of its own.
func AddRule(ruleset, fd int, access uint64) error {
	attr := pathRule(access, fd)
	return landlockRule(ruleset, unix.LANDLOCK_RULE_PATH_BENEATH, attr[:])
}

// PathRule takes the struct of such a call apart.
func PathRule(attr [12]byte) (access uint64, fd int) {
	return binary.NativeEndian.Uint64(attr[:]), int(int32(binary.NativeEndian.Uint32(attr[8:])))
}

// AddPortRule is the same with LANDLOCK_RULE_NET_PORT.
func AddPortRule(ruleset int, attr [16]byte) error {
	return landlockRule(ruleset, landlockRuleNetPort, attr[:])
}

const landlockRuleNetPort = 2 // LANDLOCK_RULE_NET_PORT, linux/landlock.h

// RestrictFlags says what landlock_restrict_self(2) answers to flags: EINVAL if the
// kernel knows one of them not, else 0. The calling thread must have no_new_privs; as
// there is no such ruleset nothing happens to it (-1 would mean something).
func RestrictFlags(flags uint32) unix.Errno {
	const none = ^uintptr(1) // -2
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, none, uintptr(flags), 0)
	if errno == unix.EBADF {
		return 0
	}
	return errno
}

// RestrictThread is landlock_restrict_self(2) for a thread that is in a cell's wall
// already (see Confine).
func RestrictThread(ruleset int) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// pathRule is struct landlock_path_beneath_attr, which is packed: 8 bytes of rights, 4
// of descriptor.
func pathRule(access uint64, fd int) (attr [12]byte) {
	binary.NativeEndian.PutUint64(attr[:], access)
	binary.NativeEndian.PutUint32(attr[8:], uint32(fd))
	return attr
}

func landlockRule(ruleset int, kind uintptr, attr []byte) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), kind, uintptr(unsafe.Pointer(&attr[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
