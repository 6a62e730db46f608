/* More ways to files: links, directories, descriptors that stay open, devices. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "try.h"

char *second(char *v)
{
	char *comma = strchr(v, ',');

	*comma = '\0';
	return comma + 1;
}

static int do_link(char *v) { return link(v, second(v)); }
static int do_symlink(char *v) { return symlink(v, second(v)); }
static int do_exchange(char *v) { return renameat2(AT_FDCWD, v, AT_FDCWD, second(v), RENAME_EXCHANGE); }
static int do_rmdir(char *v) { return rmdir(v); }
static int do_lstat(char *v) { struct stat st; return lstat(v, &st); }
static int do_statfs(char *v) { struct statfs st; return statfs(v, &st); }
static int do_readlink(char *v) { char text[PATH_MAX]; return readlink(v, text, sizeof(text)) < 0 ? -1 : 0; }
static int do_append(char *v) { return closed(open(v, O_WRONLY | O_APPEND)); }
static int do_trunc(char *v) { return closed(open(v, O_WRONLY | O_TRUNC)); }
static int do_exclusive(char *v) { return closed(open(v, O_WRONLY | O_CREAT | O_EXCL, 0644)); }

/* do_where prints the working directory and says whether that is VALUE. */
static int do_where(char *v)
{
	char text[PATH_MAX];

	if (!getcwd(text, sizeof(text)))
		return -1;
	if (strcmp(text, v))
		printf("%s ", text);
	return 0;
}

static int do_realpath(char *v)
{
	char text[PATH_MAX];

	return realpath(v, text) ? 0 : -1;
}

/* do_access asks for VALUE,MODE. */
static int do_access(char *v) { return access(v, atoi(second(v))); }

/* do_mknod makes VALUE,TYPE. */
static int do_mknod(char *v)
{
	switch (*second(v)) {
	case 'f': return mknod(v, S_IFREG | 0600, 0);
	case 'p': return mkfifo(v, 0600);
	case 's': return mknod(v, S_IFSOCK | 0600, 0);
	case 'c': return mknod(v, S_IFCHR | 0600, 0x103); /* null */
	case 'b': return mknod(v, S_IFBLK | 0600, 0x100);
	}
	errno = EDOM;
	return -1;
}

/* do_at opens NAME below the directory DIR: VALUE is DIR,NAME. */
static int do_at(char *v)
{
	char *name = second(v);
	int dir = open(v, O_PATH | O_DIRECTORY), err;

	if (dir < 0)
		return -1;
	err = closed(openat(dir, name, O_RDONLY)) ? errno : 0;
	close(dir);
	errno = err;
	return err ? -1 : 0;
}

/* do_run has a child execute VALUE. */
static int do_run(char *v)
{
	char *argv[] = { v, NULL };
	int status;
	pid_t child = fork();

	if (!child) {
		execv(v, argv);
		_exit(errno);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	errno = WIFSIGNALED(status) ? ECHILD : WEXITSTATUS(status);
	return errno ? -1 : 0;
}

/* What hold has opened. */
static int held = -1;

/* do_hold keeps VALUE,FLAGS open; flags are letters: r, w, p for O_PATH. */
static int do_hold(char *v)
{
	const char *flags = second(v);
	int bits = strchr(flags, 'p') ? O_PATH : !strchr(flags, 'w') ? O_RDONLY : strchr(flags, 'r') ? O_RDWR : O_WRONLY;

	held = open(v, bits);
	return held < 0 ? -1 : 0;
}

static int do_heldread(char *v) { char c; (void)v; return read(held, &c, 1) < 0 ? -1 : 0; }
static int do_heldtruncate(char *v) { (void)v; return ftruncate(held, 1); }
static int do_heldat(char *v) { return closed(openat(held, v, O_RDONLY)); }
static int do_heldcreate(char *v) { return closed(openat(held, v, O_WRONLY | O_CREAT, 0644)); }
static int do_heldchdir(char *v) { (void)v; return fchdir(held); }
static int do_heldioctl(char *v) { int n = 0; return ioctl(held, strtoul(v, NULL, 0), &n) < 0 ? -1 : 0; }

/* do_heldrename moves what VALUE names below the held directory to NAME: VALUE is FROM,NAME. */
static int do_heldrename(char *v) { return renameat(AT_FDCWD, v, held, second(v)); }

/* do_reopen opens what is held by its link in /proc, VALUE as in hold. */
static int do_reopen(char *v)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", held);
	return closed(open(link, strchr(v, 'w') ? O_RDWR : O_RDONLY));
}

/* do_pipe holds the reading end of a pipe with something in it. */
static int do_pipe(char *v)
{
	int fds[2];

	(void)v;
	if (pipe(fds) || write(fds[1], "x", 1) != 1)
		return -1;
	held = fds[0];
	return 0;
}

/* do_memory holds a memory file. */
static int do_memory(char *v) { (void)v; held = memfd_create("x", 8 /* MFD_NOEXEC_SEAL */); return held < 0 ? -1 : 0; }

/* do_inherit has a child that narrows itself shorten what is held: VALUE is the layer. */
static int do_inherit(char *v)
{
	int status;
	pid_t child = fork();

	if (!child)
		_exit(raw_layer(v) ? 101 : ftruncate(held, 2) ? errno : 0);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

static int do_flock(char *v)
{
	int fd = open(v, O_RDONLY), err;

	if (fd < 0)
		return -1;
	err = flock(fd, LOCK_EX | LOCK_NB) ? errno : 0;
	close(fd);
	errno = err;
	return err ? -1 : 0;
}

/* do_ioctl asks a device something: VALUE is PATH,REQUEST. */
static int do_ioctl(char *v)
{
	unsigned long request = strtoul(second(v), NULL, 0);
	int n = 0, fd = open(v, O_RDWR | O_NONBLOCK | O_NOCTTY), err;

	if (fd < 0)
		return -1;
	err = ioctl(fd, request, &n) < 0 ? errno : 0;
	close(fd);
	errno = err;
	return err ? -1 : 0;
}

/* do_memoryexec maps memory that can be written and executed. */
static int do_memoryexec(char *v)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)v;
	return p == MAP_FAILED ? -1 : munmap(p, 4096);
}

const struct step file_steps[] = {
	S(link), S(symlink), S(exchange), S(rmdir), S(lstat), S(statfs), S(readlink), S(append), S(trunc), S(exclusive), S(where), S(realpath),
	S(access), S(mknod), S(at), S(run), S(hold), S(heldread), S(heldtruncate), S(heldat), S(heldcreate), S(heldchdir), S(heldioctl),
	S(heldrename), S(reopen), S(pipe), S(memory), S(inherit), S(flock), S(ioctl), S(memoryexec),
	{ NULL, NULL },
};
