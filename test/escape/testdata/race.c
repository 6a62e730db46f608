/*
 * race.c: path calls that race with everything that could make them lead out.
 *
 *	race SECONDS BASE WORK HOME TMP DEVICE:INODE...
 *
 * WORK is below BASE, where a file "hidden" is, a directory "hidden.d" with
 * another in it, and a symlink "hidden.l"; such names may lie above HOME and TMP,
 * too. Four threads run until the time is over: one changes the paths while they
 * are used, one turns symlinks and moves directories between WORK, HOME and TMP,
 * one opens by slots, and one makes calls that are asked, also such that change
 * something. A process with the same memory tries to put its own in the zone's
 * place all the while.
 *
 * By turns, paths name "hidden" and "absent", which is nowhere: an error that only
 * one of them gives would tell that the other is there.
 *
 * It prints a line of counts, "BREACH …" for what was reached, "TELLS …" for calls
 * that tell, and ends with 1 after either.
 */
#include "reach.h"

#include <dirent.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/wait.h>

static const char *base, *work_name, *home_name, *tmp_name;
static int work, home, tmp;
static volatile int stop;
static struct stat inside;

/* Half-turns: the target's name is names[turn & 1] while turn is the same before and after a call. */
static const char *const names[] = { "hidden", "absent" };
static volatile unsigned turn;
static volatile unsigned agreed[2]; /* the turn that the threads that make paths have come to */

static char paths[4][PATH_MAX]; /* what the first thread writes all the time; the last two never say "inside" */
static volatile long moved, turned, swapped, remapped;

static int make_path(char *to, unsigned long *state, const char *name, int harmless)
{
	switch (dice(state, harmless ? 20 : 16)) {
	case 0: return sprintf(to, "../%s", name);
	case 1: return sprintf(to, "a/b/c/../../../../%s", name);
	case 2: return sprintf(to, "a/b/c/../../../%s", name);
	case 3: return sprintf(to, "%s/%s", base, name);
	case 4: return sprintf(to, "dlink/%s", name);
	case 5: return sprintf(to, "../../../../%s", name);
	case 6: return sprintf(to, "%s/a/b/../../../%s.d/%s", work_name, name, name);
	case 7: return sprintf(to, "dlink/../%s.l", name);
	case 8: return sprintf(to, "/proc/self/cwd/../%s", name);
	case 9: return sprintf(to, "/proc/self/root/%s/%s.d", base, name);
	case 10: return sprintf(to, "/proc/self/fd/%d/../%s", work, name);
	case 11: return sprintf(to, "%s/dlink/%s.d/../%s", work_name, name, name);
	case 12: return sprintf(to, "../../%s.l", name);
	case 13: return sprintf(to, "%s/c/../%s", home_name, name);
	case 14: return sprintf(to, "%s/c/../../%s", tmp_name, name);
	case 15: return sprintf(to, "c/./..//../%s.d", name);
	case 16: return sprintf(to, "link");
	case 17: return sprintf(to, "a/b/../../inside");
	case 18: return sprintf(to, "%s/inside", work_name);
	}
	return sprintf(to, "inside");
}

static void *swap(void *unused)
{
	unsigned long state = 0x9e3779b97f4a7c15;
	char next[PATH_MAX];

	while (!stop) {
		unsigned t = turn, i = dice(&state, 4);
		int n = make_path(next, &state, names[t & 1], i < 2);

		for (int j = 0; j <= n; j++) /* byte by byte: mixtures are seen as well */
			((volatile char *)paths[i])[j] = next[j];
		swapped++;
		if (agreed[0] != t) {
			for (i = 0; i < 4; i++)
				strcpy(paths[i], next);
			agreed[0] = t;
		}
		if (!dice(&state, 8)) /* there may be fewer processors than threads */
			sched_yield();
	}
	return unused;
}

static void point(const char *link, const char *target)
{
	unlinkat(work, "spare", 0);
	if (!symlinkat(target, work, "spare") && !renameat(work, "spare", work, link))
		turned++;
}

