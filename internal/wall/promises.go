package wall

import (
	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/view/zone"
)

// row gives system calls a verdict under a promise, for certain arguments.
// Names are separated by spaces; what an architecture lacks is passed over.
type row struct {
	names   string
	tests   []test
	verdict Verdict
}

// promise is the documented set of system calls of one pledge bit.
type promise struct {
	bit  capability.Pledge // 0: every cell has it
	rows []row
	// asIs says that no row is asked because its calls take paths.
	asIs bool
	// cell says that only cells have the set, not a program that pledges by itself.
	cell bool
}

// is and its kin build tests; see test.
func is(arg uint8, v uint32) test    { return oneOf(arg, v) }
func isNot(arg uint8, v uint32) test { return not(is(arg, v)) }
func masked(arg uint8, mask, v uint32) test {
	return test{arg: arg, mask: mask, values: []span{{v, v}}}
}
func lacks(arg uint8, bits uint32) test { return masked(arg, bits, 0) }
func has(arg uint8, bits uint32) test   { return not(lacks(arg, bits)) }
func within(arg uint8, v []span) test   { return test{arg: arg, mask: ^uint32(0), values: v} }
func not(t test) test                   { t.not = !t.not; return t }
func high(t test) test                  { t.high = true; return t }
func oneOf(arg uint8, values ...uint32) test {
	t := test{arg: arg, mask: ^uint32(0)}
	for _, v := range values {
		t.values = append(t.values, span{v, v})
	}
	return t
}
func all(t ...test) []test { return t }

// self is how a process names itself in calls that take a pid.
const self = 0

// The flags of clone(2) that make namespaces, trace, or change whose child the
// new process is.
const (
	cloneNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	cloneForbidden = cloneNamespaces | unix.CLONE_PTRACE | unix.CLONE_PARENT | unix.CLONE_UNTRACED
	cloneSignal    = 0xff // CSIGNAL
)

const (
	eperm  = uint16(unix.EPERM)
	ebadf  = uint16(unix.EBADF)
	enosys = uint16(unix.ENOSYS)
	einval = uint16(unix.EINVAL)
	enotty = uint16(unix.ENOTTY)
	eacces = uint16(unix.EACCES)
	enotsu = uint16(unix.EOPNOTSUPP)
	eafno  = uint16(unix.EAFNOSUPPORT)
)

// promises lists the sets in the order in which their rows are tried.
// quiet comes last: what a program may try without harm and must not be killed
// for, but never gets.
func promises() []promise {
	return []promise{
		{bit: 0, rows: refusals(), asIs: true},
		{bit: 0, rows: cellRefusals(), asIs: true, cell: true},
		{bit: capability.Inet, rows: sourceRouting(), asIs: true},
		{bit: capability.Udp, rows: udpRefusals(), asIs: true},
		{bit: capability.Stdio, rows: stdio()},
		{bit: capability.WriteOnly, rows: wpath()},
		{bit: capability.Cpath, rows: cpath()},
		{bit: capability.Fattr, rows: fattr()},
		{bit: capability.Udp, rows: udp()},
		{bit: capability.Inet, rows: inet()},
		{bit: capability.Unix, rows: local()},
		{bit: capability.Tty, rows: tty()},
		{bit: capability.Proc, rows: proc()},
		{bit: capability.ExecOnly, rows: execute()},
		{bit: 0, rows: quiet(), asIs: true},
	}
}

