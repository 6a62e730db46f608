// Command landrunlike starts a program the way the Landlock launchers in Go do:
// it restricts all of its threads, executes itself again behind the wall, and
// that second start executes the program. It is a peer for the benchmark of
// starts, not a sandbox.
//
//	landrunlike READ-EXECUTE-DIRECTORY PROGRAM [ARGUMENT...]
package main

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// behind marks the second start.
const behind = "LANDRUNLIKE_BEHIND=1"

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "landrunlike:", err)
		os.Exit(125)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: landrunlike DIRECTORY PROGRAM [ARGUMENT...]")
	}
	if os.Getenv("LANDRUNLIKE_BEHIND") != "" {
		return syscall.Exec(args[2], args[2:], os.Environ())
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := restrict(args[1], self); err != nil {
		return err
	}
	return syscall.Exec(self, args, append(os.Environ(), behind))
}

// restrict confines every thread of the process to reading and executing below
// the given paths.
func restrict(paths ...string) error {
	handled := unix.LandlockRulesetAttr{Handled_access_fs: 1<<15 - 1} // all of ABI 3
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&handled)), unsafe.Sizeof(handled.Handled_access_fs), 0)
	if errno != 0 {
		return fmt.Errorf("create ruleset: %w", errno)
	}
	defer unix.Close(int(fd))
	for _, path := range paths {
		if err := addRule(int(fd), path); err != nil {
			return err
		}
	}
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("no_new_privs: %w", errno)
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("restrict: %w", errno)
	}
	return nil
}

func addRule(ruleset int, path string) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(at)
	rule := unix.LandlockPathBeneathAttr{Parent_fd: int32(at), Allowed_access: unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE}
	var info unix.Stat_t
	if err := unix.Fstat(at, &info); err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if info.Mode&unix.S_IFMT == unix.S_IFDIR {
		rule.Allowed_access |= unix.LANDLOCK_ACCESS_FS_READ_DIR
	}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("allow %s: %w", path, errno)
	}
	return nil
}
