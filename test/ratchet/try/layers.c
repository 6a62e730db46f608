/* Landlock itself, without nexus.h: layers of any rights, and calls that make no sense. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "try.h"

enum { CREATE_RULESET = 444, ADD_RULE, RESTRICT_SELF }; /* the same on both machines */

struct ruleset {
	uint64_t fs, net, scoped;
};

struct beneath {
	uint64_t access;
	int32_t fd;
} __attribute__((packed));

struct port {
	uint64_t access, port;
};

/*
 * Rights are letters, in the order of their bits: execute, write and read a file, list,
 * remove a directory (D) and a file (F), make a character device, directory, regular
 * file, socket, FIFO, block device and symlink, refer, truncate, ioctl. Of the network
 * bind (B) and connect (C), of what is scoped abstract names (A) and signals (S).
 */
static const char letters[] = "xwrlDFcdfspbyRti", net_letters[] = "BC", scope_letters[] = "AS";

static uint64_t bits(const char *text, const char *alphabet)
{
	uint64_t set = 0;

	for (; *text; text++) {
		const char *at = strchr(alphabet, *text);

		if (at)
			set |= 1ULL << (at - alphabet);
	}
	return set;
}

static int add(int ruleset, char *rule)
{
	char *colon = strrchr(rule, ':');
	struct beneath b;
	int err;

	*colon++ = '\0';
	if (*rule != '/') {
		struct port p = { bits(colon, net_letters), 0 };

		for (; *rule; rule++)
			p.port = p.port * 10 + (uint64_t)(*rule - '0');
		return (int)syscall(ADD_RULE, ruleset, 2, &p, 0);
	}
	b.access = bits(colon, letters);
	b.fd = open(rule, O_PATH | O_CLOEXEC);
	if (b.fd < 0) /* a device of a cell */
		b.fd = open(rule, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (b.fd < 0)
		return -1;
	err = (int)syscall(ADD_RULE, ruleset, 1, &b, 0) ? errno : 0;
	close(b.fd);
	errno = err;
	return err ? -1 : 0;
}

/* ruleset_of makes one of "HANDLED,PATH:RIGHTS,PORT:RIGHTS…". */
static int ruleset_of(char *text)
{
	char *rules = strchr(text, ',');
	struct ruleset r;
	int fd;

	if (rules)
		*rules++ = '\0';
	r = (struct ruleset){ bits(text, letters), bits(text, net_letters), bits(text, scope_letters) };
	fd = (int)syscall(CREATE_RULESET, &r, sizeof(r), 0);
	for (char *save, *rule = rules ? strtok_r(rules, ",", &save) : NULL; fd >= 0 && rule; rule = strtok_r(NULL, ",", &save)) {
		if (add(fd, rule)) {
			closed(fd);
			return -1;
		}
	}
	return fd;
}

static int enter(int ruleset)
{
	int err;

	if (ruleset < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	err = (int)syscall(RESTRICT_SELF, ruleset, 0) ? errno : 0;
	close(ruleset);
	errno = err;
	return err ? -1 : 0;
}

int raw_layer(char *text) { return enter(ruleset_of(text)); }

static int do_layer(char *v) { return raw_layer(v); }

/* do_most enters VALUE as a layer until no more is left, and tells the number. */
static int do_most(char *v)
{
	char text[4096];
	int n = 0;

	for (; n < 99; n++) {
		snprintf(text, sizeof(text), "%s", v);
		if (raw_layer(text))
			break;
	}
	printf("%d ", n);
	return -1;
}

/* do_same enters one ruleset twice; an empty one it cannot be. */
static int do_same(char *v)
{
	int fd = ruleset_of(v);

	if (fd < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(RESTRICT_SELF, fd, 0))
		return -1;
	return enter(fd);
}

/* do_transfer sends a ruleset to a child, which enters it; VALUE,MORE is for it to list VALUE, and not MORE. */
static int do_transfer(char *v)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char byte = 0, *more = second(v), text[4096];
	struct iovec one = { &byte, 1 };
	struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room) };
	int pair[2], fd, status;
	pid_t child;

	snprintf(text, sizeof(text), "l,%s:l", v);
	fd = ruleset_of(text);
	if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return -1;
	control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	if (sendmsg(pair[0], &m, 0) != 1)
		return -1;
	close(fd);
	child = fork();
	if (!child) {
		if (recvmsg(pair[1], &m, 0) != 1)
			_exit(101);
		memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
		if (enter(fd) || closed(open(v, O_RDONLY | O_DIRECTORY)))
			_exit(102);
		_exit(closed(open(more, O_RDONLY | O_DIRECTORY)) ? errno : 0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return -1;
	if (WEXITSTATUS(status) != EACCES) {
		printf("child %d ", WEXITSTATUS(status));
		return -1;
	}
	return closed(open(more, O_RDONLY | O_DIRECTORY)); /* this process is in no layer */
}

static void say(const char *what, long rc)
{
	printf("%s %s; ", what, rc < 0 ? strerrorname_np(errno) : "ok");
}

/* do_checks makes calls with arguments that are wrong, VALUE a directory: the answers are to be the kernel's. */
static int do_checks(char *v)
{
	struct ruleset some = { 4, 0, 0 }, unknown = { 1ULL << 63, 0, 0 }, none = { 0, 0, 0 };
	struct beneath b = { 4, -1 };
	struct port p = { 1, 1 };
	char byte;
	int pipes[2], ruleset = (int)syscall(CREATE_RULESET, &some, sizeof(some), 0), file = open(v, O_RDONLY), path = open(v, O_PATH);

	if (ruleset < 0 || file < 0 || path < 0 || pipe(pipes) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	say("size", syscall(CREATE_RULESET, &some, 7UL, 0));
	say("null", syscall(CREATE_RULESET, NULL, sizeof(some), 0));
	say("empty", syscall(CREATE_RULESET, &none, sizeof(none), 0));
	say("unknown", syscall(CREATE_RULESET, &unknown, sizeof(unknown), 0));
	say("read", read(ruleset, &byte, 1));
	say("write", write(ruleset, "", 1));
	say("flags", syscall(ADD_RULE, ruleset, 1, &b, 100));
	say("no ruleset", syscall(ADD_RULE, -1, 1, &b, 0));
	say("a file as ruleset", syscall(ADD_RULE, file, 1, &b, 0));
	say("type", syscall(ADD_RULE, ruleset, 0, &b, 0));
	say("fault", syscall(ADD_RULE, ruleset, 1, NULL, 0));
	say("no file", syscall(ADD_RULE, ruleset, 1, &b, 0));
	b.fd = pipes[0];
	say("a pipe", syscall(ADD_RULE, ruleset, 1, &b, 0));
	b.fd = ruleset;
	say("itself", syscall(ADD_RULE, ruleset, 1, &b, 0));
	b = (struct beneath){ 0, path };
	say("no access", syscall(ADD_RULE, ruleset, 1, &b, 0));
	b.access = 8;
	say("unhandled", syscall(ADD_RULE, ruleset, 1, &b, 0));
	say("port", syscall(ADD_RULE, ruleset, 2, &p, 0));
	b.access = 4;
	say("valid", syscall(ADD_RULE, ruleset, 1, &b, 0));
	say("enter none", syscall(RESTRICT_SELF, -2, 0));
	say("enter a file", syscall(RESTRICT_SELF, file, 0));
	say("enter with flags", syscall(RESTRICT_SELF, ruleset, 1U << 31));
	return 0;
}

const struct step layer_steps[] = {
	S(layer), S(most), S(same), S(transfer), S(checks),
	{ NULL, NULL },
};
