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
#define ENOTDIR 20
#define EINVAL 22
#define ENFILE 23
#define EMFILE 24
#define ERANGE 34
#define ENOSYS 38
#define ELOOP 40

#define S_IFMT 0170000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define X_OK 1

#define EMPTY ((const char *)ZONE_EMPTY)
#define ASK (-0x100000000L) /* no result of a call: make the original one */
#define LISTED (-2L)
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
	uint flags;
};

/*
 * Where a path leads: below which descriptor, by which kind of slot, whether it is
 * part of the cell's "/", and which root to try next if it leads out of this one.
 */
struct place {
	long fd;
	const char *rest;
	int in_root, view, next;
};

static const struct table *table(void)
{
	return (const struct table *)ZONE_TABLE;
}

static int bad_pointer(const void *p)
{
	return (ulong)p < PAGE_ZERO;
}

/* skip steps over what counts for nothing before a component: slashes and ".". */
static inline const char *skip(const char *p)
{
	while (*p == '/' || (p[0] == '.' && (p[1] == '/' || !p[1])))
		p++;
	return p;
}

/*
 * below returns what is left of the absolute path p below a prefix, or 0.
 * ".." matches no prefix.
 */
static inline const char *below(const char *p, const char *prefix, const char *end)
{
	while (prefix < end) { /* both stand before a slash */
		p = skip(p);
		prefix++;
		while (prefix < end && *prefix != '/')
			if (*p++ != *prefix++)
				return 0;
		if (*p && *p != '/')
			return 0;
	}
	return skip(p);
}

/* above reports whether the absolute path p is a prefix or something that it lies below. */
static int above(const char *p, const char *prefix, const char *end)
{
	for (p = skip(p); *p; p = skip(p)) {
		if (prefix == end)
			return 0;
		prefix++; /* both stand before a slash */
		while (prefix < end && *prefix != '/')
			if (*p++ != *prefix++)
				return 0;
		if (*p && *p != '/')
			return 0;
	}
	return 1;
}

/* parent reports whether a component, which begins at p, is "..". */
static int parent(const char *p)
{
	return p[0] == '.' && p[1] == '.' && (p[2] == '/' || !p[2]);
}

/* last returns where the last component of a path begins, at its NUL where a slash ends it. */
static const char *last(const char *path)
{
	const char *at = path;

	for (; *path; path++)
		if (*path == '/')
			at = path + 1;
	return at;
}

/*
 * locate finds the place of a path, among the roots from number i on. It returns
 * 0 where only the supervisor can; to->fd is LISTED then if the path is that of a
 * directory that he lists.
 */
static int locate(long dirfd, const char *path, struct place *to, int i)
{
	const struct table *t = table();
	const struct root *r = (const struct root *)(t + 1) + i;
	const char *first;

	to->fd = -1;
	to->next = 0;
	if (bad_pointer(path) || t->flags & ZONE_ASK_ALL)
		return 0;
	if (*path != '/') {
		to->fd = (int)dirfd;
		to->rest = path;
		to->in_root = to->view = 0;
		return 1;
	}
	first = skip(path);
	for (; i < t->roots; i++, r++) {
		const char *prefix = (const char *)t + r->off, *rest;

		if (r->len && prefix[1] != *first)
			continue; /* most of them */
		rest = below(path, prefix, prefix + r->len);
		if (!rest || (r->flags & ZONE_EXACT && *rest) || (r->flags & ZONE_WITHIN && !*rest))
			continue;
		if (r->fd < 0) {
			to->fd = r->flags & ZONE_EXACT ? LISTED : -1;
			return 0;
		}
		to->fd = r->fd;
		to->rest = *rest ? rest : ".";
		to->view = r->flags & ZONE_IN_ROOT;
		to->in_root = to->view && !(r->flags & ZONE_WITHIN);
		if (r->flags & ZONE_WITHIN)
			to->next = i + 1;
		/* ".." may end where the supervisor lists, whatever symlinks are on the way. */
		return !(to->view && t->flags & ZONE_HAS_EXACT && parent(last(to->rest)));
	}
	return 0;
}

