/*
 * random.c: openat2 with anything.
 *
 *	random SECONDS SEED BASE WORK HOME DEVICE:INODE...
 *
 * Pointers in, around and astride the zone, aligned and not, with their high bits
 * set, and to structures of the program's own that say no restriction at all; any
 * size; every descriptor that there is, also such that calls before have opened;
 * paths made of names of the cell and hidden ones, "..", links of /proc and of the
 * program's own. Another thread changes structures and paths meanwhile. Whatever
 * is opened is looked at; see reach.h. Without a cell, the control, half of the
 * pointers are to the program's own structures, and there is no zone.
 */
#include "reach.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#define AROUND 4096 /* bytes of the program's own before and behind the zone */

static const char *base, *work_name, *home_name;
static volatile int stop;
static struct how *own;   /* 64 structures of the program's own */
static char *before;      /* memory directly before the zone; MAP_FAILED if there is none */
static char *behind;      /* memory directly behind it */
static char *high;        /* the zone's addresses and 4 GiB more */
static char path[PATH_MAX], shifting[64] = "inside";
static unsigned long slots_end;

/* forge fills memory with structures that would be as good as open(2). */
static void forge(void *memory, size_t size)
{
	static const unsigned long flags[] = { O_RDONLY, O_PATH, O_RDWR, O_RDONLY | O_DIRECTORY };
	struct how *h = memory;

	for (size_t i = 0; i < size / sizeof(*h); i++)
		h[i] = (struct how){ flags[i & 3], 0, 0 };
}

static void *shift(void *unused)
{
	unsigned long state = 0x2545f4914f6cdd1d;

	while (!stop) {
		own[dice(&state, 64)].resolve = dice(&state, 2) ? 0 : 8;
		memcpy(shifting, "../hidden", 10);
		__sync_synchronize();
		memcpy(shifting, "inside\0\0\0", 10);
		sched_yield();
	}
	return unused;
}

static void make_path(unsigned long *state)
{
	static const char *const words[] = { "..", "..", "..", ".", "hidden", "hidden", "hidden.d", "hidden.l", "inside", "a", "up", "top", "abs", "loop", "bin",
					     "lib", "usr", "Programs", "Data", "apps", "System", "Views", "Cell", "proc", "self", "fd", "cwd", "root", "exe", "41", "44",
					     "55", "task", "etc", "passwd", "dev", "null", "tmp", "" };
	unsigned n = 1 + dice(state, 7);
	char *p = path;

	switch (dice(state, 12)) {
	case 0: p += sprintf(p, "%s/", base); break;
	case 1: p += sprintf(p, "%s/", work_name); break;
	case 2: p += sprintf(p, "%s/", home_name); break;
	case 3: p += sprintf(p, "/"); break;
	case 4: strcpy(path, "inside"); return;
	case 5: sprintf(path, "%s/inside", work_name); return;
	case 6: strcpy(path, "../hidden"); return;
	case 7: sprintf(path, "%s/hidden", base); return;
	}
	while (n--)
		p += sprintf(p, "%s%s", words[dice(state, sizeof(words) / sizeof(*words))], n ? "/" : "");
}

static unsigned long make_pointer(unsigned long *state)
{
	static const unsigned long bits[] = { 1UL << 32, 1UL << 31, 1UL << 47, 1UL << 63, 0xffffffff00000000 };
	unsigned long slot = ZONE_ADDR + ZONE_SLOT_SIZE * dice(state, 2 * ZONE_HALF);

	if (!in_cell && dice(state, 2))
		return (unsigned long)&own[dice(state, 64)];
	switch (dice(state, 16)) {
	case 0: return slot + 1 + dice(state, 31);                            /* between two */
	case 1: return slots_end - 64 + dice(state, 192);                     /* about the last */
	case 13: return slots_end - 64 + ZONE_SLOT_SIZE * dice(state, 4);     /* the last two, and what would be the next */
	case 2: return slots_end + ZONE_SLOT_SIZE * dice(state, 512);         /* the zeroes behind them */
	case 3: return ZONE_TABLE + 8 * dice(state, 512);                     /* the table */
	case 4: return ZONE_EMPTY + 8 * dice(state, 512);
	case 5: return ZONE_ADDR + ZONE_SIZE - 48 + dice(state, 96);          /* astride the end */
	case 6: return ZONE_ADDR - 64 + dice(state, 64);                      /* astride the beginning */
	case 7: return ZONE_ADDR + ZONE_SIZE + 32 * dice(state, AROUND / 32); /* behind it */
	case 8: return slot | bits[dice(state, 5)];
	case 9: return (unsigned long)high + slot - ZONE_ADDR;
	case 10: return (unsigned long)&own[dice(state, 64)];
	case 11: return dice(state, 2) ? 0 : ~0UL - dice(state, 64);
	case 12: return ZONE_ADDR + dice(state, ZONE_SIZE);
	}
	return slot;
}

static unsigned long make_size(unsigned long *state)
{
	static const unsigned long sizes[] = { 0, 8, 16, 23, 25, 32, 64, 4096, 1UL << 32 | ZONE_HOW_SIZE, 1UL << 63 | ZONE_HOW_SIZE, ~0UL };

	return dice(state, 4) ? ZONE_HOW_SIZE : sizes[dice(state, sizeof(sizes) / sizeof(*sizes))];
}

