/* Uses CPU time in the ways that a budget has to see, or watches how that feels.
 *
 *   load KIND COUNT SECONDS
 *
 * It prints "used MICROSECONDS of MICROSECONDS", added up by each process when it
 * ends, and what else its kind has to tell. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double end;
static struct shared {
	_Atomic long used;
	_Atomic long rounds;
} *all;

static double at(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void add(void)
{
	all->used += (long)(at(CLOCK_PROCESS_CPUTIME_ID) * 1e6);
}

static void spin(double until)
{
	while (at(CLOCK_MONOTONIC) < until)
		;
}

static void *spinning(void *p)
{
	spin(end);
	return p;
}

static pid_t child(void (*f)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		f();
		add();
		_exit(0);
	}
	return pid;
}

static void burn(void)
{
	spin(end);
}

static void reap(void)
{
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static void procs(int n)
{
	while (n-- > 0)
		child(burn);
	reap();
}

static void threads(int n)
{
	pthread_t t[64];

	for (int i = 0; i < n; i++)
		pthread_create(&t[i], NULL, spinning, NULL);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

/* The first thread ends, the others go on: /proc calls the process a zombie. */
static void *leave(void *p)
{
	spin(end);
	add();
	printf("used %ld of %ld\n", all->used, (long)(*(double *)p * 1e6));
	fflush(stdout);
	_exit(0);
}

static void brief(void)
{
	spin(at(CLOCK_MONOTONIC) + 0.003);
}

/* Children that end between two looks, and for whom nobody waits. */
static void hidden(int n)
{
	signal(SIGCHLD, SIG_IGN);
	while (at(CLOCK_MONOTONIC) < end) {
		for (int i = 0; i < n; i++)
			child(brief);
		usleep(3000);
	}
	usleep(20000);
}

static void nothing(int s)
{
	(void)s;
}

/* A timer continues the process as soon as it is stopped. */
static void timer(void)
{
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT };
	struct itimerspec i = { { 0, 100000 }, { 0, 100000 } };
	timer_t t;

	signal(SIGCONT, nothing);
	timer_create(CLOCK_MONOTONIC, &e, &t);
	timer_settime(t, 0, &i, NULL);
	spin(end);
}

/* Two continue each other. */
static void mutual(void)
{
	if (fork() == 0)
		for (;;)
			kill(getppid(), SIGCONT);
	while (at(CLOCK_MONOTONIC) < end)
		kill(0, SIGCONT);
}

/* A little between two looks. */
static void between(void)
{
	while (at(CLOCK_MONOTONIC) < end) {
		spin(at(CLOCK_MONOTONIC) + 0.0015);
		usleep(700);
	}
}

/* A parent that wants to know whether its child is stopped: nobody has stopped it. */
static void waits(void)
{
	pid_t pid = child(burn);
	int status, stops = 0;

	while (waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status))
		stops++;
	printf("stops %d, ended %d\n", stops, WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void counts(void)
{
	while (at(CLOCK_MONOTONIC) < end)
		all->rounds++;
}

/* A process that somebody has stopped stays so, whatever the others use. */
static void stopped(void)
{
	pid_t busy = child(burn), pid = child(counts);
	int status;
	long before;

	usleep(300000);
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	before = all->rounds;
	usleep(1000000);
	printf("went on %ld of %ld\n", all->rounds - before, before);
	kill(pid, SIGCONT);
	waitpid(busy, &status, 0);
	reap();
}

/* Sleeps keep their length, and waits for events give none: who does nothing is not
 * suspended. */
static void sleeps(void)
{
	int e = epoll_create1(0), late = 0, broken = 0;

	child(burn);
	for (int i = 0; at(CLOCK_MONOTONIC) < end; i++) {
		double begin = at(CLOCK_MONOTONIC);
		struct epoll_event event;

		if (epoll_wait(e, &event, 1, 50) != 0)
			broken++;
		late += at(CLOCK_MONOTONIC) - begin > 0.4;
	}
	reap();
	printf("broken %d late %d\n", broken, late);
}

int main(int c, char **v)
{
	double begin = at(CLOCK_MONOTONIC), length;
	int n;

	if (c != 4)
		return 2;
	n = atoi(v[2]);
	length = atof(v[3]);
	end = begin + length;
	all = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return 2;
	if (!strcmp(v[1], "procs"))
		procs(n);
	else if (!strcmp(v[1], "threads"))
		threads(n);
	else if (!strcmp(v[1], "leaderless")) {
		pthread_t t;

		pthread_create(&t, NULL, leave, &length);
		syscall(SYS_exit, 0);
	} else if (!strcmp(v[1], "hidden"))
		hidden(n);
	else if (!strcmp(v[1], "timer"))
		timer();
	else if (!strcmp(v[1], "mutual"))
		mutual();
	else if (!strcmp(v[1], "between"))
		between();
	else if (!strcmp(v[1], "waits"))
		waits();
	else if (!strcmp(v[1], "stopped"))
		stopped();
	else if (!strcmp(v[1], "sleeps"))
		sleeps();
	else
		return 2;
	add();
	printf("used %ld of %ld\n", all->used, (long)((at(CLOCK_MONOTONIC) - begin) * 1e6));
	return 0;
}
