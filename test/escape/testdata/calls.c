/*
 * calls.c: any system call with any arguments.
 *
 *	calls SECONDS SEED CALLS cell TREE WORK PID...
 *	calls SECONDS SEED CALLS alone COPY
 *
 * CALLS are "name:number,…". In a cell, four processes of two threads each make
 * all of them with arguments of the types that they take, and of other types:
 * descriptors, names in TREE, which is hidden, in WORK and in the cell, structures
 * that another thread changes, addresses that are mapped, not mapped and in the
 * zone, the processes PID. A process that is killed, or that a call has stopped for
 * too long, is replaced, and that call is made more seldom from then on. It prints
 * counts. The same seed makes the same calls in each process, as far as threads
 * and time let it.
 *
 * alone is the control, for outside: calls of one process that change files,
 * nothing else, by names in COPY and by descriptors of what it has opened there.
 * COPY must have a file "throw-away". Not that anything depends on this program's
 * being right: it gives up being root, and Landlock keeps it to COPY.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"

enum { WORKERS = 4, NUMBERS = 1024, POOL = 1 << 16, PATHS = 48, PATIENCE = 60 /* ms */ };

static struct call {
	char name[32];
	const char *takes;
	int number, seldom;
} calls[NUMBERS];
static int count;

/* What all workers share. */
static struct shared {
	volatile unsigned char penalty[NUMBERS];
	volatile long made[NUMBERS], came[NUMBERS]; /* calls, and those that did not fail */
	struct {
		volatile long turn;
		volatile int call;
	} at[WORKERS];
} *shared;

static char paths[PATHS][256];
static int path_count, alone;
static long pids[16];
static int pid_count;
static char *pool, *read_only;
static const char *tree;

static unsigned dice(unsigned long *state, unsigned n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (unsigned)((*state >> 20) % n);
}

#define PICK(state, list) ((list)[dice(state, sizeof(list) / sizeof(*(list)))])

static int among(const char *name, const char *const *list, size_t n)
{
	while (n--)
		if (!strcmp(name, list[n]))
			return 1;
	return 0;
}

static void add_path(const char *format, const char *directory, const char *name)
{
	if (path_count < PATHS)
		snprintf(paths[path_count++], sizeof(*paths), format, directory, name);
}

/* Names that the tree has, and such that it does not: none of them leads up. */
static const char *const tree_names[] = { "file", "directory", "directory/file", "link", "dangling", "attributed", "set-user-id", "fifo", "socket", "second", "new", "directory/new" };

static void make_paths(const char *work)
{
	static const char *const cells[] = { "/", "..", "../..", "../../../../../..", ".", "", "/proc/self/fd/0", "/proc/self/root", "/proc/self/cwd", "/proc/1/root", "/dev/null",
					     "/dev/tty", "/etc/passwd", "/tmp", "/tmp/x", "x", "/bin", "/Programs", "/Data", "/Cell", "/sys" };

	for (size_t i = 0; i < sizeof(tree_names) / sizeof(*tree_names); i++)
		add_path("%s/%s", tree, tree_names[i]);
	if (alone)
		return;
	add_path("%s%s", tree, "");
	for (size_t i = 0; i < 8; i++)
		add_path("%s/%s", work, tree_names[i]);
	for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++)
		add_path("%s%s", cells[i], "");
	for (int i = 0; i < pid_count && i < 2; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%ld", pids[i]);
		add_path("/proc/%s/mem%s", name, "");
	}
}

static long address(unsigned long *state)
{
	switch (dice(state, 12)) {
	case 0: return 0;
	case 1: return 0x10000 + dice(state, 1 << 16); /* the zone */
	case 2: return (long)(0x10000 + 32UL * dice(state, 2048));
	case 3: return (long)read_only;
	case 4: return (long)(pool + POOL - dice(state, 64)); /* into what is not mapped */
	case 5: return -1 - (long)dice(state, 4096);
	case 6: return (long)0x7ffffffff000;
	case 7: return (long)0xffffffff80000000;
	}
	return (long)(pool + dice(state, POOL - 4096));
}