// refusals are forbidden arguments of calls that are otherwise permitted. They
// come first, so that no promise opens them again.
func refusals() []row {
	return []row{
		{"clone", all(has(0, cloneForbidden)), Errno(eperm)},
		// A set-user-id file outside would act with the cell's uid for others.
		// Calls that open without making pass any mode, it may be left over in
		// the register.
		{"creat mkdir", all(has(1, 0o6000)), Errno(eperm)},
		{"mkdirat", all(has(2, 0o6000)), Errno(eperm)},
		{"open", all(has(1, openMakes), has(2, 0o6000)), Errno(eperm)},
		{"openat", all(has(2, openMakes), has(3, 0o6000)), Errno(eperm)},
		{"mknod", all(has(1, 0o6000)), Errno(eperm)},
		{"mknodat", all(has(2, 0o6000)), Errno(eperm)},
		// The mark by which the cell's processes are found (RLIMIT_MSGQUEUE).
		{"setrlimit", all(is(0, unix.RLIMIT_MSGQUEUE)), Errno(eperm)},
		{"prlimit64", all(isNot(0, self)), Errno(eperm)},
		{"prlimit64", all(is(1, unix.RLIMIT_MSGQUEUE), isNot(2, 0)), Errno(eperm)},
		{"prlimit64", all(is(1, unix.RLIMIT_MSGQUEUE), high(isNot(2, 0))), Errno(eperm)},
		// Others' scheduling is none of the cell's business; 0 is oneself.
		// Looking is allowed: C libraries ask about their own threads by number
		// (pthread_getattr_np), and there is nothing to learn but the number's use.
		{"sched_setaffinity sched_setscheduler sched_setparam sched_setattr", all(isNot(0, self)), Errno(eperm)},
		{"setpriority getpriority ioprio_get ioprio_set", all(isNot(1, self)), Errno(eperm)},
		// 0 also means the caller's whole group or user, there.
		{"setpriority", all(isNot(0, unix.PRIO_PROCESS)), Errno(eperm)},
		{"ioprio_set", all(isNot(0, ioprioWhoProcess)), Errno(eperm)},
		{"get_robust_list", all(isNot(0, self)), Errno(eperm)},
		// A lease on a shared blob would stop every other reader of it.
		{"fcntl", all(is(1, unix.F_SETLEASE)), Errno(eacces)},
		{"fcntl", all(is(1, unix.F_NOTIFY)), Errno(einval)},
		// Signals that the kernel sends for a descriptor go to a group as a whole, in
		// which others than the cell may be. Landlock looks at one member only, when
		// the owner is set, before Linux has TEST(sigio_to_pgid_members).
		{"fcntl", all(is(1, unix.F_SETOWN), has(2, 1<<31)), Errno(eperm)},
		{"fcntl", all(is(1, unix.F_SETOWN_EX)), Errno(einval)}, // of whom is in memory
		// Connecting without connect(2): neither Landlock nor a pledge without INET
		// would be asked, on a socket that somebody else has made. So it is as where
		// the host has switched it off.
		{"sendto sendmmsg", all(has(3, unix.MSG_FASTOPEN)), Errno(enotsu)},
		{"sendmsg", all(has(2, unix.MSG_FASTOPEN)), Errno(enotsu)},
		// Typing into the terminal, its console and line disciplines; keeping others
		// from it, also when the cell has ended.
		{"ioctl", all(oneOf(1, unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCCONS, unix.TIOCSETD, unix.TIOCEXCL)), Errno(eperm)},
	}
}

// cellRefusals are those without which a cell would not be one: its supervisor and
// its zone depend on them.
func cellRefusals() []row {
	return []row{
		// A memory file that can be executed is a program nobody granted: the
		// supervisor makes one without that right instead.
		{"memfd_create", all(lacks(1, mfdNoexecSeal)), Ask},
		// The zone and the roots of native views stay where they are, open, in
		// every program: closing and marking them succeeds and does nothing.
		{"close", all(kept(0)), Errno(0)},
		{"fcntl", all(kept(0), is(1, unix.F_SETFD)), Errno(0)},
		{"ioctl", all(kept(0), oneOf(1, fioclex, fionclex)), Errno(0)},
		{"dup2 dup3", all(kept(1)), Errno(ebadf)},
		{"close_range", all(within(0, []span{{0, zone.FD}}), within(1, []span{{zone.PackageFD, ^uint32(0)}})), Errno(eperm)},
		// Sealed memory can still be kept from children, who would then have room
		// for a zone of their own.
		{"madvise", all(is(2, unix.MADV_DONTFORK)), Errno(einval)},
	}
}

// kept tests that an argument is one of the descriptors that every program of a
// cell has. The kernel reads the low 32 bits of a descriptor, as the test does.
func kept(arg uint8) test { return within(arg, []span{{zone.PackageFD, zone.FD}}) }

