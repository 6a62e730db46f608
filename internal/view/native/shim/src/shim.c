/*
 * shim.c: path calls made by way of the zone.
 *
 * A site in the C library or the loader that would make a path call comes here
 * instead, with the call's number and arguments. The shim makes openat2 calls
 * that the cell's filter lets through, and falls back to the original call,
 * which the filter sends to the supervisor, wherever those cannot give the same
 * answer. It is a convenience of the program's own: no rule of the cell depends
 * on what it does, and a program that jumps into its middle gains nothing.
 *
 * It has no writable state and needs no relocation: it is compiled to one flat
 * piece of position-independent code that runs at any address.
 */
#include "path.h"
#include "exec.h"

static long do_open(long dirfd, const char *path, ulong flags, ulong mode, long nr)
{
	long fd = enter(dirfd, path, flags, mode, nr);
	struct kstat st;

	if (fd < 0 || !(flags & O_PATH))
		return fd;
	if (sys2(NR_fstat, fd, (long)&st) == 0 && another(path, st.mode, (ulong)st.size, st.ino)) {
		drop(fd);
		return ASK;
	}
	return fd;
}

static long do_stat(long dirfd, const char *path, struct kstat *st, ulong flags, long nr)
{
	long fd, err;

	flags = (uint)flags;
	if (flags & ~(ulong)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
		return ASK;
	if (empty(path, flags)) {
		if ((int)dirfd >= 0)
			return sys2(NR_fstat, dirfd, (long)st);
		return sys4(NR_newfstatat, dirfd, (long)EMPTY, (long)st, (long)flags);
	}
	fd = hold(dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0, nr);
	if (fd < 0)
		return fd;
	err = sys2(NR_fstat, fd, (long)st);
	drop(fd);
	return !err && another(path, st->mode, (ulong)st->size, st->ino) ? ASK : err;
}

static long do_statx(long dirfd, const char *path, ulong flags, ulong mask, struct kstatx *stx)
{
	long fd, err;

	flags = (uint)flags;
	if (flags & ~(ulong)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE))
		return ASK;
	if (empty(path, flags))
		return sys5(NR_statx, dirfd, (long)EMPTY, (long)flags, (long)mask, (long)stx);
	fd = hold(dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0, NR_statx);
	if (fd < 0)
		return fd;
	flags = (flags & ~(ulong)AT_SYMLINK_NOFOLLOW) | AT_EMPTY_PATH;
	err = sys5(NR_statx, fd, (long)EMPTY, (long)flags, (long)mask, (long)stx);
	drop(fd);
	/* The kernel tells mode, size and inode whatever the mask is. */
	return !err && another(path, stx->mode, stx->size, stx->ino) ? ASK : err;
}

static long do_access(long dirfd, const char *path, ulong mode, ulong flags, long nr)
{
	long fd, err = 0;

	mode = (uint)mode;
	flags = (uint)flags;
	if (mode & ~7UL || flags & ~(ulong)(AT_SYMLINK_NOFOLLOW | AT_EACCESS | AT_EMPTY_PATH))
		return ASK;
	if (empty(path, flags))
		return sys4(NR_faccessat2, dirfd, (long)EMPTY, (long)mode, (long)flags);
	fd = hold(dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0, nr);
	if (fd < 0)
		return fd;
	if (mode)
		err = sys4(NR_faccessat2, fd, (long)EMPTY, (long)mode, (long)((flags & AT_EACCESS) | AT_EMPTY_PATH));
	drop(fd);
	return again(err) ? ASK : err;
}

static long do_readlink(long dirfd, const char *path, char *buf, long size, long nr)
{
	struct place at;
	struct kstat st;
	long fd, n;

	if ((int)size <= 0)
		return ASK;
	if (!bad_pointer(path) && !*path)
		return sys4(NR_readlinkat, dirfd, (long)EMPTY, (long)buf, size);
	/* No symlink: programs ask that of each directory on the way (realpath). */
	if (known(path) || (!locate(dirfd, path, &at, 0) && at.fd == LISTED))
		return -EINVAL;
	fd = hold(dirfd, path, O_NOFOLLOW, nr);
	if (fd < 0)
		return fd;
	/* Looked at first: what is in buf behind the answer stays as it was. */
	if (sys2(NR_fstat, fd, (long)&st))
		n = ASK;
	else if ((st.mode & S_IFMT) != S_IFLNK)
		n = -EINVAL;
	else if (loops(path, (ulong)st.size))
		n = ASK;
	else
		n = sys4(NR_readlinkat, fd, (long)EMPTY, (long)buf, size);
	drop(fd);
	return n;
}

/*
 * virtual reports whether the supervisor keeps a working directory for the
 * process, which then has made a chdir(2) past the shim.
 */
static int virtual(void)
{
	ulong limit[2];

	return sys2(NR_getrlimit, RLIMIT_LOCKS, (long)limit) || (limit[0] >= ZONE_VIRTUAL && limit[0] != ~0UL);
}

/* settle makes what fd leads to the working directory. */
static long settle(long fd)
{
	return sys2(NR_fchdir, fd, virtual() ? 0 : ZONE_FCHDIR_MARK);
}

/*
 * ask_chdir has the supervisor open a directory, so that the kernel's working
 * directory and the program's stay the same one. Where reading it is forbidden,
 * or no descriptor is left, the supervisor has to keep the directory.
 */
