/*
 * wall.c: times what does not go by paths. Prints nanoseconds per call, the best of
 * seven rounds: reads and writes of 64 KiB, reads of one byte, and a TCP connection
 * made and closed.
 *
 * usage: wall DIR PORT    DIR can be written; somebody listens at 127.0.0.1:PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../../timing.h"

static char buf[1 << 16];
static int file;
static struct sockaddr_in to;

static void must(int holds, const char *what)
{
	if (holds)
		return;
	perror(what);
	exit(1);
}

static void read_much(void) { must(pread(file, buf, sizeof(buf), 0) == sizeof(buf), "read"); }
static void write_much(void) { must(pwrite(file, buf, sizeof(buf), 0) == sizeof(buf), "write"); }
static void read_one(void) { must(pread(file, buf, 1, 0) == 1, "read"); }

static void connected(void)
{
	const struct linger at_once = { 1, 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	must(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0, "connect");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)); /* leaves no port behind */
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	to.sin_family = AF_INET;
	to.sin_port = htons((unsigned short)atoi(argv[2]));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(chdir(argv[1]) == 0, argv[1]);
	file = open("data", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	must(file >= 0, "data");
	measure("write-64K", write_much);
	measure("read-64K", read_much);
	measure("read-1", read_one);
	measure("connect", connected);
	return 0;
}
