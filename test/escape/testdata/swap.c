/*
 * swap.c: calls whose strings and structures eight threads change while they are used.
 *
 *	swap SECONDS BASE WORK PORT DEVICE:INODE...
 *
 * Each thread has one thing that it swaps all the time, byte by byte, between what
 * lies in WORK, which the cell may change, and what is hidden in BASE: paths,
 * addresses of sockets, headers of messages. One more makes the calls, kind after
 * kind, and looks at what they have come to. In a cell the directory BASE cannot be
 * seen, so that the test looks there itself; without one, the control, the program
 * looks, and puts everything back.
 *
 * It prints "KIND name made granted reached" for each, "BREACH …" for what was
 * reached, and ends with 1 after that.
 */
#include "reach.h"

#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

enum { FILE_, NEW, DIRECTORY, LINK, PROGRAM, RELATIVE, ADDRESS, MESSAGE, THINGS };

static const char *base, *work;
static volatile int stop;
static char path[ADDRESS][PATH_MAX], inside[ADDRESS][PATH_MAX], outside[ADDRESS][PATH_MAX];
static union {
	struct sockaddr any;
	struct sockaddr_un un;
	struct sockaddr_in in;
} address, addresses[3]; /* the one that is swapped, and what it is by turns */
static struct iovec vector = { "swapped", 8 };
static struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
static long swaps[THINGS];
static unsigned long state = 0x9e3779b97f4a7c15;

/* copy goes byte by byte: mixtures are seen as well. */
static void copy(volatile void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
}

static void *swap(void *argument)
{
	long i = (long)argument;
	unsigned long own = state + (unsigned long)i * 0x2545f4914f6cdd1d;

	while (!stop) {
		const char *next = i < ADDRESS ? (dice(&own, 2) ? inside[i] : outside[i]) : 0;

		if (next)
			copy(path[i], next, strlen(next) + 1);
		else if (i == ADDRESS)
			copy(&address, &addresses[dice(&own, 3)], sizeof(address));
		else {
			message.msg_name = dice(&own, 2) ? &address : 0;
			message.msg_namelen = dice(&own, 2) ? sizeof(address.un) : 0;
			vector.iov_len = 1 + dice(&own, 8);
		}
		swaps[i]++;
		if (!dice(&own, 8)) /* there are fewer processors than threads */
			sched_yield();
	}
	return 0;
}

static struct stat hidden_was;

/* lies_hidden reports whether device and inode are something hidden. Outside of a cell the file may be a new one, put back. */
static int lies_hidden(dev_t device, ino_t inode)
{
	return is_hidden(device, inode) || (!in_cell && device == hidden_was.st_dev && inode == hidden_was.st_ino);
}

/* put_back makes what is hidden again what it was, outside of a cell. */
static void put_back(void)
{
	int fd = open(outside[FILE_], O_RDWR | O_CREAT, 0644);

	if (fstat(fd, &hidden_was) || hidden_was.st_size != (off_t)strlen(HIDDEN_TEXT)) {
		ftruncate(fd, 0);
		pwrite(fd, HIDDEN_TEXT, strlen(HIDDEN_TEXT), 0);
	}
	fchmod(fd, 0644);
	fremovexattr(fd, "user.swapped");
	fstat(fd, &hidden_was);
	close(fd);
	unlink(outside[NEW]);
	rmdir(outside[NEW]);
}

/* changed reports whether anything in BASE was, outside of a cell. */
static int changed(void)
{
	struct stat st;
	int is = 0;

	if (in_cell)
		return 0;
	is = lstat(outside[FILE_], &st) || st.st_ino != hidden_was.st_ino || st.st_mode != hidden_was.st_mode || st.st_size != hidden_was.st_size ||
	     memcmp(&st.st_ctim, &hidden_was.st_ctim, sizeof(st.st_ctim)) || !lstat(outside[NEW], &st);
	if (is)
		put_back();
	return is;
}

static void lay_out(void)
{
	int fd = open(inside[FILE_], O_RDWR | O_CREAT, 0644);

	pwrite(fd, "inside", 6, 0);
	close(fd);
	unlink(inside[NEW]);
	rmdir(inside[NEW]);
}

/* A kind returns 1 if the call was granted, 0 if it was refused, and -1 if it came to what is hidden. */
static int look_at(int fd)
{
	struct stat st;
	int hidden;

	if (fd < 0)
		return 0;
	hidden = !fstat(fd, &st) && lies_hidden(st.st_dev, st.st_ino);
	close(fd);
	return hidden ? -1 : 1;
}

static int at_dice(void) { return dice(&state, 2) ? FILE_ : RELATIVE; }

static int kind_open(void) { return look_at(open(path[at_dice()], O_RDONLY)); }
static int kind_write(void) { return look_at(open(path[at_dice()], O_WRONLY)); }
static int kind_raw(void) { return look_at((int)raw(SYS_openat, AT_FDCWD, path[at_dice()], O_RDONLY)); }

