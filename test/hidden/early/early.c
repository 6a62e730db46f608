/*
 * early.c: makes the path calls that its arguments name, each one argument of words
 * with blanks, and prints a line of what each gives. It asks nothing by itself, as
 * the start of a Go program does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *word[4];

static const char *arg(int i)
{
	return !word[i] || !strcmp(word[i], "-") ? "" : word[i];
}

static long number(int i)
{
	return strtol(arg(i), NULL, 8);
}

/* show says what was opened or looked at. */
static long show(long fd)
{
	struct stat st;

	if (fd < 0 || fstat((int)fd, &st))
		return -1;
	printf("type and mode %o size %ld flags %o ", st.st_mode, (st.st_mode & S_IFMT) == S_IFREG ? (long)st.st_size : 0, fcntl((int)fd, F_GETFL));
	return close((int)fd);
}

static long look(int flags)
{
	struct stat st;
	long r = syscall(SYS_newfstatat, AT_FDCWD, arg(1), &st, flags);

	if (!r)
		printf("type and mode %o size %ld links %ld ", st.st_mode, (st.st_mode & S_IFMT) == S_IFREG ? (long)st.st_size : 0,
		       S_ISDIR(st.st_mode) ? 0 : (long)st.st_nlink);
	return r;
}

static long text(long n, const char *buf)
{
	if (n >= 0)
		printf("%.*s ", (int)n, buf);
	return n;
}

static long beneath(void)
{
	struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
	long dir = syscall(SYS_openat, AT_FDCWD, arg(1), O_RDONLY, 0);

	return show(syscall(SYS_openat2, dir, arg(2), &how, sizeof(how)));
}

static long call(void)
{
	const char *name = arg(0), *a = arg(1), *b = arg(2);
	char buf[4096];

	if (!strcmp(name, "stat"))
		return look(0);
	if (!strcmp(name, "lstat"))
		return look(AT_SYMLINK_NOFOLLOW);
	if (!strcmp(name, "open"))
		return show(syscall(SYS_openat, AT_FDCWD, a, number(2), 0640));
	if (!strcmp(name, "beneath"))
		return beneath();
	if (!strcmp(name, "access"))
		return syscall(SYS_faccessat, AT_FDCWD, a, number(2));
	if (!strcmp(name, "readlink"))
		return text(syscall(SYS_readlinkat, AT_FDCWD, a, buf, sizeof(buf)), buf);
	if (!strcmp(name, "mkdir"))
		return syscall(SYS_mkdirat, AT_FDCWD, a, 0750);
	if (!strcmp(name, "unlink"))
		return syscall(SYS_unlinkat, AT_FDCWD, a, 0);
	if (!strcmp(name, "rmdir"))
		return syscall(SYS_unlinkat, AT_FDCWD, a, AT_REMOVEDIR);
	if (!strcmp(name, "rename"))
		return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 0);
	if (!strcmp(name, "link"))
		return syscall(SYS_linkat, AT_FDCWD, a, AT_FDCWD, b, 0);
	if (!strcmp(name, "symlink"))
		return syscall(SYS_symlinkat, a, AT_FDCWD, b);
	if (!strcmp(name, "truncate"))
		return syscall(SYS_truncate, a, 3L);
	if (!strcmp(name, "chmod"))
		return syscall(SYS_fchmodat, AT_FDCWD, a, 0700);
	if (!strcmp(name, "chdir"))
		return syscall(SYS_chdir, a);
	if (!strcmp(name, "getcwd"))
		return text(syscall(SYS_getcwd, buf, sizeof(buf)), buf);
	_exit(2);
}

int main(int argc, char **argv)
{
	int i, w;

	for (i = 1; i < argc; i++) {
		memset(word, 0, sizeof(word));
		for (w = 0; w < 4 && (word[w] = strtok(w ? NULL : argv[i], " ")); w++)
			;
		if (call() < 0)
			printf("errno %d\n", errno);
		else
			printf("ok\n");
	}
	return 0;
}