static void *turn_links(void *unused)
{
	unsigned long state = 0xd1342543de82ef95;
	char target[PATH_MAX];
	unsigned since = 0;

	while (!stop) {
		unsigned t = turn;

		switch (dice(&state, 4)) {
		case 0: make_path(target, &state, names[t & 1], 1); break;
		case 1: sprintf(target, "../%s", names[t & 1]); break;
		case 2: sprintf(target, "%s/%s", base, names[t & 1]); break;
		default: strcpy(target, "inside");
		}
		point("link", target);
		switch (dice(&state, 5)) {
		case 0: point("dlink", ".."); break;
		case 1: point("dlink", base); break;
		case 2: point("dlink", "/"); break;
		case 3: point("dlink", "../../.."); break;
		default: point("dlink", "a");
		}
		if (agreed[1] != t && since++ > 4) { /* both links are this turn's */
			since = 0;
			agreed[1] = t;
		}
		moved += !renameat(work, "a/b/c", home, "c");
		moved += !renameat(home, "c", tmp, "c");
		moved += !renameat(tmp, "c", work, "a/b/c");
		moved += !renameat(work, "a/b", home, "b");
		moved += !renameat(home, "b", work, "a/b");
		moved += !renameat(work, "a/b/c", work, "c");
		moved += !renameat(work, "c", work, "a/b/c");
		if (!renameat2(work, "a", work, "dlink", RENAME_EXCHANGE))
			moved += !renameat2(work, "a", work, "dlink", RENAME_EXCHANGE);
	}
	return unused;
}

/*
 * In how many turns each name gave each result, by call: 0 is success. Turns are
 * counted and not calls, as a name that a call has made in one is found by all
 * others in it.
 */
#define CALLS 40
#define ERRORS 134
static long seen[2][CALLS][2][ERRORS];
static unsigned last_seen[2][CALLS][ERRORS];
static const char *const call_names[2][CALLS] = {
	{ "slot O_RDONLY", "slot O_PATH", "slot O_PATH O_NOFOLLOW", "slot O_DIRECTORY", "slot O_PATH O_DIRECTORY", "slot O_WRONLY", "slot O_RDWR",
	  "slot O_RDONLY in root", "slot O_PATH in root", "slot O_PATH O_NOFOLLOW in root", "slot O_DIRECTORY in root", "slot O_PATH O_DIRECTORY in root",
	  "slot O_WRONLY in root", "slot O_RDWR in root" },
	{ "openat", "openat O_PATH", "openat2", "newfstatat", "newfstatat O_NOFOLLOW", "statx", "readlinkat", "faccessat", "faccessat2", "getxattr", "statfs",
	  "listxattr", "inotify_add_watch", "name_to_handle_at", "linkat", "renameat", "renameat2", "unlinkat", "rmdir", "mkdirat", "truncate", "fchmodat",
	  "utimensat", "symlinkat", "openat O_CREAT", "mknodat", "setxattr", "fchownat", "chdir" },
};

/* settled reports whether all paths and links are of turn t. */
static int settled(unsigned t)
{
	return turn == t && agreed[0] == t && agreed[1] == t;
}

static void count(int kind, int call, unsigned t, int fair, long result)
{
	int e = result < 0 ? errno : 0;

	e = e < ERRORS ? e : ERRORS - 1;
	if (!fair || !settled(t) || last_seen[kind][call][e] == t)
		return;
	last_seen[kind][call][e] = t;
	seen[kind][call][t & 1][e]++;
}

static long opened, in_by_slot, in_asked, held_back, refused_asked;

