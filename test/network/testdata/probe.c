/*
 * probe.c: sockets of the network, one try a word.
 *
 *	probe TRY ADDRESS PORT [ADDRESS PORT]
 *	probe unix-… NAME [NAME]
 *	probe terminal NUMBER
 *
 * prints "TRY done", with what it got, or "TRY" and the name of an errno. ADDRESS is
 * one of IPv4, or of IPv6 where it has a colon. Nothing waits longer than a few
 * seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char *try;
static struct sockaddr_storage to, other;
static socklen_t size;

static int tell(int failed, const char *what)
{
	if (failed)
		printf("%s %s\n", try, strerrorname_np(errno));
	else
		printf("%s done%s%s\n", try, *what ? " " : "", what);
	return 0;
}

static void address(struct sockaddr_storage *s, const char *text, const char *port)
{
	struct sockaddr_in *four = (struct sockaddr_in *)s;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)s;

	memset(s, 0, sizeof(*s));
	if (strchr(text, ':')) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((unsigned short)atoi(port));
		if (inet_pton(AF_INET6, text, &six->sin6_addr) != 1)
			exit(2);
		size = sizeof(*six);
		return;
	}
	four->sin_family = AF_INET;
	four->sin_port = htons((unsigned short)atoi(port));
	if (inet_pton(AF_INET, text, &four->sin_addr) != 1)
		exit(2);
	size = sizeof(*four);
}

static int sock(int type)
{
	int fd = socket(to.ss_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		tell(1, "");
	return fd;
}

/* answer reads what a server says to who has sent or connected. */
static int answer(int fd)
{
	struct timeval limit = { 3, 0 };
	struct pollfd p = { fd, POLLIN, 0 };
	char text[64];
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	poll(&p, 1, 3000); /* for a socket that does not wait */
	n = recv(fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return tell(1, "");
	text[n] = 0;
	return tell(0, text);
}

static ssize_t message(int fd, const struct sockaddr_storage *where, int flags, const void *control, size_t length)
{
	struct iovec v[2] = { { "pi", 2 }, { "ng", 2 } };
	struct msghdr h = { .msg_iov = v, .msg_iovlen = 2, .msg_control = (void *)control, .msg_controllen = length };

	if (where) {
		h.msg_name = (void *)where;
		h.msg_namelen = size;
	}
	return sendmsg(fd, &h, flags);
}

static volatile int stop;
static struct sockaddr_storage swapped;

/* swap writes one address over the other all the time. */
static void *swap(void *unused)
{
	while (!stop) {
		memcpy(&swapped, &to, sizeof(to));
		__asm__ volatile("" ::: "memory");
		memcpy(&swapped, &other, sizeof(other));
		__asm__ volatile("" ::: "memory");
	}
	return unused;
}

/* race uses an address that changes, for a second; it is never told what became of it. */
static int race(void)
{
	time_t end = time(0) + 2;
	pthread_t id[2];
	long tries = 0;
	char text[32];

	for (int i = 0; i < 2; i++)
		pthread_create(&id[i], 0, swap, 0);
	while (time(0) < end) {
		int tcp = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), udp = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		connect(tcp, (struct sockaddr *)&swapped, size);
		if (udp >= 0) {
			sendto(udp, "race", 4, MSG_DONTWAIT, (struct sockaddr *)&swapped, size);
			message(udp, &swapped, MSG_DONTWAIT, 0, 0);
			if (!connect(udp, (struct sockaddr *)&swapped, size))
				send(udp, "race", 4, MSG_DONTWAIT);
			close(udp);
		}
		close(tcp);
		tries++;
	}
	stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(id[i], 0);
	sprintf(text, "%s", tries > 50 ? "often" : "seldom");
	return tell(0, text);
}

static void *look(void *count)
{
	struct stat st;

	while (!stop) {
		stat("/dev/null", &st);
		++*(volatile long *)count;
	}
	return 0;
}

/* hang connects to a server whose queue is full, while another thread asks the supervisor for something. */
static int hang(void)
{
	struct timeval limit = { 1, 500000 };
	long looks = 0;
	pthread_t id;
	int fd, err = 0, i;

	for (i = 0; i < 8; i++) { /* whoever listens takes none of these */
		fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fd, (struct sockaddr *)&to, size);
	}
	fd = sock(SOCK_STREAM);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	pthread_create(&id, 0, look, &looks);
	if (connect(fd, (struct sockaddr *)&to, size))
		err = errno;
	stop = 1;
	pthread_join(id, 0);
	errno = err;
	if (!err || looks < 100)
		return tell(0, err ? "alone" : "connected");
	return tell(1, "");
}

static struct sockaddr_un names[2], name;

/* local makes the address of a socket with a name; "@" begins an abstract one. */
static struct sockaddr_un local(const char *path)
{
	struct sockaddr_un s = { .sun_family = AF_UNIX };