/* memory is where a structure may be; what it holds are numbers of all kinds, and pointers. */
static long memory(unsigned long *state)
{
	unsigned long *p = (unsigned long *)(pool + 8UL * dice(state, (POOL - 4096) / 8));

	if (!dice(state, 4))
		return address(state);
	for (int i = 0; i < 16; i++)
		switch (dice(state, 8)) {
		case 0: p[i] = (unsigned long)paths[dice(state, (unsigned)path_count)]; break;
		case 1: p[i] = (unsigned long)pids[dice(state, (unsigned)pid_count)]; break;
		case 2: p[i] = (unsigned long)(pool + dice(state, POOL - 4096)); break;
		case 3: p[i] = 1UL << dice(state, 64); break;
		case 4: p[i] = dice(state, 64); break;
		case 5: p[i] = (unsigned long)dice(state, 1 << 16) << 32 | dice(state, 1 << 16); break;
		default: p[i] = 0;
		}
	return (long)p;
}

static long path(unsigned long *state)
{
	if (!alone && !dice(state, 16))
		return address(state);
	return (long)paths[dice(state, (unsigned)path_count)];
}

/* local is the address of a socket: of the tree, an abstract name, or on loopback. */
static long local(unsigned long *state)
{
	char *p = pool + 128UL * dice(state, (POOL - 4096) / 128);
	unsigned short family = PICK(state, ((const unsigned short[]){ 1, 1, 2, 2, 10, 16, 17, 38, 40, 0 }));

	memset(p, 0, 128);
	memcpy(p, &family, 2);
	if (family == 1)
		snprintf(p + 2, 100, "%s/socket", tree);
	if (family == 2)
		memcpy(p + 2, "\0\x50\x7f\0\0\1", 6);
	return dice(state, 8) ? (long)p : memory(state);
}

static long argument(unsigned long *state, char kind)
{
	static const char any[] = "dpomfbsnigahvtcCPuAle";
	static const int opens[] = { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_PATH, O_DIRECTORY, O_NOFOLLOW, O_TMPFILE, O_NONBLOCK, O_CLOEXEC };
	static const long requests[] = { 0x5401, 0x5402, 0x540e, 0x5410, 0x5412, 0x5414, 0x541c, 0x541d, 0x5421, 0x5422, 0x5423, 0x5450, 0x5451, 0x5452, 0x8901, 0x8902, 0x8910,
					 0x80086601, 0x40086602, 0xc020660b, 0x40049409, 0x4020940d, 0xc0189436, 0x401c5820, 0xc0045877, 0xb701, 0xff0b, 0x400454ca, 0x4c00, 0xaa00 };
	static const int operations[] = { 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 15, 16, 36, 37, 1024, 1025, 1026, 1030, 1031, 1032, 1033, 1034, 1035, 1036, 1038, 1040 };
	static const long sizes[] = { 0, 1, 7, 8, 16, 24, 32, 64, 4096, 65536, 1 << 20, 1L << 31, 1L << 32 | 24, -1 };
	long bits = 0;

	if (kind == '?' || (!alone && !dice(state, 24)))
		kind = PICK(state, any);
	switch (kind) {
	case 'd':
		if (alone) /* 0 to 2 are not its own */
			return 3 + dice(state, 32);
		switch (dice(state, 10)) {
		case 0: return AT_FDCWD;
		case 1: return -1 - (long)dice(state, 4);
		case 2: return (long)(1UL << 32 | dice(state, 64));
		case 3: return 40 + dice(state, 16);
		case 4: return dice(state, 3);
		}
		return dice(state, 64);
	case 'p': return path(state);
	case 'o':
		for (unsigned n = dice(state, 4); n--;)
			bits |= PICK(state, opens);
		return bits;
	case 'm': return alone ? 0600 | dice(state, 0200) : dice(state, 020000) | (dice(state, 4) ? 0 : S_IFIFO);
	case 'f':
		for (unsigned n = dice(state, 4); n--;)
			bits |= 1L << dice(state, 32);
		return dice(state, 3) ? bits : dice(state, 16);
	case 'b': return memory(state);
	case 'e': return memory(state);
	case 's': return alone ? (long)dice(state, 4096) : PICK(state, sizes);
	case 'n': return dice(state, 8) ? (long)dice(state, 64) : PICK(state, sizes);
	case 'i':
		if (!dice(state, 400))
			return -(long)dice(state, 3);
		return dice(state, 4) ? pids[dice(state, (unsigned)pid_count)] : -pids[dice(state, (unsigned)pid_count)];
	case 'g': return dice(state, 65);
	case 'a': return local(state);
	case 'h': case 'v': {
		unsigned long *p = (unsigned long *)(pool + 8UL * dice(state, (POOL - 4096) / 8));

		p[0] = (unsigned long)(kind == 'h' ? local(state) : memory(state));
		p[1] = dice(state, 128);
		p[2] = (unsigned long)memory(state);
		p[3] = dice(state, 4);
		p[4] = (unsigned long)memory(state);
		p[5] = dice(state, 64);
		p[6] = 0;
		return (long)p;
	}
	case 't': {
		long *p = (long *)(pool + 8UL * dice(state, (POOL - 4096) / 8));

		for (int i = 0; i < 4; i++)
			p[i] = dice(state, 1 << 20);
		return dice(state, 3) ? (long)p : 0;
	}
	case 'c': return dice(state, 8) ? PICK(state, requests) : (long)dice(state, 1U << 31);
	case 'C': return PICK(state, operations);
	case 'P': return dice(state, 80);
	case 'u': return PICK(state, ((const long[]){ 0, 1, 65534, -1, 1000 }));
	case 'A': return address(state) & (dice(state, 8) ? ~4095L : -1L);
	case 'l': return dice(state, 4) ? (long)PICK(state, ((const char *const[]){ "user.x", "user.attributed", "security.capability", "tmpfs", "x" })) : memory(state);
	}
	return 0;
}

