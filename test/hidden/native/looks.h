/* looks.h: the calls that look at files and change nothing. */
#ifndef LOOKS_H
#define LOOKS_H

#include "answer.h"

static void do_open(char **a)
{
	opened(open(a[0], bits(a[1]), 0666));
}

static void do_openat(char **a)
{
	int dir = directory(a[0], "dir ");

	if (dir == -1)
		return;
	opened(openat(dir, a[1], bits(a[2]), 0666));
	done(dir);
}

static void do_openat2(char **a)
{
	struct open_how how = { .flags = (unsigned)bits(a[2]), .resolve = (unsigned)bits(a[3]) };
	int dir = directory(a[0], "dir ");

	if (dir == -1)
		return;
	if (how.flags & O_CREAT)
		how.mode = 0666;
	opened((int)syscall(SYS_openat2, dir, a[1], &how, sizeof(how)));
	done(dir);
}

static void do_fopen(char **a)
{
	FILE *f = fopen(a[0], "r");

	opened(f ? dup(fileno(f)) : -1);
	if (f)
		fclose(f);
}

static void do_stat(char **a)
{
	struct stat st;

	described(stat(a[0], &st), &st);
}

static void do_lstat(char **a)
{
	struct stat st;

	described(lstat(a[0], &st), &st);
}

static void do_fstatat(char **a)
{
	struct stat st;
	int dir = directory(a[0], "dir ");

	if (dir == -1)
		return;
	described(fstatat(dir, a[1], &st, bits(a[2])), &st);
	done(dir);
}

static void do_statx(char **a)
{
	struct statx st;
	int dir = directory(a[0], "dir ");

	if (dir == -1)
		return;
	if (statx(dir, a[1], bits(a[2]), STATX_BASIC_STATS, &st))
		result(-1);
	else
		say("ok type %o mode %o", st.stx_mode & S_IFMT, st.stx_mode & 07777);
	done(dir);
}

static void do_readlink(char **a)
{
	char text[PATH_MAX];
	int dir = directory(a[0], "dir ");
	long n;

	if (dir == -1)
		return;
	n = dir == AT_FDCWD ? readlink(a[1], text, sizeof(text)) : readlinkat(dir, a[1], text, sizeof(text));
	if (n < 0)
		say("%s ", name(errno));
	else
		say("ok %.*s", (int)n, text);
	done(dir);
}

static void do_getcwd(char **a)
{
	char text[PATH_MAX];

	(void)a;
	if (getcwd(text, sizeof(text)))
		say("ok %s", text);
	else
		say("%s ", name(errno));
}

static void do_realpath(char **a)
{
	char text[PATH_MAX];

	if (realpath(a[0], text))
		say("ok %s", text);
	else
		result(-1);
}

static void do_statfs(char **a)
{
	struct statfs st;

	result(statfs(a[0], &st));
}

static void do_getxattr(char **a)
{
	char value[64];
	long n = getxattr(a[0], a[1], value, sizeof(value));

	if (n < 0)
		say("%s ", name(errno));
	else
		say("ok %.*s", (int)n, value);
}

static void do_listxattr(char **a)
{
	char list[1024];

	result(listxattr(a[0], list, sizeof(list)));
}

static int named(const struct dirent *e)
{
	return strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* letter says what kind of file a type of struct dirent is. */
static char letter(int type)
{
	switch (type) {
	case DT_DIR:
		return 'd';
	case DT_REG:
		return '-';
	case DT_LNK:
		return 'l';
	case DT_CHR:
		return 'c';
	case DT_FIFO:
		return 'p';
	}
	return '?';
}

/* listing prints the names in a directory, and what kind each is to readdir and to lstat. */
static void listing(const char *path, int kinds)
{
	struct dirent **list;
	char text[PATH_MAX];
	struct stat st;
	int i, n = scandir(path, &list, named, by_bytes);
	size_t at = 0;

	if (n < 0)
		result(n);
	for (i = 0; i < n; i++) {
		at += (size_t)snprintf(answer + at, sizeof(answer) - at, "%s%s", i ? " " : "", list[i]->d_name);
		snprintf(text, sizeof(text), "%s/%s", path, list[i]->d_name);
		if (kinds)
			at += (size_t)snprintf(answer + at, sizeof(answer) - at, ":%c%c", letter(list[i]->d_type),
					       lstat(text, &st) ? '!' : letter(IFTODT(st.st_mode)));
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

static void do_list(char **a)
{
	listing(a[0], 0);
}

static void do_kinds(char **a)
{
	listing(a[0], 1);
}

static void do_read(char **a)
{
	int fd = open(a[0], O_RDONLY | O_CLOEXEC);
	char text[4096];
	long i, n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	size_t at = 1;

	if (n < 0) {
		result(-1);
		done(fd);
		return;
	}
	say("\"");
	for (i = 0; i < n; i++)
		at += (size_t)snprintf(answer + at, sizeof(answer) - at, text[i] == '\n' ? "\\n" : "%c", text[i]);
	snprintf(answer + at, sizeof(answer) - at, "\"");
	close(fd);
}

#endif
