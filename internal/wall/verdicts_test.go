package wall

import (
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// TestVerdicts says, call by call, what cells may.
func TestVerdicts(t *testing.T) {
	const (
		io    = capability.Stdio
		files = io | capability.Rpath | capability.Wpath
		net   = io | capability.Inet
		proc  = io | capability.Proc
		exec  = io | capability.Exec
		all   = capability.AllPledges
		junk  = 0xdeadbeef << 32 // upper half of a register that the kernel does not read
		self  = 0
	)
	e := func(n unix.Errno) Verdict { return Errno(uint16(n)) }
	const thread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD
	const suid = 0o4755
	tests := []struct {
		pledge capability.Pledge
		call   string
		args   [6]uint64
		want   Verdict
	}{
		// Processes. Threads need no promise; namespaces nobody gets.
		{io, "clone", [6]uint64{thread}, Allow},
		{io, "clone", [6]uint64{junk | thread}, Allow},
		{io, "clone", [6]uint64{uint64(unix.SIGCHLD)}, Fault},
		{io, "clone", [6]uint64{thread << 32}, Fault},
		{proc, "clone", [6]uint64{uint64(unix.SIGCHLD)}, Allow},
		{proc, "clone", [6]uint64{unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)}, Allow},
		{proc, "clone", [6]uint64{0}, Allow},
		{proc, "clone", [6]uint64{uint64(unix.SIGCONT)}, e(unix.EPERM)},
		{proc, "clone", [6]uint64{uint64(unix.SIGKILL)}, e(unix.EPERM)},
		{all, "clone", [6]uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, e(unix.EPERM)},
		{all, "clone", [6]uint64{unix.CLONE_NEWNS | thread}, e(unix.EPERM)},
		{all, "clone", [6]uint64{unix.CLONE_NEWPID}, e(unix.EPERM)},
		{all, "clone", [6]uint64{unix.CLONE_NEWNET | junk}, e(unix.EPERM)},
		{all, "clone", [6]uint64{unix.CLONE_NEWCGROUP}, e(unix.EPERM)},
		{all, "clone", [6]uint64{unix.CLONE_PTRACE | uint64(unix.SIGCHLD)}, e(unix.EPERM)},
		{all, "clone", [6]uint64{unix.CLONE_PARENT | uint64(unix.SIGCHLD)}, e(unix.EPERM)},
		{all, "clone", [6]uint64{unix.CLONE_UNTRACED | thread}, e(unix.EPERM)},
		{all, "clone3", [6]uint64{}, e(unix.ENOSYS)},
		{all, "unshare", [6]uint64{}, e(unix.EPERM)},
		{io, "execve", [6]uint64{}, Fault},
		{proc, "execve", [6]uint64{}, Fault},
		{exec, "execve", [6]uint64{}, Allow},
		{exec, "execveat", [6]uint64{}, Allow},
		{io, "setsid", [6]uint64{}, Fault},
		{proc, "setsid", [6]uint64{}, Allow},
		{io, "kill", [6]uint64{1, 9}, Allow}, // Landlock says whom
		{io, "tgkill", [6]uint64{1, 1, 9}, Allow},
		{io, "pidfd_send_signal", [6]uint64{3, 9}, Fault},
		{io, "fcntl", [6]uint64{3, unix.F_SETOWN, 77}, Allow},
		{io, "fcntl", [6]uint64{3, unix.F_SETOWN, 0xffffffb3}, e(unix.EPERM)},
		{io, "fcntl", [6]uint64{3, unix.F_SETOWN, ^uint64(76)}, e(unix.EPERM)},
		{io, "fcntl", [6]uint64{3, unix.F_SETOWN_EX, 0x7f0000000000}, e(unix.EINVAL)},
		{all, "pidfd_getfd", [6]uint64{3, 1}, e(unix.EPERM)},
		{all, "madvise", [6]uint64{0x10000, 0x10000, unix.MADV_DONTFORK}, e(unix.EINVAL)},
		{all, "madvise", [6]uint64{0x7f0000000000, 4096, junk | unix.MADV_DONTFORK}, e(unix.EINVAL)},
		{io, "madvise", [6]uint64{0x7f0000000000, 4096, unix.MADV_DONTNEED}, Allow},
		{all, "process_madvise", [6]uint64{}, e(unix.EPERM)},
		// What belongs to others, and the mark.
		{io, "prlimit64", [6]uint64{self, unix.RLIMIT_NOFILE, 0x1000, 0}, Allow},
		{io, "prlimit64", [6]uint64{7, unix.RLIMIT_NOFILE, 0, 0x1000}, e(unix.EPERM)},
		{io, "prlimit64", [6]uint64{junk | 7, unix.RLIMIT_NOFILE, 0, 0x1000}, e(unix.EPERM)},
		{io, "prlimit64", [6]uint64{junk, unix.RLIMIT_NOFILE, 0, 0x1000}, Allow},
		{io, "prlimit64", [6]uint64{self, unix.RLIMIT_MSGQUEUE, 0, 0x1000}, Allow},
		{io, "prlimit64", [6]uint64{self, unix.RLIMIT_MSGQUEUE, 0x1000, 0}, e(unix.EPERM)},
		{io, "prlimit64", [6]uint64{self, unix.RLIMIT_MSGQUEUE, 0x7fff00000000, 0}, e(unix.EPERM)},
		{io, "prlimit64", [6]uint64{self, junk | unix.RLIMIT_MSGQUEUE, 0x1000, 0}, e(unix.EPERM)},
		{io, "setrlimit", [6]uint64{unix.RLIMIT_MSGQUEUE}, e(unix.EPERM)},
		{io, "setrlimit", [6]uint64{junk | unix.RLIMIT_MSGQUEUE}, e(unix.EPERM)},
		{io, "setrlimit", [6]uint64{unix.RLIMIT_STACK}, Allow},
		{io, "setpriority", [6]uint64{unix.PRIO_PROCESS, self, 5}, Allow},
		{io, "setpriority", [6]uint64{unix.PRIO_PROCESS, 7, 5}, e(unix.EPERM)},
		{io, "setpriority", [6]uint64{unix.PRIO_USER, 0, 5}, e(unix.EPERM)},
		{io, "setpriority", [6]uint64{unix.PRIO_PGRP, 0, 5}, e(unix.EPERM)},
		{io, "ioprio_set", [6]uint64{1, 0, 0}, Allow},
		{io, "ioprio_set", [6]uint64{2, 0, 0}, e(unix.EPERM)},
		{io, "sched_setaffinity", [6]uint64{self}, Allow},
		{io, "sched_setaffinity", [6]uint64{7}, e(unix.EPERM)},
		{io, "sched_setscheduler", [6]uint64{7}, e(unix.EPERM)},
		{io, "sched_setattr", [6]uint64{junk | 7}, e(unix.EPERM)},
		{io, "sched_getaffinity", [6]uint64{7}, Allow}, // pthread_getattr_np asks about its own number
		{io, "get_robust_list", [6]uint64{7}, e(unix.EPERM)},
		// Files. Landlock says which; set-id files nobody makes.
		{io, "openat", [6]uint64{0, 0, unix.O_CREAT | unix.O_WRONLY, 0o644}, Allow},
		{io, "openat", [6]uint64{0, 0, unix.O_CREAT | unix.O_WRONLY, suid}, e(unix.EPERM)},
		{io, "openat", [6]uint64{0, 0, unix.O_CREAT | unix.O_WRONLY, 0o2644}, e(unix.EPERM)},
		{io, "openat", [6]uint64{0, 0, unix.O_TMPFILE | unix.O_RDWR, suid}, e(unix.EPERM)},
		{io, "openat", [6]uint64{0, 0, junk | unix.O_CREAT, junk | suid}, e(unix.EPERM)},
		{io, "openat", [6]uint64{0, 0, unix.O_RDONLY, suid}, Allow}, // what the register held before
		{io, "openat", [6]uint64{0, 0, unix.O_DIRECTORY, 0xffffffff}, Allow},
		{io, "open", [6]uint64{0, unix.O_CREAT, suid}, e(unix.EPERM)},
		{io, "open", [6]uint64{0, unix.O_RDONLY, suid}, Allow},
		{files, "creat", [6]uint64{0, suid}, e(unix.EPERM)},
		{files, "mkdirat", [6]uint64{0, 0, 0o755}, Allow},
		{files, "mkdirat", [6]uint64{0, 0, 0o2755}, e(unix.EPERM)},
		{files, "mknodat", [6]uint64{0, 0, unix.S_IFIFO | 0o600}, Allow},
		{files, "mknodat", [6]uint64{0, 0, unix.S_IFREG | 0o600}, Allow},
		{files, "mknodat", [6]uint64{0, 0, unix.S_IFREG | suid}, e(unix.EPERM)},
		{files, "mknodat", [6]uint64{0, 0, unix.S_IFCHR | 0o600}, e(unix.EPERM)},
		{files, "mknodat", [6]uint64{0, 0, unix.S_IFBLK | 0o600}, e(unix.EPERM)},
		{files, "mknodat", [6]uint64{0, 0, unix.S_IFSOCK | 0o600}, e(unix.EPERM)},
		{io, "unlinkat", [6]uint64{}, Fault},
		{files, "unlinkat", [6]uint64{}, Allow},
		{io, "truncate", [6]uint64{}, Fault},
		{files, "truncate", [6]uint64{}, Allow},
		{io, "fchmodat", [6]uint64{}, Fault},
		{files, "fchmodat", [6]uint64{}, ask},
		{files, "fsetxattr", [6]uint64{}, ask},
		{io, "flock", [6]uint64{}, ask},
		{io, "inotify_add_watch", [6]uint64{}, ask},
		{io, "fcntl", [6]uint64{3, unix.F_GETFL}, Allow},
		{io, "fcntl", [6]uint64{3, unix.F_SETLK}, Allow},
		{io, "fcntl", [6]uint64{3, unix.F_SETLEASE}, e(unix.EACCES)},
		{io, "fcntl", [6]uint64{3, junk | unix.F_SETLEASE}, e(unix.EACCES)},
		{io, "fcntl", [6]uint64{3, unix.F_NOTIFY}, e(unix.EINVAL)},
		{io, "openat2", [6]uint64{}, e(unix.ENOSYS)},
		{io, "memfd_create", [6]uint64{0, mfdNoexecSeal}, Allow},
		{io, "memfd_create", [6]uint64{0, 0}, ask},
		{io, "memfd_create", [6]uint64{0, unix.MFD_EXEC}, ask},
		{io, "memfd_create", [6]uint64{0, mfdNoexecSeal << 32}, ask},
		// Sockets.
		{io, "socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, Fault},
		{net, "socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK}, Allow},
		{net, "socket", [6]uint64{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP}, Allow},
		{net, "socket", [6]uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, e(unix.EACCES)},
		{net, "socket", [6]uint64{junk | unix.AF_INET, junk | unix.SOCK_STREAM, junk}, Allow},
		{io | capability.Udp, "socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, Fault},
		{io | capability.Udp, "socket", [6]uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, Allow},
		{io | capability.Udp, "socket", [6]uint64{junk | unix.AF_INET6, junk | unix.SOCK_DGRAM, junk}, Allow},
		{net | capability.Udp, "socket", [6]uint64{unix.AF_INET, unix.SOCK_DGRAM}, Allow},
		{net | capability.Udp, "socket", [6]uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE}, e(unix.EPROTONOSUPPORT)},
		{net, "listen", [6]uint64{}, ask},
		{net, "sendto", [6]uint64{4: 1}, Allow}, // of a TCP socket: the address counts for nothing
		{net, "sendto", [6]uint64{3: unix.MSG_FASTOPEN, 4: 1}, e(unix.EOPNOTSUPP)},
		{net, "sendmsg", [6]uint64{2: unix.MSG_FASTOPEN | unix.MSG_NOSIGNAL}, e(unix.EOPNOTSUPP)},
		{net, "sendmmsg", [6]uint64{3: junk | unix.MSG_FASTOPEN}, e(unix.EOPNOTSUPP)},
		{net, "sendmsg", [6]uint64{}, Allow},
		{net, "setsockopt", [6]uint64{1: unix.SOL_IP, 2: unix.IP_OPTIONS}, e(unix.EPERM)},
		{net, "setsockopt", [6]uint64{1: junk | unix.SOL_IPV6, 2: junk | unix.IPV6_RTHDR}, e(unix.EPERM)},
		{net, "setsockopt", [6]uint64{1: unix.SOL_SOCKET, 2: unix.IP_OPTIONS}, Allow},
		{net | capability.Udp, "sendto", [6]uint64{}, Allow},
		{net | capability.Udp, "sendto", [6]uint64{4: 1}, ask},
		{net | capability.Udp, "sendto", [6]uint64{4: 1 << 32}, ask},
		{net | capability.Udp, "sendmsg", [6]uint64{}, ask},
		{net | capability.Udp, "sendmmsg", [6]uint64{}, e(unix.ENOSYS)},
		{net, "socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, e(unix.EPROTONOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, e(unix.EPROTONOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP}, e(unix.EPROTONOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_INET6, unix.SOCK_RAW, 255}, e(unix.EPROTONOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_INET, unix.SOCK_PACKET}, e(unix.EPROTONOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_INET, unix.SOCK_DCCP}, e(unix.EPROTONOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, e(unix.EAFNOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW}, e(unix.EAFNOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}, e(unix.EAFNOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, e(unix.EAFNOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, e(unix.EAFNOSUPPORT)},
		{net, "socket", [6]uint64{unix.AF_XDP, unix.SOCK_RAW}, e(unix.EAFNOSUPPORT)},
		{io, "socketpair", [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, Allow},
		{io, "socketpair", [6]uint64{unix.AF_UNIX, unix.SOCK_SEQPACKET}, Allow},
		{io, "socketpair", [6]uint64{unix.AF_UNIX, unix.SOCK_DGRAM}, e(unix.EOPNOTSUPP)},
		{all, "socketpair", [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, e(unix.EOPNOTSUPP)},
		{io, "connect", [6]uint64{}, Fault},
		{net, "connect", [6]uint64{}, ask},
		// Terminals and devices.
		{io, "ioctl", [6]uint64{0, unix.TCGETS}, Allow},
		{io, "ioctl", [6]uint64{0, unix.TIOCGWINSZ}, Allow},
		{io, "ioctl", [6]uint64{0, unix.TIOCSTI}, e(unix.EPERM)},
		{io, "ioctl", [6]uint64{0, junk | unix.TIOCSTI}, e(unix.EPERM)},
		{io, "ioctl", [6]uint64{0, unix.TIOCLINUX}, e(unix.EPERM)},
		{io, "ioctl", [6]uint64{0, unix.TIOCCONS}, e(unix.EPERM)},
		{io, "ioctl", [6]uint64{0, unix.TIOCSETD}, e(unix.EPERM)},
		{io, "ioctl", [6]uint64{0, unix.TIOCSIG}, e(unix.ENOTTY)},
		{io, "ioctl", [6]uint64{0, unix.TIOCGPTPEER}, e(unix.ENOTTY)},
		{io, "ioctl", [6]uint64{0, unix.FS_IOC_SETFLAGS}, e(unix.ENOTTY)},
		{all, "ioctl", [6]uint64{0, unix.FS_IOC_ENABLE_VERITY}, e(unix.ENOTTY)},
		{io, "ioctl", [6]uint64{0, unix.SIOCGIFCONF}, e(unix.ENOTTY)},
		{net, "ioctl", [6]uint64{0, unix.SIOCGIFCONF}, Allow},
		{all, "ioctl", [6]uint64{0, unix.SIOCSIFFLAGS}, e(unix.ENOTTY)},
		// A process's own attributes.
		{io, "prctl", [6]uint64{unix.PR_SET_NAME}, Allow},
		{io, "prctl", [6]uint64{unix.PR_SET_DUMPABLE, 0}, e(0)},
		{io, "prctl", [6]uint64{junk | unix.PR_SET_DUMPABLE, 0}, e(0)},
		{io, "prctl", [6]uint64{unix.PR_SET_MM}, e(unix.EINVAL)},
		{io, "prctl", [6]uint64{unix.PR_SET_THP_DISABLE, 1}, Allow},
		{io, "prctl", [6]uint64{unix.PR_SET_THP_DISABLE, 0}, e(unix.EINVAL)},
		{io, "prctl", [6]uint64{unix.PR_SET_THP_DISABLE, junk}, e(unix.EINVAL)},
		{io, "prctl", [6]uint64{unix.PR_SET_PTRACER}, e(unix.EINVAL)},
		{io, "prctl", [6]uint64{unix.PR_SET_SECUREBITS}, e(unix.EINVAL)},
		{io, "prctl", [6]uint64{unix.PR_SET_IO_FLUSHER}, e(unix.EINVAL)},
		{io, "prctl", [6]uint64{unix.PR_SCHED_CORE}, e(unix.EINVAL)},
		{io, "prctl", [6]uint64{unix.PR_SET_SYSCALL_USER_DISPATCH}, e(unix.EINVAL)},
		{io, "personality", [6]uint64{0}, Allow},
		{io, "personality", [6]uint64{0xffffffff}, Allow},
		{io, "personality", [6]uint64{^uint64(0)}, Allow},
		{io, "personality", [6]uint64{8}, e(unix.EPERM)},         // PER_LINUX32
		{io, "personality", [6]uint64{0x0040000}, e(unix.EPERM)}, // ADDR_NO_RANDOMIZE
		{io, "personality", [6]uint64{0x0400000}, e(unix.EPERM)}, // READ_IMPLIES_EXEC
		{io, "arch_prctl", [6]uint64{0x1002}, Allow},
		{io, "arch_prctl", [6]uint64{0x1012}, e(unix.EINVAL)}, // ARCH_SET_CPUID
		// Without any promise there is no call at all, not even the way out.
		{0, "exit_group", [6]uint64{}, Fault},
		{0, "read", [6]uint64{}, Fault},
	}
	for _, a := range machines(t) {
		tested := 0
		for _, tt := range tests {
			nr, ok := a.Number(tt.call)
			if !ok {
				continue
			}
			tested++
			d := data{nr: nr, arch: a.audit, args: tt.args}
			got := meant(a, tt.pledge, &d)
			if got != tt.want {
				t.Errorf("%s %s: %s%#x is meant to get %#x, want %#x", a.Name, tt.pledge, tt.call, tt.args, got, tt.want)
			}
			want := tt.want
			if want == ask {
				want = Ask
			}
			if got, err := Compile(a, tt.pledge, Bare).execute(&d); err != nil || got != want {
				t.Errorf("%s %s: %s%#x gets %#x, %v, want %#x", a.Name, tt.pledge, tt.call, tt.args, got, err, want)
			}
		}
		if tested < len(tests)*3/4 {
			t.Errorf("%s: only %d of %d rows were tested", a.Name, tested, len(tests))
		}
	}
}
