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
#include <time.h>
#include <unistd.h>

static char buf[1 << 16];
static int file;
static struct sockaddr_in to;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

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

static void measure(const char *name, void (*call)(void))
{
	double best = 1e18, t = now();
	int round, i, n;

	for (i = 0; i < 50; i++)
		call();
	n = (int)(2e7 / ((now() - t) / 50)) + 1;
	for (round = 0; round < 7; round++) {
		t = now();
		for (i = 0; i < n; i++)
			call();
		t = (now() - t) / n;
		if (t < best)
			best = t;
	}
	printf("%s %.0f\n", name, best);
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
