/*
 * reach.h: what the programs share that try for a while to come to hidden files.
 * They are told device and inode of everything that they must never reach, and
 * they know hidden files by their text, too. Outside a cell the same calls are
 * made without a zone: that is the control, which does come there.
 */
#ifndef REACH_H
#define REACH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include "raw.h"

#define HIDDEN_TEXT "HIDDEN" /* a hidden file begins with it, and so does the text of a hidden symlink */

struct how {
	unsigned long flags, mode, resolve;
};

struct file {
	unsigned long dev, ino;
};

static struct file hidden_files[256];
static int hidden_count;
static int in_cell;
static volatile long reached, reached_by_slot; /* how often something hidden was, and by an open without asking */

/* hidden_arguments reads DEVICE:INODE from argv[first] on. */
static inline int hidden_arguments(char **argv, int first)
{
	in_cell = getenv("NIP_CELL") != 0;
	for (; argv[first]; first++) {
		struct file *f = &hidden_files[hidden_count++];

		if (hidden_count == 256 || sscanf(argv[first], "%lu:%lu", &f->dev, &f->ino) != 2)
			return -1;
	}
	return hidden_count ? 0 : -1;
}

static inline int is_hidden(unsigned long dev, unsigned long ino)
{
	for (int i = 0; i < hidden_count; i++)
		if (hidden_files[i].ino == ino && hidden_files[i].dev == dev)
			return 1;
	return 0;
}

/* breach says that something was reached; the first ten times only. */
static inline void breach(const char *how, const char *path, const char *what)
{
	if (!strncmp(how, "slot", 4))
		__sync_add_and_fetch(&reached_by_slot, 1);
	if (__sync_add_and_fetch(&reached, 1) <= 10) {
		printf("BREACH %s: %s: %s\n", how, path, what);
		fflush(stdout);
	}
}

/* inspect looks at what a call has opened. It reports whether that is something else than hidden. */
static inline int inspect(int fd, const char *how, const char *path)
{
	char text[64] = { 0 };
	struct stat st;

	if (fstat(fd, &st))
		return 0; /* another thread has closed it */
	if (is_hidden(st.st_dev, st.st_ino)) {
		breach(how, path, S_ISDIR(st.st_mode) ? "a directory" : "a file");
		return 0;
	}
	if (S_ISREG(st.st_mode) && raw(SYS_pread64, fd, text, sizeof(text) - 1, 0) > 0 && !memcmp(text, HIDDEN_TEXT, strlen(HIDDEN_TEXT))) {
		breach(how, path, "its text");
		return 0;
	}
	if (S_ISLNK(st.st_mode) && raw(SYS_readlinkat, fd, in_cell ? (char *)ZONE_EMPTY : "", text, sizeof(text) - 1) > 0 &&
	    !memcmp(text, HIDDEN_TEXT, strlen(HIDDEN_TEXT))) {
		breach(how, path, "a symlink's text");
		return 0;
	}
	return 1;
}

/* by_slot opens without asking: in a cell by the slot of the flags, outside as open does. */
static inline int by_slot(int dir, const char *path, int flags, int in_root)
{
	if (!in_cell)
		return (int)raw(SYS_openat, dir, path, flags, 0);
	return (int)openat2(dir, path, slot_of(flags, in_root), ZONE_HOW_SIZE);
}

/* root_of returns the descriptor that the cell was given of a directory; a new one where there is none. */
static inline int root_of(const char *dir)
{
	struct stat want, st;
	int opened = open(dir, O_RDONLY | O_DIRECTORY), fd;

	if (opened < 0 || fstat(opened, &want))
		return -1;
	for (fd = 40; in_cell && fd < ZONE_FD; fd++)
		if (!fstat(fd, &st) && st.st_dev == want.st_dev && st.st_ino == want.st_ino)
			return fd;
	return opened;
}

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* dice is a fast random number below n. Each thread has its own state. */
static inline unsigned dice(unsigned long *state, unsigned n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (unsigned)((*state >> 20) % n);
}

#endif
