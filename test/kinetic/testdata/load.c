/* Uses CPU time in the ways that a budget has to see, or watches how that feels.
 *
 *   load KIND COUNT SECONDS
 *
 * With AFTER=SECONDS in its environment it sleeps first, long enough for a meter to doze.
 * It prints "used MICROSECONDS of MICROSECONDS", added up by each process when it
 * ends, and what else its kind has to tell. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
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

static double end, length;
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
static void timer(int n)
{
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT };
	struct itimerspec i = { { 0, 100000 }, { 0, 100000 } };
	timer_t t;

	signal(SIGCONT, nothing);
	timer_create(CLOCK_MONOTONIC, &e, &t);
	timer_settime(t, 0, &i, NULL);
	spin(end);
	(void)n;
}

/* Two continue each other. */
static void mutual(int n)
{
	if (fork() == 0)
		for (;;)
			kill(getppid(), SIGCONT);
	while (at(CLOCK_MONOTONIC) < end)
		kill(0, SIGCONT);
	(void)n;
}

/* A little between two looks. */
static void between(int n)
{
	while (at(CLOCK_MONOTONIC) < end) {
		spin(at(CLOCK_MONOTONIC) + 0.0015);
		usleep(700);
	}
	(void)n;
}

/* A parent that wants to know whether its child is stopped: nobody has stopped it. */
static void waits(int n)
{
	pid_t pid = child(burn);
	int status, stops = 0;

	while (waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status))
		stops++;
	printf("stops %d, ended %d\n", stops, WIFEXITED(status) && WEXITSTATUS(status) == 0);
	(void)n;
}

static void counts(void)
{
	while (at(CLOCK_MONOTONIC) < end)
		all->rounds++;
}

/* A process that somebody has stopped stays so, whatever the others use. */
static void stopped(int n)
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
	(void)n;
}

/* Sleeps keep their length, and waits for events give none: who does nothing is not
 * suspended. */
static void sleeps(int n)
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
	(void)n;
}

/* The first thread ends, the others go on: /proc calls the process a zombie. */
static void leaderless(int n)
{
	pthread_t t;

	(void)n;
	pthread_create(&t, NULL, leave, &length);
	syscall(SYS_exit, 0);
}

/* One child after the other, and the same with threads: who has room for one has room
 * for all of them. */
static void spawns(int n)
{
	char *nothing[] = { "load", NULL };
	int refused = 0, status;
	pid_t pid;

	for (int i = 0; i < n; i++)
		if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, nothing, NULL))
			refused++;
		else
			waitpid(pid, &status, 0);
	printf("refused %d of %d\n", refused, n);
}

static void *returns(void *p)
{
	return p;
}

static void joins(int n)
{
	int refused = 0;
	pthread_t t;

	for (int i = 0; i < n; i++)
		if (pthread_create(&t, NULL, returns, NULL))
			refused++;
		else
			pthread_join(t, NULL);
	printf("refused %d of %d\n", refused, n);
}

static int longer(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return (d > 0) - (d < 0);
}

/* Every 20 ms N ms of work come up: how long does each take until it is done? */
static void periods(int n)
{
	enum { MOST = 4096 };
	static double took[MOST];
	int count = 0;

	for (double next = at(CLOCK_MONOTONIC); next < end && count < MOST; next += 0.02) {
		struct timespec t = { (time_t)next, (long)((next - (time_t)next) * 1e9) };
		double until;

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		until = at(CLOCK_THREAD_CPUTIME_ID) + n / 1e3;
		while (at(CLOCK_THREAD_CPUTIME_ID) < until)
			;
		took[count++] = at(CLOCK_MONOTONIC) - next;
	}
	qsort(took, count, sizeof(*took), longer);
	printf("half %.1f p99 %.1f worst %.1f ms\n", took[count / 2] * 1e3, took[count * 99 / 100] * 1e3, took[count - 1] * 1e3);
}

static void idles(int n)
{
	(void)n;
	while (at(CLOCK_MONOTONIC) < end)
		pause();
}

/* As many as there is room for, and what a refusal says. */
static void fills(int n)
{
	int made = 0, error = 0;

	for (int i = 0; i < n && !error; i++)
		switch (fork()) {
		case 0:
			pause();
			_exit(0);
		case -1:
			error = errno;
			break;
		default:
			made++;
		}
	printf("made %d, then %s\n", made, error ? strerror(error) : "no end");
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	reap();
}

int main(int c, char **v)
{
	static const struct {
		const char *name;
		void (*run)(int n);
	} kinds[] = {
		{ "procs", procs }, { "threads", threads }, { "leaderless", leaderless }, { "hidden", hidden },
		{ "timer", timer }, { "mutual", mutual }, { "between", between }, { "waits", waits },
		{ "stopped", stopped }, { "sleeps", sleeps }, { "spawns", spawns }, { "joins", joins }, { "fills", fills },
		{ "idles", idles }, { "periods", periods },
	};
	double begin;
	size_t i = 0;

	if (c != 4)
		return 2;
	if (getenv("AFTER"))
		sleep(atoi(getenv("AFTER")));
	begin = at(CLOCK_MONOTONIC);
	length = atof(v[3]);
	end = begin + length;
	all = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return 2;
	while (i < sizeof(kinds) / sizeof(*kinds) && strcmp(v[1], kinds[i].name))
		i++;
	if (i == sizeof(kinds) / sizeof(*kinds))
		return 2;
	kinds[i].run(atoi(v[2]));
	add();
	printf("used %ld of %ld\n", all->used, (long)((at(CLOCK_MONOTONIC) - begin) * 1e6));
	return 0;
}
