package store

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below go past Go's scheduler (RawSyscall): the page cache answers
// them in microseconds, and an install makes tens of thousands. Announced to
// the scheduler, every call that takes longer than 20 us would have its
// processor handed to another thread and fetched back; that cost a tenth of an
// install. The price is that a processor waits where the kernel makes writers
// wait for a slow disk.

// futimens is utimensat(2) with a NULL path: it acts on the descriptor itself.
// The cast hands the kernel the address of two timespecs for the call's
// duration only. x/sys has no such form.
func futimens(fd int, ts *[2]unix.Timespec) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// linkat is linkat(2). The casts hand the kernel the addresses of two strings
// for the call's duration only.
func linkat(srcDir int, src string, dstDir int, dst string, flags int) error {
	from, err := unix.BytePtrFromString(src)
	if err != nil {
		return err
	}
	to, err := unix.BytePtrFromString(dst)
	if err != nil {
		return err
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_LINKAT, uintptr(srcDir), uintptr(unsafe.Pointer(from)), uintptr(dstDir), uintptr(unsafe.Pointer(to)), uintptr(flags), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// CreateAt is openat(2) for a new file, which must not exist.
func CreateAt(dir int, name string, mode uint32) (fd int, err error) {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return -1, err
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	n, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(p)), flags, uintptr(mode), 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// WriteAt writes all of b to an open file, with pwrite(2).
func WriteAt(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_PWRITE64, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(off), 0, 0)
		switch errno {
		case 0:
			b, off = b[n:], off+int64(n)
		case unix.EINTR:
		default:
			return errno
		}
	}
	return nil
}

// Close is close(2) for a file that was written here and whose errors the sync
// before its naming tells.
func Close(fd int) {
	unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}
