package native_test

import "golang.org/x/sys/unix"

const (
	sysNewfstatat = unix.SYS_NEWFSTATAT
	multiarch     = "x86_64-linux-gnu"
)

func oldNames() map[uint32]string {
	return map[uint32]string{unix.SYS_OPEN: "open", unix.SYS_STAT: "stat", unix.SYS_LSTAT: "lstat", unix.SYS_ACCESS: "access",
		unix.SYS_READLINK: "readlink", unix.SYS_MKDIR: "mkdir", unix.SYS_SYMLINK: "symlink", unix.SYS_UNLINK: "unlink"}
}
