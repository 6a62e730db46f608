/*
 * try: gives up rights, and tries what is left. Each argument is a step, WHAT or
 * WHAT=VALUE; each says how it ended, "WHAT ok" or "WHAT ERRNO", in a line. See steps
 * at the end, and those of layers.c, files.c and processes.c.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nexus.h"
#include "try.h"

static char **rest; /* steps that follow */
static char self[4096];

int closed(int fd)
{
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int do_pledge(char *v) { return nexus_pledge(v); }
static int do_deny(char *v) { (void)v; return nexus_pledge_mode(NEXUS_DENY); }
static int do_kill(char *v) { (void)v; return nexus_pledge_mode(NEXUS_KILL); }
static int do_commit(char *v) { (void)v; return nexus_unveil(NULL, NULL); }

static int do_unveil(char *v)
{
	char *colon = strrchr(v, ':');

	*colon = '\0';
	return nexus_unveil(v, colon + 1);
}

/* do_programs unveils what executing this program needs, wherever it is. */
static int do_programs(char *v)
{
	static const char *const list[] = { "/usr", "/lib", "/lib64", self };

	(void)v;
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (nexus_unveil(list[i], "rx") && errno != ENOENT)
			return -1;
	return 0;
}

/* do_layers enters layers until no more is left, and tells the number. */
static int do_layers(char *v)
{
	int n = 0;

	while (n < 99 && !nexus_unveil(v, "rw") && !nexus_unveil(NULL, NULL))
		n++;
	printf("%d ", n);
	return -1;
}

static int do_read(char *v) { return closed(open(v, O_RDONLY)); }
static int do_write(char *v) { return closed(open(v, O_WRONLY)); }
static int do_both(char *v) { return closed(open(v, O_RDWR)); }
static int do_odd(char *v) { return closed(open(v, 3)); }
static int do_cut(char *v) { return closed(open(v, O_RDONLY | O_TRUNC)); }
static int do_create(char *v) { return closed(open(v, O_WRONLY | O_CREAT, 0644)); }
static int do_creat(char *v) { return closed(creat(v, 0644)); }
static int do_tmpfile(char *v) { return closed(open(v, O_WRONLY | O_TMPFILE, 0600)); }
static int do_truncate(char *v) { return truncate(v, 1); }
static int do_mkdir(char *v) { return mkdir(v, 0755); }
static int do_unlink(char *v) { return unlink(v); }
static int do_chmod(char *v) { return chmod(v, 0640); }
static int do_utimes(char *v) { return utimensat(AT_FDCWD, v, NULL, 0); }
static int do_stat(char *v) { struct stat st; return stat(v, &st); }
static int do_path(char *v) { return closed(open(v, O_PATH)); }
static int do_chdir(char *v) { return chdir(v); }

static int do_list(char *v)
{
	DIR *d = opendir(v);

	return d ? closedir(d) : -1;
}

static int do_rename(char *v)
{
	char *to = strchr(v, ',');

	*to++ = '\0';
	return rename(v, to);
}

/* The calls themselves, which no library sends another way. */
static int do_rawread(char *v) { return closed((int)syscall(SYS_openat, AT_FDCWD, v, O_RDONLY)); }
static int do_rawwrite(char *v) { return closed((int)syscall(SYS_openat, AT_FDCWD, v, O_WRONLY)); }

static int do_openat2(char *v)
{
	struct open_how how = { .flags = O_RDWR };

	return closed((int)syscall(SYS_openat2, AT_FDCWD, v, &how, sizeof(how)));
}

/*
 * do_zone tries every slot of the zone on the path below the descriptor of the first
 * root, and says ok if one opens it in a way that VALUE's first letter forbids.
 */
static int do_slots(char *v)
{
	int want = *v == 'r' ? O_RDONLY : O_WRONLY;

	for (uintptr_t how = 0x10000; how < 0x18000; how += 32) {
		int fd = (int)syscall(SYS_openat2, AT_FDCWD, v + 2, how, 24UL), mode;

		if (fd < 0)
			continue;
		mode = fcntl(fd, F_GETFL);
		close(fd);
		if (!(mode & O_PATH) && ((mode & O_ACCMODE) == want || (mode & O_ACCMODE) == O_RDWR))
			return 0;
	}
	errno = ENOENT;
	return -1;
}

/* do_magic opens VALUE as a path and reads it by its link in /proc. */
static int do_magic(char *v)
{
	char link[64];
	int path = open(v, O_PATH), fd;

	if (path < 0)
		return -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", path);
	fd = open(link, O_WRONLY);
	close(path);
	return closed(fd);
}

/*
 * do_widen enters a ruleset for VALUE/sub, adds VALUE to it, enters another, and reads
 * VALUE/a: a supervisor that entered the first one again would now be let through.
 */
static int do_widen(char *v)
{
	uint64_t handled = 0x1fff;
	char sub[4096];
	struct {
		uint64_t access;
		int32_t fd;
	} __attribute__((packed)) rule = { 12, -1 };
	int first = (int)syscall(444, &handled, 8UL, 0), second = (int)syscall(444, &handled, 8UL, 0);

	int all = open(v, O_PATH);

	snprintf(sub, sizeof(sub), "%s/sub", v);
	rule.fd = open(sub, O_PATH);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(445, first, 1, &rule, 0) || syscall(446, first, 0))
		return -1;
	rule.fd = all;
	syscall(445, first, 1, &rule, 0); /* refused in a cell; of no use outside */
	if (syscall(445, second, 1, &rule, 0) || syscall(446, second, 0))
		return -1;
	snprintf(sub, sizeof(sub), "%s/a", v);
	return do_rawread(sub);
}

