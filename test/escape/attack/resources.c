/* What was inherited, what limits there are, and living on after the cell. */
#include "attack.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

/* descriptors FIRST KEPT LAST: done if any descriptor from FIRST on is open, but for KEPT to LAST. */
static int open_descriptors(int argc, char **argv)
{
	int kept = (int)number(argument(argc, argv, 2)), last = (int)number(argument(argc, argv, 3));

	for (int fd = (int)number(argument(argc, argv, 1)); fd < 1024; fd++)
		if ((fd < kept || fd > last) && fcntl(fd, F_GETFD) >= 0)
			return done("descriptor %d is open", fd);
	return refused("every descriptor");
}

/* rlimit-raise RESOURCE: above the hard limit. */
static int rlimit_raise(int argc, char **argv)
{
	int resource = (int)number(argument(argc, argv, 1));
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return broken("getrlimit: %s", strerrorname_np(errno));
	if (limit.rlim_max == RLIM_INFINITY) {
		errno = EINVAL;
		return refused("no limit to raise");
	}
	limit.rlim_max++;
	return outcome("setrlimit", setrlimit(resource, &limit));
}

/* rlimit-set RESOURCE: lowers it by one, both limits: changes a mark that is kept there. */
static int rlimit_set(int argc, char **argv)
{
	int resource = (int)number(argument(argc, argv, 1));
	struct rlimit limit, after;

	if (getrlimit(resource, &limit) < 0)
		return broken("getrlimit: %s", strerrorname_np(errno));
	limit.rlim_max = limit.rlim_max == RLIM_INFINITY ? 1 << 20 : limit.rlim_max - 1;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(resource, &limit) < 0)
		return refused("setrlimit");
	if (getrlimit(resource, &after) < 0 || after.rlim_max != limit.rlim_max) {
		errno = EPERM;
		return refused("setrlimit had no effect:");
	}
	return done("setrlimit");
}

static int subreaper(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return outcome("PR_SET_CHILD_SUBREAPER", prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
}

/* Appends our pid and a newline to a file that the test reads; 0 says that the last process ends by itself. */
static void beat(int fd, int pid)
{
	dprintf(fd, "%d\n", pid);
}

static void hide(void)
{
	static const int ignored[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGTTOU, SIGTSTP };

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	prctl(PR_SET_PDEATHSIG, 0);
	setsid();
}

static void wait_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

/* The first process of the cell ends, or with "stay" waits to be killed. */
static int leave(int fd, int argc, char **argv)
{
	struct stat st;

	while (fstat(fd, &st) == 0 && st.st_size == 0)
		wait_ms(1);
	if (!strcmp(argument(argc, argv, 2), "stay")) {
		printf("READY\n");
		fflush(stdout);
		for (;;)
			pause();
	}
	return done("left something behind");
}

static int open_beats(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);

	if (fd < 0)
		give_up(refused("open the file of beats"));
	return fd;
}

/* daemonize FILE leave|stay COUNT: a daemon that writes its pid to FILE every 5 ms, COUNT times. */
static int daemonize(int argc, char **argv)
{
	int fd = open_beats(argument(argc, argv, 1));
	long count = number(argument(argc, argv, 3));
	pid_t pid = fork();

	if (pid < 0)
		return refused("fork");
	if (pid > 0)
		return leave(fd, argc, argv);
	hide();
	if (fork() != 0)
		_exit(0);
	hide();
	close(0);
	close(1);
	close(2);
	for (; count > 0; count--) {
		beat(fd, getpid());
		wait_ms(5);
	}
	beat(fd, 0);
	_exit(0);
}

/*
 * runaway FILE leave|stay COUNT: a process that forks a successor and ends,
 * COUNT times: no pid lives long enough to be read and then killed.
 */
static int runaway(int argc, char **argv)
{
	int fd = open_beats(argument(argc, argv, 1));
	long count = number(argument(argc, argv, 3));
	pid_t pid = fork();

	if (pid < 0)
		return refused("fork");
	if (pid > 0)
		return leave(fd, argc, argv);
	hide();
	signal(SIGCHLD, SIG_IGN);
	close(0);
	close(1);
	close(2);
	for (; count > 0; count--) {
		pid = fork();
		if (pid > 0)
			_exit(0);
		if (pid < 0)
			wait_ms(1);
		else if (count % 64 == 0)
			beat(fd, getpid());
	}
	beat(fd, 0);
	_exit(0);
}

/* hold: says READY and waits to be ended; what a test looks at from outside. */
static int hold(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("READY %d\n", (int)getpid());
	fflush(stdout);
	while (pause() < 0 && errno == EINTR)
		;
	return broken("pause");
}

static volatile sig_atomic_t counted;

static void count(int sig)
{
	(void)sig;
	counted++;
}

/*
 * victim SIGNAL: what the other attempts are aimed at, outside. Counts SIGNAL,
 * and for each line on standard input prints the count.
 */
static int victim(int argc, char **argv)
{
	char line[16];
	struct sigaction action = { .sa_handler = count, .sa_flags = SA_RESTART };

	sigaction((int)number(argument(argc, argv, 1)), &action, NULL);
	printf("READY %d\n", (int)getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		printf("%d\n", (int)counted);
		fflush(stdout);
	}
	return 0;
}

const struct attempt resources[] = {
	{ "descriptors", open_descriptors },
	{ "rlimit-raise", rlimit_raise },
	{ "rlimit-set", rlimit_set },
	{ "subreaper", subreaper },
	{ "daemonize", daemonize },
	{ "runaway", runaway },
	{ "hold", hold },
	{ "victim", victim },
	{ NULL, NULL },
};
