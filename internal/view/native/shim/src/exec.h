/* exec.h: starting programs and scripts. */
#ifndef EXEC_H
#define EXEC_H

#include "path.h"

static int blank(char c)
{
	return c == ' ' || c == '\t';
}

/*
 * script parses the first n bytes of a file as the kernel's binfmt_script does.
 * line has a NUL at n. It returns 0 where it is no script, -ENOEXEC where its
 * first line is of no use, else 1 with the interpreter and its argument, or 0.
 */
static int script(char *line, long n, char **interp, char **arg)
{
	char *p = line + 2, *end, *last;

	if (n < 2 || line[0] != '#' || line[1] != '!')
		return 0;
	for (end = p; end < line + n && *end && *end != '\n'; end++)
		;
	if (end == line + SCRIPT_LINE) { /* cut off: only whole names count */
		while (p < end && blank(*p))
			p++;
		for (last = p; last < end && !blank(*last); last++)
			;
		if (last == end)
			return -ENOEXEC;
	}
	while (end > line + 2 && blank(end[-1]))
		end--;
	*end = 0;
	for (p = line + 2; blank(*p); p++)
		;
	if (!*p)
		return -ENOEXEC;
	*interp = p;
	while (*p && !blank(*p))
		p++;
	*arg = 0;
	if (*p) {
		*p++ = 0;
		while (blank(*p))
			p++;
		*arg = *p ? p : 0;
	}
	return 1;
}

static long do_exec(const char *path, char *const *argv, char *const *envp, int depth);

/* run_script starts a script's interpreter with the arguments that it gets. */
static __attribute__((noinline)) long run_script(const char *path, char *line, long n, char *const *argv,
						 char *const *envp, int depth)
{
	char *interp, *arg;
	const char **list;
	long argc = 0, at = 0;
	int kind = script(line, n, &interp, &arg);

	if (kind <= 0)
		return kind ? kind : 1;
	if (!depth || bad_pointer(argv))
		return ASK;
	while (argv[argc])
		if (++argc > SCRIPT_ARGS)
			return ASK;
	list = __builtin_alloca((ulong)(argc + 4) * sizeof(*list));
	list[at++] = interp;
	if (arg)
		list[at++] = arg;
	list[at++] = path;
	for (n = 1; n < argc; n++)
		list[at++] = argv[n];
	list[at] = 0;
	return do_exec(interp, (char *const *)list, envp, depth - 1);
}

/* do_exec returns only if it did not work. */
static __attribute__((noinline)) long do_exec(const char *path, char *const *argv, char *const *envp, int depth)
{
	char line[SCRIPT_LINE + 1];
	struct place at;
	long fd = enter(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0, NR_execve), err, n;

	if (fd == -EMFILE || fd == -ENFILE)
		return ASK;
	if (fd < 0)
		return fd;
	n = sys4(NR_pread64, fd, (long)line, SCRIPT_LINE, 0);
	if (n > 2 && line[0] == '#' && line[1] == '!') {
		if (!locate(AT_FDCWD, path, &at, 0) || (at.fd != ZONE_VIEW_FD && !at.next)) {
			drop(fd);
			return ASK; /* only of the view's own files the shim knows that they may be executed */
		}
		line[n] = 0;
		err = sys4(NR_faccessat2, fd, (long)EMPTY, X_OK, AT_EMPTY_PATH | AT_EACCESS);
		drop(fd);
		if (err)
			return again(err) ? ASK : err;
		return run_script(path, line, n, argv, envp, depth);
	}
	err = sys5(NR_execveat, fd, (long)EMPTY, (long)argv, (long)envp, AT_EMPTY_PATH);
	drop(fd);
	return again(err) ? ASK : err;
}

static long do_execveat(long dirfd, const char *path, char *const *argv, char *const *envp, ulong flags)
{
	if (empty(path, flags))
		return sys5(NR_execveat, dirfd, (long)EMPTY, (long)argv, (long)envp, (long)flags);
	if ((int)dirfd == AT_FDCWD && !(uint)flags)
		return do_exec(path, argv, envp, SCRIPT_DEPTH);
	return ASK;
}

#endif
