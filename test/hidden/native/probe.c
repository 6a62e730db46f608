/*
 * probe.c: test/hidden/probe in C, by the functions of the C library, whose path
 * calls go by native views. It speaks the same language: CALL ARGUMENT… on each
 * line of the standard input, "-" for an empty word, and a line for each answer.
 * With arguments it makes that one call.
 */
#define _GNU_SOURCE
#include "looks.h"

static char *const *volatile none;

static void do_exec(char **a)
{
	result(execve(a[0], none, none));
}

/* output says what a child printed, or why there is none. */
static void output(int error, pid_t pid, int from)
{
	char text[4096];
	size_t at = 0;
	int status;
	long n;

	while (!error && (n = read(from, text + at, sizeof(text) - at - 1)) > 0)
		at += (size_t)n;
	text[at] = 0;
	if (pid > 0)
		waitpid(pid, &status, 0);
	if (error)
		say("%s", name(error));
	else if (status)
		say("status %x", status);
	else
		say("ok %.*s", (int)strcspn(text, "\n"), text);
	close(from);
}

static char *empty[] = { NULL };

static void do_spawn(char **a)
{
	posix_spawn_file_actions_t actions;
	int p[2], error;
	pid_t pid = 0;

	if (pipe2(p, O_CLOEXEC))
		abort();
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, p[1], 1);
	error = posix_spawn(&pid, a[0], &actions, NULL, a, empty);
	posix_spawn_file_actions_destroy(&actions);
	close(p[1]);
	output(error, error ? 0 : pid, p[0]);
}

static void do_fork(char **a)
{
	int p[2], error = 0;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC))
		abort();
	pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		execve(a[0], a, empty);
		dprintf(1, "%s", name(errno));
		_exit(0);
	}
	close(p[1]);
	output(error, pid, p[0]);
	if (!strncmp(answer, "ok E", 4))
		memmove(answer, answer + 3, strlen(answer + 3) + 1);
}

static void do_handle(char **a)
{
	struct file_handle h = { 0 };
	int mount;

	result(name_to_handle_at(AT_FDCWD, a[0], &h, &mount, 0));
}

static void do_access(char **a)
{
	result(access(a[0], a[1][0] - '0'));
}

static void do_faccess2(char **a)
{
	result(faccessat(AT_FDCWD, a[0], R_OK, bits(a[1])));
}

static void do_chdir(char **a)
{
	result(chdir(a[0]));
}

static void do_syschdir(char **a)
{
	result(syscall(SYS_chdir, a[0]));
}

/* do_rawchdir makes a call that is not the C library's. */
static void do_rawchdir(char **a)
{
#if defined(__x86_64__)
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(SYS_chdir), "D"(a[0]) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long number __asm__("x8") = SYS_chdir;
	register long r __asm__("x0") = (long)a[0];

	__asm__ volatile("svc #0" : "+r"(r) : "r"(number) : "memory");
#endif
	errno = r < 0 ? (int)-r : 0;
	result(r);
}

static void do_fchdir(char **a)
{
	int dir = directory(a[0], "");

	if (dir == -1)
		return;
	result(fchdir(dir));
	done(dir);
}

static void do_truncate(char **a)
{
	result(truncate(a[0], 3));
}

static void do_mkdir(char **a)
{
	result(mkdir(a[0], 0777));
}

static void do_mkdirat(char **a)
{
	int dir = directory(a[0], "");

	if (dir == -1)
		return;
	result(mkdirat(dir, a[1], 0777));
	done(dir);
}

static void do_mkfifo(char **a)
{
	result(mkfifo(a[0], 0666));
}

static void do_mkfile(char **a)
{
	result(mknod(a[0], S_IFREG | 0666, 0));
}

static void do_mkdev(char **a)
{
	result(mknod(a[0], S_IFCHR | 0666, makedev(1, 3)));
}

static void do_rmdir(char **a)
{
	result(rmdir(a[0]));
}

static void do_unlink(char **a)
{
	result(unlink(a[0]));
}

static void do_unlinkat(char **a)
{
	int dir = directory(a[0], "");

	if (dir == -1)
		return;
	result(unlinkat(dir, a[1], bits(a[2])));
	done(dir);
}

static void do_symlink(char **a)
{
	result(symlink(a[0], a[1]));
}

static void do_link(char **a)
{
	result(link(a[0], a[1]));
}

static void do_linkat(char **a)
{
	result(linkat(AT_FDCWD, a[0], AT_FDCWD, a[1], bits(a[2])));
}

static void do_rename(char **a)
{
	result(rename(a[0], a[1]));
}

static void do_rename2(char **a)
{
	result(renameat2(AT_FDCWD, a[0], AT_FDCWD, a[1], (unsigned)bits(a[2])));
}

static void do_chmod(char **a)
{
	result(chmod(a[0], 0640));
}

static void do_chown(char **a)
{
	result(lchown(a[0], (uid_t)-1, (gid_t)-1));
}

static void do_utime(char **a)
{
	struct utimbuf times = { .modtime = 1000000000 };

	result(utime(a[0], &times));
}

static void do_setxattr(char **a)
{
	result(setxattr(a[0], a[1], "value", 5, 0));
}