static long make_directory(unsigned long *state)
{
	switch (dice(state, 8)) {
	case 0: return AT_FDCWD;
	case 1: return (long)(1UL << 32 | (40 + dice(state, 16)));
	case 2: return 44;
	case 3: return (long)(0xffffffff00000000 | (40 + dice(state, 16)));
	}
	return dice(state, 61);
}

static struct stat inside;
static long calls, opened, found, refused, held, compared, told;

/* creates reports whether a structure, if it can be read, makes files. */
static int creates(unsigned long how)
{
	return in_cell && how >= ZONE_ADDR && how < ZONE_ADDR + ZONE_SIZE && *(unsigned long *)(how & ~7UL) & O_CREAT;
}

/* how_it_ends makes the call and says with which error, 0 if none. */
static int how_it_ends(long dir, const char *name, unsigned long how, unsigned long size)
{
	long fd = openat2(dir, name, how, size);

	if (fd < 0)
		return errno;
	close((int)fd);
	return 0;
}

/* compare makes a call, which ended with the error was, with another name in the place of each "hidden". */
static void compare(long dir, unsigned long how, unsigned long size, int was)
{
	static char absent[PATH_MAX];
	int is = was;

	strcpy(absent, path);
	for (char *p = absent; (p = strstr(p, "hidden"));)
		memcpy(p, "absent", 6);
	compared++;
	/* The structure may be one that changes: only what is always so tells. */
	for (int i = 0; i < 12; i++)
		if ((is = how_it_ends(dir, absent, how, size)) == was || how_it_ends(dir, path, how, size) != was)
			return;
	if (told++ < 10)
		printf("TELLS directory %#lx, how %#lx, size %#lx: %s: %s, %s: %s\n", dir, how, size, path, strerror(was), absent, strerror(is));
}

static void once(unsigned long *state)
{
	unsigned long how = make_pointer(state), size = make_size(state);
	long dir = make_directory(state), fd;
	const char *name = path;
	char what[96], link[64];
	struct stat st;

	make_path(state);
	if (!dice(state, 8))
		name = shifting;
	calls++;
	fd = openat2(dir, name, how, size);
	if (name == path && strstr(path, "hidden") && !creates(how))
		compare(dir, how, size, fd < 0 ? errno : 0);
	if (fd < 0) {
		refused++;
		held += errno == EXDEV;
		return;
	}
	opened++;
	snprintf(what, sizeof(what), "directory %#lx, how %#lx, size %#lx", dir, how, size);
	if (inspect((int)fd, what, name) && !fstat((int)fd, &st)) {
		found += st.st_ino == inside.st_ino && st.st_dev == inside.st_dev;
		/* A few stay open, as directories of calls to come. */
		if (S_ISDIR(st.st_mode) && !dice(state, 16))
			dup2((int)fd, 10 + (int)dice(state, 20));
		if (S_ISDIR(st.st_mode) && !dice(state, 64))
			raw(SYS_fchdir, fd, ZONE_FCHDIR_MARK);
		/* What it has made itself must not be found later. */
		snprintf(link, sizeof(link), "/proc/self/fd/%ld", fd);
		if (in_cell && st.st_ino != inside.st_ino && S_ISREG(st.st_mode)) {
			static char made[PATH_MAX];
			ssize_t n = readlink(link, made, sizeof(made) - 1);

			made[n < 0 ? 0 : n] = 0;
			unlink(made);
		}
	}
	close((int)fd);
}

int main(int argc, char **argv)
{
	unsigned long state;
	pthread_t thread;
	double end;
	int work;

	if (argc < 7 || hidden_arguments(argv, 6))
		return 2;
	state = strtoul(argv[2], 0, 0) | 1;
	base = argv[3], work_name = argv[4], home_name = argv[5];
	work = root_of(work_name);
	if (work < 0 || fstatat(work, "inside", &inside, 0))
		return 2;
	mkdirat(work, "a", 0755);
	symlinkat("..", work, "up");
	symlinkat("/", work, "top");
	symlinkat(base, work, "abs");
	symlinkat("loop/../..", work, "loop");
	slots_end = ZONE_ADDR + ZONE_SLOT_SIZE * 2UL * ZONE_HALF;
	own = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	behind = mmap(ZONE + ZONE_SIZE, AROUND, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	/* Not every kernel lets a program have memory so far below. */
	before = mmap(ZONE - AROUND, AROUND, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	high = mmap((void *)(ZONE_ADDR + (1UL << 32)), ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (own == MAP_FAILED || high == MAP_FAILED || behind == MAP_FAILED)
		return 2;
	forge(own, 4096);
	forge(behind, AROUND);
	if (before != MAP_FAILED)
		forge(before, AROUND);
	forge(high, ZONE_SIZE);
	pthread_create(&thread, 0, shift, 0);
	for (end = now() + atof(argv[1]); now() < end;)
		for (int i = 0; i < 64; i++)
			once(&state);
	stop = 1;
	pthread_join(thread, 0);
	printf("COUNTS calls %ld opened %ld inside %ld refused %ld held %ld compared %ld told %ld reached %ld\n", calls, opened, found, refused, held, compared, told,
	       reached);
	return reached || told;
}
