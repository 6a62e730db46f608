/* answer.h: what a probe says of a call. */
#ifndef ANSWER_H
#define ANSWER_H

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

#endif