static int kind_stat(void)
{
	struct stat st;

	if (fstatat(AT_FDCWD, path[at_dice()], &st, AT_SYMLINK_NOFOLLOW))
		return 0;
	return lies_hidden(st.st_dev, st.st_ino) ? -1 : 1;
}

static int kind_statx(void)
{
	struct statx x;

	if (statx(AT_FDCWD, path[at_dice()], 0, STATX_BASIC_STATS, &x))
		return 0;
	return lies_hidden(makedev(x.stx_dev_major, x.stx_dev_minor), x.stx_ino) ? -1 : 1;
}

static int kind_readlink(void)
{
	char text[64] = { 0 };

	if (readlink(path[LINK], text, sizeof(text) - 1) < 0)
		return 0;
	return memcmp(text, HIDDEN_TEXT, strlen(HIDDEN_TEXT)) ? 1 : -1;
}

static int kind_chdir(void)
{
	struct stat st;
	int got = chdir(path[DIRECTORY]) ? 0 : stat(".", &st) || !lies_hidden(st.st_dev, st.st_ino) ? 1 : -1;

	if (chdir(work))
		exit(2);
	return got;
}

/* named looks at what a change has given a name in WORK. */
static int named(int rc, const char *name)
{
	struct stat st;
	int got = rc ? 0 : lstat(name, &st) || !lies_hidden(st.st_dev, st.st_ino) ? 1 : -1;

	unlink(name);
	return got;
}

static int kind_link(void) { return named(link(path[FILE_], "linked"), "linked"); }

static int kind_rename(void)
{
	int got = named(rename(path[FILE_], "renamed"), "renamed");

	return changed() ? -1 : got;
}

/* done says how a change ended that has been made. */
static int done(int rc) { return changed() ? -1 : rc < 0 ? 0 : 1; }

static int kind_create(void)
{
	int fd = open(path[NEW], O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (fd >= 0)
		close(fd);
	return done(fd);
}

static int kind_unlink(void) { return done(unlink(path[FILE_])); }
static int kind_mkdir(void) { return done(mkdir(path[NEW], 0700)); }
static int kind_symlink(void) { return done(symlink("x", path[NEW])); }
static int kind_mknod(void) { return done(mknod(path[NEW], S_IFIFO | 0600, 0)); }
static int kind_truncate(void) { return done(truncate(path[FILE_], 3)); }
static int kind_chmod(void) { return done(chmod(path[FILE_], 0600)); }
static int kind_chown(void) { return done(chown(path[FILE_], getuid(), getgid())); }
static int kind_times(void) { return done(utimensat(AT_FDCWD, path[FILE_], 0, 0)); }
static int kind_attribute(void) { return done(setxattr(path[FILE_], "user.swapped", "x", 1, 0)); }

static int kind_execute(void)
{
	char *arguments[] = { "x", 0 }, *environment[] = { 0 };
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		execve(path[PROGRAM], arguments, environment);
		_exit(77);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return 0;
	return WEXITSTATUS(status) == 10 ? 1 : WEXITSTATUS(status) == 77 ? 0 : -1;
}

/* Local sockets: outside they are datagram sockets and reach the one in BASE; in a cell there is one end of a pair. */
static int hidden_socket = -1;

static int a_socket(int other[1])
{
	int pair[2];

	other[0] = -1;
	if (!in_cell)
		return socket(AF_UNIX, SOCK_DGRAM, 0);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
		exit(2);
	other[0] = pair[1];
	return pair[0];
}

/* arrived says where what was sent has come to. */
static int arrived(int fd, int other, long rc)
{
	char text[8];
	int got = rc < 0 ? 0 : 1;

	if (!in_cell && recv(hidden_socket, text, sizeof(text), MSG_DONTWAIT) > 0)
		got = -1;
	close(fd);
	close(other);
	return got;
}

static int kind_connect(void)
{
	struct sockaddr_un peer = { 0 };
	socklen_t size = sizeof(peer);
	int other, fd = a_socket(&other), got = connect(fd, &address.any, sizeof(address.un)) ? 0 : 1;

	if (got && !in_cell && !getpeername(fd, (struct sockaddr *)&peer, &size) && !strcmp(peer.sun_path, addresses[1].un.sun_path))
		got = -1;
	close(fd);
	close(other);
	return got;
}

static int kind_bind(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(a);
	int other, fd = a_socket(&other), rc;

	copy(a.sun_path, path[NEW], sizeof(a.sun_path) - 1);
	rc = bind(fd, dice(&state, 8) ? (struct sockaddr *)&a : &address.any, sizeof(a));
	if (!rc && !in_cell && !getsockname(fd, (struct sockaddr *)&a, &size) && strncmp(a.sun_path, base, strlen(base)))
		unlink(a.sun_path); /* where nothing holds it, half an address is one as well */
	close(fd);
	close(other);
	return done(rc);
}

static int kind_sendto(void)
{
	int other, fd = a_socket(&other);

	return arrived(fd, other, sendto(fd, "swapped", 8, MSG_DONTWAIT, &address.any, message.msg_namelen));
}

static int kind_sendmsg(void)
{
	int other, fd = a_socket(&other);

	return arrived(fd, other, sendmsg(fd, &message, MSG_DONTWAIT));
}

static int kind_sendmmsg(void)
{
	int other, fd = a_socket(&other);
	struct mmsghdr two[2] = { { .msg_hdr = message }, { .msg_hdr = message } };

	/* The headers are copies, the address that they lead to is not. */
	return arrived(fd, other, sendmmsg(fd, two, 2, MSG_DONTWAIT));
}

static int kind_inet(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), got;

	if (fd < 0)
		return 0;
	got = connect(fd, &address.any, sizeof(address.in)) && errno != EINPROGRESS ? 0 : 1;
	close(fd);
	return got;
}