// openMakes are the flags of open(2) with which the kernel reads the mode:
// O_CREAT and the bit of O_TMPFILE that is not O_DIRECTORY.
const openMakes = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY

const ioprioWhoProcess = 1 // IOPRIO_WHO_PROCESS, linux/ioprio.h

const mfdNoexecSeal = 0x8 // MFD_NOEXEC_SEAL, linux/memfd.h

// stdio is what every program needs: memory, threads, time, signals, what is
// open already, and reading what Landlock lets it read.
func stdio() []row {
	return []row{
		{names: `read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close close_range
			dup dup2 dup3 pipe pipe2 lseek fstat poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl
			epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime
			signalfd signalfd4 inotify_init inotify_init1 inotify_rm_watch fadvise64 readahead sendfile splice
			tee copy_file_range ftruncate fallocate fsync fdatasync sync_file_range sync syncfs cachestat
			memfd_create`, verdict: Allow},
		{names: "fcntl", tests: all(within(1, fcntls)), verdict: Allow},
		{names: `open openat stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat
			getcwd chdir fchdir getdents getdents64 statfs fstatfs getxattr lgetxattr fgetxattr listxattr
			llistxattr flistxattr umask`, verdict: Allow},
		{names: `mmap munmap mprotect mremap madvise brk mincore msync mlock munlock mlock2 mlockall munlockall
			membarrier pkey_alloc pkey_free pkey_mprotect mseal map_shadow_stack`, verdict: Allow},
		{names: "clone", tests: all(has(0, unix.CLONE_THREAD)), verdict: Allow},
		{names: `exit exit_group futex futex_wait futex_wake futex_requeue futex_waitv set_robust_list
			get_robust_list set_tid_address rseq sched_yield sched_getaffinity sched_setaffinity
			sched_getscheduler sched_getparam sched_getattr sched_setscheduler sched_setparam sched_setattr
			sched_get_priority_max sched_get_priority_min sched_rr_get_interval getpriority setpriority
			ioprio_get ioprio_set getcpu restart_syscall`, verdict: Allow},
		{names: `gettid getpid getppid getpgid getpgrp getsid getuid geteuid getgid getegid getresuid getresgid
			getgroups setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capget
			capset getrlimit setrlimit prlimit64 getrusage times sysinfo uname getrandom`, verdict: Allow},
		{names: `rt_sigaction rt_sigprocmask rt_sigpending rt_sigreturn rt_sigsuspend rt_sigtimedwait
			rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack pause kill tkill tgkill alarm setitimer getitimer
			timer_create timer_settime timer_gettime timer_getoverrun timer_delete nanosleep clock_nanosleep
			clock_gettime clock_getres gettimeofday time wait4 waitid`, verdict: Allow},
		{names: "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self", verdict: Allow},
		{names: "flock inotify_add_watch", verdict: Ask},
		// Sockets that are open already, and pairs. No datagram pairs: one of
		// those can be aimed at any path or abstract name with sendto.
		{names: "socketpair", tests: all(is(0, unix.AF_UNIX), masked(1, 0xf, unix.SOCK_STREAM)), verdict: Allow},
		{names: "socketpair", tests: all(is(0, unix.AF_UNIX), masked(1, 0xf, unix.SOCK_SEQPACKET)), verdict: Allow},
		{names: "socketpair", verdict: Errno(enotsu)},
		{names: `recvfrom recvmsg recvmmsg sendto sendmsg sendmmsg shutdown getsockname getpeername getsockopt
			setsockopt`, verdict: Allow},
		{names: "ioctl", tests: all(within(1, ioctls)), verdict: Allow},
		{names: "prctl", tests: all(within(0, prctls)), verdict: Allow},
		// Pretended: a process that hides its memory would hide it from the supervisor.
		{names: "prctl", tests: all(is(0, unix.PR_SET_DUMPABLE)), verdict: Errno(0)},
		// Whom a budget gives small pages (Spawner.SmallPages) does not get large ones back.
		{names: "prctl", tests: all(is(0, unix.PR_SET_THP_DISABLE), isNot(1, 0)), verdict: Allow},
		{names: "arch_prctl", tests: all(oneOf(0, 0x1001, 0x1002, 0x1003, 0x1004)), verdict: Allow}, // ARCH_{SET,GET}_{FS,GS}
		{names: "personality", tests: all(oneOf(0, 0, 0xffffffff)), verdict: Allow},                 // PER_LINUX, query
	}
}

