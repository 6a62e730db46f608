package scratch

import "golang.org/x/sys/unix"

const (
	auditArch     = unix.AUDIT_ARCH_AARCH64
	sysNewfstatat = unix.SYS_FSTATAT
)

// pathCalls are asked whatever their arguments are.
func pathCalls() []uint32 {
	return []uint32{unix.SYS_OPENAT, unix.SYS_FACCESSAT, unix.SYS_CHDIR, unix.SYS_STATFS, unix.SYS_GETCWD, unix.SYS_EXECVE, unix.SYS_UNLINKAT,
		unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT, unix.SYS_FCHMODAT, unix.SYS_UTIMENSAT,
		unix.SYS_TRUNCATE}
}

func moreRules(func(int) test, uint32) []rule { return nil }
