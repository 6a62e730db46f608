/*
 * probe.c: test/hidden/probe in C, by the functions of the C library, whose path
 * calls go by native views. It speaks the same language: CALL ARGUMENT… on each
 * line of the standard input, "-" for an empty word, and a line for each answer.
 * With arguments it makes that one call.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#define WORDS 8
#define ANSWER 65536

static char answer[ANSWER];

static void say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(answer, sizeof(answer), format, list);
	va_end(list);
}

static const char *name(int error)
{
	/* glibc's name for it is another than that in the kernel's header. */
	return error == EOPNOTSUPP ? "EOPNOTSUPP" : strerrorname_np(error);
}

/* result says how a call ended that gives nothing. */
static void result(long r)
{
	say("%s", r < 0 ? name(errno) : "ok");
}

static const struct {
	const char *name;
	long value;
} flags[] = {
	{ "RDONLY", O_RDONLY }, { "WRONLY", O_WRONLY }, { "RDWR", O_RDWR }, { "CREAT", O_CREAT }, { "EXCL", O_EXCL },
	{ "TRUNC", O_TRUNC }, { "APPEND", O_APPEND }, { "DIRECTORY", O_DIRECTORY }, { "NOFOLLOW", O_NOFOLLOW }, { "PATH", O_PATH },
	{ "TMPFILE", O_TMPFILE }, { "NONBLOCK", O_NONBLOCK }, { "CLOEXEC", O_CLOEXEC },
	{ "BENEATH", RESOLVE_BENEATH }, { "IN_ROOT", RESOLVE_IN_ROOT }, { "NO_SYMLINKS", RESOLVE_NO_SYMLINKS },
	{ "NO_MAGICLINKS", RESOLVE_NO_MAGICLINKS }, { "LINK", AT_SYMLINK_FOLLOW }, { "NOLINK", AT_SYMLINK_NOFOLLOW },
	{ "EMPTY", AT_EMPTY_PATH }, { "REMOVEDIR", AT_REMOVEDIR }, { "NOREPLACE", RENAME_NOREPLACE },
	{ "EXCHANGE", RENAME_EXCHANGE }, { "0", 0 },
};

static int bits(char *words)
{
	int n = 0;
	char *w, *rest = NULL;
	size_t i;

	for (w = strtok_r(words, "|", &rest); w; w = strtok_r(NULL, "|", &rest)) {
		for (i = 0; i < sizeof(flags) / sizeof(*flags) && strcmp(flags[i].name, w); i++)
			;
		if (i == sizeof(flags) / sizeof(*flags)) {
			fprintf(stderr, "no flag %s\n", w);
			exit(2);
		}
		n |= (int)flags[i].value;
	}
	return n;
}

/* directory opens where a path call begins, as a path. It says why it cannot. */
static int directory(const char *path, const char *before)
{
	int fd;

	if (!*path)
		return AT_FDCWD;
	fd = open(path, O_PATH);
	if (fd < 0)
		say("%s%s", before, name(errno));
	return fd;
}

static void done(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* opened says what a descriptor is good for. */
static void opened(int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		result(-1);
		return;
	}
	say("ok type %o mode %o flags %x %d", st.st_mode & S_IFMT, st.st_mode & 07777,
	    fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), fcntl(fd, F_GETFD));
	close(fd);
}

static void described(int r, const struct stat *st)
{
	if (r)
		result(r);
	else if (S_ISDIR(st->st_mode))
		say("ok directory %o", st->st_mode & 07777);
	else if (st->st_mode & 0200)
		say("ok type %o mode %o size %ld links %ld", st->st_mode & S_IFMT, st->st_mode & 07777, (long)st->st_size,
		    (long)st->st_nlink);
	else /* of a package: other blobs may be linked as often, and programs are of any size */
		say("ok type %o mode %o", st->st_mode & S_IFMT, st->st_mode & 07777);
}

static void do_open(char **a)
{
	opened(open(a[0], bits(a[1]), 0666));
}

static void do_openat(char **a)
{
	int dir = directory(a[0], "dir ");

	if (dir == -1)
		return;
	opened(openat(dir, a[1], bits(a[2]), 0666));
	done(dir);
}

static void do_openat2(char **a)
{
	struct open_how how = { .flags = (unsigned)bits(a[2]), .resolve = (unsigned)bits(a[3]) };
	int dir = directory(a[0], "dir ");

	if (dir == -1)
		return;
	if (how.flags & O_CREAT)
		how.mode = 0666;
	opened((int)syscall(SYS_openat2, dir, a[1], &how, sizeof(how)));
	done(dir);
}

