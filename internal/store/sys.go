package store

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// futimens is utimensat(2) with a NULL path: it acts on the descriptor itself.
// The cast hands the kernel the address of two timespecs for the call's
// duration only. x/sys has no such form.
func futimens(fd int, ts *[2]unix.Timespec) error {
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
