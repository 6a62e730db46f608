/* Descriptors that somebody outside has handed over: what they are good for beyond what they are. FD is as in attack.h. */
#include "attack.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include <netinet/in.h>

static int fd_argument(int argc, char **argv)
{
	return descriptor(argument(argc, argv, 1));
}

/* "/proc/self/fd/FD" in a static buffer. */
static const char *link_of(int fd)
{
	static char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return link;
}

/* fd-openat FD NAME: below a directory. */
static int fd_openat(int argc, char **argv)
{
	char byte;
	int fd = openat(fd_argument(argc, argv), argument(argc, argv, 2), O_RDONLY);

	if (fd < 0)
		return refused("openat");
	return outcome("read", read(fd, &byte, 1));
}

/* fd-read FD: its bytes. */
static int fd_read(int argc, char **argv)
{
	char byte;

	return outcome("read", read(fd_argument(argc, argv), &byte, 1));
}

/* fd-chdir FD NAME: walks there, then opens by a relative name. */
static int fd_chdir(int argc, char **argv)
{
	if (fchdir(fd_argument(argc, argv)) < 0)
		return refused("fchdir");
	return outcome("open", open(argument(argc, argv, 2), O_RDONLY));
}

static int fd_create(int argc, char **argv)
{
	return outcome("openat O_CREAT", openat(fd_argument(argc, argv), argument(argc, argv, 2), O_WRONLY | O_CREAT | O_EXCL, 0600));
}

static int fd_tmpfile(int argc, char **argv)
{
	return outcome("openat O_TMPFILE", openat(fd_argument(argc, argv), ".", O_WRONLY | O_TMPFILE, 0600));
}

static int fd_mkdir(int argc, char **argv)
{
	return outcome("mkdirat", mkdirat(fd_argument(argc, argv), argument(argc, argv, 2), 0700));
}

static int fd_unlink(int argc, char **argv)
{
	return outcome("unlinkat", unlinkat(fd_argument(argc, argv), argument(argc, argv, 2), 0));
}

static int fd_symlink(int argc, char **argv)
{
	return outcome("symlinkat", symlinkat("/", fd_argument(argc, argv), argument(argc, argv, 2)));
}

/* fd-rename FD NAME: from the directory to HOME. */
static int fd_rename(int argc, char **argv)
{
	return outcome("renameat", renameat(fd_argument(argc, argv), argument(argc, argv, 2), AT_FDCWD, in_home("renamed")));
}

/* fd-stat FD NAME: whether there is such a name, seen from the directory. */
static int fd_stat(int argc, char **argv)
{
	struct stat st;

	return outcome("fstatat", fstatat(fd_argument(argc, argv), argument(argc, argv, 2), &st, AT_SYMLINK_NOFOLLOW));
}

/* fd-reopen FD: a file that is open for reading, for writing. */
static int fd_reopen(int argc, char **argv)
{
	int fd = open(link_of(fd_argument(argc, argv)), O_RDWR);

	if (fd < 0)
		return refused("open");
	return outcome("write", write(fd, "attacked", 8));
}

/* fd-truncate FD: by its link, for which no right to write is needed. */
static int fd_truncate(int argc, char **argv)
{
	return outcome("truncate", truncate(link_of(fd_argument(argc, argv)), 0));
}

/* fd-link FD: gives the file a name in HOME. */
static int fd_link(int argc, char **argv)
{
	int fd = fd_argument(argc, argv);

	unlink(in_home("linked"));
	if (linkat(fd, "", AT_FDCWD, in_home("linked"), AT_EMPTY_PATH) == 0)
		return done("linkat AT_EMPTY_PATH");
	return outcome("linkat AT_SYMLINK_FOLLOW", linkat(AT_FDCWD, link_of(fd), AT_FDCWD, in_home("linked"), AT_SYMLINK_FOLLOW));
}

/* fd-chmod FD [MODE] */
static int fd_chmod(int argc, char **argv)
{
	return outcome("fchmod", fchmod(fd_argument(argc, argv), argc > 2 ? (mode_t)number(argv[2]) : 0666));
}

static int fd_chown(int argc, char **argv)
{
	return outcome("fchown", fchown(fd_argument(argc, argv), getuid(), getgid()));
}

static int fd_times(int argc, char **argv)
{
	static const struct timespec long_ago[2] = { { 86400, 0 }, { 86400, 0 } };

	return outcome("futimens", futimens(fd_argument(argc, argv), long_ago));
}

static int fd_attribute(int argc, char **argv)
{
	return outcome("fsetxattr", fsetxattr(fd_argument(argc, argv), "user.attack", "x", 1, 0));
}

static int fd_lock(int argc, char **argv)
{
	return outcome("flock", flock(fd_argument(argc, argv), LOCK_EX | LOCK_NB));
}