// fcntls are the operations that stdio allows: descriptors, locks, pipes, seals, and
// who is told of what is readable. All others fail with EINVAL: those that are
// known change what the kernel keeps with a file, for which an owner needs no right to write.
var fcntls = []span{
	{unix.F_DUPFD, fGetOwnerUIDs}, {unix.F_OFD_GETLK, unix.F_OFD_SETLKW}, {unix.F_GETLEASE, unix.F_GETLEASE}, {fDupFDQuery, fCreatedQuery},
	{unix.F_DUPFD_CLOEXEC, unix.F_GET_RW_HINT},
}

// From linux/fcntl.h and asm-generic/fcntl.h.
const (
	fGetOwnerUIDs = 17
	fDupFDQuery   = 1027
	fCreatedQuery = 1028
)

// ioctls are the requests that stdio allows: terminals, what is readable,
// descriptor flags, cloning of files. All others fail with ENOTTY. TIOCSTI and
// the like lie between the ranges (asm-generic/ioctls.h).
var ioctls = []span{
	{unix.TCGETS, unix.TIOCOUTQ}, {unix.TIOCGWINSZ, unix.TIOCSWINSZ}, {unix.TIOCINQ, unix.TIOCINQ}, {fionbio, unix.TIOCNOTTY},
	{unix.TCSBRKP, unix.TCSBRKP}, {unix.TIOCGSID, unix.TIOCGSID}, {fionclex, fioasync}, {fioqsize, fioqsize},
	{unix.TCSETS2, unix.TCSETSF2}, {unix.TCGETS2, unix.TCGETS2}, {unix.FICLONE, unix.FICLONE}, {unix.FICLONERANGE, unix.FICLONERANGE},
	{unix.FS_IOC_GETFLAGS, unix.FS_IOC_GETFLAGS}, {fsIocFiemap, fsIocFiemap},
}

// From asm-generic/ioctls.h.
const (
	fionbio  = 0x5421
	fionclex = 0x5450
	fioclex  = 0x5451
	fioasync = 0x5452
	fioqsize = 0x5460

	fsIocFiemap = 0xc020660b // linux/fs.h
)

// prctls are the options that stdio allows: they look at or restrict the
// caller. All others fail with EINVAL.
var prctls = []span{
	{unix.PR_SET_PDEATHSIG, unix.PR_GET_DUMPABLE}, {unix.PR_GET_KEEPCAPS, unix.PR_SET_KEEPCAPS}, {unix.PR_SET_NAME, unix.PR_GET_NAME},
	{unix.PR_GET_SECCOMP, unix.PR_GET_TSC}, {unix.PR_GET_SECUREBITS, unix.PR_GET_SECUREBITS}, {unix.PR_SET_TIMERSLACK, unix.PR_GET_TIMERSLACK},
	{unix.PR_SET_CHILD_SUBREAPER, unix.PR_GET_TID_ADDRESS}, {unix.PR_GET_THP_DISABLE, unix.PR_GET_THP_DISABLE}, {unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT}, {unix.PR_SVE_SET_VL, unix.PR_GET_TAGGED_ADDR_CTRL},
	{unix.PR_SET_MDWE, unix.PR_GET_MDWE}, {unix.PR_SET_VMA, unix.PR_SET_VMA}, {unix.PR_GET_AUXV, unix.PR_GET_AUXV},
}