static void by_slots(unsigned long *state)
{
	static const int flags[] = { O_RDONLY, O_PATH, O_PATH | O_NOFOLLOW, O_RDONLY | O_DIRECTORY, O_PATH | O_DIRECTORY, O_WRONLY, O_RDWR };
	const int dirs[] = { work, work, work, home, tmp, in_cell ? 40 : work, in_cell ? 41 : work, AT_FDCWD };
	unsigned t = turn, f = dice(state, 7), in_root = dice(state, 2);
	int dir = dirs[dice(state, 8)], fair = settled(t), fd, below;
	char fixed[PATH_MAX], *path = paths[dice(state, 4)];
	struct stat st;

	if (dice(state, 2)) {
		make_path(fixed, state, names[t & 1], 1);
		path = fixed;
	}
	fd = by_slot(dir, path, flags[f], (int)in_root);
	count(0, (int)(f + 7 * in_root), t, fair, fd);
	if (fd < 0) {
		held_back += errno == EXDEV || errno == EAGAIN || errno == ENOENT;
		return;
	}
	opened++;
	if (inspect(fd, call_names[0][f + 7 * in_root], path) && !fstat(fd, &st)) {
		in_by_slot += st.st_ino == inside.st_ino && st.st_dev == inside.st_dev;
		if (S_ISDIR(st.st_mode)) {
			static const char *const on[] = { "..", "../..", "../hidden", "../../hidden", "hidden.d/hidden", "c/../../hidden" };
			const char *next = on[dice(state, 6)];

			if (!dice(state, 4))
				raw(SYS_fchdir, fd, ZONE_FCHDIR_MARK);
			below = by_slot(dice(state, 2) ? fd : AT_FDCWD, next, O_PATH, (int)dice(state, 2));
			if (below >= 0) {
				inspect(below, "slot O_PATH below what was opened", next);
				close(below);
			}
		}
	}
	close(fd);
}

static void *walk(void *unused)
{
	unsigned long state = 0xa0761d6478bd642f;

	while (!stop)
		by_slots(&state);
	return unused;
}

/* unlike inspect, of what the call itself told. */
static void told(const struct stat *st, const char *how, const char *path)
{
	if (is_hidden(st->st_dev, st->st_ino))
		breach(how, path, "its inode");
	in_asked += st->st_ino == inside.st_ino && st->st_dev == inside.st_dev;
}

