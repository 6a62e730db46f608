/*
 * probe.c: sockets of the network, one try a word.
 *
 *	probe TRY ADDRESS PORT [ADDRESS PORT]
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
#include <sys/socket.h>
#include <sys/stat.h>
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

int main(int argc, char **argv)
{
	static const unsigned char loose[] = { 131, 7, 4, 127, 0, 0, 1, 0 }; /* loose source route: 127.0.0.1 */
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct cmsghdr *c = (struct cmsghdr *)control;
	int fd, pair[2], one = 1, flags;

	if (argc < 4)
		return 2;
	try = argv[1];
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