/* any makes one call. */
static void any(unsigned long *state, int worker)
{
	const struct call *c = &calls[dice(state, (unsigned)count)];
	const char *takes = c->takes;
	long a[6], rc;
	int i = 0;

	if (c->seldom && dice(state, 40))
		return;
	if (shared->penalty[c->number] && dice(state, shared->penalty[c->number]))
		return;
	for (; *takes && i < 6; i++)
		a[i] = argument(state, *takes++);
	for (; i < 6; i++)
		a[i] = alone ? 0 : argument(state, 'n');
	if (alone && !strncmp(c->takes, "dp", 2)) /* a name is enough */
		a[0] = AT_FDCWD;
	if (alone && !strcmp(c->takes, "dpdp"))
		a[2] = AT_FDCWD;
	if (alone && !strncmp(c->name, "symlink", 7)) { /* leads to a name beside it, or nowhere */
		a[0] = (long)PICK(state, tree_names);
		a[1] = strcmp(c->name, "symlink") ? AT_FDCWD : a[1];
	}
	if (alone && (!strncmp(c->name, "open", 4) || !strcmp(c->name, "unlinkat") || !strcmp(c->name, "linkat")))
		a[c->name[0] == 'o' ? 5 : strcmp(c->name, "linkat") ? 2 : 4] = 0;
	shared->at[worker].call = c->number;
	shared->at[worker].turn++;
	rc = syscall(c->number, a[0], a[1], a[2], a[3], a[4], a[5]);
	shared->made[c->number]++;
	shared->came[c->number] += rc >= 0 || rc < -4095;
}

static void *second(void *argument)
{
	unsigned long state = (unsigned long)argument * 0x2545f4914f6cdd1d | 1;
	int worker = (int)((unsigned long)argument % WORKERS);

	for (;;)
		any(&state, worker);
	return 0;
}

/* bound keeps a process from filling the disk and the memory. */
static void bound(void)
{
	static const struct {
		int what;
		rlim_t limit;
	} limits[] = { { RLIMIT_FSIZE, 1 << 20 }, { RLIMIT_AS, 256 << 20 }, { RLIMIT_NOFILE, 64 } };

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
		setrlimit(limits[i].what, &(struct rlimit){ limits[i].limit, limits[i].limit });
	signal(SIGXFSZ, SIG_IGN);
}