static long ask_chdir(const char *path)
{
	long fd, err;

	if (bad_pointer(path) || table()->flags & ZONE_ASK_ALL)
		return ASK;
	fd = sys4(NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return again(fd) || fd == -EMFILE || fd == -ENFILE ? ASK : fd;
	err = settle(fd);
	drop(fd);
	return err;
}

static long do_chdir(const char *path)
{
	long fd = hold(AT_FDCWD, path, O_DIRECTORY, NR_chdir), err;

	if (fd == ASK)
		return ask_chdir(path);
	if (fd < 0)
		return fd;
	err = settle(fd);
	drop(fd);
	return err == -EACCES ? ask_chdir(path) : err; /* a placeholder */
}

/* do_fchdir needs nobody's answer: the descriptor is the program's own. */
static long do_fchdir(long fd)
{
	long err;

	if (table()->flags & ZONE_ASK_ALL)
		return ASK;
	err = settle(fd);
	return err == -EACCES ? ASK : err;
}

static long do_statfs(const char *path, void *buf)
{
	long fd = hold(AT_FDCWD, path, 0, NR_statfs), err;
	struct kstat st;

	if (fd < 0)
		return fd;
	err = sys2(NR_fstat, fd, (long)&st);
	if (err || another(path, st.mode, (ulong)st.size, st.ino))
		err = ASK;
	else
		err = sys2(NR_fstatfs, fd, (long)buf);
	drop(fd);
	return err;
}

/* do_getcwd knows the directories that roots lead to. */
static long do_getcwd(char *buf, ulong size)
{
	const struct table *t = table();
	const struct dir *d = (const struct dir *)((const char *)t + t->dirs_off);
	struct kstat st;
	int i, j;

	if (bad_pointer(buf) || t->flags & ZONE_ASK_ALL || !t->dirs || virtual())
		return ASK;
	if (sys4(NR_newfstatat, AT_FDCWD, (long)EMPTY, (long)&st, AT_EMPTY_PATH) || !st.nlink)
		return ASK;
	for (i = 0; i < t->dirs; i++, d++) {
		const char *name = (const char *)t + d->off;

		if (d->dev != st.dev || d->ino != st.ino)
			continue;
		if (size <= d->len)
			return size ? -ERANGE : ASK;
		for (j = 0; j < d->len; j++)
			buf[j] = name[j];
		buf[j] = 0;
		return d->len + 1;
	}
	return ASK;
}

/*
 * do_close_range leaves out the descriptors that must stay, also where all is
 * asked: programs that are executed later look for the zone.
 */
static long do_close_range(ulong first, ulong last, ulong flags)
{
	ulong kept = table()->kept, from = (uint)first, at;
	long err = 0;

	first = (uint)first;
	last = (uint)last;
	if (first > last || (uint)flags & ~6U)
		return ASK;
	for (at = first; at <= last && at < 64 && !err; at++) {
		if (!(kept >> at & 1))
			continue;
		if (from < at)
			err = sys3(NR_close_range, (long)from, (long)at - 1, (long)flags);
		from = at + 1;
	}
	if (from <= last && !err)
		err = sys3(NR_close_range, (long)from, (long)last, (long)flags);
	return err;
}

/* call answers the calls that differ between machines in their names only. */
static long call(long a0, long a1, long a2, long a3, long a4, long nr)
{
	switch (nr) {
	case NR_openat:
		return do_open(a0, (const char *)a1, (ulong)a2, (ulong)a3, nr);
	case NR_newfstatat:
		return do_stat(a0, (const char *)a1, (struct kstat *)a2, (ulong)a3, nr);
	case NR_statx:
		return do_statx(a0, (const char *)a1, (ulong)a2, (ulong)a3, (struct kstatx *)a4);
	case NR_faccessat:
		return do_access(a0, (const char *)a1, (ulong)a2, 0, nr);
	case NR_faccessat2:
		return do_access(a0, (const char *)a1, (ulong)a2, (ulong)a3, nr);
	case NR_readlinkat:
		return do_readlink(a0, (const char *)a1, (char *)a2, a3, nr);
	case NR_chdir:
		return do_chdir((const char *)a0);
	case NR_fchdir:
		return do_fchdir(a0);
	case NR_statfs:
		return do_statfs((const char *)a0, (void *)a1);
	case NR_getcwd:
		return do_getcwd((char *)a0, (ulong)a1);
	case NR_execve:
		return do_exec((const char *)a0, (char *const *)a1, (char *const *)a2, SCRIPT_DEPTH);
	case NR_execveat:
		return do_execveat(a0, (const char *)a1, (char *const *)a2, (char *const *)a3, (ulong)a4);
	case NR_close_range:
		return do_close_range((ulong)a0, (ulong)a1, (ulong)a2);
#ifdef NR_open
	case NR_open:
		return do_open(AT_FDCWD, (const char *)a0, (ulong)a1, (ulong)a2, nr);
	case NR_stat:
		return do_stat(AT_FDCWD, (const char *)a0, (struct kstat *)a1, 0, nr);
	case NR_lstat:
		return do_stat(AT_FDCWD, (const char *)a0, (struct kstat *)a1, AT_SYMLINK_NOFOLLOW, nr);
	case NR_access:
		return do_access(AT_FDCWD, (const char *)a0, (ulong)a1, 0, nr);
	case NR_readlink:
		return do_readlink(AT_FDCWD, (const char *)a0, (char *)a1, a2, nr);
#endif
	}
	return ASK;
}

/* shim is called by the entry with what the program would have given the kernel. */
__attribute__((visibility("hidden"))) long shim(long a0, long a1, long a2, long a3, long a4, long nr)
{
	long r = ASK;

	if (table()->magic == ZONE_MAGIC)
		r = call(a0, a1, a2, a3, a4, nr);
	return r == ASK ? sys5(nr, a0, a1, a2, a3, a4) : r;
}