static void ask(unsigned long *state)
{
	static const struct how plain = { O_RDONLY, 0, 0 };
	struct {
		struct file_handle h;
		unsigned char room[MAX_HANDLE_SZ];
	} handle = { .h = { .handle_bytes = MAX_HANDLE_SZ } };
	unsigned t = turn, call = dice(state, in_cell ? 29 : 12); /* outside nothing is changed */
	int dir = dice(state, 3) ? work : dice(state, 2) ? AT_FDCWD : home, fair = settled(t), mount;
	const char *name = call_names[1][call];
	char *path = paths[call < 14 ? dice(state, 4) : 2 + dice(state, 2)], fixed[PATH_MAX], text[PATH_MAX];
	struct statfs fs;
	struct statx x;
	struct stat st;
	long r = -1;

	if (dice(state, 2)) {
		make_path(fixed, state, names[t & 1], call < 14);
		path = fixed;
	}
	switch (call) {
	case 0: r = raw(SYS_openat, dir, path, O_RDONLY | O_NONBLOCK); break;
	case 1: r = raw(SYS_openat, dir, path, O_PATH | O_NOFOLLOW); break;
	case 2: r = raw(SYS_openat2, dir, path, &plain, sizeof(plain)); break;
	case 3: r = raw(SYS_newfstatat, dir, path, &st, 0); break;
	case 4: r = raw(SYS_newfstatat, dir, path, &st, AT_SYMLINK_NOFOLLOW); break;
	case 5: r = raw(SYS_statx, dir, path, 0, STATX_BASIC_STATS, &x); break;
	case 6: r = raw(SYS_readlinkat, dir, path, text, sizeof(text)); break;
	case 7: r = raw(SYS_faccessat, dir, path, R_OK); break;
	case 8: r = raw(SYS_faccessat2, dir, path, F_OK, AT_SYMLINK_NOFOLLOW); break;
	case 9: r = raw(SYS_getxattr, path, "user.x", text, sizeof(text)); break;
	case 10: r = raw(SYS_statfs, path, &fs); break;
	case 11: r = raw(SYS_listxattr, path, text, sizeof(text)); break;
	case 12: r = raw(SYS_inotify_add_watch, 63, path, 2); break;
	case 13: r = raw(SYS_name_to_handle_at, dir, path, &handle, &mount, 0); break;
	case 14: r = raw(SYS_linkat, dir, path, tmp, "got", 0); break;
	case 15: r = raw(SYS_renameat, dir, path, tmp, "got"); break;
	case 16: r = raw(SYS_renameat2, dir, path, home, "got", RENAME_NOREPLACE); break;
	case 17: r = raw(SYS_unlinkat, dir, path, 0); break;
	case 18: r = raw(SYS_unlinkat, dir, path, AT_REMOVEDIR); break;
	case 19: r = raw(SYS_mkdirat, dir, path, 0700); break;
	case 20: r = raw(SYS_truncate, path, 3); break;
	case 21: r = raw(SYS_fchmodat, dir, path, 0755); break;
	case 22: r = raw(SYS_utimensat, dir, path, 0, 0); break;
	case 23: r = raw(SYS_symlinkat, "x", dir, path); break;
	case 24: r = raw(SYS_openat, dir, path, O_RDWR | O_CREAT, 0600); break;
	case 25: r = raw(SYS_mknodat, dir, path, S_IFREG | 0600, 0); break;
	case 26: r = raw(SYS_setxattr, path, "user.x", "x", 1, 0); break;
	case 27: r = raw(SYS_fchownat, dir, path, getuid(), -1, 0); break;
	case 28: r = raw(SYS_chdir, path); break;
	}
	count(1, (int)call, t, fair, r);
	if (r < 0) {
		refused_asked++;
		return;
	}
	switch (call) {
	case 0: case 1: case 2: case 24:
		if (inspect((int)r, name, path) && !fstat((int)r, &st))
			told(&st, name, path);
		close((int)r);
		break;
	case 3: case 4:
		told(&st, name, path);
		break;
	case 5:
		st.st_dev = makedev(x.stx_dev_major, x.stx_dev_minor);
		st.st_ino = x.stx_ino;
		told(&st, name, path);
		break;
	case 6:
		if (!memcmp(text, HIDDEN_TEXT, strlen(HIDDEN_TEXT)))
			breach(name, path, "a symlink's text");
		break;
	case 12:
		raw(SYS_inotify_rm_watch, 63, r);
		break;
	case 14: case 15: case 16:
		if (!fstatat(call == 16 ? home : tmp, "got", &st, AT_SYMLINK_NOFOLLOW))
			told(&st, name, path);
		unlinkat(call == 16 ? home : tmp, "got", 0);
		unlinkat(call == 16 ? home : tmp, "got", AT_REMOVEDIR);
		break;
	case 28:
		fchdir(work);
		break;
	}
}

static void *walk_asked(void *unused)
{
	unsigned long state = 0xe7037ed1a0b428db;

	while (!stop)
		ask(&state);
	return unused;
}

/*
 * remap is a process of its own with this memory: it makes calls that would
 * change what is in the zone's place while others use it. Its errno is the first
 * thread's, which does not look at it.
 */
