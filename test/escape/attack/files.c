/* Reaching the bytes and names of files. */
#include "attack.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Reads from fd: an open that yields no byte gave nothing away. */
static int read_from(const char *what, int fd)
{
	char buffer[8192]; /* a record of the kernel's messages is read whole or not at all */

	if (fd < 0)
		return refused(what);
	if (read(fd, buffer, sizeof(buffer)) < 0)
		return refused("read");
	return done("%s and read", what);
}

static int open_read(int argc, char **argv)
{
	return read_from("open", open(argument(argc, argv, 1), O_RDONLY | O_NONBLOCK));
}

static int open_write(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_WRONLY | O_NONBLOCK);

	if (fd < 0)
		return refused("open");
	return outcome("write", write(fd, "attacked", 8));
}

static int open_truncate(int argc, char **argv)
{
	return outcome("open O_TRUNC", open(argument(argc, argv, 1), O_RDONLY | O_TRUNC));
}

/* open-create PATH [MODE] */
static int open_create(int argc, char **argv)
{
	mode_t mode = argc > 2 ? (mode_t)number(argv[2]) : 0600;

	return outcome("open O_CREAT", open(argument(argc, argv, 1), O_WRONLY | O_CREAT | O_EXCL, mode));
}

static int open_tmpfile(int argc, char **argv)
{
	return outcome("open O_TMPFILE", open(argument(argc, argv, 1), O_RDWR | O_TMPFILE, 0600));
}

/* open-list PATH...: says for each path whether its bytes or names can be read. */
static int open_list(int argc, char **argv)
{
	char buffer[4096];
	int readable = 0;

	for (int i = 1; i < argc; i++) {
		int fd = open(argv[i], O_RDONLY | O_NONBLOCK);

		if (fd < 0)
			continue;
		if (read(fd, buffer, 1) >= 0 || syscall(SYS_getdents64, fd, buffer, sizeof(buffer)) >= 0) {
			printf("READABLE %s\n", argv[i]);
			readable++;
		}
		close(fd);
	}
	errno = EACCES;
	return readable ? done("%d of %d readable", readable, argc - 1) : refused("every open");
}

static int list(int argc, char **argv)
{
	DIR *d = opendir(argument(argc, argv, 1));

	if (!d)
		return refused("opendir");
	errno = 0;
	if (!readdir(d))
		return refused("readdir");
	return done("readdir");
}

/* list-name DIRECTORY NAME: whether a listing shows the name. */
static int list_name(int argc, char **argv)
{
	DIR *d = opendir(argument(argc, argv, 1));
	const char *name = argument(argc, argv, 2);

	if (!d)
		return refused("opendir");
	for (struct dirent *e; (e = readdir(d));)
		if (!strcmp(e->d_name, name))
			return done("%s is listed", name);
	errno = ENOENT;
	return refused("readdir");
}

static int truncate_path(int argc, char **argv)
{
	return outcome("truncate", truncate(argument(argc, argv, 1), 0));
}

static int unlink_path(int argc, char **argv)
{
	return outcome("unlink", unlink(argument(argc, argv, 1)));
}

static int mkdir_path(int argc, char **argv)
{
	return outcome("mkdir", mkdir(argument(argc, argv, 1), 0700));
}

static int rmdir_path(int argc, char **argv)
{
	return outcome("rmdir", rmdir(argument(argc, argv, 1)));
}

static int symlink_at(int argc, char **argv)
{
	return outcome("symlink", symlink("/", argument(argc, argv, 1)));
}

/* symlink-read TARGET: a link of our own in HOME to somewhere else. */
static int symlink_read(int argc, char **argv)
{
	const char *link = in_home("a-link");

	unlink(link);
	if (symlink(argument(argc, argv, 1), link) < 0)
		return refused("symlink");
	return read_from("open through the link", open(link, O_RDONLY));
}

/* symlink-parent TARGET NAME: the same with the link as a directory on the way. */
static int symlink_parent(int argc, char **argv)
{
	char path[PATH_MAX];
	const char *link = in_home("a-parent");

	unlink(link);
	if (symlink(argument(argc, argv, 1), link) < 0)
		return refused("symlink");
	snprintf(path, sizeof(path), "%s/%s", link, argument(argc, argv, 2));
	return read_from("open through the link", open(path, O_RDONLY));
}

/* hardlink-read TARGET: gives a file another name where names can be opened. */
static int hardlink_read(int argc, char **argv)
{
	const char *name = in_home("a-hardlink");

	unlink(name);
	if (link(argument(argc, argv, 1), name) < 0)
		return refused("link");
	return read_from("open through the hardlink", open(name, O_RDONLY));
}

static int rename_path(int argc, char **argv)
{
	return outcome("rename", rename(argument(argc, argv, 1), argument(argc, argv, 2)));
}

static int exchange(int argc, char **argv)
{
	return outcome("renameat2", renameat2(AT_FDCWD, argument(argc, argv, 1), AT_FDCWD, argument(argc, argv, 2), RENAME_EXCHANGE));
}

/* dotdot DIRECTORY RELATIVE: up and out from a descriptor of a granted directory. */
static int dotdot(int argc, char **argv)
{
	int dir = open(argument(argc, argv, 1), O_RDONLY | O_DIRECTORY);

	if (dir < 0)
		return broken("open %s: %s", argv[1], strerrorname_np(errno));
	return read_from("openat", openat(dir, argument(argc, argv, 2), O_RDONLY));
}

/* chdir-read DIRECTORY NAME: walks there first. */
static int chdir_read(int argc, char **argv)
{
	if (chdir(argument(argc, argv, 1)) < 0)
		return refused("chdir");
	return read_from("open", open(argument(argc, argv, 2), O_RDONLY));
}

