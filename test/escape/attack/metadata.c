/* Changing what is known about a file without its bytes: Landlock judges none of these. */
#include "attack.h"

#include <sys/file.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
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
	{ NULL, NULL },
};
