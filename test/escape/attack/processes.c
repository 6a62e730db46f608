/* Signalling, tracing and changing processes outside: the PID argument is a number, "self", "parent" or "child". */
#include "attack.h"

#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int kill_pid(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int sig = (int)number(argument(argc, argv, 2)), result;

	result = outcome("kill", kill(pid, sig));
	end_child();
	return result;
}

/* kill-everyone SIGNAL: also the own group, and everything there is. The cell itself ignores it. */
static int kill_everyone(int argc, char **argv)
{
	int sig = (int)number(argument(argc, argv, 1));

	signal(sig, SIG_IGN);
	errno = 0;
	int group = kill(0, sig), all = kill(-1, sig), parents = kill(-getpgid(getppid()), sig);

	return done("sent to group %d, to all %d, to the parent's group %d", group, all, parents);
}

static int tkill_pid(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("tkill", syscall(SYS_tkill, pid, (int)number(argument(argc, argv, 2))));

	end_child();
	return result;
}

/* tgkill PID SIGNAL: every thread of PID, found by trying the ids that follow. */
static int tgkill_threads(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int sig = (int)number(argument(argc, argv, 2)), sent = 0;

	for (pid_t tid = pid; tid < pid + 256; tid++)
		if (syscall(SYS_tgkill, pid, tid, sig) == 0)
			sent++;
	end_child();
	errno = EPERM;
	return sent ? done("tgkill reached %d threads", sent) : refused("tgkill to every thread");
}

static int pidfd_signal(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int result = fd < 0 ? refused("pidfd_open")
			    : outcome("pidfd_send_signal",
				      syscall(SYS_pidfd_send_signal, fd, (int)number(argument(argc, argv, 2)), NULL, 0));

	end_child();
	return result;
}

static int sigqueue_pid(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int result = outcome("rt_sigqueueinfo", sigqueue(pid, (int)number(argument(argc, argv, 2)), (union sigval){ 0 }));

	end_child();
	return result;
}

static int tgsigqueue(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	siginfo_t info = { .si_code = SI_QUEUE };
	int result;

	info.si_signo = (int)number(argument(argc, argv, 2));
	info.si_pid = getpid();
	info.si_uid = getuid();
	result = outcome("rt_tgsigqueueinfo", syscall(SYS_rt_tgsigqueueinfo, pid, pid, info.si_signo, &info));
	end_child();
	return result;
}

/* setown PID: lets the kernel send SIGIO for us, by a pipe whose owner PID becomes. */
static int setown(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int fds[2], status = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 && pipe(fds) < 0)
		return refused("socketpair and pipe");
	if (fcntl(fds[0], F_SETOWN, pid) < 0)
		return refused("F_SETOWN");
	if (fcntl(fds[0], F_SETFL, O_ASYNC | O_NONBLOCK) < 0)
		return refused("O_ASYNC");
	if (write(fds[1], "x", 1) != 1)
		return refused("write");
	if (!strcmp(argv[1], "child")) /* the control waits for the signal's effect */
		return waitpid(pid, &status, 0) == pid && WTERMSIG(status) == SIGIO ? done("child ended by SIGIO")
										    : broken("status %d", status);
	return done("SIGIO requested");
}

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

const struct attempt processes[] = {
	{ "kill", kill_pid },
	{ "kill-everyone", kill_everyone },
	{ "tkill", tkill_pid },
	{ "tgkill", tgkill_threads },
	{ "pidfd-signal", pidfd_signal },
	{ "sigqueue", sigqueue_pid },
	{ "tgsigqueue", tgsigqueue },
	{ "setown", setown },
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
	{ NULL, NULL },
};
