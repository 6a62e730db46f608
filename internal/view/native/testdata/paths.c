/*
 * paths.c: makes every path call that the shim knows, on names of every kind,
 * and prints what came of it. Run as it is and by way of the shim it must print
 * the same. The current directory is empty.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIRECTORY_ITSELF (O_DIRECTORY | O_NOFOLLOW)

static char *names[400];
static int count;
static const char *volatile null;

static void name(const char *s)
{
	names[count++] = strdup(s);
}

static void say(const char *call, const char *path, long r)
{
	printf("%-22s %-40.40s %ld %s\n", call, path, r < 0 ? -1 : r, r < 0 ? strerrorname_np(errno) : "");
}

static void print_stat(const char *call, const char *path, long r, const struct stat *st)
{
	int e = errno;

	if (r == 0)
		printf("%-22s %-40.40s mode %o size %ld uid %d\n", call, path, st->st_mode,
		       S_ISDIR(st->st_mode) ? 0L : (long)st->st_size, (int)st->st_uid);
	else
		errno = e, say(call, path, r);
}

static void opened(const char *call, const char *path, int fd)
{
	char b[8] = "";
	long n;

	if (fd < 0) {
		say(call, path, fd);
		return;
	}
	n = read(fd, b, 4);
	printf("%-22s %-40.40s opened, read %ld %s, flags %o, fd flags %d\n", call, path, n, n < 0 ? strerrorname_np(errno) : "",
	       fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
	close(fd);
}

static const int flags[] = { O_RDONLY, O_RDONLY | O_CLOEXEC, O_RDONLY | O_DIRECTORY, O_RDONLY | O_NOFOLLOW, O_WRONLY, O_RDWR,
			     O_RDWR | O_APPEND, O_PATH, O_PATH | O_NOFOLLOW, O_RDONLY | O_NONBLOCK, O_WRONLY | O_CREAT | O_EXCL,
			     O_RDWR | O_TMPFILE, O_RDONLY | O_NOCTTY, 3, O_PATH | O_CREAT | O_RDWR, O_RDONLY | DIRECTORY_ITSELF,
			     O_PATH | DIRECTORY_ITSELF, O_PATH | O_DIRECTORY };

static void try(const char *p, int dir)
{
	char b[PATH_MAX];
	struct stat st;
	struct statx stx;
	struct statfs fs;
	long r;
	unsigned i;

	for (i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		snprintf(b, sizeof(b), "open %o", flags[i]);
		opened(b, p, open(p, flags[i], 0600));
	}
	opened("openat", p, openat(dir, p, O_RDONLY));
	r = stat(p, &st), print_stat("stat", p, r, &st);
	r = lstat(p, &st), print_stat("lstat", p, r, &st);
	r = fstatat(dir, p, &st, 0), print_stat("fstatat", p, r, &st);
	r = fstatat(dir, p, &st, AT_SYMLINK_NOFOLLOW), print_stat("fstatat nofollow", p, r, &st);
	r = fstatat(dir, p, &st, AT_EMPTY_PATH), print_stat("fstatat empty", p, r, &st);
	r = fstatat(dir, p, &st, 0x10), print_stat("fstatat bad flags", p, r, &st);
	memset(&stx, 0, sizeof(stx));
	r = statx(AT_FDCWD, p, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx);
	say("statx", p, r < 0 ? r : stx.stx_mode);
	r = statx(dir, p, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &stx);
	say("statx empty", p, r < 0 ? r : stx.stx_mode);
	say("statx bad flags", p, statx(dir, p, 0x10, STATX_BASIC_STATS, &stx));
	for (i = 0; i <= 8; i++) {
		say("access", p, access(p, (int)i));
		say("faccessat eaccess", p, faccessat(dir, p, (int)i, AT_EACCESS));
	}
	say("faccessat nofollow", p, faccessat(AT_FDCWD, p, R_OK, AT_SYMLINK_NOFOLLOW));
	memset(b, 0, sizeof(b));
	r = readlink(p, b, sizeof(b) - 1), say("readlink", r > 0 ? b : p, r);
	r = readlink(p, b, 3), say("readlink short", p, r);
	r = readlink(p, b, 0), say("readlink none", p, r);
	memset(b, 0, sizeof(b));
	r = readlinkat(dir, p, b, sizeof(b) - 1), say("readlinkat", r > 0 ? b : p, r);
	r = statfs(p, &fs), say("statfs", p, r < 0 ? r : fs.f_namelen);
	r = (long)realpath(p, b) ? 0 : -1, say("realpath", r ? p : b, r);
	r = chdir(p);
	say("chdir", p, r);
	if (!r)
		printf("%-22s %-40.40s in %s\n", "getcwd", p, getcwd(b, sizeof(b)) ? b : strerrorname_np(errno));
	if (fchdir(dir))
		perror("fchdir");
}

static void run(const char *p)
{
	char *argv[] = { "zero", "one", "two words", NULL }, *envp[] = { "A=b", NULL };
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		execve(p, argv, envp);
		say("execve", p, -1);
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	printf("%-22s %-40.40s status %x\n", "execve", p, status);
}

static void put(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, mode))
		perror(path);
	close(fd);
}

static void make(void)
{
	put("file", "some text\n", 0644);
	put("secret", "none", 0);
	put("readonly", "text", 0444);
	if (mkdir("dir", 0755) || mkdir("dir/sub", 0755) || mkdir("closed", 0) || symlink("file", "link") ||
	    symlink("dir/sub", "dirlink") || symlink("nothing", "dangling") || symlink("loop2", "loop") || symlink("loop", "loop2") ||
	    symlink("/usr/bin", "absolute") || symlink("../scratch/file", "roundabout") || mkfifo("fifo", 0644) ||
	    symlink("./././xyz", "lookalike") || symlink("/tmp", "tmplink"))
		perror("make");
	put("dir/sub/deep", "deep", 0600);
	put("script", "#!/usr/bin/echo  -n x \nbody\n", 0755);
	put("script2", "#! ./script\n", 0755);
	put("script3", "#!/nothing here\n", 0755);
	put("script4", "#!\n", 0755);
	put("script5", "#!/usr/bin/echo", 0644);
	put("text", "echo not a script\n", 0755);
	put("selfscript", "#!./selfscript\n", 0755);
}

static void list(const char *p)
{
	char b[PATH_MAX];
	struct dirent **e;
	struct stat st;
	int i, n = scandir(p, &e, NULL, alphasort);
	long r;

	say("scandir", p, n);
	for (i = 0; i < n; i++) {
		if (!strcmp(e[i]->d_name, "paths"))
			continue; /* the program itself, which need not be the same */
		printf("  %s type %d\n", e[i]->d_name, e[i]->d_type);
		snprintf(b, sizeof(b), "%s/%s", p, e[i]->d_name);
		r = lstat(b, &st), print_stat("lstat of it", b, r, &st);
	}
}