// cpath makes, renames and removes names.
func cpath() []row {
	return []row{
		{names: `rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir link linkat symlink symlinkat creat`, verdict: Allow},
		{names: "mknod", tests: all(masked(1, unix.S_IFMT, 0)), verdict: Allow},
		{names: "mknod", tests: all(masked(1, unix.S_IFMT, unix.S_IFREG)), verdict: Allow},
		{names: "mknod", tests: all(masked(1, unix.S_IFMT, unix.S_IFIFO)), verdict: Allow},
		{names: "mknodat", tests: all(masked(2, unix.S_IFMT, 0)), verdict: Allow},
		{names: "mknodat", tests: all(masked(2, unix.S_IFMT, unix.S_IFREG)), verdict: Allow},
		{names: "mknodat", tests: all(masked(2, unix.S_IFMT, unix.S_IFIFO)), verdict: Allow},
		{names: "mknod mknodat", verdict: Errno(eperm)},
	}
}

// fattr changes modes, owners, times and extended attributes. Landlock knows
// nothing of these, so the supervisor decides each (package membrane).
func fattr() []row {
	return []row{{names: `chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat utime utimes utimensat futimesat
		setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr`, verdict: Ask}}
}

// wpath is what writing adds to cpath and fattr.
func wpath() []row { return []row{{names: "truncate", verdict: Allow}} }

// inet is TCP over IPv4 and IPv6: no raw sockets, no MPTCP (which Landlock's TCP
// rules do not see), no other protocol. The supervisor knows which addresses the
// cell may reach, and calls in its place.
func inet() []row {
	var r []row
	for _, family := range []uint32{unix.AF_INET, unix.AF_INET6} {
		r = append(r,
			row{"socket", all(is(0, family), masked(1, 0xf, unix.SOCK_STREAM), oneOf(2, 0, unix.IPPROTO_TCP)), Allow},
			// C libraries make one to sort the addresses of a name, and do without.
			row{"socket", all(is(0, family), masked(1, 0xf, unix.SOCK_DGRAM), oneOf(2, 0, unix.IPPROTO_UDP)), Errno(eacces)},
			row{"socket", all(is(0, family)), Errno(uint16(unix.EPROTONOSUPPORT))})
	}
	return append(r,
		row{names: "connect bind listen", verdict: Ask},
		row{names: "accept accept4", verdict: Allow},
		row{names: "ioctl", tests: interfaces(), verdict: Allow})
}

// udp is datagrams over IPv4 and IPv6. Those that have an address of their own are
// asked, like connect; sendmsg can have one, which no filter sees.
func udp() []row {
	var r []row
	for _, family := range []uint32{unix.AF_INET, unix.AF_INET6} {
		r = append(r, row{"socket", all(is(0, family), masked(1, 0xf, unix.SOCK_DGRAM), oneOf(2, 0, unix.IPPROTO_UDP)), Allow})
	}
	return append(r, row{names: "connect bind", verdict: Ask}, row{names: "ioctl", tests: interfaces(), verdict: Allow})
}

// local is sockets of streams and packets with names in the file system: the supervisor
// knows which. No datagrams: those can be aimed with each call.
func local() []row {
	return []row{
		{"socket", all(is(0, unix.AF_UNIX), masked(1, 0xf, unix.SOCK_STREAM), oneOf(2, 0, unix.AF_UNIX)), Allow},
		{"socket", all(is(0, unix.AF_UNIX), masked(1, 0xf, unix.SOCK_SEQPACKET), oneOf(2, 0, unix.AF_UNIX)), Allow},
		{"socket", all(is(0, unix.AF_UNIX)), Errno(uint16(unix.EPROTONOSUPPORT))},
		{names: "connect bind listen", verdict: Ask},
		{names: "accept accept4", verdict: Allow},
	}
}

// tty is what makes a pair of terminals; the supervisor opens them (ioctl_tty(2)).
func tty() []row {
	return []row{{"ioctl", all(oneOf(1, unix.TIOCGPTN, unix.TIOCSPTLCK, unix.TIOCGPTLCK, unix.TIOCPKT, unix.TIOCGPKT, unix.TIOCGPTPEER)), Allow}}
}

// interfaces are the requests by which programs look at the host's interfaces.
func interfaces() []test {
	return all(oneOf(1, unix.SIOCGIFNAME, unix.SIOCGIFCONF, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR,
		unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFMTU, unix.SIOCGIFINDEX, unix.SIOCATMARK))
}