	strncpy(s.sun_path, path, sizeof(s.sun_path) - 1);
	if (*path == '@')
		s.sun_path[0] = 0;
	return s;
}

/* extent is the size of such an address: of an abstract name it counts. */
static socklen_t extent(const struct sockaddr_un *s)
{
	if (s->sun_path[0])
		return sizeof(*s);
	return (socklen_t)(sizeof(s->sun_family) + 1 + strlen(s->sun_path + 1));
}

static void *swap_names(void *unused)
{
	while (!stop) {
		memcpy(&name, &names[0], sizeof(name));
		__asm__ volatile("" ::: "memory");
		memcpy(&name, &names[1], sizeof(name));
		__asm__ volatile("" ::: "memory");
	}
	return unused;
}

static void *serve(void *listener)
{
	int fd;

	while ((fd = accept(*(int *)listener, 0, 0)) >= 0) {
		send(fd, "pong", 4, MSG_NOSIGNAL);
		close(fd);
	}
	return 0;
}

/* moved brings a socket of the host to where the cell's own lie, and connects there. */
static int moved(const char *from, const char *to_name)
{
	struct sockaddr_un to = local(to_name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!strcmp(try, "unix-link") ? link(from, to_name) : rename(from, to_name))
		return tell(1, "");
	if (!strcmp(try, "unix-mark") && chmod(to_name, 01777))
		return tell(0, "without the mark");
	if (!connect(fd, (struct sockaddr *)&to, extent(&to)))
		return answer(fd);
	tell(1, "");
	return rename(to_name, from);
}

/* named does what has to do with sockets that have names. */
static int named(int argc, char **argv)
{
	struct sockaddr_un to = local(argv[2]);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), other, one;
	pthread_t id;

	if (fd < 0)
		return tell(1, "");
	if ((!strcmp(try, "unix-link") || !strcmp(try, "unix-rename") || !strcmp(try, "unix-mark")) && argc > 3)
		return moved(argv[2], argv[3]);
	if (!strcmp(try, "unix-bind"))
		return tell(bind(fd, (struct sockaddr *)&to, extent(&to)) || listen(fd, 1), "");
	if (!strcmp(try, "unix-connect"))
		return connect(fd, (struct sockaddr *)&to, extent(&to)) ? tell(1, "") : answer(fd);
	if (!strcmp(try, "unix-datagram"))
		return tell(socket(AF_UNIX, SOCK_DGRAM, 0) < 0, "");
	if (bind(fd, (struct sockaddr *)&to, extent(&to)) || listen(fd, 4))
		return tell(1, "");
	pthread_create(&id, 0, serve, &fd);
	if (!strcmp(try, "unix-serve")) {
		struct stat st;

		other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(other, (struct sockaddr *)&to, extent(&to)) || stat(argv[2], &st) || !S_ISSOCK(st.st_mode))
			return tell(1, "");
		return answer(other);
	}
	if (!strcmp(try, "unix-full")) { /* nobody accepts: the queue is full at last, and who does not wait is told */
		one = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (unlink(argv[2]) || bind(one, (struct sockaddr *)&to, extent(&to)) || listen(one, 0))
			return tell(1, "");
		for (int i = 0; i < 8; i++) {
			other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
			if (connect(other, (struct sockaddr *)&to, extent(&to)))
				return tell(1, "");
		}
		return tell(0, "never");
	}
	if (!strcmp(try, "unix-race") && argc > 3) {
		time_t end = time(0) + 2;
		long tries = 0;

		names[0] = to;
		names[1] = local(argv[3]);
		pthread_create(&id, 0, swap_names, 0);
		for (; time(0) < end; tries++) {
			other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
			connect(other, (struct sockaddr *)&name, sizeof(name));
			close(other);
			other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
			bind(other, (struct sockaddr *)&name, sizeof(name));
			close(other);
		}
		stop = 1;
		return tell(0, tries > 50 ? "often" : "seldom");
	}
	return 2;
}

/* terminal makes a pair of terminals, closes it, waits for a line, and opens what has its number then, or opens NUMBER. */
static int terminal(const char *number)
{
	char path[64], line[16];
	int fd, n = -1, lock = 0;

	if (*number == '-') {
		fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (fd < 0 || ioctl(fd, TIOCGPTN, &n) || ioctl(fd, TIOCSPTLCK, &lock))
			return tell(1, "");
		sprintf(path, "/dev/pts/%d", n);
		if (number[1] == 'n') { /* narrowed: by a Landlock domain that permits no file */
			unsigned long long handled[2] = { 4 }; /* struct landlock_ruleset_attr: LANDLOCK_ACCESS_FS_READ_FILE */
			int rules = (int)syscall(SYS_landlock_create_ruleset, handled, sizeof(handled), 0);

			if (rules < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_landlock_restrict_self, rules, 0))
				return tell(0, "without a domain");
			if (open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC) >= 0)
				return tell(0, "a new one");
			return tell(open(path, O_RDWR | O_NOCTTY | O_CLOEXEC) < 0, "");
		}
		if (number[1] == 'o') { /* own: both ends speak */
			int end = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);

			if (end < 0 || write(fd, "ping\n", 5) != 5 || read(end, line, 5) != 5 || !isatty(end))
				return tell(1, "");
			return tell(0, "both");
		}
		close(fd);
		printf("number %d\n", n);
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			return 2;
	} else {
		sprintf(path, "/dev/pts/%s", number);
	}
	return tell(open(path, O_RDWR | O_NOCTTY | O_CLOEXEC) < 0, "");
}

