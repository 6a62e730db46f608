/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nip-pledge: takes rights away from itself and executes a command, for scripts.
 * See docs/nip-pledge.1, and nexus.h for what it does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "nexus.h"
#include "nexus_internal.h"

/* As those of nip, env and nohup. */
enum { TROUBLE = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

static const char usage[] =
	"usage: nip-pledge [-dn] [-p PROMISES] [-v PATH:RIGHTS]... COMMAND [ARGUMENT...]\n"
	"  -p  keep these promises alone, such as \"stdio rpath\"\n"
	"  -v  leave this path, and others so given, with rights out of r, w, x and c\n"
	"  -n  do not leave the command, programs and libraries beside the paths of -v\n"
	"  -d  let calls that are refused fail instead of killing the process\n";

static _Noreturn void die(int status, const char *format, ...)
{
	va_list args;
	int err = errno;

	fprintf(stderr, "nip-pledge: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, err ? ": %s\n" : "\n", strerror(err));
	exit(status);
}

static void unveil(const char *path, const char *rights)
{
	if (nexus_unveil(path, rights))
		die(TROUBLE, "unveil %s:%s", path, rights);
}

/* unveil_word takes PATH:RIGHTS; without rights it is r. */
static void unveil_word(char *word)
{
	char *colon = strrchr(word, ':');

	if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "rwxc")]) {
		unveil(word, "r");
		return;
	}
	*colon = '\0';
	unveil(word, colon + 1);
}

/*
 * unveil_programs leaves what nearly every command needs: itself, programs and
 * libraries, and /dev/null. What is not there is passed over. In a cell /usr is the
 * package.
 */
static void unveil_programs(const char *command)
{
	static const char *const list[] = { "/usr", "/bin", "/sbin", "/lib", "/lib64", "/Programs" };

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (nexus_unveil(list[i], "rx") && errno != ENOENT)
			die(TROUBLE, "unveil %s", list[i]);
	if (nexus_unveil("/etc/ld.so.cache", "r") && errno != ENOENT)
		die(TROUBLE, "unveil the loader's cache");
	if (nexus_unveil("/dev/null", "rw") && errno != ENOENT)
		die(TROUBLE, "unveil /dev/null");
	unveil(command, "rx");
}

static int executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) || access(path, X_OK))
		return 0;
	errno = EACCES;
	return S_ISREG(st.st_mode);
}

/* find returns the path of a command, by PATH if there is no slash in it. */
static const char *find(const char *command)
{
	static char path[4096];
	const char *at = getenv("PATH");
	size_t length;

	if (strchr(command, '/')) {
		if (!executable(command))
			die(errno == ENOENT ? NOT_FOUND : NOT_EXECUTABLE, "%s", command);
		return command;
	}
	for (at = at ? at : "/usr/bin:/bin"; *at; at += length + (at[length] == ':')) {
		length = strcspn(at, ":");
		if (snprintf(path, sizeof(path), "%.*s/%s", (int)length, at, command) < (int)sizeof(path) && executable(path))
			return path;
	}
	errno = 0;
	die(NOT_FOUND, "%s: no such command", command);
}

/* program is what can be executed by a descriptor. */
struct program {
	int fd;
	char **argv;
};

/* script puts the interpreter that line names before the arguments. */
static const char *script(char *line, const char *path, char ***argv)
{
	char *word = line + strspn(line, " \t"), *rest = word + strcspn(word, " \t");
	size_t count = 0, at = 0;
	char **list;

	while ((*argv)[count])
		count++;
	list = calloc(count + 3, sizeof(*list));
	if (!list)
		die(TROUBLE, "memory for the arguments");
	if (*rest) {
		*rest++ = '\0';
		rest += strspn(rest, " \t");
	}
	list[at++] = word;
	if (*rest)
		list[at++] = rest;
	list[at++] = strdup(path);
	for (size_t i = 1; i < count; i++)
		list[at++] = (*argv)[i];
	*argv = list;
	return word;
}

/*
 * load opens the program that path leads to, by way of scripts as the kernel would go:
 * when EXEC is gone there is one execveat left, of a descriptor.
 */
static struct program load(const char *path, char **argv)
{
	char head[256];

	for (int depth = 0; depth < 5; depth++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : pread(fd, head, sizeof(head) - 1, 0);
		char *line;

		if (n < 0)
			die(NOT_EXECUTABLE, "%s", path);
		head[n] = '\0';
		if (n < 3 || memcmp(head, "#!", 2))
			return (struct program){ fd, argv };
		close(fd);
		line = strdup(head + 2);
		if (!line)
			die(TROUBLE, "memory for the interpreter");
		line[strcspn(line, "\n")] = '\0';
		path = script(line, path, &argv);
	}
	errno = ELOOP;
	die(NOT_EXECUTABLE, "%s", path);
}

/* execute_by executes a program with the pass. */
static void execute_by(struct program p, uint64_t pass)
{
	uint64_t flags = AT_EMPTY_PATH | (pass >> 32 << 32), fd = (uint32_t)p.fd | pass << 32;

	syscall(SYS_execveat, fd, nexus_empty(), p.argv, environ, flags);
}

static uint64_t new_pass(void)
{
	uint64_t pass;

	if (getrandom(&pass, sizeof(pass), 0) != sizeof(pass))
		die(TROUBLE, "random numbers");
	return pass ? pass : 1;
}

/* run gives up all but the promises, null for those that are held, and executes. */
static _Noreturn void run(const char *promises, int narrows, const char *path, char **argv)
{
	unsigned int mask = ~0U, exec;
	struct program p = { -1, argv };
	uint64_t pass = 0;

	if (promises && nexus_parse(promises, &mask)) {
		errno = 0;
		die(TROUBLE, "\"%s\": no such promises", promises);
	}
	nexus_parse("exec -proc", &exec);
	if (!(mask & exec)) {
		pass = new_pass();
		p = load(path, argv);
	}
	if (narrows && nexus_unveil(NULL, NULL))
		die(TROUBLE, "unveil");
	if (promises && nexus_pledge_pass(promises, pass))
		die(TROUBLE, "pledge \"%s\"", promises);
	if (pass)
		execute_by(p, pass);
	else
		execv(path, argv);
	die(errno == ENOENT ? NOT_FOUND : NOT_EXECUTABLE, "%s", path);
}

int main(int argc, char **argv)
{
	const char *promises = NULL, *path;
	int narrows = 0, nothing = 0, option;

	/* '+': options end with the command */
	while ((option = getopt(argc, argv, "+p:v:nd")) != -1) {
		switch (option) {
		case 'p': promises = optarg; break;
		case 'v': unveil_word(optarg); narrows = 1; break;
		case 'n': nothing = narrows = 1; break;
		case 'd': nexus_pledge_mode(NEXUS_DENY); break;
		default: fputs(usage, stderr); return TROUBLE;
		}
	}
	if (!argv[optind]) {
		fputs(usage, stderr);
		return TROUBLE;
	}
	path = find(argv[optind]);
	if (narrows && !nothing)
		unveil_programs(path);
	run(promises, narrows, path, argv + optind);
}
