/* Programs that no cell should suffer its host to notice.
 *
 *   hostile KIND SECONDS
 *
 * Each does its worst until then, in whatever processes it can make, ignores what
 * asks it to end, goes on after every refusal, and is replaced when it is killed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double end;
static char **arguments;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int goes_on(void)
{
	return now() < end;
}

static void busy(void)
{
	while (goes_on())
		;
}

/* Each child is a bomb, too. */
static void forks(void)
{
	while (goes_on())
		fork();
}

/* Nobody waits, nobody is a parent, each has a session. */
static void daemons(void)
{
	signal(SIGCHLD, SIG_IGN);
	while (goes_on()) {
		if (fork() == 0) {
			setsid();
			if (fork() != 0)
				_exit(0);
			setsid();
		}
	}
}

static void *spin(void *p)
{
	busy();
	return p;
}

static void threads(void)
{
	pthread_attr_t small;
	pthread_t t;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 16384);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	while (goes_on())
		pthread_create(&t, &small, spin, NULL);
}

static void zombies(void)
{
	while (goes_on())
		if (fork() == 0)
			_exit(0);
}

static void execs(void)
{
	char left[32];

	fork();
	snprintf(left, sizeof(left), "%.3f", end - now());
	arguments[2] = left;
	if (goes_on())
		execv("/proc/self/exe", arguments);
	busy();
}

static void cores(void)
{
	for (int i = 0; i < 16; i++)
		if (fork() == 0)
			break;
	busy();
}

static void touch(char *p, size_t size)
{
	for (size_t i = 0; p != MAP_FAILED && i < size; i += 4096)
		p[i] = 1;
}

static void memory(void)
{
	const size_t size = 4 << 20;
	int shared = 0;

	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < 8; i++)
		fork();
	while (goes_on()) {
		int fd = memfd_create("hog", 0);

		touch(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), size);
		touch(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), size);
		if (fd >= 0 && ftruncate(fd, size) == 0)
			touch(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), size);
		if (shared++ % 16 == 0) /* who was killed is replaced */
			fork();
	}
}

static void disk(void)
{
	static char block[1 << 20];
	char name[64];

	for (int i = 0; goes_on(); i++) {
		int fd;

		snprintf(name, sizeof(name), "%s/fill%d-%d", i % 2 ? "/tmp" : getenv("HOME"), getpid(), i);
		fd = open(name, O_WRONLY | O_CREAT, 0600);
		while (fd >= 0 && goes_on() && write(fd, block, sizeof(block)) > 0)
			;
		if (i % 3 == 0)
			unlink(name); /* and keeps it open */
		else
			close(fd);
	}
}

static void descriptors(void)
{
	for (int i = 0; i < 6; i++)
		fork();
	while (goes_on()) {
		int p[2];

		if (pipe(p) != 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, p) != 0)
			open("/dev/null", O_RDONLY);
	}
}

static void pipes(void)
{
	static char block[65536];
	int p[2];

	if (pipe(p) != 0)
		return;
	if (fork() == 0)
		while (goes_on())
			read(p[0], block, sizeof(block));
	while (goes_on())
		write(p[1], block, sizeof(block));
}

static void caught(int s)
{
	(void)s;
}

static void signals(void)
{
	pid_t first = getpid();

	for (int s = 1; s < 32; s++)
		signal(s, caught);
	for (int i = 0; i < 3; i++)
		fork();
	while (goes_on()) {
		kill(first, SIGUSR1);
		kill(getpid(), SIGCHLD);
		kill(getppid(), SIGCONT); /* the supervisor's, if it is the first */
		raise(SIGUSR2);
	}
}

static void timers(void)
{
	signal(SIGUSR1, caught);
	for (int i = 0; i < 1000; i++) {
		struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
		struct itimerspec often = { { 0, 20000 }, { 0, 20000 } };
		timer_t t;

		if (timer_create(CLOCK_MONOTONIC, &e, &t) == 0)
			timer_settime(t, 0, &often, NULL);
	}
	while (goes_on())
		pause();
}

/* Asks the supervisor for what is not there, and for what is. */
static void questions(void)
{
	for (int i = 0; i < 4; i++)
		fork();
	while (goes_on()) {
		access("/proc/1/status", R_OK);
		close(open("/proc/self/status", O_RDONLY));
		rename("/tmp/none", "/tmp/nothing");
	}
}

int main(int c, char **v)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} kinds[] = {
		{ "busy", cores }, { "forks", forks }, { "daemons", daemons }, { "threads", threads },
		{ "zombies", zombies }, { "execs", execs }, { "memory", memory }, { "disk", disk },
		{ "descriptors", descriptors }, { "pipes", pipes }, { "signals", signals }, { "timers", timers },
		{ "questions", questions },
	};

	if (c != 3)
		return 2;
	arguments = v;
	end = now() + atof(v[2]);
	for (int s = 1; s < 32; s++)
		if (s != SIGCHLD)
			signal(s, SIG_IGN);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(v[1], kinds[i].name)) {
			/* Who is killed is replaced. */
			do {
				pid_t pid = fork();

				if (pid == 0) {
					kinds[i].run();
					_exit(0);
				}
				while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
					;
			} while (goes_on());
			return 0;
		}
	return 2;
}