/* known reports whether a path is that of a directory which is known to be one. */
static int known(const char *path)
{
	const struct table *t = table();
	const struct root *r = (const struct root *)(t + 1);
	int i;

	if (bad_pointer(path) || t->flags & ZONE_ASK_ALL || *path != '/')
		return 0;
	for (i = 0; i < t->roots; i++, r++)
		if (r->flags & ZONE_KNOWN && above(path, (const char *)t + r->off, (const char *)t + r->off + r->len))
			return 1;
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

/* ends_with reports whether the last component of a prefix is the one that name begins with. */
static int ends_with(const char *prefix, const char *end, const char *name)
{
	const char *n = end;

	while (n > prefix && n[-1] != '/')
		n--;
	while (n < end && *n == *name)
		n++, name++;
	return n == end && (!*name || *name == '/');
}

/*
 * elsewhere reports whether a path that the kernel did not find below "/" may
 * be one that goes to another root or comes from one, by way of ".." or of a
 * symlink such as /usr: where the supervisor lists directories, the view does
 * not have all names. Those that it has not are roots with a flag for that, and
 * whatever leads to one has its last component.
 */
static int elsewhere(const char *path)
{
	const struct table *t = table();
	const struct root *r = (const struct root *)(t + 1);
	int i;

	if (!(t->flags & ZONE_HAS_EXACT))
		return 0;
	for (;;) {
		for (i = 0; *path && *path != '/' && i < t->roots; i++)
			if (r[i].flags & ZONE_UNSEEN &&
			    ends_with((const char *)t + r[i].off, (const char *)t + r[i].off + r[i].len, path))
				return 1;
		while (*path && *path != '/')
			path++;
		if (!*path++)
			return 0;
	}
}

/*
 * plain reports whether a path cannot well lead to a directory that the
 * supervisor lists: its name has a dot inside, as those of most files of a
 * package that are opened have. Looking at each would cost a call.
 */
static int plain(const char *path)
{
	const char *at = last(path), *dot = at;

	while (*dot && *dot != '.')
		dot++;
	return dot > at && *dot;
}

/*
 * listed reports whether a directory is one that the supervisor lists, as the
 * view does not have all names there: a path may come to it by a symlink. Another
 * one with the same number is asked in vain.
 */
static int listed(ulong ino)
{
	const struct table *t = table();
	const struct dir *d = (const struct dir *)((const char *)t + t->dirs_off);
	int i;

	if (t->flags & ZONE_HAS_EXACT)
		for (i = 0; i < t->dirs; i++, d++)
			if (d->flags & ZONE_LISTED && d->ino == ino)
				return 1;
	return 0;
}

/* leads_to_listed looks at what was opened at path below "/" to be listed or gone to. */
static int leads_to_listed(long fd, const char *path, ulong flags)
{
	struct kstat st;

	if (!(table()->flags & ZONE_HAS_EXACT) || flags & 3)
		return 0;
	if (!(flags & O_DIRECTORY) && (flags & O_PATH || plain(path)))
		return 0;
	return sys2(NR_fstat, fd, (long)&st) == 0 && (st.mode & S_IFMT) == S_IFDIR && listed(st.ino);
}

static void drop(long fd)
{
	sys1(NR_close, fd);
}

/*
 * again reports whether only the supervisor can say what a failed call means.
 * EACCES is also what a placeholder gives, and what Landlock says.
 */
static int again(long err)
{
	return err == -EXDEV || err == -ELOOP || err == -EAGAIN || err == -EPERM || err == -ENOSYS || err == -EACCES;
}

/*
 * enter opens a path with open(2)'s flags, or returns ASK. nr is the number of
 * the program's own call: the kernel does not look at it, those who count do.
 */
static long enter(long dirfd, const char *path, ulong flags, ulong mode, long nr)
{
	struct place to;
	ulong how;
	long fd;
	int tries, from = 0;

	do {
		if (!locate(dirfd, path, &to, from))
			return ASK;
		if (flags & ZONE_CREAT && to.rest[0] == '.' && !to.rest[1])
			return ASK; /* a root itself: a slash that ended it would matter */
		how = slot(flags, mode, to.in_root);
		if (!how)
			return ASK;
		for (tries = 0; tries < 4; tries++) { /* EAGAIN: a rename ran beside ".." */
			fd = sys5(NR_openat2, to.fd, (long)to.rest, (long)how, ZONE_HOW_SIZE, nr);
			if (fd != -EAGAIN)
				break;
		}
		from = to.next;
	} while (fd == -EXDEV && from);
	if (fd >= 0 && to.view && leads_to_listed(fd, to.rest, flags)) {
		drop(fd);
		return ASK;
	}
	if (fd >= 0)
		return fd;
	if (again(fd))
		return ASK;
	if (fd == -ENOENT && to.view && (flags & ZONE_CREAT || elsewhere(to.rest)))
		return ASK; /* the directory may be one that the supervisor lists */
	if (fd == -ENOTDIR && (flags & (O_DIRECTORY | O_NOFOLLOW)) == (O_DIRECTORY | O_NOFOLLOW))
		return ASK; /* a looping symlink may be what is no directory */
	return fd;
}

/*
 * hold opens a path to ask something about it. Running out of descriptors is
 * nothing that the original call would know.
 */
static long hold(long dirfd, const char *path, ulong flags, long nr)
{
	long fd = enter(dirfd, path, O_PATH | O_CLOEXEC | flags, 0, nr);

	return fd == -EMFILE || fd == -ENFILE ? ASK : fd;
}

/* last_length returns the length of the last component, 0 where a slash follows it. */
static ulong last_length(const char *path)
{
	const char *at = last(path), *end = at;

	while (*end)
		end++;
	return (ulong)(end - at);
}

/*
 * loops reports whether a symlink with a target of size bytes, found as the last
 * component of path, may be one that stands for another root. If it is not,
 * asking costs time only.
 */
static int loops(const char *path, ulong size)
{
	return size > PLACEHOLDER && size == PLACEHOLDER + last_length(path);
}

/*
 * another reports whether what was found at path may not be what is there for
 * the cell: it stands for another root, or the supervisor lists it.
 */
static int another(const char *path, uint mode, ulong size, ulong ino)
{
	uint type = mode & S_IFMT;

	if (type == S_IFLNK)
		return loops(path, size);
	if (type == S_IFDIR && listed(ino))
		return 1;
	return (type == S_IFDIR || type == S_IFREG) && !(mode & 07777);
}

/* empty reports whether a call is about the descriptor itself. */
static int empty(const char *path, ulong flags)
{
	return flags & AT_EMPTY_PATH && !bad_pointer(path) && !*path;
}

#endif
