/*
 * attack: one attempt to reach out of a cell for each run.
 *
 *	attack NAME [ARGUMENT...]
 *
 * Prints one line, "RESULT done|refused|broken what", and ends with 10, 11 or
 * 12; where the wall kills the process there is no line. The same program run
 * outside a cell, or on something that was granted, is the positive control:
 * it shows that the attempt would have worked. The tests that drive it check
 * from outside that nothing happened, and do not trust this line.
 */
#include "attack.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const struct attempt *const families[] = {
	files, metadata, execution, processes, kernel, sockets, credentials, resources,
};

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
		return getppid();
	if (strcmp(word, "child"))
		return (pid_t)number(word);
	child = fork();
	if (child < 0)
		exit(broken("fork: %s", strerrorname_np(errno)));
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
		exit(broken("not a number: %s", word));
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
		exit(broken("%s is not set", word));
	snprintf(path, 4096, "%s/%s", directory, slash ? slash + 1 : "");
	return path;
}

const char *argument(int argc, char **argv, int i)
{
	if (i >= argc)
		exit(broken("%s: argument %d is missing", argv[0], i));
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
		exit(broken("HOME is not set"));
	snprintf(path, sizeof(path), "%s/%s", home, name);
	return path;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return broken("usage: attack NAME [ARGUMENT...]");
	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++)
		for (const struct attempt *a = families[f]; a->name; a++)
			if (!strcmp(a->name, argv[1]))
				return a->run(argc - 1, argv + 1);
	return broken("no such attempt: %s", argv[1]);
}
