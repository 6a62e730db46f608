/* Coming to files by another way than their name, and learning of names. */
#include "attack.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

static int stat_path(int argc, char **argv)
{
	struct stat st;

	return outcome("lstat", lstat(argument(argc, argv, 1), &st));
}

static int access_path(int argc, char **argv)
{
	return outcome("access", access(argument(argc, argv, 1), F_OK));
}

static int readlink_path(int argc, char **argv)
{
	char text[PATH_MAX];

	return outcome("readlink", readlink(argument(argc, argv, 1), text, sizeof(text)));
}

static int statfs_path(int argc, char **argv)
{
	struct statfs st;

	return outcome("statfs", statfs(argument(argc, argv, 1), &st));
}

/* list-attributes PATH: an empty list is an answer as well. */
static int list_attributes(int argc, char **argv)
{
	char text[4096];

	return outcome("listxattr", listxattr(argument(argc, argv, 1), text, sizeof(text)));
}

/* errors PATH ABSENT: whether two names fail differently, of which one is nowhere. */
static int errors(int argc, char **argv)
{
	const char *const name[2] = { argument(argc, argv, 1), argument(argc, argv, 2) };
	int error[2][5] = { 0 };
	char path[PATH_MAX];

	for (int i = 0; i < 2; i++) {
		error[i][0] = chdir(name[i]) < 0 ? errno : 0;
		error[i][1] = open(name[i], O_WRONLY | O_DIRECTORY) < 0 ? errno : 0;
		error[i][2] = mkdir(name[i], 0700) < 0 ? errno : 0;
		error[i][3] = rmdir(name[i]) < 0 ? errno : 0;
		snprintf(path, sizeof(path), "%s/below/it", name[i]);
		error[i][4] = unlink(path) < 0 ? errno : 0;
	}
	for (int c = 0; c < 5; c++)
		if (error[0][c] != error[1][c])
			return done("call %d tells: %s and %s", c, strerrorname_np(error[0][c]), strerrorname_np(error[1][c]));
	errno = error[0][0];
	return refused("both");
}

/* tmpfile-link PATH: a file that has no name yet gets one there. */
static int tmpfile_link(int argc, char **argv)
{
	char link[64];
	int fd = open(in_home("."), O_WRONLY | O_TMPFILE, 0600);

	if (fd < 0)
		return refused("open O_TMPFILE");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (linkat(fd, "", AT_FDCWD, argument(argc, argv, 1), AT_EMPTY_PATH) == 0)
		return done("linkat AT_EMPTY_PATH");
	return outcome("linkat AT_SYMLINK_FOLLOW", linkat(AT_FDCWD, link, AT_FDCWD, argv[1], AT_SYMLINK_FOLLOW));
}

/* symlink-create PATH: makes the file that an own symlink leads to. */
static int symlink_create(int argc, char **argv)
{
	const char *link = in_home("a-dangling");

	unlink(link);
	if (symlink(argument(argc, argv, 1), link) < 0)
		return refused("symlink");
	return outcome("open O_CREAT", open(link, O_WRONLY | O_CREAT, 0600));
}

/* symlink-unlink DIRECTORY NAME: removes it by way of an own symlink to the directory. */
static int symlink_unlink(int argc, char **argv)
{
	char path[PATH_MAX];
	const char *link = in_home("a-way");

	unlink(link);
	if (symlink(argument(argc, argv, 1), link) < 0)
		return refused("symlink");
	snprintf(path, sizeof(path), "%s/%s", link, argument(argc, argv, 2));
	return outcome("unlink", unlink(path));
}

/* whiteout FROM TO: leaves a device of number 0 where FROM was. */
static int whiteout(int argc, char **argv)
{
	return outcome("renameat2", renameat2(AT_FDCWD, argument(argc, argv, 1), AT_FDCWD, argument(argc, argv, 2), RENAME_WHITEOUT));
}

/* root-read PATH: by the link to the root directory that /proc has. */
static int root_read(int argc, char **argv)
{
	char path[PATH_MAX], byte;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/../root%s", argument(argc, argv, 1));
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return refused("open");
	return outcome("read", read(fd, &byte, 1));
}

/* fchdir-read DIRECTORY NAME: walks to a directory that was opened as a path only. */
static int fchdir_read(int argc, char **argv)
{
	char byte;
	int fd = open(argument(argc, argv, 1), O_PATH);

	if (fd < 0)
		return refused("open O_PATH");
	if (fchdir(fd) < 0)
		return refused("fchdir");
	fd = open(argument(argc, argv, 2), O_RDONLY);
	if (fd < 0)
		return refused("open");
	return outcome("read", read(fd, &byte, 1));
}

