/* Reaching another process by a local socket, a queue or shared memory. */
#include "attack.h"

#include <mqueue.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A path, or an abstract name if it begins with "@". */
static socklen_t unix_address(struct sockaddr_un *a, const char *name)
{
	size_t length = strlen(name);

	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	if (length >= sizeof(a->sun_path))
		give_up(broken("socket name too long"));
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

/* message-receive ID: takes a message that is for others. */
static int message_receive(int argc, char **argv)
{
	struct {
		long type;
		char text[64];
	} message;

	return outcome("msgrcv", msgrcv((int)number(argument(argc, argv, 1)), &message, sizeof(message.text), 0, IPC_NOWAIT));
}

/* shm-remove ID */
static int shm_remove(int argc, char **argv)
{
	return outcome("shmctl IPC_RMID", shmctl((int)number(argument(argc, argv, 1)), IPC_RMID, NULL));
}

/* queue-notify NAME: to be signalled in the place of whoever waits for messages. */
static int queue_notify(int argc, char **argv)
{
	struct sigevent event = { .sigev_notify = SIGEV_NONE };
	mqd_t q = mq_open(argument(argc, argv, 1), O_RDONLY | O_NONBLOCK);

	if (q == (mqd_t)-1)
		return refused("mq_open");
	return outcome("mq_notify", mq_notify(q, &event));
}

/* pair-bind NAME: one end of a pair takes a name that others would look for. */
static int pair_bind(int argc, char **argv)
{
	struct sockaddr_un a;
	socklen_t length = unix_address(&a, argument(argc, argv, 1));
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return refused("socketpair");
	return outcome("bind", bind(fds[0], (struct sockaddr *)&a, length));
}

/* pair-sendmmsg NAME: many messages at once, each with an address. */
static int pair_sendmmsg(int argc, char **argv)
{
	struct sockaddr_un a;
	socklen_t length = unix_address(&a, argument(argc, argv, 1));
	struct iovec data = { "attacked", 8 };
	struct mmsghdr message = { .msg_hdr = { .msg_name = &a, .msg_namelen = length, .msg_iov = &data, .msg_iovlen = 1 } };
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
		return refused("socketpair");
	if (sendmmsg(fds[0], &message, 1, 0) != 1)
		return refused("sendmmsg");
	return recv(fds[1], &message, 8, MSG_DONTWAIT) == 8 ? refused("went to the other end:") : done("sendmmsg");
}

/* seqpacket-connect NAME */
static int seqpacket_connect(int argc, char **argv)
{
	struct sockaddr_un a;
	socklen_t length = unix_address(&a, argument(argc, argv, 1));
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	if (fd < 0)
		return refused("socket");
	return outcome("connect", connect(fd, (struct sockaddr *)&a, length));
}

/* forged-credentials PID: says on a pair that it is somebody else. */
static int forged_credentials(int argc, char **argv)
{
	struct ucred claim = { .pid = process(argument(argc, argv, 1)), .uid = getuid(), .gid = getgid() };
	char control[CMSG_SPACE(sizeof(claim))] = { 0 };
	struct iovec data = { "x", 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return refused("socketpair");
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_CREDENTIALS;
	header->cmsg_len = CMSG_LEN(sizeof(claim));
	memcpy(CMSG_DATA(header), &claim, sizeof(claim));
	return outcome("sendmsg SCM_CREDENTIALS", sendmsg(fds[0], &message, 0));
}

/* crypto: the kernel's ciphers, by a socket that is bound to one. */
static int crypto(int argc, char **argv)
{
	static const struct {
		unsigned short family;
		char type[14];
		unsigned feature, mask;
		char name[64];
	} hash = { 38, "hash", 0, 0, "sha256" };
	int fd = socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0);

	(void)argc;
	(void)argv;
	if (fd < 0)
		return refused("socket");
	return outcome("bind", bind(fd, (const struct sockaddr *)&hash, sizeof(hash)));
}

/* vsock-connect PORT: the host of a virtual machine. */
static int vsock_connect(int argc, char **argv)
{
	struct {
		unsigned short family, reserved;
		unsigned port, cid;
		char zero[4];
	} host = { 40, 0, (unsigned)number(argument(argc, argv, 1)), 2, "" };
	int fd = socket(40 /* AF_VSOCK */, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return refused("socket");
	return outcome("connect", connect(fd, (struct sockaddr *)&host, sizeof(host)));
}

const struct attempt sockets[] = {
	{ "socket", socket_only },
	{ "unix-connect", unix_connect },
	{ "unix-sendto", unix_sendto },
	{ "pair-sendto", pair_sendto },
	{ "pair-sendmsg", pair_sendmsg },
	{ "pair-connect", pair_connect },
	{ "unix-bind", unix_bind },
	{ "shm-attach", shm_attach },
	{ "shm-get", shm_get },
	{ "message-send", message_send },
	{ "semaphore", semaphore },
	{ "queue-send", queue_send },
	{ "shm-open", shm_open_name },
	{ "message-receive", message_receive },
	{ "shm-remove", shm_remove },
	{ "queue-notify", queue_notify },
	{ "pair-bind", pair_bind },
	{ "pair-sendmmsg", pair_sendmmsg },
	{ "seqpacket-connect", seqpacket_connect },
	{ "forged-credentials", forged_credentials },
	{ "crypto", crypto },
	{ "vsock-connect", vsock_connect },
	{ NULL, NULL },
};
