/* The network, and what is heard of it. */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

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

/* tcp-fastopen PORT: connects by sendto, which no connect rule sees. */
static int tcp_fastopen(int argc, char **argv)
{
	struct sockaddr_in a = loopback(argument(argc, argv, 1));
	int fd = socket(AF_INET, SOCK_STREAM, 0);

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

/* udp-connect PORT: an address by connect, and then none at the write. */
static int udp_connect(int argc, char **argv)
{
	struct sockaddr_in a = loopback(argument(argc, argv, 1));
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return refused("socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return refused("connect");
	return outcome("write", write(fd, "attacked", 8));
}

/* udp-sendmsg PORT: the address in a structure, which no filter sees. */
static int udp_sendmsg(int argc, char **argv)
{
	struct sockaddr_in a = loopback(argument(argc, argv, 1));
	struct iovec data = { "attacked", 8 };
	struct msghdr message = { .msg_name = &a, .msg_namelen = sizeof(a), .msg_iov = &data, .msg_iovlen = 1 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return refused("socket");
	return outcome("sendmsg", sendmsg(fd, &message, 0));
}

/* udp-sendmmsg PORT: the second of two messages is for somebody else. */
static int udp_sendmmsg(int argc, char **argv)
{
	struct sockaddr_in a[2] = { loopback("9"), loopback(argument(argc, argv, 1)) };
	struct iovec data = { "attacked", 8 };
	struct mmsghdr messages[2] = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	for (int i = 0; i < 2; i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_name = &a[i], .msg_namelen = sizeof(a[i]), .msg_iov = &data, .msg_iovlen = 1 };
	if (fd < 0)
		return refused("socket");
	return sendmmsg(fd, messages, 2, 0) == 2 ? done("sendmmsg") : refused("sendmmsg");
}

/* udp6-sendto PORT: an IPv4 address in the clothes of an IPv6 one. */
static int udp6_sendto(int argc, char **argv)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)number(argument(argc, argv, 1))) };
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	if (inet_pton(AF_INET6, "::ffff:127.0.0.1", &a.sin6_addr) != 1)
		return broken("inet_pton");
	if (fd < 0)
		return refused("socket");
	return outcome("sendto", sendto(fd, "attacked", 8, 0, (struct sockaddr *)&a, sizeof(a)));
}

/* tcp-later PORT: a connect that is under way when the call returns. */
static int tcp_later(int argc, char **argv)
{
	struct sockaddr_in a = loopback(argument(argc, argv, 1));
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct pollfd p = { fd, POLLOUT, 0 };

	if (fd < 0)
		return refused("socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno != EINPROGRESS)
		return refused("connect");
	poll(&p, 1, 1000);
	return outcome("write", write(fd, "attacked", 8));
}

/* fastopen-message PORT: connects by sendmsg, whose address no filter sees. */
static int fastopen_message(int argc, char **argv)
{
	struct sockaddr_in a = loopback(argument(argc, argv, 1));
	struct iovec data = { "attacked", 8 };
	struct msghdr message = { .msg_name = &a, .msg_namelen = sizeof(a), .msg_iov = &data, .msg_iovlen = 1 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return refused("socket");
	return outcome("sendmsg MSG_FASTOPEN", sendmsg(fd, &message, MSG_FASTOPEN));
}

/* fastopen-write PORT: a connect that only remembers, and a write that connects. */
static int fastopen_write(int argc, char **argv)
{
	struct sockaddr_in a = loopback(argument(argc, argv, 1));
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (fd < 0)
		return refused("socket");
	if (setsockopt(fd, IPPROTO_TCP, 30 /* TCP_FASTOPEN_CONNECT */, &on, sizeof(on)) < 0)
		return refused("TCP_FASTOPEN_CONNECT");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return refused("connect");
	return outcome("write", write(fd, "attacked", 8));
}

/* tcp-again PORT: a socket that was connected elsewhere before, and then to nowhere. */
static int tcp_again(int argc, char **argv)
{
	struct sockaddr_in a = loopback("9"), b = loopback(argument(argc, argv, 1));
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return refused("socket");
	connect(fd, (struct sockaddr *)&a, sizeof(a));
	connect(fd, &nowhere, sizeof(nowhere));
	if (connect(fd, (struct sockaddr *)&b, sizeof(b)) < 0)
		return refused("connect");
	return outcome("write", write(fd, "attacked", 8));
}

/* listen-unbound: a port that no bind has asked for. */
static int listen_unbound(int argc, char **argv)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)argc;
	(void)argv;
	if (fd < 0)
		return refused("socket");
	return outcome("listen", listen(fd, 1));
}

/* ping: an echo request to the machine itself. */
static int ping(int argc, char **argv)
{
	struct icmphdr echo = { .type = ICMP_ECHO };
	struct sockaddr_in a = loopback("0");
	int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);

	(void)argc;
	(void)argv;
	if (fd < 0)
		return refused("socket");
	return outcome("sendto", sendto(fd, &echo, sizeof(echo), 0, (struct sockaddr *)&a, sizeof(a)));
}

