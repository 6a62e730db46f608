/*
 * exhaust.c: the zone where a program leaves the next one, or itself, no room.
 *
 *	exhaust
 *
 * It executes itself again and again with limits, descriptors, stacks and
 * environments that could make the stub map nothing, or something else, and sees
 * what stands in the zone's place then. It prints a line for each attempt:
 * "refused" if the next program has the cell's zone, sealed, or does not begin at
 * all, "OPEN" if something of its own stands there. "control" lines must say "works".
 */
#include "reach.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { SEALED = 80, OWN = 81 }; /* how the next program ends */

static char self[4096];
static char identity[2][64]; /* of the zone's file and of the view */

static void identify(int fd, char *to)
{
	struct stat st;

	strcpy(to, "nothing");
	if (!fstat(fd, &st))
		sprintf(to, "%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
}

static int over_zone(const void *p, size_t size)
{
	return p != MAP_FAILED && (const char *)p < ZONE + ZONE_SIZE && (const char *)p + size > ZONE;
}

/* fill takes all addresses that there are and reports whether it was given the zone's. */
static int fill(void)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	int got = 0;
	char *p;

	for (unsigned long at = 0x1000; at < 0x100000; at += 0x1000)
		got |= over_zone(mmap((void *)at, 4096, PROT_READ | PROT_WRITE, flags, -1, 0), 4096);
	got |= over_zone(mmap(0, 4096, PROT_READ | PROT_WRITE, flags | MAP_32BIT, -1, 0), 4096);
	got |= over_zone(mmap(ZONE, 4096, PROT_READ | PROT_WRITE, flags | MAP_GROWSDOWN, -1, 0), 4096);
	p = mmap(ZONE - 4096, 4096, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
	if (p != MAP_FAILED)
		got |= mremap(p, 4096, 8192, 0) != MAP_FAILED;
	for (size_t size = 1UL << 46; size >= 4096; size /= 2)
		for (int n = 0; n < 64 && (p = mmap(0, size, PROT_NONE, flags, -1, 0)) != MAP_FAILED; n++)
			got |= over_zone(p, size);
	got |= (char *)raw(SYS_brk, ZONE + 4096) == ZONE + 4096;
	return got;
}

/* look is what the next program does: it ends with SEALED or OWN. */
static int look(char **argv)
{
	char now[64];
	char *p = mmap(ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	int fd;

	if (p == ZONE || over_zone(mmap(ZONE, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096))
		return OWN;
	identify(ZONE_FD, now);
	if (strcmp(now, argv[2]))
		return OWN;
	identify(41, now);
	if (strcmp(now, argv[3]))
		return OWN;
	/* Of the cell's numbers none must be free. */
	fd = memfd_create("x", 8 /* MFD_NOEXEC_SEAL */);
	for (int to = 40, got; to <= ZONE_FD; to++)
		if ((got = fcntl(fd, F_DUPFD, to)) >= 0 && got <= ZONE_FD)
			return OWN;
	if (argv[4] && fill())
		return OWN;
	/* What is there is what the kernel takes: a slot of the zone. */
	fd = by_slot(41, ".", O_PATH, 1);
	if (fd < 0 && errno != EMFILE)
		return OWN;
	return memcmp(ZONE + ZONE_TABLE - ZONE_ADDR, "nipzone", 7) ? OWN : SEALED;
}

/* next executes this program again, after what prepare does, and returns how that ends. */
static int next(void (*prepare)(long), long with, char *filled, char **env)
{
	char *argv[] = { self, "look", identity[0], identity[1], filled, 0 };
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2); /* what a loader has to say about it */
		if (prepare)
			prepare(with);
		execve(self, argv, env ? env : environ);
		_exit(77);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void limit(int what, unsigned long n)
{
	struct rlimit l = { n, n };

	setrlimit((unsigned)what, &l);
}

static void address_space(long n) { limit(RLIMIT_AS, (unsigned long)n); }
static void data(long n) { limit(RLIMIT_DATA, (unsigned long)n); }
static void stack(long n) { limit(RLIMIT_STACK, (unsigned long)n); }
static void locked(long n) { limit(RLIMIT_MEMLOCK, (unsigned long)n); }
static void file_size(long n) { signal(SIGXFSZ, SIG_IGN), limit(RLIMIT_FSIZE, (unsigned long)n); }
static void descriptors(long n) { limit(RLIMIT_NOFILE, (unsigned long)n); }

static void all_open(long n)
{
	(void)n;
	while (dup(2) >= 0)
		;
}

/* replace makes all that a program can do to have descriptors closed by exec, or a file of its own in their place. */
static void replace(long first, long with)
{
	int own = memfd_create("zone", 8 /* MFD_NOEXEC_SEAL */);

	ftruncate(own, ZONE_SIZE);
	pwrite(own, (char *)ZONE_TABLE, 4096, ZONE_TABLE - ZONE_ADDR);
	for (long fd = first; fd <= ZONE_FD; fd++) {
		long n = with << 32 | fd;

		raw(SYS_ioctl, n, FIOCLEX, 0);
		raw(SYS_fcntl, n, F_SETFD, FD_CLOEXEC);
		raw(SYS_close_range, n, n, 4 /* CLOSE_RANGE_CLOEXEC */);
		raw(SYS_close_range, n, n, 6 /* and CLOSE_RANGE_UNSHARE */);
		raw(SYS_close_range, 0, ~0UL, 4);
		raw(SYS_close, n);
		raw(SYS_fcntl, own, F_DUPFD, n);
		raw(SYS_fcntl, own, F_DUPFD_CLOEXEC, n);
		raw(SYS_dup3, own, n, O_CLOEXEC);
		raw(SYS_dup3, own, n, 0);
	}
}

static void mark(long with) { replace(40, with); }
static void mark_zone(long with) { replace(ZONE_FD, with); }

/* taken fills the address space of the program that executes the next one. */
static void taken(long n)
{
	(void)n;
	fill();
}

static void vm_shared(long n)
{
	(void)n;
	raw(SYS_unshare, 0x400 /* CLONE_FILES */);
	mark(0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *what;
		void (*prepare)(long);
		long with;
	} ways[] = {
		{ "limit of data 0", data, 0 },
		{ "limit of data 64 KiB", data, 1 << 16 },
		{ "no limit of the stack", stack, -1 },
		{ "stack of 4 KiB", stack, 4096 },
		{ "stack of 1 GiB", stack, 1 << 30 },
		{ "no locked memory", locked, 0 },
		{ "no files to be written", file_size, 0 },
		{ "no descriptors", descriptors, 0 },
		{ "descriptors to 40", descriptors, 40 },
		{ "descriptors to 55", descriptors, 55 },
		{ "all descriptors taken", all_open, 0 },
		{ "closing by exec", mark, 0 },
		{ "closing by exec, with 64 bits", mark, 1 },
		{ "closing by exec, with a sign", mark, -1 },
		{ "another zone", mark_zone, 0 },
		{ "another zone, with 64 bits", mark_zone, 1 },
		{ "closing by exec in a table of its own", vm_shared, 0 },
		{ "no address free before", taken, 0 },
	};
	static char big[1 << 17], *env[17];
	char what[64];
	int begun = 0, ended, open = 0;

	if (argc > 3 && !strcmp(argv[1], "look"))
		return look(argv);
	in_cell = getenv("NIP_CELL") != 0;
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 2;
	identify(ZONE_FD, identity[0]);
	identify(41, identity[1]);
	control("control: the next program has the zone", next(0, 0, 0, 0) == SEALED);
	control("control: it can tell what is not", next(0, 0, 0, (strcat(identity[0], "0"), environ)) == OWN);
	identity[0][strlen(identity[0]) - 1] = 0;

	for (unsigned i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		for (int filled = 0; filled < 2; filled++) {
			snprintf(what, sizeof(what), "%s%s", ways[i].what, filled ? ", no address free behind" : "");
			ended = next(ways[i].prepare, ways[i].with, filled ? "fill" : 0, 0);
			begun += ended == SEALED;
			tell(what, ended == OWN);
		}
	tell("no address free behind", next(0, 0, "fill", 0) == OWN);
	control("control: some of these programs begin", begun > 10);

	/* At some size the next program fits, but for the zone. */
	begun = 0;
	for (long size = 1 << 17; size <= 12 << 20; size += size < 2 << 20 ? 1 << 14 : 1 << 18) {
		ended = next(address_space, size, 0, 0);
		begun += ended == SEALED;
		open |= ended == OWN;
	}
	tell("address spaces of 128 KiB to 12 MiB", open);
	control("control: in some of them the program begins", begun > 0);

	memset(big, 'x', sizeof(big) - 1);
	big[1] = '=';
	for (int n = 0; n < 16; n++) {
		env[n] = big;
		ended = next(0, 0, 0, env);
		open |= ended == OWN;
	}
	tell("environments of 128 KiB to 2 MiB", open);
	return 0;
}