/* from tries relative names from another directory. */
static void from(const char *dir)
{
	static const char *const relative[] = { ".", "..", "tmp", "tmp/", "./tmp/..", "home", "home/user/x/file", "home/user", "usr/bin/..", "usr/../home",
						"usr/bin/echo", "bin", "proc", "file", "file/x", "alias", "alias/x", "missing", "work", "Data/apps",
						"Data/apps/scratch/link", "user/x/file", "x/file" };
	unsigned i;
	int fd;

	if (chdir(dir)) {
		perror(dir);
		return;
	}
	fd = open(".", O_RDONLY | O_DIRECTORY);
	for (i = 0; i < sizeof(relative) / sizeof(*relative); i++)
		try(relative[i], fd);
	list(".");
	close(fd);
	say("fchdir closed", dir, fchdir(fd));
}

int main(int argc, char **argv)
{
	char longname[5000], b[64];
	const char *plain[] = { "", ".", "..", "/", "//", "/.", "/./", "///tmp", "/tmp", "/tmp/", "/tmp/.", "/./tmp", "/tmp/..", "/tmp/../tmp",
				"/tmpx/y", "/usr/../tmp", "/usr/bin/..", "/usr/bin/../lib", "/proc", "/proc/self", "/dev/none", "file", "./file", "file/",
				"file/x", "dir", "dir/", "dir/sub/../sub/deep", "dir/../file", "../scratch/file", "link", "link/", "dirlink",
				"dirlink/", "dirlink/deep", "dirlink/..", "dangling", "loop", "loop/x", "absolute", "absolute/echo", "roundabout",
				"secret", "closed", "closed/x", "readonly", "missing", "missing/x", "lookalike", "tmplink", "tmplink/",
				"/Data/apps/scratch/file", "/Data/apps/scratch", "/Data/apps", "/Data", "/Data/apps/../apps/scratch/link", "/work", "/work/..",
				"/work/missing", "/usr/bin/echo", "/bin/echo", "/bin", "/bin/", "/lib64", "/usr/share/none", "/etc/passwd",
				"/Data/apps/scratch/tmplink", "/usr/bin/echo/x", "/home", "/home/", "/home/.", "/./home/./", "/home/user",
				"/home/user/x", "/home/user/x/file", "/home/user/x/..", "/home/user/..", "/home/none", "/homes", "/usr/..", "/usr/../",
				"/usr/bin/../..", "/usr/../home", "/usr/../home/user/x/file", "/usr/bin/../../home/user/", "/home/../usr", "/file", "/file/",
				"/file/x", "/usr/../file", "/alias", "/alias/", "/alias/..", "/alias/none", "/usr/../alias", "/usr/../tmp", "/usr/../proc/self" };
	unsigned i;
	int dir;

	umask(022);
	make();
	dir = open(".", O_RDONLY | O_DIRECTORY);
	for (i = 0; i < sizeof(plain) / sizeof(*plain); i++)
		name(plain[i]);
	memset(longname, 'a', sizeof(longname) - 1);
	longname[sizeof(longname) - 1] = 0;
	name(longname);
	longname[0] = '/';
	name(longname);
	longname[300] = 0;
	name(longname);
	for (i = 0; i < (unsigned)count; i++)
		try(names[i], dir);
	say("open null", "", open(null, O_RDONLY));
	say("stat null", "", stat(null, (struct stat *)b));
	say("openat bad fd", "file", openat(77, "file", O_RDONLY));
	say("openat bad fd", "/tmp", fcntl(openat(77, "/tmp", O_RDONLY), F_GETFD));
	say("openat file", "x", openat(open("file", O_RDONLY), "x", O_RDONLY));
	say("getcwd short", "", getcwd(b, 3) ? 0 : -1);
	say("stat bad buffer", "file", fstatat(AT_FDCWD, "file", (struct stat *)8, 0));
	for (i = 0; i < 4; i++)
		opened("open create", "new", open("new", (i & 1 ? O_WRONLY : O_RDWR) | O_CREAT | (i & 2 ? O_TRUNC : O_APPEND), 0640));
	opened("open create through", "dangling", open("dangling", O_WRONLY | O_CREAT, 0666));
	list(".");
	list("/usr");
	list("/missing");
	list("/");
	list("/home");
	list("/home/user");
	list("/home/user/x");
	list("/usr/..");
	for (i = 0; i < 9; i++)
		run((const char *[]){ "./script", "script2", "script3", "script4", "script5", "text", "/usr/bin/echo", "missing", "selfscript" }[i]);
	run("dir");
	run("fifo");
	run("file/x");
	run("/tmp");
	run("/file");
	run("/home");
	run("closed/x");
	from("/");
	from("/home");
	from("/home/user/");
	from("/usr/../home");
	from("/usr/bin");
	(void)argc, (void)argv;
	return 0;
}
