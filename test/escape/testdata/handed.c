/*
 * handed.c: what descriptors are good for that are not where they were.
 *
 *	handed alone BASE WORK READ HOME TMP [MOUNT] DEVICE:INODE...
 *	handed give NUMBER...
 *	handed take BASE COUNT DEVICE:INODE...
 *	handed end
 *
 * It prints a line for each attempt: "refused", or "OPEN" where it came to
 * something hidden, got more rights, or could tell something hidden from nothing.
 * "control" lines must say "works". Outside a cell, where descriptors 40 to 45 are
 * made to be the same, attempts are OPEN: that is their control.
 *
 * alone: every descriptor of the cell, as it is, sent to itself, and directories
 * that it, or somebody outside, moves elsewhere meanwhile ("MOVE" on standard output, and a byte on
 * standard input when that is done). give sends descriptors to the other end of
 * standard input, and take makes the attempts with what it is sent.
 */
#include "reach.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define ENDED 33 /* how "end" ends */

static const char *base, *work_name = "", *read_name = "";

/* by_call makes call number n that looks at a path; it returns an error, or 0. */
static int by_call(int n, int dir, const char *path)
{
	static const int flags[] = { O_RDONLY | O_NONBLOCK, O_PATH, O_PATH | O_NOFOLLOW, O_RDONLY | O_DIRECTORY, O_WRONLY | O_NONBLOCK };
	static const struct how plain = { O_PATH, 0, 0 };
	char text[256] = { 0 };
	struct statx x;
	struct stat st;
	int fd;

	switch (n) {
	case 0: case 1: case 2: case 3: case 4: fd = by_slot(dir, path, flags[n], 0); break;
	case 5: case 6: case 7: case 8: case 9: fd = by_slot(dir, path, flags[n - 5], 1); break;
	case 10: case 11: case 12: case 13: case 14: fd = (int)raw(SYS_openat, dir, path, flags[n - 10]); break;
	case 15: fd = (int)raw(SYS_openat2, dir, path, &plain, sizeof(plain)); break;
	case 16:
		if (raw(SYS_newfstatat, dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return errno;
		if (is_hidden(st.st_dev, st.st_ino))
			breach("newfstatat", path, "its inode");
		return 0;
	case 17:
		if (raw(SYS_statx, dir, path, 0, STATX_BASIC_STATS, &x) < 0)
			return errno;
		if (is_hidden(makedev(x.stx_dev_major, x.stx_dev_minor), x.stx_ino))
			breach("statx", path, "its inode");
		return 0;
	case 18:
		if (raw(SYS_readlinkat, dir, path, text, sizeof(text) - 1) < 0)
			return errno;
		if (!memcmp(text, HIDDEN_TEXT, strlen(HIDDEN_TEXT)))
			breach("readlinkat", path, "its text");
		return 0;
	case 19: return raw(SYS_faccessat2, dir, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 ? errno : 0;
	default: return -1;
	}
	if (fd < 0)
		return errno;
	inspect(fd, n < 10 ? "slot" : "openat", path);
	close(fd);
	return 0;
}

/* settled is by_call, again while the kernel says that somebody on the host renames something. */
static int settled(int n, int dir, const char *path)
{
	int error, tries = 0;

	do
		error = by_call(n, dir, path);
	while (error == EAGAIN && tries++ < 10000);
	return error;
}

/*
 * out reports whether any call comes from the directory dir to something hidden,
 * or ends in another way where something hidden is than where nothing is.
 */
static int out(int dir)
{
	static const char *const ways[] = { "..", "../..", "../%s", "../../%s", "../../../%s", "../../../../%s", "x/../../%s", "./..//%s", "../%s.d/%s", "../../%s.l", "/../%s" };
	char hidden[PATH_MAX], absent[PATH_MAX];
	long before = reached;
	int was, is, differs = 0;

	for (unsigned w = 0; w <= sizeof(ways) / sizeof(*ways); w++) {
		if (w < sizeof(ways) / sizeof(*ways)) {
			sprintf(hidden, ways[w], "hidden", "hidden");
			sprintf(absent, ways[w], "absent", "absent");
		} else {
			sprintf(hidden, "%s/hidden", base);
			sprintf(absent, "%s/absent", base);
		}
		for (int n = 0; (was = settled(n, dir, hidden)) >= 0; n++)
			if (was != (is = settled(n, dir, absent))) {
				differs++;
				printf("call %d tells %s from %s: errors %d and %d\n", n, hidden, absent, was, is);
			}
	}
	return reached != before || differs;
}

/* strange reports whether a name is one of the host's that the cell does not have: all are, outside. */
static int strange(const char *name)
{
	static const char *own[2];
	size_t n = (size_t)(strrchr(base, '/') - base);

	if (strncmp(name, base, n))
		return 0;
	own[0] = work_name, own[1] = read_name;
	for (int i = 0; i < 2 && in_cell; i++)
		if (*own[i] && !strncmp(name, own[i], strlen(own[i])))
			return 0;
	return !in_cell || !strstr(name, "/System/Views/"); /* PATH says where the view is */
}

/* every makes the attempts of out with the directory, and with it as the working directory. */
static void every(const char *name, int dir)
{
	char what[128], cwd[PATH_MAX];
	int back = open(".", O_PATH);

	snprintf(what, sizeof(what), "%s: out of it", name);
	tell(what, out(dir));
	snprintf(what, sizeof(what), "%s: out of it as the working directory", name);
	if (raw(SYS_fchdir, dir, ZONE_FCHDIR_MARK) < 0)
		tell(what, 0);
	else
		tell(what, out(AT_FDCWD));
	snprintf(what, sizeof(what), "%s: the host's name of it", name);
	tell(what, raw(SYS_getcwd, cwd, sizeof(cwd)) > 0 && strange(cwd));
	if (raw(SYS_fchdir, back, ZONE_FCHDIR_MARK) < 0)
		fchdir(back);
	close(back);
}

static int give(int socket, const int *fds, int n)
{
	char room[CMSG_SPACE(64 * sizeof(int))] = { 0 }, byte = 0;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = CMSG_SPACE((unsigned)n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN((unsigned)n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, (unsigned)n * sizeof(int));
	return sendmsg(socket, &m, 0) == 1 ? 0 : -1;
}

static int take(int socket, int *fds, int n)
{
	char room[CMSG_SPACE(64 * sizeof(int))], byte;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *c;

	if (recvmsg(socket, &m, 0) != 1 || !(c = CMSG_FIRSTHDR(&m)) || c->cmsg_len != CMSG_LEN((unsigned)n * sizeof(int)))
		return -1;
	memcpy(fds, CMSG_DATA(c), (unsigned)n * sizeof(int));
	return 0;
}

/* more tries to change something below a directory that may be read only. */
static void more(const char *name, int dir, const char *file, const char *kept)
{
	char what[128], link[64], path[PATH_MAX];
	int fd, n = 0;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	snprintf(what, sizeof(what), "%s: more rights", name);
	n |= (fd = openat(dir, "made", O_RDWR | O_CREAT, 0600)) >= 0;
	n |= raw(SYS_openat, dir, "made", O_RDWR | O_CREAT, 0600) >= 0;
	if (in_cell)
		n |= openat2(dir, "made", ZONE_ADDR + ZONE_SLOT_SIZE * (unsigned long)(zone_slot(O_RDWR | O_CREAT, 0600) + ZONE_HALF), ZONE_HOW_SIZE) >= 0;
	n |= (fd = by_slot(dir, file, O_RDWR, 0)) >= 0;
	n |= (fd = by_slot(dir, file, O_WRONLY | O_TRUNC, 1)) >= 0;
	n |= raw(SYS_openat, dir, file, O_RDWR) >= 0;
	n |= raw(SYS_openat, AT_FDCWD, link, O_RDWR | O_TMPFILE, 0600) >= 0;
	n |= raw(SYS_openat, dir, ".", O_RDWR | O_TMPFILE, 0600) >= 0;
	snprintf(path, sizeof(path), "%s/made", link);
	n |= raw(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT, 0600) >= 0;
	n |= raw(SYS_mkdirat, dir, "made.d", 0700) >= 0;
	n |= raw(SYS_symlinkat, "x", dir, "made.l") >= 0;
	n |= raw(SYS_linkat, dir, file, dir, "made.h", 0) >= 0;
	n |= raw(SYS_renameat, dir, file, dir, "made.r") >= 0;
	n |= raw(SYS_fchmodat, dir, file, 0777) >= 0;
	n |= raw(SYS_unlinkat, dir, file, 0) >= 0;
	tell(what, n);
	/* A file that was opened for reading, again by its link. */
	snprintf(what, sizeof(what), "%s: a file opened again to be written", name);
	fd = open(link, O_RDONLY | O_DIRECTORY);
	fd = openat(fd < 0 ? dir : fd, kept, O_RDONLY);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	tell(what, fd >= 0 && (raw(SYS_openat, AT_FDCWD, link, O_RDWR) >= 0 || by_slot(AT_FDCWD, link, O_RDWR, 0) >= 0 || raw(SYS_truncate, link, 0) >= 0));
}

/* runs reports whether a child that executes what is told ends as "end" does. */
static int runs(int fd, const char *path, int sealed)
{
	char *argv[] = { "handed", "end", 0 };
	int status = 0;
	pid_t pid = vfork();

	if (pid == 0) {
		if (sealed)
			raw(SYS_execveat, fd, in_cell ? (char *)ZONE_EMPTY : "", argv, environ, AT_EMPTY_PATH);
		else
			raw(SYS_execve, path, argv, environ);
		_exit(1);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == ENDED;
}

static int copy(int from, int to)
{
	static char b[1 << 16];
	ssize_t n;

	while ((n = read(from, b, sizeof(b))) > 0)
		if (write(to, b, (size_t)n) != n)
			return -1;
	return (int)n;
}

static void executions(int home, const char *home_name)
{
	static char self[PATH_MAX];
	int from, to, fd;
	char path[PATH_MAX];

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return control("control: the own program's name", 0);
	from = open(self, O_RDONLY);
	unlinkat(home, "program", 0);
	to = openat(home, "program", O_RDWR | O_CREAT | O_TRUNC, 0755);
	control("control: a copy of the own program", from >= 0 && to >= 0 && !copy(from, to) && !fchmod(to, 0755) && !close(to));
	snprintf(path, sizeof(path), "%s/program", home_name);
	fd = by_slot(home, "program", O_PATH, 0);
	tell("vfork and exec of a file of its own", runs(-1, path, 0));
	tell("vfork and exec of a file of its own by a slot", fd >= 0 && runs(fd, 0, 1));
	to = memfd_create("x", 0);
	if (to < 0)
		to = memfd_create("x", 8 /* MFD_NOEXEC_SEAL */);
	lseek(from, 0, SEEK_SET);
	copy(from, to);
	fchmod(to, 0755);
	tell("execveat of a memory file", runs(to, 0, 1));
	fd = (int)raw(SYS_openat, AT_FDCWD, self, O_PATH);
	control("control: the own program", runs(-1, self, 0) || runs(fd, 0, 1));
}

/* names opens, links and asks for handles of hidden names. */
static void names(int home)
{
	static const int flags[] = { O_PATH, O_PATH | O_NOFOLLOW, O_PATH | O_DIRECTORY };
	struct {
		struct file_handle h;
		unsigned char room[MAX_HANDLE_SZ];
	} hidden = { .h = { .handle_bytes = MAX_HANDLE_SZ } };
	static const char *const in[] = { "hidden", "hidden.d", "hidden.l", "hidden.d/hidden" };
	char path[PATH_MAX], what[128];
	int fd, mount, got = 0, handled = 0, linked = 0, read = 0;

	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", base, in[i]);
		for (unsigned f = 0; f < 3; f++)
			for (int dir = 39; dir < 46; dir++) {
				fd = (int)raw(SYS_openat, dir < 40 ? AT_FDCWD : dir, path, flags[f]);
				got |= fd >= 0;
				if (fd >= 0)
					linked |= raw(SYS_linkat, fd, "", home, "got", AT_EMPTY_PATH) >= 0;
				fd = by_slot(dir < 40 ? AT_FDCWD : dir, path, flags[f], dir & 1);
				got |= fd >= 0;
			}
		hidden.h.handle_bytes = MAX_HANDLE_SZ;
		handled |= raw(SYS_name_to_handle_at, AT_FDCWD, path, &hidden, &mount, 0) >= 0;
		read |= raw(SYS_open_by_handle_at, home, &hidden, O_RDONLY) >= 0;
		unlinkat(home, "got", 0);
		linked |= raw(SYS_linkat, AT_FDCWD, path, home, "got", 0) >= 0;
	}
	tell("O_PATH of hidden names", got);
	tell("links to hidden names", linked);
	tell("handles of hidden names", handled);
	if (in_cell) /* outside only root may */
		tell("files by handle", read);
	for (fd = 40; fd < 46; fd++) {
		hidden.h.handle_bytes = MAX_HANDLE_SZ;
		snprintf(what, sizeof(what), "handle of descriptor %d", fd);
		tell(what, raw(SYS_name_to_handle_at, fd, in_cell ? (char *)ZONE_EMPTY : "", &hidden, &mount, AT_EMPTY_PATH) >= 0);
	}
}

/* later reads a file that was put into a directory when it was not where it had been any more. */
static void later(int dir)
{
	char text[8];
	int fd, n = 0;

	for (int i = 0; i < 2; i++) {
		fd = by_slot(dir, "late", O_RDONLY, i);
		n |= fd >= 0 && read(fd, text, 6) == 6;
	}
	fd = (int)raw(SYS_openat, dir, "late", O_RDONLY);
	n |= fd >= 0 && read(fd, text, 6) == 6;
	tell("a directory moved away: the text of what came into it there", n);
}

static int alone(int argc, char **argv)
{
	int work, read_only, home, tmp, pair[2], fds[16], moved, away, mounted = -1, held = -1, n = 0, first = 7;
	char byte, what[64];

	if (argc < 8)
		return 2;
	if (!strchr(argv[7], ':'))
		first++;
	if (hidden_arguments(argv, first))
		return 2;
	base = argv[2], work_name = argv[3], read_name = argv[4];
	work = root_of(argv[3]), read_only = root_of(argv[4]), home = root_of(argv[5]), tmp = root_of(argv[6]);
	if (!in_cell) { /* the same numbers */
		const int same[] = { read_only, read_only, home, tmp, work, read_only };

		for (int i = 0; i < 6; i++)
			dup2(same[i], 40 + i);
	}
	mkdirat(work, "moved", 0755);
	mkdirat(work, "away", 0755);
	moved = openat(work, "moved", O_RDONLY | O_DIRECTORY), away = openat(work, "away", O_RDONLY | O_DIRECTORY);
	if (first == 8)
		mounted = open(argv[7], O_RDONLY | O_DIRECTORY), held = openat(mounted, "held", O_RDONLY | O_DIRECTORY);
	control("control: what it needs", work >= 0 && read_only >= 0 && home >= 0 && tmp >= 0 && moved >= 0 && away >= 0 && (first == 7 || held >= 0));

	for (int fd = 40; fd < 46; fd++) {
		snprintf(what, sizeof(what), "descriptor %d", fd);
		every(what, fd);
	}
	for (int fd = 40; fd < ZONE_FD && in_cell; fd++)
		fds[n++] = fd;
	for (int fd = 40; fd < 46 && !in_cell; fd++)
		fds[n++] = fd;
	control("control: descriptors sent to itself", !socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !give(pair[0], fds, n) && !take(pair[1], fds, n));
	for (int i = 0; i < n; i++) {
		snprintf(what, sizeof(what), "descriptor %d, received", 40 + i);
		every(what, fds[i]);
	}

	more("the directory to be read", read_only, "inside", "kept");
	more("the same, received", fds[in_cell && read_only >= 40 ? read_only - 40 : 5], "inside", "kept");
	more("descriptor 40", 40, in_cell ? "bin/handed" : "inside2", in_cell ? "bin/handed" : "kept");
	more("descriptor 41", 41, in_cell ? "bin/handed" : "inside3", in_cell ? "bin/handed" : "kept");

	control("control: a directory moved to HOME", !renameat(work, "moved", home, "moved"));
	every("a directory moved to HOME", moved);
	control("control: a directory moved to /tmp", !renameat(home, "moved", tmp, "moved"));
	every("a directory moved to /tmp", moved);

	if (mounted >= 0) {
		every("a mount point", mounted);
		every("a directory in it", held);
	}
	printf("MOVE\n");
	fflush(stdout);
	if (read(0, &byte, 1) != 1)
		return 2;
	every("a directory moved away", away);
	later(away);
	/*
	 * Landlock gives what is below it the rights of the mount point still: what
	 * somebody puts there can be read, as before.
	 */
	if (mounted >= 0)
		every("a directory moved out of what is mounted", held);
	names(home);
	executions(home, argv[5]);
	return 0;
}

static int taker(int argc, char **argv)
{
	int fds[16], n = argc > 4 ? atoi(argv[3]) : 0;
	char what[64];

	if (n < 1 || n > 16 || hidden_arguments(argv, 4) || take(0, fds, n))
		return 2;
	base = argv[2];
	for (int i = 0; i < n; i++) {
		snprintf(what, sizeof(what), "descriptor %d of another cell", i);
		every(what, fds[i]);
		snprintf(what, sizeof(what), "descriptor %d of another cell: a file's text", i);
		long before = reached;

		for (int call = 0; call < 16; call++)
			by_call(call, fds[i], "text");
		tell(what, reached != before);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int fds[16], n = 0;
	char byte;

	if (argc > 1 && !strcmp(argv[1], "end"))
		return ENDED;
	if (argc > 1 && !strcmp(argv[1], "alone"))
		return alone(argc, argv);
	if (argc > 1 && !strcmp(argv[1], "take"))
		return taker(argc, argv);
	if (argc < 3 || strcmp(argv[1], "give"))
		return 2;
	while (n < argc - 2 && n < 16)
		fds[n] = atoi(argv[2 + n]), n++;
	/* Until the other end is gone. */
	return give(0, fds, n) || read(0, &byte, 1) != 0 ? 3 : 0;
}
