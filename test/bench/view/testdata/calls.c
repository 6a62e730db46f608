/*
 * calls.c: times single path calls. Prints nanoseconds per call, the best of
 * seven rounds: open+close, stat, a missing name; then walks a tree.
 *
 * usage: calls FILE        the walk is of the current directory
 *        calls DIR NAME    what the kernel alone takes for the calls that stand
 *                          for an open and a stat: openat2 below a descriptor
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "../../timing.h"

static const char *path;
static long files;

static void open_close(void)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || close(fd))
		_exit(1);
}

static void do_stat(void)
{
	struct stat st;

	if (stat(path, &st))
		_exit(1);
}

static struct open_how how;
static int top;

static void beneath(void)
{
	long fd = syscall(SYS_openat2, top, path, &how, sizeof(how));
	struct stat st;

	if (fd < 0 || (how.flags & O_PATH && syscall(SYS_fstat, fd, &st)) || close((int)fd))
		_exit(1);
}

static void missing(void)
{
	if (open("/usr/lib/no/such/name", O_RDONLY | O_CLOEXEC) >= 0)
		_exit(1);
}

static int visit(const char *p, const struct stat *st, int type, struct FTW *f)
{
	(void)p, (void)st, (void)f;
	files += type == FTW_F;
	return 0;
}

int main(int argc, char **argv)
{
	double t, best = 1e18;
	int round;

	if (argc == 3) {
		top = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
		path = argv[2];
		how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
		how.flags = O_RDONLY | O_CLOEXEC;
		measure("open+close", beneath);
		how.flags = O_PATH | O_CLOEXEC;
		measure("stat", beneath);
		return 0;
	}
	if (argc != 2)
		return 2;
	path = argv[1];
	measure("open+close", open_close);
	measure("stat", do_stat);
	measure("missing", missing);
	for (round = 0; round < 5; round++) {
		files = 0;
		t = now();
		if (nftw(".", visit, 16, FTW_PHYS))
			return 1;
		t = now() - t;
		if (t < best)
			best = t;
	}
	if (!files)
		return 1;
	printf("walk+lstat %.0f\n", best / (double)files);
	return 0;
}
