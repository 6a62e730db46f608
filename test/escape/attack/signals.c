/* Signals to processes outside, sent or left to the kernel to send: the PID argument is as in processes.c. */
#include "attack.h"

#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

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
	int group = kill(0, sig), all = kill(-1, sig), parents = kill(-getpgid(supervisor), sig);

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

/* The end of an attempt whose signal nobody here sees; the control waits for its effect on the child. */
static int requested(const char *word, pid_t pid, int sig)
{
	int status = 0;

	if (strcmp(word, "child"))
		return done("signal %d requested", sig);
	if (waitpid(pid, &status, 0) != pid || WTERMSIG(status) != sig)
		return broken("status %d", status);
	return done("child ended by signal %d", sig);
}

/* sigio-thread PID SIGNAL: as setown, for one thread, and with a signal of our choice; turned on by ioctl. */
static int sigio_thread(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	struct f_owner_ex owner = { F_OWNER_TID, pid };
	int sig = (int)number(argument(argc, argv, 2)), fds[2], on = 1;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return refused("socketpair");
	if (fcntl(fds[0], F_SETOWN_EX, &owner) < 0)
		return refused("F_SETOWN_EX");
	if (fcntl(fds[0], F_SETSIG, sig) < 0)
		return refused("F_SETSIG");
	if (ioctl(fds[0], FIOASYNC, &on) < 0)
		return refused("FIOASYNC");
	if (write(fds[1], "x", 1) != 1)
		return refused("write");
	return requested(argv[1], pid, sig);
}

/* sigio-group PID SIGNAL: for a whole process group. */
static int sigio_group(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	struct f_owner_ex owner = { F_OWNER_PGRP, 0 };
	int sig = (int)number(argument(argc, argv, 2)), fds[2];

	if (!strcmp(argv[1], "child"))
		setpgid(pid, pid);
	owner.pid = getpgid(pid);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return refused("socketpair");
	if (owner.pid < 0)
		return refused("getpgid");
	if (fcntl(fds[0], F_SETOWN_EX, &owner) < 0)
		return refused("F_SETOWN_EX");
	fcntl(fds[0], F_SETSIG, sig);
	if (fcntl(fds[0], F_SETFL, O_ASYNC | O_NONBLOCK) < 0)
		return refused("O_ASYNC");
	if (write(fds[1], "x", 1) != 1)
		return refused("write");
	return requested(argv[1], pid, sig);
}

/* socket-owner PID: the owner of a socket, by ioctl. */
static int socket_owner(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int fds[2], on = 1, owner = pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return refused("socketpair");
	if (ioctl(fds[0], 0x8901 /* FIOSETOWN */, &owner) < 0)
		return refused("FIOSETOWN");
	if (ioctl(fds[0], FIOASYNC, &on) < 0)
		return refused("FIOASYNC");
	if (write(fds[1], "x", 1) != 1)
		return refused("write");
	return requested(argv[1], pid, SIGIO);
}

static volatile sig_atomic_t came;

static void note(int sig) { came = sig; }

/* urgent PID: urgent data on a pair, for which the kernel sends SIGURG to the owner. Who is that himself sees it. */
static int urgent(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return refused("socketpair");
	if (fcntl(fds[0], F_SETOWN, pid) < 0)
		return refused("F_SETOWN");
	signal(SIGURG, note);
	if (send(fds[1], "x", 1, MSG_OOB) != 1)
		return refused("send MSG_OOB");
	if (pid == getpid() && came != SIGURG)
		return broken("no signal came");
	return done("urgent data sent");
}

/* timer-thread TID SIGNAL: a timer that signals a thread of somebody. */
static int timer_thread(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	struct {
		union sigval value;
		int sig, notify, tid, pad[11];
	} event = { .sig = (int)number(argument(argc, argv, 2)), .notify = SIGEV_THREAD_ID, .tid = pid };
	int timer;

	return outcome("timer_create", syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer));
}

/* join-group PID SIGNAL: becomes a member of its process group, then signals its own. */
static int join_group(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1)), group = getpgid(pid);
	int sig = (int)number(argument(argc, argv, 2));

	signal(sig, SIG_IGN);
	if (group < 0)
		return refused("getpgid");
	if (setpgid(0, group) < 0)
		return refused("setpgid");
	return outcome("kill the group", kill(0, sig));
}

/* pidfd-group PID SIGNAL: the process group, by a descriptor of one of it. */
static int pidfd_group(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	int sig = (int)number(argument(argc, argv, 2)), fd;

	if (!strcmp(argv[1], "child"))
		setpgid(pid, pid);
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	int result = fd < 0 ? refused("pidfd_open") : outcome("pidfd_send_signal", syscall(SYS_pidfd_send_signal, fd, sig, NULL, 4));

	end_child();
	return result;
}

/* procfd-signal PID SIGNAL: by its directory in /proc. */
static int procfd_signal(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	fd = open(path, O_RDONLY | O_DIRECTORY);
	int result = fd < 0 ? refused("open") : outcome("pidfd_send_signal", syscall(SYS_pidfd_send_signal, fd, (int)number(argument(argc, argv, 2)), NULL, 0));

	end_child();
	return result;
}

/* exit-signal SIGNAL: a child that becomes the child of who started us, and ends with a signal to him. */
static int exit_signal(int argc, char **argv)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | number(argument(argc, argv, 1)), 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return outcome("clone CLONE_PARENT", pid);
}

/* forged-queue PID SIGNAL: a signal that says it comes from the kernel. */
static int forged_queue(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));
	siginfo_t info = { .si_code = SI_KERNEL };

	info.si_signo = (int)number(argument(argc, argv, 2));
	int result = outcome("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, pid, info.si_signo, &info));

	end_child();
	return result;
}

/* terminal-group PID: standard input is the terminal: who gets what its keys signal. */
static int terminal_group(int argc, char **argv)
{
	pid_t pid = process(argument(argc, argv, 1));

	signal(SIGTTOU, SIG_IGN);
	if (!strcmp(argv[1], "child"))
		setpgid(pid, pid);
	int result = outcome("tcsetpgrp", tcsetpgrp(0, getpgid(pid)));

	end_child();
	return result;
}

const struct attempt signals[] = {
	{ "kill", kill_pid },
	{ "kill-everyone", kill_everyone },
	{ "tkill", tkill_pid },
	{ "tgkill", tgkill_threads },
	{ "pidfd-signal", pidfd_signal },
	{ "sigqueue", sigqueue_pid },
	{ "tgsigqueue", tgsigqueue },
	{ "setown", setown },
	{ "sigio-thread", sigio_thread },
	{ "sigio-group", sigio_group },
	{ "socket-owner", socket_owner },
	{ "urgent", urgent },
	{ "timer-thread", timer_thread },
	{ "join-group", join_group },
	{ "pidfd-group", pidfd_group },
	{ "procfd-signal", procfd_signal },
	{ "exit-signal", exit_signal },
	{ "forged-queue", forged_queue },
	{ "terminal-group", terminal_group },
	{ NULL, NULL },
};