int main(int argc, char **argv)
{
	static const unsigned char loose[] = { 131, 7, 4, 127, 0, 0, 1, 0 }; /* loose source route: 127.0.0.1 */
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct cmsghdr *c = (struct cmsghdr *)control;
	int fd, pair[2], one = 1, flags;

	if (argc < 3)
		return 2;
	try = argv[1];
	if (!strncmp(try, "unix-", 5))
		return named(argc, argv);
	if (!strcmp(try, "terminal"))
		return terminal(argv[2]);
	if (argc < 4)
		return 2;
	address(&to, argv[2], argv[3]);
	if (argc > 5)
		address(&other, argv[4], argv[5]);
	if (!strcmp(try, "connect") || !strcmp(try, "connect-later") || !strcmp(try, "connect-deferred") || !strcmp(try, "connect-again")) {
		if ((fd = sock(SOCK_STREAM | (try[7] && try[8] == 'l' ? SOCK_NONBLOCK : 0))) < 0)
			return 0;
		if (try[7] && try[8] == 'd')
			setsockopt(fd, SOL_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
		flags = fcntl(fd, F_GETFL);
		if (connect(fd, (struct sockaddr *)&to, size) && (errno != EINPROGRESS || try[8] != 'l'))
			return tell(1, "");
		if (try[7] && try[8] == 'l') {
			struct pollfd p = { fd, POLLOUT, 0 };

			poll(&p, 1, 3000);
		}
		if (fcntl(fd, F_GETFL) != flags)
			return tell(0, "with other flags");
		if (try[7] && try[8] == 'a' && (!connect(fd, (struct sockaddr *)&to, size) || errno != EISCONN))
			return tell(0, "twice");
		send(fd, "ping", 4, MSG_NOSIGNAL);
		return answer(fd);
	}
	if (!strcmp(try, "listen")) {
		if ((fd = sock(SOCK_STREAM)) < 0)
			return 0;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		return tell(bind(fd, (struct sockaddr *)&to, size) || listen(fd, 4), "");
	}
	if (!strcmp(try, "listen-unbound"))
		return (fd = sock(SOCK_STREAM)) < 0 ? 0 : tell(listen(fd, 4), "");
	if (!strcmp(try, "fastopen-sendto"))
		return (fd = sock(SOCK_STREAM)) < 0 ? 0 : tell(sendto(fd, "ping", 4, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&to, size) < 0, "");
	if (!strcmp(try, "fastopen-sendmsg"))
		return (fd = sock(SOCK_STREAM)) < 0 ? 0 : tell(message(fd, &to, MSG_FASTOPEN | MSG_NOSIGNAL, 0, 0) < 0, "");
	if (!strcmp(try, "fastopen-sendmmsg")) {
		struct iovec v = { "ping", 4 };
		struct mmsghdr h = { .msg_hdr = { .msg_name = &to, .msg_namelen = size, .msg_iov = &v, .msg_iovlen = 1 } };

		return (fd = sock(SOCK_STREAM)) < 0 ? 0 : tell(sendmmsg(fd, &h, 1, MSG_FASTOPEN | MSG_NOSIGNAL) < 0, "");
	}
	if (!strcmp(try, "source-route"))
		return (fd = sock(SOCK_STREAM)) < 0 ? 0 : tell(setsockopt(fd, SOL_IP, IP_OPTIONS, loose, sizeof(loose)) < 0, "");
	if (!strcmp(try, "udp-connect")) {
		if ((fd = sock(SOCK_DGRAM)) < 0)
			return 0;
		if (connect(fd, (struct sockaddr *)&to, size) || send(fd, "ping", 4, 0) < 0)
			return tell(1, "");
		return answer(fd);
	}
	if (!strcmp(try, "udp-sendto"))
		return (fd = sock(SOCK_DGRAM)) < 0 ? 0 : sendto(fd, "ping", 4, 0, (struct sockaddr *)&to, size) < 0 ? tell(1, "") : answer(fd);
	if (!strcmp(try, "udp-unspec")) { /* a family that sockets of IPv4 take for theirs */
		to.ss_family = AF_INET;
		if ((fd = sock(SOCK_DGRAM)) < 0)
			return 0;
		to.ss_family = AF_UNSPEC;
		return sendto(fd, "ping", 4, 0, (struct sockaddr *)&to, size) < 0 ? tell(1, "") : answer(fd);
	}
	if (!strcmp(try, "udp-sendmsg"))
		return (fd = sock(SOCK_DGRAM)) < 0 ? 0 : message(fd, &to, 0, 0, 0) < 0 ? tell(1, "") : answer(fd);
	if (!strcmp(try, "udp-tos")) { /* a control message that is let through */
		c->cmsg_len = CMSG_LEN(sizeof(int)), c->cmsg_level = SOL_IP, c->cmsg_type = IP_TOS;
		*(int *)CMSG_DATA(c) = 8;
		return (fd = sock(SOCK_DGRAM)) < 0 ? 0 : message(fd, &to, 0, control, sizeof(control)) < 0 ? tell(1, "") : answer(fd);
	}
	if (!strcmp(try, "udp-options")) { /* one that names hosts on the way */
		c->cmsg_len = CMSG_LEN(sizeof(int)), c->cmsg_level = SOL_IP, c->cmsg_type = IP_RETOPTS;
		memset(CMSG_DATA(c), 1, sizeof(int));
		return (fd = sock(SOCK_DGRAM)) < 0 ? 0 : message(fd, &to, 0, control, sizeof(control)) < 0 ? tell(1, "") : answer(fd);
	}
	if (!strcmp(try, "udp-sendmmsg")) {
		struct iovec v = { "ping", 4 };
		struct mmsghdr h = { .msg_hdr = { .msg_name = &to, .msg_namelen = size, .msg_iov = &v, .msg_iovlen = 1 } };

		return (fd = sock(SOCK_DGRAM)) < 0 ? 0 : sendmmsg(fd, &h, 1, 0) < 0 ? tell(1, "") : answer(fd);
	}
	if (!strcmp(try, "udp-bind"))
		return (fd = sock(SOCK_DGRAM)) < 0 ? 0 : tell(bind(fd, (struct sockaddr *)&to, size), "");
	if (!strcmp(try, "after-look")) { /* the supervisor is still the cell's user when this comes */
		access("/dev/zero2", R_OK);
		return tell(connect(0, (struct sockaddr *)&to, size), "");
	}
	if (!strcmp(try, "udp-range")) { /* a port that the program chooses without naming it */
		unsigned int range = (unsigned int)atoi(argv[3]) * 0x10001;

		return (fd = sock(SOCK_DGRAM)) < 0 ? 0 : tell(setsockopt(fd, SOL_IP, 51, &range, sizeof(range)), "");
	}
	if (!strcmp(try, "udp-passed")) { /* one that no filter of another cell would ask about */
		if ((fd = sock(SOCK_DGRAM)) < 0)
			return 0;
		c->cmsg_len = CMSG_LEN(sizeof(int)), c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS;
		*(int *)CMSG_DATA(c) = fd;
		return tell(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || message(pair[0], 0, 0, control, sizeof(control)) != 4, "");
	}
	if (!strcmp(try, "pass")) { /* a file over a pair, which has nothing to do with the network */
		char got[CMSG_SPACE(sizeof(int))], text[8] = "";
		struct iovec v = { text, 4 };
		struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = got, .msg_controllen = sizeof(got) };
		struct stat a, b;

		fd = open("/dev/null", O_RDONLY);
		c->cmsg_len = CMSG_LEN(sizeof(int)), c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS;
		*(int *)CMSG_DATA(c) = fd;
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || message(pair[0], 0, 0, control, sizeof(control)) != 4 || recvmsg(pair[1], &h, 0) != 4)
			return tell(1, "");
		c = CMSG_FIRSTHDR(&h);
		if (!c || c->cmsg_type != SCM_RIGHTS || fstat(fd, &a) || fstat(*(int *)CMSG_DATA(c), &b) || a.st_rdev != b.st_rdev)
			return tell(0, "without the file");
		return tell(0, text);
	}
	if (!strcmp(try, "resolver")) { /* what C libraries are told of name servers */
		char line[256];
		FILE *f = fopen("/etc/resolv.conf", "re");
		struct stat st;

		if (!f || fstat(fileno(f), &st))
			return tell(1, "");
		while (fgets(line, sizeof(line), f))
			if (!strcmp(line, "options use-vc\n"))
				return tell(st.st_size <= 0 || (st.st_mode & 07777) != 0444 || !open("/etc/resolv.conf", O_WRONLY), "by TCP");
		return tell(0, "by UDP");
	}
	if (!strcmp(try, "race"))
		return race();
	if (!strcmp(try, "hang"))
		return hang();
	return 2;
}
