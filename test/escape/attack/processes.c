/* Tracing, reading and changing processes outside: the PID argument is a number, "self", "parent" or "child". */
#include "attack.h"

#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int ptrace_attach(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("ptrace PTRACE_ATTACH", ptrace(PTRACE_ATTACH, pid, 0, 0));

	end_child();
	return result;
}

static int ptrace_seize(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("ptrace PTRACE_SEIZE", ptrace(PTRACE_SEIZE, pid, 0, 0));

	end_child();
	return result;
}

/* A byte that "own" names as an address: the child has it at the same place. */
static char own_byte = 'a';

static void *address(const char *word)
{
	return strcmp(word, "own") ? (void *)number(word) : &own_byte;
}

static int vm_read(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	char byte;
	struct iovec here = { &byte, 1 }, there = { address(argument(argc, argv, 2)), 1 };
	int result = outcome("process_vm_readv", process_vm_readv(pid, &here, 1, &there, 1, 0));

	end_child();
	return result;
}

static int vm_write(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	char byte = 'x';
	struct iovec here = { &byte, 1 }, there = { address(argument(argc, argv, 2)), 1 };
	int result = outcome("process_vm_writev", process_vm_writev(pid, &here, 1, &there, 1, 0));

	end_child();
	return result;
}

static int prlimit_pid(int argc, char **argv)
{
	struct rlimit limit;
	pid_t pid = process(argument(argc, argv, 1));
	int result;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return broken("getrlimit: %s", strerrorname_np(errno));
	limit.rlim_cur = 3;
	result = outcome("prlimit", prlimit(pid, RLIMIT_NOFILE, &limit, NULL));
	end_child();
	return result;
}

static int priority(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("setpriority", setpriority(PRIO_PROCESS, (id_t)pid, 19));

	end_child();
	return result;
}

/*
 * priority-of WHICH WHO: 1 for a process group, 2 for a user; who 0 is the
 * caller's own. Sets what we have anyway, so that a success harms nobody.
 */
static int priority_of(int argc, char **argv)
{
	return outcome("setpriority", setpriority((__priority_which_t)number(argument(argc, argv, 1)),
						  (id_t)number(argument(argc, argv, 2)), getpriority(PRIO_PROCESS, 0)));
}

static int affinity(int argc, char **argv)
{
	cpu_set_t set;
	pid_t pid = process(argument(argc, argv, 1));
	int result;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	result = outcome("sched_setaffinity", sched_setaffinity(pid, sizeof(set), &set));
	end_child();
	return result;
}

static int scheduler(int argc, char **argv)
{
	struct sched_param p = { 0 };
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("sched_setscheduler", sched_setscheduler(pid, SCHED_IDLE, &p));

	end_child();
	return result;
}

static int sched_attributes(int argc, char **argv)
{
	struct {
		unsigned size, policy;
		unsigned long flags;
		int nice;
		unsigned priority;
		unsigned long runtime, deadline, period;
	} attributes = { .size = 48, .policy = SCHED_IDLE };
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("sched_setattr", syscall(SYS_sched_setattr, pid, &attributes, 0));

	end_child();
	return result;
}

static int ioprio(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("ioprio_set", syscall(SYS_ioprio_set, 1, pid, 3 << 13));

	end_child();
	return result;
}

/* ioprio-of WHICH WHO: 2 for a process group, 3 for a user; who 0 is the caller's own. Sets the default. */
static int ioprio_of(int argc, char **argv)
{
	return outcome("ioprio_set", syscall(SYS_ioprio_set, number(argument(argc, argv, 1)), number(argument(argc, argv, 2)), 0));
}

static int setpgid_pid(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("setpgid", setpgid(pid, pid));

	end_child();
	return result;
}

/* pidfd-getfd PID FD: takes a descriptor out of a process. */
static int pidfd_getfd_pid(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int result = fd < 0 ? refused("pidfd_open")
			    : outcome("pidfd_getfd", syscall(SYS_pidfd_getfd, fd, (int)number(argument(argc, argv, 2)), 0));

	end_child();
	return result;
}

static int kcmp_pid(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("kcmp", syscall(SYS_kcmp, pid, getpid(), KCMP_VM, 0, 0));

	end_child();
	return result;
}

static int move_pages_pid(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	void *pages[] = { address("own") };
	int status[1], result = outcome("move_pages", syscall(SYS_move_pages, pid, 1UL, pages, NULL, status, 0));

	end_child();
	return result;
}

