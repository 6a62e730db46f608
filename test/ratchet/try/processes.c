/* Signals, tracing, terminals and sockets that somebody else has made. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "try.h"

static pid_t process(const char *word)
{
	return !strcmp(word, "parent") ? getppid() : !strcmp(word, "self") ? getpid() : (pid_t)atoi(word);
}

/* do_signal sends nothing, but looks whether it could: VALUE is a number, parent or self. */
static int do_signal(char *v) { return kill(process(v), 0); }

/* do_childsignal lets a child enter the layer VALUE and then looks whether it can be signalled. */
static int do_childsignal(char *v)
{
	int ready[2], err;
	char byte;
	pid_t child;

	if (pipe(ready))
		return -1;
	child = fork();
	if (!child) {
		if (*v && raw_layer(v))
			_exit(101);
		byte = 0;
		if (write(ready[1], &byte, 1) == 1)
			for (;;)
				pause();
		_exit(0);
	}
	close(ready[1]);
	if (child < 0 || read(ready[0], &byte, 1) != 1)
		return -1;
	err = kill(child, SIGKILL) ? errno : 0;
	if (!err)
		waitpid(child, NULL, 0);
	errno = err;
	return err ? -1 : 0;
}

static void *waits(void *v) { char c; return read(*(int *)v, &c, 1) == 1 ? v : NULL; }

/* do_threads enters the layer VALUE beside a thread, makes another, and looks whether both can be signalled. */
static int do_threads(char *v)
{
	int fds[2];
	pthread_t before, after;

	if (pipe(fds) || (errno = pthread_create(&before, NULL, waits, fds)) || raw_layer(v) || (errno = pthread_create(&after, NULL, waits, fds)))
		return -1;
	if ((errno = pthread_kill(before, 0)) || (errno = pthread_kill(after, 0)))
		return -1;
	if (write(fds[1], "xx", 2) != 2)
		return -1;
	return (errno = pthread_join(before, NULL)) || (errno = pthread_join(after, NULL)) ? -1 : 0;
}

static int owner(char *v, int sig)
{
	int fds[2];

	signal(sig, SIG_IGN);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) || fcntl(fds[0], F_SETOWN, process(v)) || fcntl(fds[0], F_SETSIG, sig))
		return -1;
	if (fcntl(fds[0], F_SETFL, O_ASYNC | O_NONBLOCK))
		return -1;
	return write(fds[1], "x", 1) == 1 ? 0 : -1;
}

/* do_owner lets the kernel send SIGURG to a process, or -group, VALUE. It ignores that itself. */
static int do_owner(char *v) { return owner(v, SIGURG); }

/* do_ownerkill does that with a signal that ends whoever does not. */
static int do_ownerkill(char *v) { return owner(v, SIGUSR1); }

/* do_stay says its number and stays until its input ends. */
static int do_stay(char *v)
{
	char c;

	(void)v;
	printf("%d ", getpid());
	fflush(stdout);
	return read(0, &c, 1) < 0 ? -1 : 0;
}

static int do_traceme(char *v) { (void)v; return ptrace(PTRACE_TRACEME, 0, 0, 0) ? -1 : 0; }

/* do_attach is ended by its own end: nothing else lets go of what does not stop. */
static int do_attach(char *v)
{
	int status;
	pid_t pid = process(v), child = fork();

	if (!child)
		_exit(ptrace(PTRACE_SEIZE, pid, 0, 0) ? errno : 0);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}


/* do_environ opens what /proc tells of a process's environment. */
static int do_environ(char *v)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/environ", process(v));
	return closed(open(name, O_RDONLY));
}

/* do_core has a child abort, with as much room for a core file as it may have; ok if one was written. */
static int do_core(char *v)
{
	struct rlimit l;
	int status;
	pid_t child = fork();

	(void)v;
	if (!child) {
		getrlimit(RLIMIT_CORE, &l);
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_CORE, &l);
		abort();
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
		return -1;
	errno = WCOREDUMP(status) ? 0 : ENODATA;
	return errno ? -1 : 0;
}

/* do_plain makes calls that every program needs. */
static int do_plain(char *v)
{
	struct timespec t;
	struct rlimit l;
	gid_t groups[64];

	(void)v;
	umask(umask(0));
	return clock_gettime(CLOCK_MONOTONIC, &t) || clock_getres(CLOCK_REALTIME, &t) || getgroups(64, groups) < 0 || getpgid(0) < 0 ||
	       getsid(0) < 0 || getrlimit(RLIMIT_NOFILE, &l) || getpid() < 1 || getppid() < 0 || (int)getuid() < 0 || alarm(0);
}

/* do_terminal asks standard input VALUE. */
static int do_terminal(char *v)
{
	char room[256] = { 0 };
	unsigned long request = strtoul(v, NULL, 0);
	pid_t group = getpgrp();

	signal(SIGTTOU, SIG_IGN);
	return ioctl(0, request, request == TIOCSPGRP ? (void *)&group : (void *)room) < 0 ? -1 : 0;
}

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_un un;
};

/* address_of reads PORT, unspec:PORT, none (to disconnect), @NAME or /PATH. */
static socklen_t address_of(const char *text, union address *a)
{
	memset(a, 0, sizeof(*a));
	if (*text == '@' || *text == '/') {
		a->un.sun_family = AF_UNIX;
		strncpy(a->un.sun_path, text, sizeof(a->un.sun_path) - 1);
		if (*text == '@')
			a->un.sun_path[0] = '\0';
		return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text) + (*text == '/'));
	}
	if (!strcmp(text, "none")) {
		a->any.sa_family = AF_UNSPEC;
		return sizeof(a->in);
	}
	a->in.sin_family = AF_INET;
	a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (!strncmp(text, "unspec:", 7)) {
		a->in.sin_family = AF_UNSPEC;
		a->in.sin_addr.s_addr = htonl(INADDR_ANY);
		text += 7;
	}
	a->in.sin_port = htons((uint16_t)atoi(text));
	return sizeof(a->in);
}

/* Sockets that are tried: standard input, or one of the program's own, made by sock. */
static int tried;

static int do_sock(char *v) { tried = socket(AF_INET, *v == 'd' ? SOCK_DGRAM : SOCK_STREAM, 0); return tried < 0 ? -1 : 0; }
static int do_connect(char *v) { union address a; socklen_t n = address_of(v, &a); return connect(tried, &a.any, n); }
static int do_bind(char *v) { union address a; socklen_t n = address_of(v, &a); return bind(tried, &a.any, n); }
static int do_listen(char *v) { (void)v; return listen(tried, 1); }
static int do_sendto(char *v) { union address a; socklen_t n = address_of(v, &a); return sendto(tried, "x", 1, MSG_NOSIGNAL, &a.any, n) == 1 ? 0 : -1; }
static int do_fastopen(char *v) { union address a; socklen_t n = address_of(v, &a); return sendto(tried, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, &a.any, n) == 1 ? 0 : -1; }

static int do_sendmsg(char *v)
{
	union address a;
	struct iovec one = { "x", 1 };
	struct msghdr m = { .msg_name = &a, .msg_iov = &one, .msg_iovlen = 1 };

	m.msg_namelen = address_of(v, &a);
	return sendmsg(tried, &m, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

const struct step process_steps[] = {
	S(signal), S(childsignal), S(threads), S(owner), S(ownerkill), S(stay), S(traceme), S(attach), S(environ), S(core), S(plain), S(terminal),
	S(sock), S(connect), S(bind), S(listen), S(sendto), S(fastopen), S(sendmsg),
	{ NULL, NULL },
};
