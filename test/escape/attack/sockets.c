/* Reaching another process by a socket, a queue or shared memory. */
#include "attack.h"

#include <arpa/inet.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* A path, or an abstract name if it begins with "@". */
static socklen_t unix_address(struct sockaddr_un *a, const char *name)
{
	size_t length = strlen(name);

	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	if (length >= sizeof(a->sun_path))
		exit(broken("socket name too long"));
	memcpy(a->sun_path, name, length);
	if (name[0] != '@')
		return sizeof(*a);
	a->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

static int socket_only(int argc, char **argv)
{
	return outcome("socket", socket((int)number(argument(argc, argv, 1)), (int)number(argument(argc, argv, 2)),
					(int)number(argument(argc, argv, 3))));
}

static int unix_connect(int argc, char **argv)
{
	struct sockaddr_un a;
	socklen_t length = unix_address(&a, argument(argc, argv, 1));
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0)
		return refused("socket");
	if (connect(fd, (struct sockaddr *)&a, length) < 0)
		return refused("connect");
	return outcome("write", write(fd, "attacked", 8));
}

static int unix_sendto(int argc, char **argv)
{
	struct sockaddr_un a;
	socklen_t length = unix_address(&a, argument(argc, argv, 1));
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	if (fd < 0)
		return refused("socket");
	return outcome("sendto", sendto(fd, "attacked", 8, 0, (struct sockaddr *)&a, length));
}

/* pair-sendto NAME: a datagram socketpair is connected, but may send elsewhere. */
static int pair_sendto(int argc, char **argv)
{
	struct sockaddr_un a;
	socklen_t length = unix_address(&a, argument(argc, argv, 1));
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) < 0)
		return refused("socketpair");
	return outcome("sendto", sendto(fds[0], "attacked", 8, 0, (struct sockaddr *)&a, length));
}

static int pair_sendmsg(int argc, char **argv)
{
	struct sockaddr_un a;
	socklen_t length = unix_address(&a, argument(argc, argv, 1));
	struct iovec data = { "attacked", 8 };
	struct msghdr message = { .msg_name = &a, .msg_namelen = length, .msg_iov = &data, .msg_iovlen = 1 };
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) < 0)
		return refused("socketpair");
	return outcome("sendmsg", sendmsg(fds[0], &message, 0));
}

/* pair-connect NAME: the same pair, turned to another peer. */
static int pair_connect(int argc, char **argv)
{
	struct sockaddr_un a;
	socklen_t length = unix_address(&a, argument(argc, argv, 1));
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) < 0)
		return refused("socketpair");
	if (connect(fds[0], (struct sockaddr *)&a, length) < 0)
		return refused("connect");
	return outcome("write", write(fds[0], "attacked", 8));
}

/* unix-bind NAME: waits for the host's programs to come to us. */
static int unix_bind(int argc, char **argv)
{
	struct sockaddr_un a;
	socklen_t length = unix_address(&a, argument(argc, argv, 1));
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0)
		return refused("socket");
	return outcome("bind", bind(fd, (struct sockaddr *)&a, length));
}

static struct sockaddr_in loopback(const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)number(port)) };

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

/* tcp-connect PORT [PROTOCOL] */
static int tcp_connect(int argc, char **argv)
{
	struct sockaddr_in a = loopback(argument(argc, argv, 1));
	int fd = socket(AF_INET, SOCK_STREAM, argc > 2 ? (int)number(argv[2]) : 0);

	if (fd < 0)
		return refused("socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return refused("connect");
	return outcome("write", write(fd, "attacked", 8));
}

static int tcp6_connect(int argc, char **argv)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)number(argument(argc, argv, 1))) };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	/* The mapped form reaches an IPv4 listener. */
	if (inet_pton(AF_INET6, "::ffff:127.0.0.1", &a.sin6_addr) != 1)
		return broken("inet_pton");
	if (fd < 0)
		return refused("socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return refused("connect");
	return outcome("write", write(fd, "attacked", 8));
}