static int robust_list(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	void *head;
	size_t length;
	int result = outcome("get_robust_list", syscall(SYS_get_robust_list, pid, &head, &length));

	end_child();
	return result;
}

/* madvise-of PID: takes the pages of a process out of memory. */
static int madvise_of(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	struct iovec range = { (void *)((unsigned long)&own_byte & ~4095UL), 4096 };
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int result = fd < 0 ? refused("pidfd_open") : outcome("process_madvise", syscall(SYS_process_madvise, fd, &range, 1, 20 /* MADV_COLD */, 0));

	end_child();
	return result;
}

/* release-of PID: takes the memory of a process that is being killed. */
static int release_of(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (!strcmp(argv[1], "child"))
		kill(pid, SIGKILL);
	int result = fd < 0 ? refused("pidfd_open") : outcome("process_mrelease", syscall(448, fd, 0));

	end_child();
	return result;
}

/* setns-of PID FLAGS: into the namespaces of a process. */
static int setns_of(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int result = fd < 0 ? refused("pidfd_open") : outcome("setns", syscall(SYS_setns, fd, (int)number(argument(argc, argv, 2))));

	end_child();
	return result;
}

/* proc-write PID FILE TEXT: what /proc lets be changed of a process. */
static int proc_write(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	const char *text = argument(argc, argv, 3);
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, argument(argc, argv, 2));
	fd = open(path, O_WRONLY);
	int result = fd < 0 ? refused("open") : outcome("write", write(fd, text, strlen(text)));

	end_child();
	return result;
}

/* proc-descriptor PID FD: opens again what a process has open. */
static int proc_descriptor(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	char path[128];

	snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, argument(argc, argv, 2));
	int result = outcome("open", open(path, O_RDONLY | O_NONBLOCK));

	end_child();
	return result;
}

/* core-cookie PID: gives a process the cookie of our core. */
static int core_cookie(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("PR_SCHED_CORE", prctl(62, 2 /* share to */, pid, 0, 0));

	end_child();
	return result;
}

/* wait-for PID: takes the end of somebody else's child. */
static int wait_for(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	siginfo_t info;
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int result = fd < 0 ? refused("pidfd_open") : outcome("waitid", waitid(3 /* P_PIDFD */, (id_t)fd, &info, WEXITED | WNOHANG));

	end_child();
	return result;
}

static int sched_parameters(int argc, char **argv)
{
	struct sched_param p = { 0 };
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("sched_setparam", syscall(SYS_sched_setparam, pid, &p));

	end_child();
	return result;
}

/* dumpable: whether a process can hide its memory from who looks after it. */
static int dumpable(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	errno = EPERM;
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? done("not dumpable") : refused("PR_SET_DUMPABLE");
}

/* realtime: before everybody else on the machine. */
static int realtime(int argc, char **argv)
{
	struct sched_param p = { .sched_priority = 1 };

	(void)argc;
	(void)argv;
	return outcome("sched_setscheduler SCHED_FIFO", sched_setscheduler(0, SCHED_FIFO, &p));
}

/* nicer: a lower nice value than we were given. */
static int nicer(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return outcome("setpriority", setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) - 5));
}

const struct attempt processes[] = {
	{ "ptrace-attach", ptrace_attach },
	{ "ptrace-seize", ptrace_seize },
	{ "vm-read", vm_read },
	{ "vm-write", vm_write },
	{ "prlimit", prlimit_pid },
	{ "priority", priority },
	{ "priority-of", priority_of },
	{ "affinity", affinity },
	{ "scheduler", scheduler },
	{ "sched-attributes", sched_attributes },
	{ "ioprio", ioprio },
	{ "ioprio-of", ioprio_of },
	{ "setpgid", setpgid_pid },
	{ "pidfd-getfd", pidfd_getfd_pid },
	{ "kcmp", kcmp_pid },
	{ "move-pages", move_pages_pid },
	{ "robust-list", robust_list },
	{ "madvise-of", madvise_of },
	{ "release-of", release_of },
	{ "setns-of", setns_of },
	{ "proc-write", proc_write },
	{ "proc-descriptor", proc_descriptor },
	{ "core-cookie", core_cookie },
	{ "wait-for", wait_for },
	{ "sched-parameters", sched_parameters },
	{ "dumpable", dumpable },
	{ "realtime", realtime },
	{ "nicer", nicer },
	{ NULL, NULL },
};