static struct {
	const char *name;
	int (*make)(void);
	long made, granted, reached;
} kinds[] = {
	{ "open", kind_open, 0, 0, 0 },
	{ "write", kind_write, 0, 0, 0 },
	{ "raw-open", kind_raw, 0, 0, 0 },
	{ "stat", kind_stat, 0, 0, 0 },
	{ "statx", kind_statx, 0, 0, 0 },
	{ "readlink", kind_readlink, 0, 0, 0 },
	{ "chdir", kind_chdir, 0, 0, 0 },
	{ "link", kind_link, 0, 0, 0 },
	{ "rename", kind_rename, 0, 0, 0 },
	{ "create", kind_create, 0, 0, 0 },
	{ "unlink", kind_unlink, 0, 0, 0 },
	{ "mkdir", kind_mkdir, 0, 0, 0 },
	{ "symlink", kind_symlink, 0, 0, 0 },
	{ "mknod", kind_mknod, 0, 0, 0 },
	{ "truncate", kind_truncate, 0, 0, 0 },
	{ "chmod", kind_chmod, 0, 0, 0 },
	{ "chown", kind_chown, 0, 0, 0 },
	{ "times", kind_times, 0, 0, 0 },
	{ "attribute", kind_attribute, 0, 0, 0 },
	{ "execute", kind_execute, 0, 0, 0 },
	{ "connect", kind_connect, 0, 0, 0 },
	{ "bind", kind_bind, 0, 0, 0 },
	{ "sendto", kind_sendto, 0, 0, 0 },
	{ "sendmsg", kind_sendmsg, 0, 0, 0 },
	{ "sendmmsg", kind_sendmmsg, 0, 0, 0 },
	{ "inet-connect", kind_inet, 0, 0, 0 },
};

static void names(const char *port)
{
	static const char *const in[ADDRESS] = { "inside", "new", "directory", "link", "ten", "inside" };
	static const char *const out[ADDRESS] = { "hidden", "absent-new", "hidden.d", "hidden.l", "hidden.x", "hidden" };

	for (int i = 0; i < ADDRESS; i++) {
		snprintf(inside[i], PATH_MAX, i == RELATIVE ? "%.0s%s" : "%s/%s", work, in[i]);
		snprintf(outside[i], PATH_MAX, i == RELATIVE ? "%.0s../%s" : "%s/%s", base, out[i]);
		strcpy(path[i], inside[i]);
	}
	for (int i = 0; i < 2; i++) {
		addresses[i].un.sun_family = AF_UNIX;
		snprintf(addresses[i].un.sun_path, sizeof(addresses[i].un.sun_path), i ? "%s/hidden.s" : "%s/s", i ? base : work);
	}
	addresses[2].in.sin_family = AF_INET;
	addresses[2].in.sin_port = htons((unsigned short)atoi(port));
	addresses[2].in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

int main(int argc, char **argv)
{
	pthread_t ids[THINGS];
	double end;

	if (argc < 6 || hidden_arguments(argv, 5))
		return 2;
	base = argv[2], work = argv[3];
	names(argv[4]);
	mkdir(inside[DIRECTORY], 0700);
	symlink("inside", inside[LINK]);
	if (chdir(work))
		return 2;
	if (!in_cell) {
		hidden_socket = socket(AF_UNIX, SOCK_DGRAM, 0);
		if (bind(hidden_socket, &addresses[1].any, sizeof(addresses[1].un)))
			return 2;
		put_back();
	}
	for (long i = 0; i < THINGS; i++)
		pthread_create(&ids[i], 0, swap, (void *)i);
	for (end = now() + atof(argv[1]); now() < end;)
		for (unsigned k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
			int got;

			lay_out();
			got = kinds[k].make();
			kinds[k].made++;
			kinds[k].granted += got > 0;
			kinds[k].reached += got < 0;
			if (got < 0)
				breach(kinds[k].name, base, "what is hidden");
		}
	stop = 1;
	for (int i = 0; i < THINGS; i++)
		pthread_join(ids[i], 0);
	for (int i = 0; i < THINGS; i++)
		if (swaps[i] < 100) {
			printf("only %ld swaps of %d\n", swaps[i], i);
			return 2;
		}
	for (unsigned k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
		printf("KIND %s %ld %ld %ld\n", kinds[k].name, kinds[k].made, kinds[k].granted, kinds[k].reached);
	return reached != 0;
}