/* raw-send PORT: a UDP packet made by hand, with a header that says it comes from elsewhere. */
static int raw_send(int argc, char **argv)
{
	struct sockaddr_in a = loopback("0");
	unsigned char packet[36] = { 0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 2, 127, 0, 0, 1 };
	unsigned port = (unsigned)number(argument(argc, argv, 1));
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);

	packet[22] = (unsigned char)(port >> 8);
	packet[23] = (unsigned char)port;
	packet[25] = 16;
	memcpy(packet + 28, "attacked", 8);
	if (fd < 0)
		return refused("socket");
	return outcome("sendto", sendto(fd, packet, sizeof(packet), 0, (struct sockaddr *)&a, sizeof(a)));
}

/* packet-listen: everything that goes over loopback. */
static int packet_listen(int argc, char **argv)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(3 /* ETH_P_ALL */), .sll_ifindex = 1 };
	int fd = socket(AF_PACKET, SOCK_RAW, htons(3));

	(void)argc;
	(void)argv;
	if (fd < 0)
		return refused("socket");
	return outcome("bind", bind(fd, (struct sockaddr *)&a, sizeof(a)));
}

/* The first bytes of what a request to netlink brings. */
static int netlink(int protocol, int type, const void *body, unsigned size)
{
	struct {
		struct nlmsghdr header;
		char body[64];
	} request = { .header = { NLMSG_LENGTH(size), (unsigned short)type, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 } };
	char answer[4096];
	int fd = socket(AF_NETLINK, SOCK_RAW, protocol);

	memcpy(request.body, body, size);
	if (fd < 0)
		return refused("socket");
	if (send(fd, &request, request.header.nlmsg_len, 0) < 0)
		return refused("send");
	return outcome("recv", recv(fd, answer, sizeof(answer), 0));
}

/* netlink-links: the interfaces of the machine. */
static int netlink_links(int argc, char **argv)
{
	struct rtgenmsg any = { AF_UNSPEC };

	(void)argc;
	(void)argv;
	return netlink(NETLINK_ROUTE, RTM_GETLINK, &any, sizeof(any));
}

/* netlink-sockets: the local sockets of everybody. */
static int netlink_sockets(int argc, char **argv)
{
	struct {
		unsigned char family, protocol;
		unsigned short pad;
		unsigned states, inode, show, cookie[2];
	} all = { .family = AF_UNIX, .states = ~0U, .show = 1 };

	(void)argc;
	(void)argv;
	return netlink(NETLINK_SOCK_DIAG, 20 /* SOCK_DIAG_BY_FAMILY */, &all, sizeof(all));
}

/* netlink-events: what happens to the devices of the machine. */
static int netlink_events(int argc, char **argv)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT);

	(void)argc;
	(void)argv;
	if (fd < 0)
		return refused("socket");
	return outcome("bind", bind(fd, (struct sockaddr *)&a, sizeof(a)));
}

/* interfaces: their names, by a socket that is there for anything. */
static int interfaces(int argc, char **argv)
{
	struct ifreq r = { .ifr_ifindex = 1 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), pair[2];

	(void)argc;
	(void)argv;
	if (fd < 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0)
		fd = pair[0];
	if (fd < 0)
		return refused("socket");
	return outcome("SIOCGIFNAME", ioctl(fd, SIOCGIFNAME, &r));
}

/* tunnel: an interface of our own. */
static int tunnel(int argc, char **argv)
{
	struct ifreq r = { .ifr_flags = 1 /* IFF_TUN */ };
	int fd = open("/dev/net/tun", O_RDWR);

	(void)argc;
	(void)argv;
	if (fd < 0)
		return refused("open");
	return outcome("TUNSETIFF", ioctl(fd, 0x400454ca /* TUNSETIFF */, &r));
}

const struct attempt network[] = {
	{ "tcp-connect", tcp_connect },
	{ "tcp6-connect", tcp6_connect },
	{ "tcp-fastopen", tcp_fastopen },
	{ "tcp-listen", tcp_listen },
	{ "udp-sendto", udp_sendto },
	{ "udp-connect", udp_connect },
	{ "udp-sendmsg", udp_sendmsg },
	{ "udp-sendmmsg", udp_sendmmsg },
	{ "udp6-sendto", udp6_sendto },
	{ "tcp-later", tcp_later },
	{ "fastopen-message", fastopen_message },
	{ "fastopen-write", fastopen_write },
	{ "tcp-again", tcp_again },
	{ "listen-unbound", listen_unbound },
	{ "ping", ping },
	{ "raw-send", raw_send },
	{ "packet-listen", packet_listen },
	{ "netlink-links", netlink_links },
	{ "netlink-sockets", netlink_sockets },
	{ "netlink-events", netlink_events },
	{ "interfaces", interfaces },
	{ "tunnel", tunnel },
	{ NULL, NULL },
};
