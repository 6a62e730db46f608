package wall

import (
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// CompileHidden makes the seccomp filter of a pledge for a cell that sees only
// its own names: whatever Compile allows and takes a path, or the working
// directory, is asked. It never allows what Compile does not.
func CompileHidden(a Arch, pledge capability.Pledge) Filter {
	ask := map[string]bool{}
	for name := range strings.FieldsSeq(pathCalls) {
		ask[name] = true
	}
	first := promise{0, []row{
		// The launching child's own execve.
		{"execve", presented(), Allow},
		// The number by which the supervisor knows a process's directory
		// (package membrane, cwds). Reading it does no harm.
		{"setrlimit", all(is(0, unix.RLIMIT_LOCKS)), Errno(eperm)},
		{"prlimit64", all(is(1, unix.RLIMIT_LOCKS), isNot(2, 0)), Errno(eperm)},
		{"prlimit64", all(is(1, unix.RLIMIT_LOCKS), high(isNot(2, 0))), Errno(eperm)},
	}}
	list := append([]promise{first}, promises()...)
	// Before what is quiet, which is last: it can be answered.
	last := len(list) - 1
	list = append(list[:last:last], promise{capability.Stdio, []row{{names: "openat2", verdict: Ask}}}, list[last])
	return compile(a, pledge, list, ask)
}

// pathCalls are the calls that take a path or depend on the working directory,
// and those that can name a socket of the file system.
const pathCalls = `open openat creat stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat
	getcwd chdir fchdir statfs getxattr lgetxattr listxattr llistxattr truncate rename renameat renameat2 link linkat
	symlink symlinkat unlink unlinkat mkdir mkdirat rmdir mknod mknodat execve execveat bind connect`