static void work_on(int worker, unsigned long seed)
{
	unsigned long state = seed * 0x9e3779b97f4a7c15 | 1;
	int null = open("/dev/null", O_RDWR);
	pid_t own = getpid();
	pthread_t thread;

	dup2(null, 1);
	dup2(null, 2);
	bound();
	pthread_create(&thread, 0, second, (void *)(seed * WORKERS + (unsigned long)worker));
	for (int left = -1;; left -= left > 0) {
		any(&state, worker);
		if (left < 0 && syscall(SYS_getpid) != own) /* a child that a call has made */
			left = 50;
		if (left == 0)
			_exit(0);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* blame makes the call more seldom that a worker was in. */
static void blame(int worker)
{
	volatile unsigned char *p = &shared->penalty[shared->at[worker].call % NUMBERS];

	*p = (unsigned char)(*p > 200 ? 255 : *p + 25);
}

static void in_cell(double seconds, unsigned long seed)
{
	struct {
		pid_t pid;
		long turn;
		double since;
	} w[WORKERS] = { 0 };
	long begun = 0, killed = 0, stopped = 0;
	double end = now() + seconds;

	while (now() < end) {
		for (int i = 0; i < WORKERS; i++) {
			int status;

			if (w[i].pid > 0 && waitpid(w[i].pid, &status, WNOHANG) == w[i].pid) {
				if (WIFSIGNALED(status)) {
					killed++;
					blame(i);
				}
				w[i].pid = 0;
			}
			if (w[i].pid <= 0) {
				w[i].pid = fork();
				if (w[i].pid == 0)
					work_on(i, seed + (unsigned long)begun);
				begun += w[i].pid > 0;
				w[i].turn = -1;
			}
			if (w[i].turn != shared->at[i].turn) {
				w[i].turn = shared->at[i].turn;
				w[i].since = now();
			} else if (now() - w[i].since > PATIENCE / 1e3) {
				stopped++;
				blame(i);
				kill(w[i].pid, SIGKILL);
				w[i].since = now();
			}
		}
		usleep(2000);
	}
	for (int i = 0; i < WORKERS; i++)
		kill(w[i].pid, SIGKILL);
	printf("COUNTS begun %ld killed %ld stopped %ld ", begun, killed, stopped);
}

/* retire gives up whatever the control could do harm with. */
static int retire(void)
{
	struct landlock_ruleset_attr all = { .handled_access_fs = (1 << 15) - 1 };
	struct landlock_path_beneath_attr rule = { .allowed_access = (1 << 15) - 1 };
	char marker[512];
	struct stat st;
	int rules;

	snprintf(marker, sizeof(marker), "%s/throw-away", tree);
	if (lstat(marker, &st) || chdir(tree))
		return -1;
	if (getuid() == 0 && (syscall(SYS_setgroups, 0, 0) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
		return -1;
	if (getuid() == 0 || geteuid() == 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all.handled_access_fs), 0);
	rule.parent_fd = open(tree, O_PATH);
	if (rules < 0 || rule.parent_fd < 0 || syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) ||
	    syscall(SYS_landlock_restrict_self, rules, 0))
		return -1;
	bound();
	return (int)syscall(SYS_close_range, 3, ~0U, 0);
}

static void outside(double seconds, unsigned long seed)
{
	unsigned long state = seed * 0x9e3779b97f4a7c15 | 1;

	for (double end = now() + seconds; now() < end;)
		for (int i = 0; i < 64; i++)
			any(&state, 0);
	printf("COUNTS ");
}

static void read_calls(char *list)
{
	for (char *word = strtok(list, ","); word && count < NUMBERS; word = strtok(0, ",")) {
		struct call *c = &calls[count];
		char *number = strchr(word, ':');

		if (!number || atoi(number + 1) >= NUMBERS)
			continue;
		*number = 0;
		if (alone && !among(word, harmless, sizeof(harmless) / sizeof(*harmless)))
			continue;
		snprintf(c->name, sizeof(c->name), "%s", word);
		c->number = atoi(number + 1);
		c->takes = "??????";
		for (size_t i = 0; i < sizeof(signatures) / sizeof(*signatures); i++)
			if (!strcmp(signatures[i][0], word))
				c->takes = signatures[i][1];
		c->seldom = among(word, seldom, sizeof(seldom) / sizeof(*seldom));
		count += !alone || c->takes[0] != '?' || !strcmp(word, "close");
	}
}

int main(int argc, char **argv)
{
	long made = 0, came = 0, kinds = 0, granted = 0;

	if (argc < 6)
		return 2;
	alone = !strcmp(argv[4], "alone");
	tree = argv[5];
	for (int i = 7; i < argc && pid_count < 14; i++)
		pids[pid_count++] = atol(argv[i]);
	pids[pid_count++] = alone ? getpid() : getppid();
	read_calls(argv[3]);
	make_paths(argc > 6 ? argv[6] : "");
	shared = mmap(0, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pool = mmap(0, POOL + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	read_only = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pool == MAP_FAILED || munmap(pool + POOL, 4096) || !count)
		return 2;
	if (alone && retire())
		return 3;
	(alone ? outside : in_cell)(atof(argv[1]), strtoul(argv[2], 0, 0));
	for (int n = 0; n < NUMBERS; n++) {
		made += shared->made[n];
		came += shared->came[n];
		kinds += shared->made[n] > 0;
		granted += shared->came[n] > 0;
	}
	printf("calls %ld came %ld kinds %ld granted %ld\n", made, came, kinds, granted);
	return 0;
}