// udpRefusals are the ways past a connect that is asked.
func udpRefusals() []row {
	return append([]row{
		{"sendto", all(isNot(4, 0)), Ask},
		{"sendto", all(high(isNot(4, 0))), Ask},
		{"sendmsg", nil, Ask},
		{"sendmmsg", nil, Errno(enosys)}, // C libraries send one by one then
		// A port that the kernel chooses is not to be one that the program has chosen.
		{"setsockopt", all(is(1, unix.SOL_IP), is(2, unix.IP_LOCAL_PORT_RANGE)), Errno(uint16(unix.ENOPROTOOPT))},
	}, sourceRouting()...)
}

// ipv6FlowLabel is IPV6_FLOWLABEL_MGR of linux/in6.h.
const ipv6FlowLabel = 32

// sourceRouting names hosts on the way to another.
func sourceRouting() []row {
	return []row{
		{"setsockopt", all(is(1, unix.SOL_IP), is(2, unix.IP_OPTIONS)), Errno(eperm)},
		{"setsockopt", all(is(1, unix.SOL_IPV6), is(2, unix.IPV6_RTHDR)), Errno(eperm)},
		// These take control messages with the same (net/ipv6/ipv6_sockglue.c).
		{"setsockopt", all(is(1, unix.SOL_IPV6), is(2, unix.IPV6_2292PKTOPTIONS)), Errno(eperm)},
		{"setsockopt", all(is(1, unix.SOL_IPV6), is(2, ipv6FlowLabel)), Errno(eperm)},
	}
}

// Forks are the calls that make processes and threads.
var Forks = []string{"fork", "vfork", "clone"}

// proc makes processes and arranges them. They are asked for only where a budget
// counts them: a signal with a handler that does not restart calls (sigaction(2),
// SA_RESTART), and that comes before the listener has taken the question, makes the
// call fail with EINTR, which few programs expect of a fork.
func proc() []row {
	return []row{
		{names: "fork vfork setpgid setsid pidfd_open pidfd_send_signal", verdict: Allow},
		// No exit signal but the usual one: SIGCONT would undo a suspension.
		{names: "clone", tests: all(masked(0, cloneSignal, uint32(unix.SIGCHLD))), verdict: Allow},
		{names: "clone", tests: all(masked(0, cloneSignal, 0)), verdict: Allow},
		{names: "clone", verdict: Errno(eperm)},
	}
}

// execute runs programs; Landlock decides which.
func execute() []row { return []row{{names: "execve execveat", verdict: Allow}} }

// quiet calls are never in any promise, but ordinary programs try them and go
// on without: they fail as on a kernel or for a user that lacks them. Whatever
// is in no list at all is a capability fault.
func quiet() []row {
	return []row{
		{names: `clone3 openat2 io_uring_setup io_uring_enter io_uring_register io_setup io_submit io_getevents
			io_pgetevents io_cancel io_destroy userfaultfd memfd_secret keyctl add_key request_key mq_open mq_unlink
			mq_timedsend mq_timedreceive mq_notify mq_getsetattr shmget shmat shmctl shmdt semget semop semctl
			semtimedop msgget msgsnd msgrcv msgctl statmount listmount setxattrat getxattrat listxattrat
			removexattrat file_getattr file_setattr modify_ldt set_thread_area get_thread_area vmsplice
			set_mempolicy get_mempolicy mbind migrate_pages move_pages set_mempolicy_home_node`, verdict: Errno(enosys)},
		{names: `ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise process_mrelease
			perf_event_open bpf fanotify_init fanotify_mark open_by_handle_at syslog quotactl iopl ioperm unshare
			adjtimex clock_adjtime personality`, verdict: Errno(eperm)},
		{names: "name_to_handle_at", verdict: Errno(enotsu)},
		{names: "socket", tests: all(isNot(0, unix.AF_INET), isNot(0, unix.AF_INET6)), verdict: Errno(eafno)},
		{names: "ioctl", verdict: Errno(enotty)},
		{names: "prctl arch_prctl fcntl", verdict: Errno(einval)},
	}
}