/* tcp-fastopen PORT [FD]: connects by sendto, which no connect rule sees; FD is a socket that was passed. */
static int tcp_fastopen(int argc, char **argv)
{
	struct sockaddr_in a = loopback(argument(argc, argv, 1));
	int fd = argc > 2 ? (int)number(argv[2]) : socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return refused("socket");
	return outcome("sendto MSG_FASTOPEN", sendto(fd, "attacked", 8, MSG_FASTOPEN, (struct sockaddr *)&a, sizeof(a)));
}

static int tcp_listen(int argc, char **argv)
{
	struct sockaddr_in a = loopback("0");
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)argc;
	(void)argv;
	if (fd < 0)
		return refused("socket");
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return refused("bind");
	return outcome("listen", listen(fd, 1));
}

static int udp_sendto(int argc, char **argv)
{
	struct sockaddr_in a = loopback(argument(argc, argv, 1));
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return refused("socket");
	return outcome("sendto", sendto(fd, "attacked", 8, 0, (struct sockaddr *)&a, sizeof(a)));
}

/* shm-attach ID: shared memory of the host that everybody may attach. */
static int shm_attach(int argc, char **argv)
{
	char *p = shmat((int)number(argument(argc, argv, 1)), NULL, 0);

	if (p == (void *)-1)
		return refused("shmat");
	*p = 'x';
	return done("shmat and write");
}

static int shm_get(int argc, char **argv)
{
	return outcome("shmget", shmget((key_t)number(argument(argc, argv, 1)), 4096, IPC_CREAT | 0600));
}

static int message_send(int argc, char **argv)
{
	struct {
		long type;
		char text[8];
	} message = { 1, "attack" };

	return outcome("msgsnd", msgsnd((int)number(argument(argc, argv, 1)), &message, sizeof(message.text), IPC_NOWAIT));
}

static int semaphore(int argc, char **argv)
{
	struct sembuf up = { 0, 1, IPC_NOWAIT };

	return outcome("semop", semop((int)number(argument(argc, argv, 1)), &up, 1));
}

static int queue_send(int argc, char **argv)
{
	mqd_t q = mq_open(argument(argc, argv, 1), O_WRONLY | O_NONBLOCK);

	if (q == (mqd_t)-1)
		return refused("mq_open");
	return outcome("mq_send", mq_send(q, "attacked", 8, 0));
}

static int shm_open_name(int argc, char **argv)
{
	return outcome("shm_open", shm_open(argument(argc, argv, 1), O_RDWR, 0));
}

/*
 * receive-openat NAME: standard input is a socket whose peer outside sends us
 * a descriptor of a directory; opens NAME in it.
 */
static int receive_openat(int argc, char **argv)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header;
	int dir;

	if (recvmsg(0, &message, 0) < 0)
		return refused("recvmsg");
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return broken("no descriptor came");
	memcpy(&dir, CMSG_DATA(header), sizeof(dir));
	int fd = openat(dir, argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("openat in the received directory");
	return outcome("read", read(fd, &byte, 1));
}

const struct attempt sockets[] = {
	{ "socket", socket_only },
	{ "unix-connect", unix_connect },
	{ "unix-sendto", unix_sendto },
	{ "pair-sendto", pair_sendto },
	{ "pair-sendmsg", pair_sendmsg },
	{ "pair-connect", pair_connect },
	{ "unix-bind", unix_bind },
	{ "tcp-connect", tcp_connect },
	{ "tcp6-connect", tcp6_connect },
	{ "tcp-fastopen", tcp_fastopen },
	{ "tcp-listen", tcp_listen },
	{ "udp-sendto", udp_sendto },
	{ "shm-attach", shm_attach },
	{ "shm-get", shm_get },
	{ "message-send", message_send },
	{ "semaphore", semaphore },
	{ "queue-send", queue_send },
	{ "shm-open", shm_open_name },
	{ "receive-openat", receive_openat },
	{ NULL, NULL },
};
