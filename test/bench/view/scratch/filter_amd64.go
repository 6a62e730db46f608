package scratch

import "golang.org/x/sys/unix"

const (
	auditArch     = unix.AUDIT_ARCH_X86_64
	sysNewfstatat = unix.SYS_NEWFSTATAT
)

// pathCalls are asked whatever their arguments are.
func pathCalls() []uint32 {
	return []uint32{unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_ACCESS, unix.SYS_FACCESSAT, unix.SYS_READLINK,
		unix.SYS_CHDIR, unix.SYS_STATFS, unix.SYS_GETCWD, unix.SYS_EXECVE, unix.SYS_CREAT, unix.SYS_UNLINK, unix.SYS_UNLINKAT, unix.SYS_RENAME,
		unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIR, unix.SYS_MKDIRAT, unix.SYS_RMDIR, unix.SYS_SYMLINK, unix.SYS_SYMLINKAT,
		unix.SYS_LINK, unix.SYS_LINKAT, unix.SYS_CHMOD, unix.SYS_FCHMODAT, unix.SYS_UTIMENSAT, unix.SYS_TRUNCATE}
}

func moreRules(kept func(int) test, asked uint32) []rule {
	return []rule{{unix.SYS_DUP2, []test{kept(1)}, retErrno | uint32(unix.EBADF), retAllow}}
}