static void do_fopen(char **a)
{
	FILE *f = fopen(a[0], "r");

	opened(f ? dup(fileno(f)) : -1);
	if (f)
		fclose(f);
}

static void do_stat(char **a)
{
	struct stat st;

	described(stat(a[0], &st), &st);
}

static void do_lstat(char **a)
{
	struct stat st;

	described(lstat(a[0], &st), &st);
}

static void do_fstatat(char **a)
{
	struct stat st;
	int dir = directory(a[0], "dir ");

	if (dir == -1)
		return;
	described(fstatat(dir, a[1], &st, bits(a[2])), &st);
	done(dir);
}

static void do_statx(char **a)
{
	struct statx st;
	int dir = directory(a[0], "dir ");

	if (dir == -1)
		return;
	if (statx(dir, a[1], bits(a[2]), STATX_BASIC_STATS, &st))
		result(-1);
	else
		say("ok type %o mode %o", st.stx_mode & S_IFMT, st.stx_mode & 07777);
	done(dir);
}

static void do_readlink(char **a)
{
	char text[PATH_MAX];
	int dir = directory(a[0], "dir ");
	long n;

	if (dir == -1)
		return;
	n = dir == AT_FDCWD ? readlink(a[1], text, sizeof(text)) : readlinkat(dir, a[1], text, sizeof(text));
	if (n < 0)
		say("%s ", name(errno));
	else
		say("ok %.*s", (int)n, text);
	done(dir);
}

static void do_getcwd(char **a)
{
	char text[PATH_MAX];

	(void)a;
	if (getcwd(text, sizeof(text)))
		say("ok %s", text);
	else
		say("%s ", name(errno));
}

static void do_realpath(char **a)
{
	char text[PATH_MAX];

	if (realpath(a[0], text))
		say("ok %s", text);
	else
		result(-1);
}

static void do_statfs(char **a)
{
	struct statfs st;

	result(statfs(a[0], &st));
}

static void do_getxattr(char **a)
{
	char value[64];
	long n = getxattr(a[0], a[1], value, sizeof(value));

	if (n < 0)
		say("%s ", name(errno));
	else
		say("ok %.*s", (int)n, value);
}

static void do_listxattr(char **a)
{
	char list[1024];

	result(listxattr(a[0], list, sizeof(list)));
}

static int named(const struct dirent *e)
{
	return strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* letter says what kind of file a type of struct dirent is. */
static char letter(int type)
{
	switch (type) {
	case DT_DIR:
		return 'd';
	case DT_REG:
		return '-';
	case DT_LNK:
		return 'l';
	case DT_CHR:
		return 'c';
	case DT_FIFO:
		return 'p';
	}
	return '?';
}

/* listing prints the names in a directory, and what kind each is to readdir and to lstat. */
static void listing(const char *path, int kinds)
{
	struct dirent **list;
	char text[PATH_MAX];
	struct stat st;
	int i, n = scandir(path, &list, named, by_bytes);
	size_t at = 0;

	if (n < 0)
		result(n);
	for (i = 0; i < n; i++) {
		at += (size_t)snprintf(answer + at, sizeof(answer) - at, "%s%s", i ? " " : "", list[i]->d_name);
		snprintf(text, sizeof(text), "%s/%s", path, list[i]->d_name);
		if (kinds)
			at += (size_t)snprintf(answer + at, sizeof(answer) - at, ":%c%c", letter(list[i]->d_type),
					       lstat(text, &st) ? '!' : letter(IFTODT(st.st_mode)));
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void do_list(char **a)
{
	listing(a[0], 0);
}

static void do_kinds(char **a)
{
	listing(a[0], 1);
}

static void do_read(char **a)
{
	int fd = open(a[0], O_RDONLY | O_CLOEXEC);
	char text[4096];
	long i, n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	size_t at = 1;

	if (n < 0) {
		result(-1);
		done(fd);
		return;
	}
	say("\"");
	for (i = 0; i < n; i++)
		at += (size_t)snprintf(answer + at, sizeof(answer) - at, text[i] == '\n' ? "\\n" : "%c", text[i]);
	snprintf(answer + at, sizeof(answer) - at, "\"");
	close(fd);
}

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
