/* calls.h: what calls.c knows of system calls. */
#ifndef CALLS_H
#define CALLS_H

/*
 * What calls take: d descriptor, p path, o flags of open, m mode, f flags, b memory,
 * s size, n small number, i process, g signal, a socket address, h message header,
 * v vector, t times, c request of ioctl, C operation of fcntl, P option of prctl, u
 * user, A address to map, l text (names of attributes), e strings of exec. What is
 * in no row takes anything.
 */
static const char *const signatures[][2] = {
	{ "read", "dbs" }, { "write", "dbs" }, { "pread64", "dbsn" }, { "pwrite64", "dbsn" }, { "readv", "dvn" }, { "writev", "dvn" },
	{ "preadv2", "dvnnnf" }, { "pwritev2", "dvnnnf" }, { "open", "pom" }, { "openat", "dpom" }, { "openat2", "dpbs" }, { "creat", "pm" },
	{ "close", "d" }, { "close_range", "ddf" }, { "dup", "d" }, { "dup2", "dd" }, { "dup3", "ddo" }, { "fcntl", "dCb" }, { "ioctl", "dcb" },
	{ "stat", "pb" }, { "lstat", "pb" }, { "fstat", "db" }, { "newfstatat", "dpbf" }, { "statx", "dpffb" }, { "access", "pn" }, { "faccessat", "dpn" },
	{ "faccessat2", "dpnf" }, { "readlink", "pbs" }, { "readlinkat", "dpbs" }, { "chdir", "p" }, { "fchdir", "d" }, { "chroot", "p" }, { "getcwd", "bs" },
	{ "mkdir", "pm" }, { "mkdirat", "dpm" }, { "rmdir", "p" }, { "unlink", "p" }, { "unlinkat", "dpf" }, { "rename", "pp" }, { "renameat", "dpdp" },
	{ "renameat2", "dpdpf" }, { "link", "pp" }, { "linkat", "dpdpf" }, { "symlink", "pp" }, { "symlinkat", "pdp" }, { "mknod", "pmn" }, { "mknodat", "dpmn" },
	{ "truncate", "ps" }, { "ftruncate", "ds" }, { "fallocate", "dfns" }, { "chmod", "pm" }, { "fchmod", "dm" }, { "fchmodat", "dpm" },
	{ "fchmodat2", "dpmf" }, { "chown", "puu" }, { "lchown", "puu" }, { "fchown", "duu" }, { "fchownat", "dpuuf" }, { "utime", "pt" }, { "utimes", "pt" },
	{ "utimensat", "dptf" }, { "futimesat", "dpt" }, { "setxattr", "plbsf" }, { "lsetxattr", "plbsf" }, { "fsetxattr", "dlbsf" }, { "getxattr", "plbs" },
	{ "lgetxattr", "plbs" }, { "fgetxattr", "dlbs" }, { "listxattr", "pbs" }, { "llistxattr", "pbs" }, { "flistxattr", "dbs" }, { "removexattr", "pl" },
	{ "lremovexattr", "pl" }, { "fremovexattr", "dl" }, { "setxattrat", "dpflbs" }, { "removexattrat", "dpfl" }, { "file_setattr", "dpbsf" },
	{ "flock", "df" }, { "inotify_add_watch", "dpf" }, { "fanotify_init", "ff" }, { "fanotify_mark", "dffdp" }, { "name_to_handle_at", "dpbbf" },
	{ "open_by_handle_at", "dbo" }, { "getdents64", "dbs" }, { "getdents", "dbs" }, { "statfs", "pb" }, { "fstatfs", "db" }, { "execve", "pee" },
	{ "execveat", "dpeef" }, { "mount", "pplfb" }, { "umount2", "pf" }, { "pivot_root", "pp" }, { "move_mount", "dpdpf" }, { "open_tree", "dpf" },
	{ "fsopen", "lf" }, { "fspick", "dpf" }, { "fsconfig", "dnlbn" }, { "fsmount", "dff" }, { "mount_setattr", "dpfbs" }, { "swapon", "pf" },
	{ "swapoff", "p" }, { "acct", "p" }, { "quotactl", "fpnb" }, { "uselib", "p" }, { "kill", "ig" }, { "tkill", "ig" }, { "tgkill", "iig" },
	{ "rt_sigqueueinfo", "igb" }, { "rt_tgsigqueueinfo", "iigb" }, { "pidfd_open", "if" }, { "pidfd_send_signal", "dgbf" }, { "pidfd_getfd", "ddf" },
	{ "process_madvise", "dvnff" }, { "process_mrelease", "df" }, { "process_vm_readv", "ivnvnf" }, { "process_vm_writev", "ivnvnf" },
	{ "ptrace", "niAb" }, { "prlimit64", "inbb" }, { "setpriority", "nin" }, { "getpriority", "ni" }, { "ioprio_set", "nin" }, { "ioprio_get", "ni" },
	{ "sched_setaffinity", "isb" }, { "sched_setscheduler", "inb" }, { "sched_setparam", "ib" }, { "sched_setattr", "ibf" }, { "setpgid", "ii" },
	{ "getpgid", "i" }, { "getsid", "i" }, { "kcmp", "iinnn" }, { "move_pages", "insbbf" }, { "migrate_pages", "isbb" }, { "get_robust_list", "ibb" },
	{ "perf_event_open", "bindf" }, { "wait4", "ibfb" }, { "waitid", "nibfb" }, { "socket", "nfn" }, { "socketpair", "nfnb" }, { "connect", "das" },
	{ "bind", "das" }, { "sendto", "dbsfas" }, { "sendmsg", "dhf" }, { "sendmmsg", "dhnf" }, { "recvmsg", "dhf" }, { "recvfrom", "dbsfab" },
	{ "listen", "dn" }, { "accept", "dab" }, { "accept4", "dabf" }, { "getsockopt", "dnnbb" }, { "setsockopt", "dnnbs" }, { "prctl", "Pnnnn" },
	{ "mmap", "Asffdn" }, { "mprotect", "Asf" }, { "munmap", "As" }, { "mremap", "AssfA" }, { "madvise", "Asn" }, { "mseal", "Asf" },
	{ "remap_file_pages", "Asnnf" }, { "shmat", "nAf" }, { "shmget", "nsf" }, { "shmctl", "nnb" }, { "msgsnd", "nbsf" }, { "semop", "nbn" },
	{ "mq_open", "lomb" }, { "mq_unlink", "l" }, { "mq_notify", "db" }, { "memfd_create", "lf" }, { "memfd_secret", "f" }, { "userfaultfd", "f" },
	{ "io_uring_setup", "nb" }, { "io_uring_enter", "dnnfbs" }, { "io_uring_register", "dnbn" }, { "bpf", "nbs" }, { "seccomp", "nfb" },
	{ "landlock_create_ruleset", "bsf" }, { "landlock_add_rule", "dnbf" }, { "landlock_restrict_self", "df" }, { "setns", "df" }, { "unshare", "f" },
	{ "setuid", "u" }, { "setgid", "u" }, { "setresuid", "uuu" }, { "setresgid", "uuu" }, { "setreuid", "uu" }, { "setregid", "uu" }, { "setfsuid", "u" },
	{ "setgroups", "nb" }, { "capset", "bb" }, { "add_key", "llbsn" }, { "request_key", "lllnn" }, { "keyctl", "nnnnn" }, { "splice", "dbdbsf" },
	{ "tee", "ddsf" }, { "vmsplice", "dvnf" }, { "sendfile", "ddbs" }, { "copy_file_range", "dbdbsf" }, { "timer_create", "nbb" },
	{ "timer_settime", "nftb" }, { "setrlimit", "nb" }, { "epoll_ctl", "dndb" }, { "syslog", "nbs" }, { "sethostname", "ls" }, { "personality", "f" },
	{ "reboot", "nnnb" }, { "settimeofday", "tb" }, { "clock_settime", "nt" }, { "init_module", "bsl" }, { "finit_module", "dlf" },
	{ "delete_module", "lf" }, { "statmount", "bbsf" }, { "listmount", "bbsf" },
};

/* Calls that end or multiply who makes them, or that take the machine long: seldom. */
static const char *const seldom[] = { "exit", "exit_group", "fork", "vfork", "clone", "clone3", "kill", "execve", "execveat", "sync", "syncfs", "pause", "vhangup", "reboot" };

/* What the control may call: by names in COPY, and by descriptors of what is there. */
static const char *const harmless[] = {
	"open", "openat", "creat", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "link", "linkat", "symlink", "symlinkat", "truncate",
	"ftruncate", "write", "pwrite64", "chmod", "fchmod", "fchmodat", "utimensat", "utimes", "setxattr", "fsetxattr", "removexattr", "close",
};

#endif