static int fd_lease(int argc, char **argv)
{
	return outcome("F_SETLEASE", fcntl(fd_argument(argc, argv), F_SETLEASE, F_RDLCK));
}

static int fd_dnotify(int argc, char **argv)
{
	return outcome("F_NOTIFY", fcntl(fd_argument(argc, argv), F_NOTIFY, DN_CREATE));
}

/* fd-watch FD: by its link. */
static int fd_watch(int argc, char **argv)
{
	int fd = fd_argument(argc, argv), watch = inotify_init1(0);

	if (watch < 0)
		return refused("inotify_init1");
	return outcome("inotify_add_watch", inotify_add_watch(watch, link_of(fd), IN_ALL_EVENTS));
}

/* fd-add-watch FD PATH: a watch that somebody else has made, for one more name. */
static int fd_add_watch(int argc, char **argv)
{
	return outcome("inotify_add_watch", inotify_add_watch(fd_argument(argc, argv), argument(argc, argv, 2), IN_ALL_EVENTS));
}

static int fd_handle(int argc, char **argv)
{
	struct {
		struct file_handle h;
		unsigned char room[MAX_HANDLE_SZ];
	} f = { .h.handle_bytes = MAX_HANDLE_SZ };
	int mount;

	return outcome("name_to_handle_at", name_to_handle_at(fd_argument(argc, argv), "", &f.h, &mount, AT_EMPTY_PATH));
}

/* fd-execute FD [ARGUMENT...] */
static int fd_execute(int argc, char **argv)
{
	int fd = fd_argument(argc, argv);

	syscall(SYS_execveat, fd, "", argv + 1, environ, AT_EMPTY_PATH);
	return refused("execveat");
}

/* fd-script FD: as a script, whose interpreter would open it by a link. */
static int fd_script(int argc, char **argv)
{
	char *arguments[] = { "script", NULL };

	execv(link_of(fd_argument(argc, argv)), arguments);
	return refused("execve");
}

static int fd_setns(int argc, char **argv)
{
	return outcome("setns", syscall(SYS_setns, fd_argument(argc, argv), 0));
}

/* fd-namespace FD: the owner of a namespace, and the one above it. */
static int fd_namespace(int argc, char **argv)
{
	return outcome("NS_GET_USERNS", ioctl(fd_argument(argc, argv), 0xb701 /* NS_GET_USERNS */));
}

/* fd-signal FD SIGNAL: a descriptor of a process. */
static int fd_signal(int argc, char **argv)
{
	return outcome("pidfd_send_signal", syscall(SYS_pidfd_send_signal, fd_argument(argc, argv), (int)number(argument(argc, argv, 2)), NULL, 0));
}

static int fd_take(int argc, char **argv)
{
	return outcome("pidfd_getfd", syscall(SYS_pidfd_getfd, fd_argument(argc, argv), 0, 0));
}

/* fd-process FD: what the kernel tells of a process by its descriptor. */
static int fd_process(int argc, char **argv)
{
	unsigned long info[16] = { 1 };

	return outcome("PIDFD_GET_INFO", ioctl(fd_argument(argc, argv), 0xc040ff0b /* PIDFD_GET_INFO, 64 bytes */, info));
}

/* fd-peer-signal FD SIGNAL: the process at the other end of a socket. */
static int fd_peer_signal(int argc, char **argv)
{
	int peer = -1;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd_argument(argc, argv), SOL_SOCKET, 77 /* SO_PEERPIDFD */, &peer, &size) < 0)
		return refused("SO_PEERPIDFD");
	return outcome("pidfd_send_signal", syscall(SYS_pidfd_send_signal, peer, (int)number(argument(argc, argv, 2)), NULL, 0));
}

/* fd-owner FD PID: who gets a signal when somebody outside writes to it; we write ourselves. */
static int fd_owner(int argc, char **argv)
{
	int fd = fd_argument(argc, argv);

	if (fcntl(fd, F_SETOWN, process(argument(argc, argv, 2))) < 0)
		return refused("F_SETOWN");
	if (fcntl(fd, F_SETSIG, SIGURG) < 0)
		return refused("F_SETSIG");
	if (fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) < 0)
		return refused("O_ASYNC");
	return outcome("write", write(fd, "x", 1));
}

/* fd-claim FD PID: says to the other end of a socket that it is somebody else. */
static int fd_claim(int argc, char **argv)
{
	int fd = fd_argument(argc, argv);
	struct ucred claim = { .pid = process(argument(argc, argv, 2)), .uid = getuid(), .gid = getgid() };
	char control[CMSG_SPACE(sizeof(claim))] = { 0 };
	struct iovec data = { "x", 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_CREDENTIALS;
	header->cmsg_len = CMSG_LEN(sizeof(claim));
	memcpy(CMSG_DATA(header), &claim, sizeof(claim));
	return outcome("sendmsg SCM_CREDENTIALS", sendmsg(fd, &message, 0));
}

/* fd-connect FD PORT: a socket that is connected to nothing yet, without a connect. */
static int fd_connect(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)number(argument(argc, argv, 2))) };

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return outcome("sendto MSG_FASTOPEN", sendto(fd_argument(argc, argv), "attacked", 8, MSG_FASTOPEN, (struct sockaddr *)&a, sizeof(a)));
}

