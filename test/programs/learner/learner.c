// What a cell can learn of, in a static program. It is given jobs, each a letter
// and its paths, and ends with the number of the first one that fails, from 1:
//
//   s P  look at it            r P  read          l P  list a directory
//   w P  write what is there   c P  make a file, write to it, read it
//   k P  make a directory      u P  remove a file m P Q  rename    h P Q  link     y P Q  make the symlink Q
//   t P  truncate              p P  change its mode        f P  lock
//   d P  go there              x P  run it
//   n    a child connects to its parent by TCP
//   e N  make a child that asks nothing, and wait for it (N is 0 to ignore it)
//   q P  make more files below it, and remove them, than a learner keeps
//   i    mount something       ! J… the next job must fail
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// ended reports whether a child ended with 0.
static int ended(pid_t pid) {
	int status;
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static int run(const char *path) {
	pid_t pid = fork();
	if (pid == 0) {
		execl(path, path, (char *)NULL);
		_exit(1);
	}
	return ended(pid);
}

static int talk(void) {
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof to;
	int s = socket(AF_INET, SOCK_STREAM, 0);
	if (s < 0 || bind(s, (struct sockaddr *)&to, sizeof to) || listen(s, 1) || getsockname(s, (struct sockaddr *)&to, &size))
		return 0;
	pid_t pid = fork();
	if (pid == 0) {
		int c = socket(AF_INET, SOCK_STREAM, 0);
		_exit(c < 0 || connect(c, (struct sockaddr *)&to, size) || write(c, "hello", 5) != 5);
	}
	char b[5];
	int c = pid > 0 ? accept(s, NULL, NULL) : -1;
	return c >= 0 && recv(c, b, sizeof b, MSG_WAITALL) == 5 && ended(pid);
}

static int child(int wait) {
	if (!wait)
		signal(SIGCHLD, SIG_IGN);
	pid_t pid = fork();
	if (pid == 0)
		for (volatile int i = 0;; i++)
			if (i == 100000)
				_exit(0);
	return wait ? ended(pid) : pid > 0;
}

static int listed(const char *path) {
	DIR *d = opendir(path);
	return d && readdir(d) && closedir(d) == 0;
}

static int made(const char *path) {
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
	if (fd < 0 || write(fd, "new", 3) != 3 || close(fd))
		return 0;
	char b[3];
	fd = open(path, O_RDONLY);
	return fd >= 0 && read(fd, b, 3) == 3 && close(fd) == 0;
}

static int opened(const char *path, int flags) {
	int fd = open(path, flags);
	return fd >= 0 && close(fd) == 0;
}

static int locked(const char *path) {
	int fd = open(path, O_RDONLY);
	return fd >= 0 && flock(fd, LOCK_EX) == 0 && close(fd) == 0;
}

static int many(const char *dir) {
	char path[4096];
	for (int i = 0; i < 17000; i++) {
		snprintf(path, sizeof path, "%s/%d", dir, i);
		int fd = open(path, O_CREAT | O_WRONLY, 0644);
		if (fd < 0 || close(fd) || unlink(path))
			return 0;
	}
	return 1;
}

static int job(char what, char *a, char *b) {
	struct stat st;
	switch (what) {
	case 's': return stat(a, &st) == 0;
	case 'r': return opened(a, O_RDONLY);
	case 'l': return listed(a);
	case 'w': return opened(a, O_WRONLY);
	case 'c': return made(a);
	case 'k': return mkdir(a, 0755) == 0;
	case 'u': return unlink(a) == 0;
	case 'm': return rename(a, b) == 0;
	case 'h': return link(a, b) == 0;
	case 'y': return symlink(a, b) == 0;
	case 't': return truncate(a, 1) == 0;
	case 'p': return chmod(a, 0600) == 0;
	case 'f': return locked(a);
	case 'd': return chdir(a) == 0;
	case 'x': return run(a);
	case 'n': return talk();
	case 'q': return many(a);
	case 'i': return mount("none", "/", "tmpfs", 0, "") == 0;
	case 'e': return child(atoi(a));
	}
	return 0;
}

int main(int argc, char **argv) {
	int number = 0;
	for (int i = 1; i < argc;) {
		int fails = strcmp(argv[i], "!") == 0;
		char what = argv[i += fails][0];
		int words = what == 'n' || what == 'i' ? 0 : strchr("mhy", what) ? 2 : 1;
		number++;
		if (i + words >= argc)
			return 100; // too few words
		if (job(what, words > 0 ? argv[i + 1] : "", words > 1 ? argv[i + 2] : "") == fails)
			return number;
		i += 1 + words;
	}
	return 0;
}
