/* Changing what is known about a file without its bytes: Landlock judges none of these. */
#include "attack.h"

#include <linux/fs.h>
#include <sys/file.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>

/* chmod PATH [MODE] */
static int chmod_path(int argc, char **argv)
{
	return outcome("chmod", chmod(argument(argc, argv, 1), argc > 2 ? (mode_t)number(argv[2]) : 0666));
}

static int fchmodat2_path(int argc, char **argv)
{
	return outcome("fchmodat2", syscall(452, AT_FDCWD, argument(argc, argv, 1), 0666, 0));
}

/* opath-chmod PATH: by a descriptor that needed no right to get. */
static int opath_chmod(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_PATH);

	if (fd < 0)
		return refused("open O_PATH");
	return outcome("fchmodat2", syscall(452, fd, "", 0666, AT_EMPTY_PATH));
}

/* read-fchmod PATH: by a descriptor that was opened for reading. */
static int read_fchmod(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	return outcome("fchmod", fchmod(fd, 0666));
}

static int chown_path(int argc, char **argv)
{
	return outcome("chown", chown(argument(argc, argv, 1), getuid(), getgid()));
}

static int read_fchown(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	return outcome("fchown", fchown(fd, getuid(), getgid()));
}

static const struct timespec long_ago[2] = { { 86400, 0 }, { 86400, 0 } };

static int utime_path(int argc, char **argv)
{
	return outcome("utimensat", utimensat(AT_FDCWD, argument(argc, argv, 1), long_ago, 0));
}

static int utimes_path(int argc, char **argv)
{
	const struct timeval old[2] = { { 86400, 0 }, { 86400, 0 } };

	return outcome("utimes", syscall(SYS_utimes, argument(argc, argv, 1), old));
}

static int read_futimens(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	return outcome("futimens", futimens(fd, long_ago));
}

static int setxattr_path(int argc, char **argv)
{
	return outcome("setxattr", setxattr(argument(argc, argv, 1), "user.attack", "x", 1, 0));
}

static int read_fsetxattr(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	return outcome("fsetxattr", fsetxattr(fd, "user.attack", "x", 1, 0));
}

/* read-flock PATH: locks out whoever else wants the file. */
static int read_flock(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	return outcome("flock", flock(fd, LOCK_EX | LOCK_NB));
}

/* read-lease PATH: makes the next opener for writing wait for us. */
static int read_lease(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	return outcome("fcntl F_SETLEASE", fcntl(fd, F_SETLEASE, F_RDLCK));
}

/* dnotify PATH: learns of every change in a directory. */
static int dnotify(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return refused("open");
	return outcome("fcntl F_NOTIFY", fcntl(fd, F_NOTIFY, DN_MODIFY | DN_CREATE));
}

static int inotify_path(int argc, char **argv)
{
	int fd = inotify_init1(IN_CLOEXEC);

	if (fd < 0)
		return refused("inotify_init1");
	return outcome("inotify_add_watch", inotify_add_watch(fd, argument(argc, argv, 1), IN_ALL_EVENTS));
}

static int fanotify_path(int argc, char **argv)
{
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);

	if (fd < 0)
		return refused("fanotify_init");
	return outcome("fanotify_mark", fanotify_mark(fd, FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, argument(argc, argv, 1)));
}

/* magic-chmod PATH: by the link in /proc of a descriptor that was opened for reading. */
static int magic_chmod(int argc, char **argv)
{
	char link[64];
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return outcome("chmod", chmod(link, 0666));
}

/* hardlink-chmod PATH: gives it a name where modes may be changed. */
static int hardlink_chmod(int argc, char **argv)
{
	const char *name = in_home("a-hardlink");

	unlink(name);
	if (link(argument(argc, argv, 1), name) < 0)
		return refused("link");
	return outcome("chmod", chmod(name, 0666));
}

/* rename-chmod DIRECTORY NAME: moves the directory to where modes may be changed. */
static int rename_chmod(int argc, char **argv)
{
	char path[4096];

	if (rename(argument(argc, argv, 1), in_home("moved")) < 0)
		return refused("rename");
	snprintf(path, sizeof(path), "%s/%s", in_home("moved"), argument(argc, argv, 2));
	return outcome("chmod", chmod(path, 0666));
}

/* rw-hint PATH: how long what is written will live, which the kernel keeps with the inode. */
static int rw_hint(int argc, char **argv)
{
	unsigned long hint = 5; /* RWH_WRITE_LIFE_EXTREME */
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	return outcome("fcntl F_SET_RW_HINT", fcntl(fd, F_SET_RW_HINT, &hint));
}

/* chattr PATH: flags of the file system, of which its owner may set this one. */
static int chattr(int argc, char **argv)
{
	int flags = 0, fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return refused("FS_IOC_GETFLAGS");
	flags |= FS_NODUMP_FL;
	return outcome("FS_IOC_SETFLAGS", ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

static int project(int argc, char **argv)
{
	struct fsxattr x = { 0 };
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	syscall(SYS_ioctl, fd, FS_IOC_FSGETXATTR, &x);
	x.fsx_xflags |= FS_XFLAG_NODUMP;
	return outcome("FS_IOC_FSSETXATTR", ioctl(fd, FS_IOC_FSSETXATTR, &x));
}

/* acl PATH: an access list that says what the mode says. */
static int acl(int argc, char **argv)
{
	static const struct {
		unsigned version;
		struct { unsigned short tag, perm; unsigned id; } entry[3];
	} list = { 2, { { 1, 6, -1 }, { 4, 6, -1 }, { 32, 6, -1 } } };

	return outcome("setxattr acl", setxattr(argument(argc, argv, 1), "system.posix_acl_access", &list, sizeof(list), 0));
}

/* file-capabilities PATH: what a program would have that is executed from there. */
static int file_capabilities(int argc, char **argv)
{
	static const unsigned all[5] = { 0x02000001, ~0U, 0, ~0U, 0 };

	return outcome("setxattr capability", setxattr(argument(argc, argv, 1), "security.capability", all, sizeof(all), 0));
}

/* lock-region PATH: a lock on its bytes. */
static int lock_region(int argc, char **argv)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(argument(argc, argv, 1), O_RDWR);

	if (fd < 0)
		fd = open(argv[1], O_RDONLY);
	if (fd < 0)
		return refused("open");
	return outcome("fcntl F_OFD_SETLK", fcntl(fd, F_OFD_SETLK, &lock));
}

const struct attempt metadata[] = {
	{ "chmod", chmod_path },
	{ "fchmodat2", fchmodat2_path },
	{ "opath-chmod", opath_chmod },
	{ "read-fchmod", read_fchmod },
	{ "chown", chown_path },
	{ "read-fchown", read_fchown },
	{ "utime", utime_path },
	{ "utimes", utimes_path },
	{ "read-futimens", read_futimens },
	{ "setxattr", setxattr_path },
	{ "read-fsetxattr", read_fsetxattr },
	{ "read-flock", read_flock },
	{ "read-lease", read_lease },
	{ "dnotify", dnotify },
	{ "inotify", inotify_path },
	{ "fanotify", fanotify_path },
	{ "magic-chmod", magic_chmod },
	{ "hardlink-chmod", hardlink_chmod },
	{ "rename-chmod", rename_chmod },
	{ "rw-hint", rw_hint },
	{ "chattr", chattr },
	{ "project", project },
	{ "acl", acl },
	{ "file-capabilities", file_capabilities },
	{ "lock-region", lock_region },
	{ NULL, NULL },
};