/* fd-sendto FD NAME: a socket that is connected, with another address. */
static int fd_sendto(int argc, char **argv)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", argument(argc, argv, 2));
	return outcome("sendto", sendto(fd_argument(argc, argv), "attacked", 8, 0, (struct sockaddr *)&a, sizeof(a)));
}

/* fd-mount FD PATH: a tree that was taken out of the host's, put where we see it. */
static int fd_mount(int argc, char **argv)
{
	return outcome("move_mount", syscall(SYS_move_mount, fd_argument(argc, argv), "", AT_FDCWD, argument(argc, argv, 2), 4 /* MOVE_MOUNT_F_EMPTY_PATH */));
}

static int fd_tree(int argc, char **argv)
{
	return outcome("open_tree", syscall(SYS_open_tree, fd_argument(argc, argv), "", 0x1001 /* OPEN_TREE_CLONE, AT_EMPTY_PATH */));
}

/* fd-configure FD: a file system that somebody is about to make. */
static int fd_configure(int argc, char **argv)
{
	return outcome("fsconfig", syscall(SYS_fsconfig, fd_argument(argc, argv), 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0));
}

/* fd-ring FD DESCRIPTOR TAIL ARRAY ANSWERS: a ring whose kernel thread does for its maker what we write into it: empties a file of his. */
static int fd_ring(int argc, char **argv)
{
	int fd = fd_argument(argc, argv), victim = (int)number(argument(argc, argv, 2));
	unsigned tail = (unsigned)number(argument(argc, argv, 3)), array = (unsigned)number(argument(argc, argv, 4));
	char *ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *entries = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0x10000000);

	if (ring == MAP_FAILED || entries == MAP_FAILED)
		return refused("mmap");
	memset(entries, 0, 64);
	entries[0] = 55; /* IORING_OP_FTRUNCATE */
	memcpy(entries + 4, &victim, sizeof(victim));
	*(unsigned *)(ring + array) = 0;
	__atomic_store_n((unsigned *)(ring + tail), 1, __ATOMIC_RELEASE);
	syscall(SYS_io_uring_enter, fd, 0, 0, 2 /* IORING_ENTER_SQ_WAKEUP */, NULL, 0);
	for (int i = 0; i < 200 && !*(volatile unsigned *)(ring + number(argument(argc, argv, 5))); i++)
		usleep(10000);
	errno = ETIME;
	return *(volatile unsigned *)(ring + number(argv[5])) ? done("it has answered") : refused("no answer:");
}

const struct attempt descriptors[] = {
	{ "fd-openat", fd_openat },
	{ "fd-read", fd_read },
	{ "fd-chdir", fd_chdir },
	{ "fd-create", fd_create },
	{ "fd-tmpfile", fd_tmpfile },
	{ "fd-mkdir", fd_mkdir },
	{ "fd-unlink", fd_unlink },
	{ "fd-symlink", fd_symlink },
	{ "fd-rename", fd_rename },
	{ "fd-stat", fd_stat },
	{ "fd-reopen", fd_reopen },
	{ "fd-truncate", fd_truncate },
	{ "fd-link", fd_link },
	{ "fd-chmod", fd_chmod },
	{ "fd-chown", fd_chown },
	{ "fd-times", fd_times },
	{ "fd-attribute", fd_attribute },
	{ "fd-lock", fd_lock },
	{ "fd-lease", fd_lease },
	{ "fd-dnotify", fd_dnotify },
	{ "fd-watch", fd_watch },
	{ "fd-add-watch", fd_add_watch },
	{ "fd-handle", fd_handle },
	{ "fd-execute", fd_execute },
	{ "fd-script", fd_script },
	{ "fd-setns", fd_setns },
	{ "fd-namespace", fd_namespace },
	{ "fd-signal", fd_signal },
	{ "fd-take", fd_take },
	{ "fd-process", fd_process },
	{ "fd-peer-signal", fd_peer_signal },
	{ "fd-owner", fd_owner },
	{ "fd-claim", fd_claim },
	{ "fd-connect", fd_connect },
	{ "fd-sendto", fd_sendto },
	{ "fd-mount", fd_mount },
	{ "fd-tree", fd_tree },
	{ "fd-configure", fd_configure },
	{ "fd-ring", fd_ring },
	{ NULL, NULL },
};