/* long-read PATH: the name as the end of one as long as names can be. */
static int long_read(int argc, char **argv)
{
	const char *name = argument(argc, argv, 1);
	char path[PATH_MAX], byte;
	int fd;

	memset(path, '/', sizeof(path));
	strcpy(path + sizeof(path) - 1 - strlen(name), name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return refused("open");
	return outcome("read", read(fd, &byte, 1));
}

/* map-write PATH: through a shared mapping that becomes writable later. */
static int map_write(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_RDWR);
	char *p;

	if (fd < 0)
		fd = open(argv[1], O_RDONLY);
	if (fd < 0)
		return refused("open");
	p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return refused("mmap");
	if (mprotect(p, 4096, PROT_READ | PROT_WRITE) < 0)
		return refused("mprotect");
	*p = 'x';
	return done("written");
}

/* any-directory NAME: below whatever descriptor is a directory. */
static int any_directory(int argc, char **argv)
{
	const char *name = argument(argc, argv, 1);
	char byte;

	for (int dir = 0; dir < 64; dir++) {
		int fd = openat(dir, name, O_RDONLY);

		if (fd >= 0 && read(fd, &byte, 1) >= 0)
			return done("by descriptor %d", dir);
	}
	return refused("every openat");
}

/* landlock-widen PATH: a domain of our own in which everything is allowed. */
static int landlock_widen(int argc, char **argv)
{
	struct landlock_ruleset_attr all = { .handled_access_fs = (1 << 13) - 1 };
	struct landlock_path_beneath_attr rule = { .allowed_access = (1 << 13) - 1 };
	int fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all.handled_access_fs), 0);
	char byte;

	if (fd < 0)
		return refused("landlock_create_ruleset");
	rule.parent_fd = open("/", O_PATH);
	if (rule.parent_fd < 0)
		return refused("open /");
	if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return refused("landlock_add_rule");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return refused("landlock_restrict_self");
	fd = open(argument(argc, argv, 1), O_RDONLY);
	if (fd < 0)
		return refused("open");
	return outcome("read", read(fd, &byte, 1));
}

/* landlock-layers PATH: as many layers as there can be, so that whoever opens for us has no room for his own. */
static int landlock_layers(int argc, char **argv)
{
	struct landlock_ruleset_attr some = { .handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_BLOCK };
	char byte;
	int fd;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (int i = 0; i < 20; i++) {
		fd = (int)syscall(SYS_landlock_create_ruleset, &some, sizeof(some.handled_access_fs), 0);
		if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
			break;
		close(fd);
	}
	fd = open(argument(argc, argv, 1), O_RDONLY);
	if (fd < 0)
		return refused("open");
	return outcome("read", read(fd, &byte, 1));
}

/* seccomp-widen: a filter of our own that allows all, then a call that no cell has. */
static int seccomp_widen(int argc, char **argv)
{
	struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog program = { 1, &allow };

	(void)argc;
	(void)argv;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return refused("PR_SET_SECCOMP");
	return outcome("keyctl", syscall(SYS_keyctl, 0, -3, 1));
}

/* seccomp-log PATH: a filter of our own with an answer that comes before the question to the supervisor. */
static int seccomp_log(int argc, char **argv)
{
	struct sock_filter filter[] = {
		{ BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr) },
		{ BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_unlinkat },
		{ BPF_RET | BPF_K, 0, 0, SECCOMP_RET_LOG },
		{ BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW },
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return refused("seccomp");
	return outcome("unlinkat", syscall(SYS_unlinkat, AT_FDCWD, argument(argc, argv, 1), 0));
}

const struct attempt names[] = {
	{ "stat", stat_path },
	{ "access", access_path },
	{ "readlink", readlink_path },
	{ "statfs", statfs_path },
	{ "list-attributes", list_attributes },
	{ "errors", errors },
	{ "tmpfile-link", tmpfile_link },
	{ "symlink-create", symlink_create },
	{ "symlink-unlink", symlink_unlink },
	{ "whiteout", whiteout },
	{ "root-read", root_read },
	{ "fchdir-read", fchdir_read },
	{ "long-read", long_read },
	{ "map-write", map_write },
	{ "any-directory", any_directory },
	{ "landlock-widen", landlock_widen },
	{ "landlock-layers", landlock_layers },
	{ "seccomp-widen", seccomp_widen },
	{ "seccomp-log", seccomp_log },
	{ NULL, NULL },
};