static void do_write(char **a)
{
	int fd = open(a[0], O_WRONLY | O_CREAT | O_TRUNC, 0666);

	result(fd < 0 ? -1 : write(fd, a[1], strlen(a[1])));
	done(fd);
}

static void do_watch(char **a)
{
	int fd = inotify_init1(0);

	result(fd < 0 ? -1 : inotify_add_watch(fd, a[0], IN_ALL_EVENTS));
	done(fd);
}

static const struct {
	const char *name;
	int words;
	void (*make)(char **a);
} calls[] = {
	{ "open", 2, do_open }, { "openat", 3, do_openat }, { "openat2", 4, do_openat2 }, { "fopen", 1, do_fopen },
	{ "stat", 1, do_stat }, { "lstat", 1, do_lstat }, { "fstatat", 3, do_fstatat }, { "statx", 3, do_statx },
	{ "readlink", 2, do_readlink }, { "getcwd", 0, do_getcwd }, { "realpath", 1, do_realpath }, { "statfs", 1, do_statfs },
	{ "getxattr", 2, do_getxattr }, { "listxattr", 1, do_listxattr }, { "list", 1, do_list }, { "kinds", 1, do_kinds },
	{ "read", 1, do_read }, { "exec", 1, do_exec }, { "spawn", 1, do_spawn }, { "fork", 1, do_fork }, { "handle", 1, do_handle },
	{ "access", 2, do_access }, { "faccess2", 2, do_faccess2 }, { "chdir", 1, do_chdir }, { "rawchdir", 1, do_rawchdir }, { "syschdir", 1, do_syschdir },
	{ "fchdir", 1, do_fchdir }, { "truncate", 1, do_truncate }, { "mkdir", 1, do_mkdir }, { "mkdirat", 2, do_mkdirat },
	{ "mkfifo", 1, do_mkfifo }, { "mkfile", 1, do_mkfile }, { "mkdev", 1, do_mkdev }, { "rmdir", 1, do_rmdir },
	{ "unlink", 1, do_unlink }, { "unlinkat", 3, do_unlinkat }, { "symlink", 2, do_symlink }, { "link", 2, do_link },
	{ "linkat", 3, do_linkat }, { "rename", 2, do_rename }, { "rename2", 3, do_rename2 }, { "chmod", 1, do_chmod },
	{ "chown", 1, do_chown }, { "utime", 1, do_utime }, { "setxattr", 2, do_setxattr }, { "write", 2, do_write },
	{ "watch", 1, do_watch },
};

/* probe makes one call. */
static void probe(char **words, int n)
{
	size_t i;

	for (i = 0; i < (size_t)n; i++)
		if (!strcmp(words[i], "-"))
			words[i][0] = 0;
	for (i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (!strcmp(calls[i].name, words[0]) && n > calls[i].words) {
			answer[0] = 0;
			errno = 0;
			calls[i].make(words + 1);
			puts(answer);
			fflush(stdout);
			return;
		}
	fprintf(stderr, "no call %s of %d words\n", words[0], n);
	exit(2);
}

static char raced[PATH_MAX];

static void *swap(void *names)
{
	char **path = names;

	for (;;) {
		strcpy(raced, path[1]);
		strcpy(raced, path[0]);
	}
	return NULL;
}

static char seen[64][128];

static void note(const char *format, ...)
{
	char line[128];
	va_list list;
	size_t i;

	va_start(list, format);
	vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	for (i = 0; i < 63 && seen[i][0] && strcmp(seen[i], line); i++)
		;
	strcpy(seen[i], line);
}

/*
 * race makes calls with a path that other threads swap between two of the same
 * length, and prints every answer that it got.
 */
static void race(char **names)
{
	struct timespec begin, now;
	struct stat st;
	pthread_t thread;
	char text[64];
	long n;
	int i, fd;

	strcpy(raced, names[0]);
	for (i = 0; i < 3; i++)
		if (pthread_create(&thread, NULL, swap, names))
			exit(2);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		fd = open(raced, O_RDONLY);
		if (fd < 0) {
			note("open %s", name(errno));
		} else {
			n = read(fd, text, sizeof(text) - 1);
			text[n < 0 ? 0 : n] = 0;
			text[strcspn(text, "\n")] = 0;
			note("read \"%s\\n\"", text);
			close(fd);
		}
		st.st_size = 0;
		if (stat(raced, &st))
			note("stat %s 0", name(errno));
		else
			note("stat  %ld", (long)st.st_size);
		note("chdir %s", chdir(raced) ? name(errno) : "");
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < begin.tv_sec + 3);
	for (i = 0; i < 64 && seen[i][0]; i++)
		puts(seen[i]);
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	char line[ANSWER], *words[WORDS + 1], *rest;
	int n;

	umask(027);
	if (argc > 3 && !strcmp(argv[1], "race"))
		race(argv + 2);
	if (argc > 1) {
		probe(argv + 1, argc - 1);
		return 0;
	}
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		n = 0;
		for (words[0] = strtok_r(line, " ", &rest); words[n] && n < WORDS - 1; words[n] = strtok_r(NULL, " ", &rest))
			n++;
		words[n] = NULL;
		if (n)
			probe(words, n);
	}
	return 0;
}
