/* path.h: where a path leads, and opening it there. */
#ifndef PATH_H
#define PATH_H

#include "slot.h"
#include "arch.h"

typedef unsigned long ulong;
typedef unsigned int uint;

#define AT_FDCWD (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_EACCESS 0x200
#define AT_NO_AUTOMOUNT 0x800
#define AT_EMPTY_PATH 0x1000
#define AT_STATX_SYNC_TYPE 0x6000

#define EPERM 1
#define ENOENT 2
#define ENOEXEC 8
#define EAGAIN 11
#define EACCES 13
#define EXDEV 18
#define EINVAL 22
#define ENFILE 23
#define EMFILE 24
#define ERANGE 34
#define ENOSYS 38
#define ELOOP 40

#define S_IFMT 0170000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define X_OK 1

#define EMPTY ((const char *)ZONE_EMPTY)
#define ASK (-0x100000000L) /* no result of a call: make the original one */
#define PLACEHOLDER 6	/* length of what a placeholder's target begins with */
#define SCRIPT_LINE 256 /* BINPRM_BUF_SIZE */
#define SCRIPT_DEPTH 4
#define SCRIPT_ARGS 512
#define PAGE_ZERO 0x10000UL /* below the zone nothing is mapped */

struct table {
	ulong magic;
	uint flags;
	unsigned short roots, dirs;
	uint dirs_off, pad;
	ulong kept;
};

struct root {
	unsigned short off, len;
	int fd;
	uint flags;
};

struct dir {
	ulong dev, ino;
	unsigned short off, len;
	uint pad;
};

/* Where a path leads: below which descriptor, by which kind of slot. */
struct place {
	long fd;
	const char *rest;
	int in_root;
};

static const struct table *table(void)
{
	return (const struct table *)ZONE_TABLE;
}

static int bad_pointer(const void *p)
{
	return (ulong)p < PAGE_ZERO;
}

/*
 * below returns what is left of the absolute path p below a prefix, or 0.
 * Repeated slashes and "." count for nothing; ".." matches no prefix.
 */
static const char *below(const char *p, const char *prefix, const char *end)
{
	while (prefix < end) {
		for (;;) { /* both stand before a slash */
			while (*p == '/')
				p++;
			if (p[0] != '.' || (p[1] != '/' && p[1]))
				break;
			p++;
		}
		prefix++;
		while (prefix < end && *prefix != '/')
			if (*p++ != *prefix++)
				return 0;
		if (*p && *p != '/')
			return 0;
	}
	while (*p == '/')
		p++;
	return p;
}

/* locate finds the place of a path. It returns 0 where only the supervisor can. */
static int locate(long dirfd, const char *path, struct place *to)
{
	const struct table *t = table();
	const struct root *r = (const struct root *)(t + 1);
	int i;

	if (bad_pointer(path) || t->flags & ZONE_ASK_ALL)
		return 0;
	if (*path != '/') {
		to->fd = (int)dirfd;
		to->rest = path;
		to->in_root = 0;
		return 1;
	}
	for (i = 0; i < t->roots; i++, r++) {
		const char *prefix = (const char *)t + r->off;
		const char *rest = below(path, prefix, prefix + r->len);

		if (!rest)
			continue;
		if (r->fd < 0)
			return 0;
		to->fd = r->fd;
		to->rest = *rest ? rest : ".";
		to->in_root = r->flags & ZONE_IN_ROOT;
		return 1;
	}
	return 0;
}

/* slot returns the address of the slot for open(2)'s flags and mode, or 0. */
static ulong slot(ulong flags, ulong mode, int in_root)
{
	long n = zone_slot(flags, mode);

	if (n < 0)
		return 0;
	return ZONE_ADDR + ZONE_SLOT_SIZE * (ulong)(in_root ? n : n + ZONE_HALF);
}

/* again reports whether only the supervisor can say what a failed openat2 means. */
static int again(long err)
{
	return err == -EXDEV || err == -ELOOP || err == -EAGAIN || err == -EPERM || err == -ENOSYS;
}

/* enter opens a path with open(2)'s flags, or returns ASK. */
static long enter(long dirfd, const char *path, ulong flags, ulong mode)
{
	struct place to;
	ulong how;
	long fd;
	int tries;

	if (!locate(dirfd, path, &to))
		return ASK;
	if (flags & ZONE_CREAT && to.rest[0] == '.' && !to.rest[1])
		return ASK; /* a root itself: a slash that ended it would matter */
	how = slot(flags, mode, to.in_root);
	if (!how)
		return ASK;
	for (tries = 0; tries < 4; tries++) { /* EAGAIN: a rename ran beside ".." */
		fd = sys4(NR_openat2, to.fd, (long)to.rest, (long)how, ZONE_HOW_SIZE);
		if (fd != -EAGAIN)
			break;
	}
	return again(fd) ? ASK : fd;
}

/*
 * hold opens a path to ask something about it. Running out of descriptors is
 * nothing that the original call would know.
 */
static long hold(long dirfd, const char *path, ulong flags)
{
	long fd = enter(dirfd, path, O_PATH | O_CLOEXEC | flags, 0);

	return fd == -EMFILE || fd == -ENFILE ? ASK : fd;
}

static void drop(long fd)
{
	sys1(NR_close, fd);
}

/* last_length returns the length of the last component, 0 where a slash follows it. */
static ulong last_length(const char *path)
{
	ulong n = 0;

	for (; *path; path++)
		n = *path == '/' ? 0 : n + 1;
	return n;
}

/*
 * placeholder reports whether a symlink with a target of size bytes, found as
 * the last component of path, may be one that stands for another root. If it is
 * not, asking costs time only.
 */
static int placeholder(const char *path, ulong size)
{
	return size > PLACEHOLDER && size == PLACEHOLDER + last_length(path);
}

/* empty reports whether a call is about the descriptor itself. */
static int empty(const char *path, ulong flags)
{
	return flags & AT_EMPTY_PATH && !bad_pointer(path) && !*path;
}

#endif