static int remap(void *page)
{
	char *own = page;
	unsigned long state = 0x8ebc6af09c88c6e3;

	while (!stop) {
		long r = -1;

		switch (dice(&state, 8)) {
		case 0: r = raw(SYS_mmap, ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break;
		case 1: r = raw(SYS_mmap, ZONE + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break;
		case 2: r = raw(SYS_munmap, ZONE, ZONE_SIZE); break;
		case 3: r = raw(SYS_mremap, own, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, ZONE); break;
		case 4: r = raw(SYS_mremap, ZONE, ZONE_SIZE, ZONE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, own + (1 << 20)); break;
		case 5: r = raw(SYS_mprotect, ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE); break;
		case 6: r = raw(SYS_madvise, ZONE, ZONE_SIZE, MADV_REMOVE); break;
		case 7: r = raw(SYS_mmap, ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, ZONE_FD, 0); break;
		}
		remapped++;
		if (r != -1)
			breach("remapping", "the zone", "a call that worked");
		raw(SYS_sched_yield);
	}
	return 0;
}

/* tells compares the results that "hidden" and "absent" gave. By chance, one of them 20 times and the other never is one in a million. */
static long tells(int kind)
{
	long found = 0;

	for (int c = 0; c < CALLS; c++)
		for (int e = 0; e < ERRORS; e++)
			for (int n = 0; n < 2; n++)
				if (seen[kind][c][n][e] > 20 && !seen[kind][c][!n][e]) {
					printf("TELLS %s of %s: error %d in %ld turns, of %s never\n", call_names[kind][c], names[n], e, seen[kind][c][n][e], names[!n]);
					found++;
				}
	return found;
}

/*
 * tidy removes what calls have made with either name, so that both begin alike:
 * all of it, wherever directories have moved meanwhile. It closes dir.
 */
static void tidy(int dir, int depth)
{
	DIR *list = dir < 0 ? 0 : fdopendir(dir);
	struct dirent *e;

	while (list && (e = readdir(list))) {
		if (e->d_name[0] == '.')
			continue;
		if (depth && e->d_type == DT_DIR)
			tidy(openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), depth - 1);
		for (int n = 0; n < 2; n++)
			if (!strncmp(e->d_name, names[n], strlen(names[n])) && unlinkat(dir, e->d_name, 0))
				unlinkat(dir, e->d_name, AT_REMOVEDIR);
	}
	if (list)
		closedir(list);
}

int main(int argc, char **argv)
{
	void *(*const threads[])(void *) = { swap, turn_links, walk, walk_asked };
	char *page = mmap(0, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t ids[4];
	pid_t mapper = -1;
	double end;
	long telling;
	int status;

	if (argc < 7 || hidden_arguments(argv, 6) || page == MAP_FAILED)
		return 2;
	base = argv[2], work_name = argv[3], home_name = argv[4], tmp_name = argv[5];
	work = root_of(work_name), home = root_of(home_name), tmp = root_of(tmp_name);
	mkdirat(work, "a", 0755);
	mkdirat(work, "a/b", 0755);
	mkdirat(work, "a/b/c", 0755);
	if (work < 0 || home < 0 || tmp < 0 || fstatat(work, "inside", &inside, 0) || fchdir(work)) {
		printf("roots %d %d %d: %s\n", work, home, tmp, strerror(errno));
		return 2;
	}
	const int roots[] = { work, home, tmp };

	dup2((int)raw(SYS_inotify_init1, 0), 63);
	for (int i = 0; i < 4; i++)
		strcpy(paths[i], "../hidden");
	/* Where all is asked, nothing depends on what is in the zone's place. */
	if (in_cell && !(*(unsigned *)(ZONE_TABLE + ZONE_FLAGS) & ZONE_ASK_ALL) && (mapper = clone(remap, page + (2 << 20) - 4096, CLONE_VM | SIGCHLD, page)) < 0)
		return 2;
	for (int i = 0; i < 4; i++)
		pthread_create(&ids[i], 0, threads[i], 0);
	for (end = now() + atof(argv[1]); now() < end;) {
		struct timespec t = { 0, 20000000 };

		nanosleep(&t, 0);
		for (int i = 0; in_cell && i < 3; i++)
			tidy(openat(roots[i], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), 8);
		turn++;
	}
	stop = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(ids[i], 0);
	if (mapper > 0)
		waitpid(mapper, &status, 0);
	telling = in_cell ? tells(0) + tells(1) : 0;
	printf("COUNTS opened %ld inside %ld held %ld answered %ld refused %ld swapped %ld turned %ld moved %ld remapped %ld reached %ld slots %ld\n", opened, in_by_slot,
	       held_back, in_asked, refused_asked, swapped, turned, moved, remapped, reached, reached_by_slot);
	return reached || telling;
}
