/*
 * attack: one attempt to reach out of a cell for each run, or a battery of them.
 *
 *	attack NAME [ARGUMENT...]
 *	attack battery fork|here ATTEMPT...
 *
 * Prints one line, "RESULT done|refused|broken what", and ends with 10, 11 or
 * 12; where the wall kills the process there is no line. The same program run
 * outside a cell, or on something that was granted, is the positive control:
 * it shows that the attempt would have worked. The tests that drive it check
 * from outside that nothing happened, and do not trust this line.
 *
 * A battery makes one attempt after the other, each in a child, or here where there
 * may be none, and prints "ATTEMPT number" before each. The words of an attempt are
 * parted by the character 31.
 */
#include "attack.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const struct attempt *const families[] = {
	files, names, metadata, execution, processes, signals, kernel, sockets, network, descriptors, credentials, resources,
};

pid_t supervisor;

static void result(const char *word, const char *format, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, ap);
	printf("RESULT %s %s\n", word, text);
	fflush(stdout);
}

int done(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	result("done", format, ap);
	va_end(ap);
	return DONE;
}

int broken(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	result("broken", format, ap);
	va_end(ap);
	return BROKEN;
}

static int say_refused(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	result("refused", format, ap);
	va_end(ap);
	return REFUSED;
}

int refused(const char *what)
{
	return say_refused("%s %s", what, strerrorname_np(errno));
}

int outcome(const char *what, long rc)
{
	return rc < 0 ? refused(what) : done("%s = %ld", what, rc);
}

static pid_t child;

pid_t process(const char *word)
{
	if (!strcmp(word, "self"))
		return getpid();
	if (!strcmp(word, "parent"))
		return supervisor;
	if (strcmp(word, "child"))
		return (pid_t)number(word);
	child = fork();
	if (child < 0)
		give_up(broken("fork: %s", strerrorname_np(errno)));
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return child;
}

void end_child(void)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

long number(const char *word)
{
	char *end;
	unsigned long n = strtoul(word, &end, 0);

	if (*word == '\0' || *end != '\0')
		give_up(broken("not a number: %s", word));
	return (long)n;
}

/* "$NAME/rest": below the directory that the environment names, for what a cell alone knows. */
static const char *in_directory(char *word)
{
	char *slash = strchr(word, '/'), *path = malloc(4096), *directory;

	if (slash)
		*slash = '\0';
	directory = getenv(word);
	if (!directory || !path)
		give_up(broken("%s is not set", word));
	snprintf(path, 4096, "%s/%s", directory, slash ? slash + 1 : "");
	return path;
}

const char *argument(int argc, char **argv, int i)
{
	if (i >= argc)
		give_up(broken("%s: argument %d is missing", argv[0], i));
	return argv[i][0] == '$' ? in_directory(argv[i] + 1) : argv[i];
}

int copy_program(const char *from, const char *to)
{
	char buffer[65536];
	ssize_t n = 0;
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	if (in < 0 || out < 0)
		return -1;
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, (size_t)n) != n)
			return -1;
	close(in);
	/* Written on every path: an inherited umask must not decide what is tested. */
	if (fchmod(out, 0755) < 0 && errno != EPERM)
		return -1;
	close(out);
	return n < 0 ? -1 : 0;
}

const char *in_home(const char *name)
{
	static char path[4096];
	const char *home = getenv("HOME");

	if (!home)
		give_up(broken("HOME is not set"));
	snprintf(path, sizeof(path), "%s/%s", home, name);
	return path;
}

int descriptor(const char *word)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header;
	int fd;

	if (strcmp(word, "received"))
		return (int)number(word);
	if (recvmsg(0, &message, 0) < 0)
		give_up(refused("recvmsg"));
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		give_up(broken("no descriptor came"));
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

static sigjmp_buf *next; /* where a battery goes on that has no children */

_Noreturn void give_up(int status)
{
	if (next)
		siglongjmp(*next, 1);
	exit(status);
}

static int make(int argc, char **argv)
{
	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++)
		for (const struct attempt *a = families[f]; a->name; a++)
			if (!strcmp(a->name, argv[0]))
				return a->run(argc, argv);
	return broken("no such attempt: %s", argv[0]);
}

static void too_long(int sig)
{
	(void)sig;
	if (next)
		give_up(broken("took too long"));
	_exit(broken("took too long"));
}

/* here makes an attempt in this process, and closes what it has opened. */
static void here(int argc, char **argv)
{
	static sigjmp_buf again;

	next = &again;
	alarm(5);
	if (!sigsetjmp(again, 1))
		make(argc, argv);
	alarm(0);
	for (int fd = 3; fd < 40; fd++)
		close(fd);
}

/* in_child makes it in one of its own, and says if that was killed. */
static void in_child(int argc, char **argv)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(5);
		_exit(make(argc, argv));
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		broken("no child: %s", strerrorname_np(errno));
	else if (WIFSIGNALED(status))
		say_refused("killed by %d", WTERMSIG(status));
}

/* split parts the words of a line, and returns how many there are. */
static int split(char *line, char *argv[16])
{
	int argc = 0;

	memset(argv, 0, 16 * sizeof(*argv));
	for (char *word = strtok(line, "\037"); word && argc < 15; word = strtok(NULL, "\037"))
		argv[argc++] = word;
	return argc;
}

static int battery(int argc, char **argv)
{
	int children = !strcmp(argument(argc, argv, 1), "fork");
	char *words[16];

	signal(SIGALRM, too_long);
	signal(SIGIO, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 2; i < argc; i++) {
		printf("ATTEMPT %d\n", i - 2);
		fflush(stdout);
		(children ? in_child : here)(split(argv[i], words), words);
	}
	return 0;
}

int main(int argc, char **argv)
{
	supervisor = getppid();
	if (argc < 2)
		return broken("usage: attack NAME [ARGUMENT...]");
	if (!strcmp(argv[1], "battery"))
		return battery(argc - 1, argv + 1);
	return make(argc - 1, argv + 1);
}