/* from_child has a child open link, behind a layer of its own if it narrows itself. */
static int from_child(const char *link, int narrows)
{
	int status;
	pid_t child = fork();

	if (!child) {
		if (narrows && nexus_unveil(NULL, NULL))
			_exit(99);
		_exit(do_rawread((char *)link) ? errno : 0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return 98;
	return WEXITSTATUS(status);
}

/*
 * do_parent lets a child open what this process has open: a file, and a memory file,
 * which Landlock rules say nothing about. Without a layer it can.
 */
static int do_parent(char *v)
{
	int fds[] = { open(v, O_RDONLY), memfd_create("x", 8) }; /* MFD_NOEXEC_SEAL */
	char link[64];

	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		snprintf(link, sizeof(link), "/proc/%d/fd/%d", getpid(), fds[i]);
		errno = from_child(link, 0);
		if (errno)
			printf("control %s ", strerrorname_np(errno));
		errno = from_child(link, 1);
		if (!errno)
			return 0;
	}
	return -1;
}

/* do_child has a child unveil VALUE alone, which must then be all that it can read. */
static int do_child(char *v)
{
	int status;
	pid_t child = fork();

	if (!child)
		_exit(nexus_unveil(v, "r") || nexus_unveil(NULL, NULL) || do_rawread(v) || !do_rawread(self));
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	errno = WEXITSTATUS(status) ? ECHILD : 0;
	return errno ? -1 : 0;
}

static int do_limit(char *v)
{
	struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };

	(void)v;
	return setrlimit(10, &l); /* RLIMIT_LOCKS */
}

static int do_socket(char *v) { (void)v; return closed(socket(AF_INET, SOCK_STREAM, 0)); }
static int do_memfd(char *v) { (void)v; return closed(memfd_create("x", 0)); }

static int do_fork(char *v)
{
	pid_t child = fork();

	(void)v;
	if (!child)
		_exit(0);
	return child < 0 ? -1 : waitpid(child, NULL, 0) < 0 ? -1 : 0;
}

/* do_inchild makes the steps that follow in a child. */
static int do_inchild(char *v)
{
	int status;
	pid_t child;

	(void)v;
	fflush(stdout);
	child = fork();
	if (child <= 0)
		return child;
	if (waitpid(child, &status, 0) < 0)
		exit(98);
	exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void *nothing(void *v) { return v; }

static int do_thread(char *v)
{
	pthread_t t;

	(void)v;
	errno = pthread_create(&t, NULL, nothing, NULL);
	return errno ? -1 : pthread_join(t, NULL);
}

/* do_exec makes the steps that follow in a new program, or are arguments of VALUE. */
static int do_exec(char *v)
{
	char **argv = rest - 1;
	char *program = v ? v : self;

	argv[0] = program;
	printf("exec ok\n");
	fflush(stdout);
	execv(program, argv);
	return -1;
}

/* do_pass tries the last call of nip-pledge with another pass. */
static int do_pass(char *v)
{
	int fd = open(self, O_RDONLY);
	char *argv[] = { self, NULL };

	(void)v;
	return (int)syscall(SYS_execveat, fd | 1UL << 32, "", argv, environ, AT_EMPTY_PATH | 1UL << 32);
}

static const struct step steps[] = {
	S(pledge), S(deny), S(kill), S(unveil), S(commit), S(programs), S(layers),
	S(read), S(write), S(both), S(odd), S(cut), S(create), S(creat), S(tmpfile), S(truncate), S(mkdir), S(unlink), S(rename), S(chmod),
	S(utimes), S(stat), S(path), S(list), S(chdir), S(rawread), S(rawwrite), S(openat2), S(slots), S(magic), S(widen), S(parent), S(child), S(limit),
	S(socket), S(memfd), S(fork), S(inchild), S(thread), S(exec), S(pass),
	{ NULL, NULL },
};

static const struct step *const tables[] = { steps, layer_steps, file_steps, process_steps };

static void make(char *step)
{
	char *value = strchr(step, '=');

	if (value)
		*value++ = '\0';
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		for (const struct step *s = tables[t]; s->what; s++) {
			if (strcmp(s->what, step))
				continue;
			errno = 0;
			if (!s->run(value))
				printf("%s ok\n", step);
			else
				printf("%s %s\n", step, errno ? strerrorname_np(errno) : "failed");
			fflush(stdout);
			return;
		}
	}
	printf("%s is no step\n", step);
	exit(97);
}

int main(int argc, char **argv)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	(void)argc;
	if (n < 0)
		return 96;
	for (rest = argv + 1; *rest;)
		make(*rest++);
	return 0;
}