/* opath-openat DIRECTORY NAME: an O_PATH descriptor is not judged; what is opened from it is. */
static int opath_openat(int argc, char **argv)
{
	int dir = open(argument(argc, argv, 1), O_PATH | O_DIRECTORY);

	if (dir < 0)
		return refused("open O_PATH");
	return read_from("openat", openat(dir, argument(argc, argv, 2), O_RDONLY));
}

/* opath-reopen PATH: turns an O_PATH descriptor into a real one through /proc. */
static int opath_reopen(int argc, char **argv)
{
	char path[64];
	int fd = open(argument(argc, argv, 1), O_PATH);

	if (fd < 0)
		return refused("open O_PATH");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return read_from("reopen", open(path, O_RDONLY));
}

/* handle PATH: by file handle, no path resolution at all. */
static int handle(int argc, char **argv)
{
	struct {
		struct file_handle h;
		unsigned char room[MAX_HANDLE_SZ];
	} f = { .h.handle_bytes = MAX_HANDLE_SZ };
	int mount, dir = open(in_home("."), O_RDONLY | O_DIRECTORY);

	if (name_to_handle_at(AT_FDCWD, argument(argc, argv, 1), &f.h, &mount, 0) < 0)
		return refused("name_to_handle_at");
	return read_from("open_by_handle_at", open_by_handle_at(dir, &f.h, O_RDONLY));
}

/* mknod PATH MODE MAJOR MINOR: makes a device (or fifo) and opens it. */
static int make_node(int argc, char **argv)
{
	dev_t device = ((dev_t)number(argument(argc, argv, 3)) << 8) | (dev_t)number(argument(argc, argv, 4));

	return outcome("mknod", mknod(argument(argc, argv, 1), (mode_t)number(argument(argc, argv, 2)), device));
}

/* proc-mem PID: through the memory file of a process, our own included. */
static int proc_mem(int argc, char **argv)
{
	char path[64];
	static volatile char target = 'a';
	pid_t pid = process(argument(argc, argv, 1));
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR);
	int result = fd < 0 ? refused("open mem")
			    : outcome("pread mem", pread(fd, (char[1]){ 0 }, 1, (off_t)(unsigned long)&target));
	end_child();
	return result;
}

/* The race of symlink-race: one thread turns the link, the other opens it. */
static struct {
	const char *link, *spare, *granted, *secret;
	volatile int stop;
} race;

static void *turn(void *unused)
{
	(void)unused;
	for (unsigned i = 0; !race.stop; i++) {
		unlink(race.spare);
		if (symlink(i & 1 ? race.granted : race.secret, race.spare) == 0)
			rename(race.spare, race.link);
	}
	return NULL;
}

/*
 * symlink-race GRANTED SECRET MARK ROUNDS: opens a link that changes all the
 * time. Done if a read ever begins with MARK, the secret's first byte; refused
 * if the granted file was read at least once and the secret never.
 */
static int symlink_race(int argc, char **argv)
{
	char link[PATH_MAX], spare[PATH_MAX], c;
	long rounds = number(argument(argc, argv, 4)), granted = 0, stolen = 0;
	pthread_t thread;

	snprintf(link, sizeof(link), "%s", in_home("race-link"));
	snprintf(spare, sizeof(spare), "%s", in_home("race-spare"));
	race.link = link;
	race.spare = spare;
	race.granted = argument(argc, argv, 1);
	race.secret = argument(argc, argv, 2);
	unlink(link);
	if (symlink(race.granted, link) < 0)
		return refused("symlink");
	if (pthread_create(&thread, NULL, turn, NULL))
		return broken("no second thread");
	for (long i = 0; i < rounds || (granted == 0 && i < 100 * rounds); i++) {
		int fd = open(link, O_RDONLY);

		if (fd < 0)
			continue;
		if (read(fd, &c, 1) == 1)
			*(c == argv[3][0] ? &stolen : &granted) += 1;
		close(fd);
	}
	race.stop = 1;
	pthread_join(thread, NULL);
	if (stolen)
		return done("read the secret %ld times of %ld", stolen, rounds);
	if (!granted)
		return broken("the granted file was never read");
	errno = EACCES;
	return refused("race");
}

/* device-ioctl PATH REQUEST: opens a device of the host and asks it something. */
static int device_ioctl(int argc, char **argv)
{
	char buffer[256] = { 0 };
	int fd = open(argument(argc, argv, 1), O_RDWR | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return refused("open");
	return outcome("ioctl", ioctl(fd, (unsigned long)number(argument(argc, argv, 2)), buffer));
}

const struct attempt files[] = {
	{ "open-read", open_read },
	{ "open-write", open_write },
	{ "open-truncate", open_truncate },
	{ "open-create", open_create },
	{ "open-tmpfile", open_tmpfile },
	{ "open-list", open_list },
	{ "list", list },
	{ "list-name", list_name },
	{ "truncate", truncate_path },
	{ "unlink", unlink_path },
	{ "mkdir", mkdir_path },
	{ "rmdir", rmdir_path },
	{ "symlink", symlink_at },
	{ "symlink-read", symlink_read },
	{ "symlink-parent", symlink_parent },
	{ "hardlink-read", hardlink_read },
	{ "rename", rename_path },
	{ "exchange", exchange },
	{ "dotdot", dotdot },
	{ "chdir-read", chdir_read },
	{ "opath-openat", opath_openat },
	{ "opath-reopen", opath_reopen },
	{ "handle", handle },
	{ "mknod", make_node },
	{ "proc-mem", proc_mem },
	{ "symlink-race", symlink_race },
	{ "device-ioctl", device_ioctl },
	{ NULL, NULL },
};
