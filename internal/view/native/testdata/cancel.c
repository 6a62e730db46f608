/*
 * cancel.c: cancels a thread that waits in open(2), interrupts another by a
 * signal, and starts programs from threads in every way that the C library has.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROC 60 /* descriptor of /proc */

static volatile pid_t tid;

static void cleanup(void *what)
{
	printf("cleanup %s\n", (char *)what);
}

static void *wait_in_open(void *unused)
{
	pthread_cleanup_push(cleanup, "of the waiting thread");
	tid = gettid();
	open("fifo", O_RDONLY);
	puts("not cancelled");
	pthread_cleanup_pop(0);
	return unused;
}

static void *interrupted(void *unused)
{
	int fd;

	tid = gettid();
	fd = open("fifo", O_RDONLY);
	printf("interrupted: %s\n", fd < 0 ? strerrorname_np(errno) : "no");
	return unused;
}

static void handler(int sig)
{
	struct stat st;

	(void)sig;
	if (stat("/usr/bin", &st))
		abort();
}

/* asleep waits until the thread that sets tid sleeps in the kernel. */
static void asleep(void)
{
	char name[64], text[256];
	ssize_t n;
	int fd;

	do {
		sched_yield();
		snprintf(name, sizeof(name), "self/task/%d/stat", tid);
		fd = openat(PROC, name, O_RDONLY);
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = 0;
	} while (!tid || !strstr(text, ") S "));
	tid = 0;
}

static void *many(void *unused)
{
	struct stat st;
	int i, bad = 0;

	for (i = 0; i < 20000; i++)
		bad |= stat("/usr/bin/echo", &st) || !lstat("/usr/none", &st) || access("/usr", X_OK);
	return bad ? unused : NULL;
}

int main(void)
{
	struct sigaction act = { .sa_handler = handler };
	char *argv[] = { "echo", "spawned", NULL }, *env[] = { "PATH=/usr/bin", NULL };
	pthread_t t[4];
	void *result;
	pid_t pid;
	int i;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (mkfifo("fifo", 0600))
		perror("mkfifo");
	pthread_create(&t[0], NULL, wait_in_open, NULL);
	asleep();
	pthread_cancel(t[0]);
	pthread_join(t[0], &result);
	printf("cancelled: %d\n", result == PTHREAD_CANCELED);

	sigaction(SIGUSR1, &act, NULL);
	pthread_create(&t[0], NULL, interrupted, NULL);
	asleep();
	pthread_kill(t[0], SIGUSR1);
	pthread_join(t[0], NULL);

	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, many, argv);
	for (i = 0; i < 4; i++) {
		pthread_join(t[i], &result);
		printf("thread %d: %s\n", i, result ? "wrong" : "right");
	}
	i = posix_spawn(&pid, "/usr/bin/echo", NULL, NULL, argv, env);
	waitpid(pid, NULL, 0);
	printf("posix_spawn %d\n", i);
	i = posix_spawnp(&pid, "echo", NULL, NULL, argv, env);
	waitpid(pid, NULL, 0);
	printf("posix_spawnp %d\n", i);
	printf("posix_spawn %s\n", strerrorname_np(posix_spawn(&pid, "/usr/none", NULL, NULL, argv, env)));
	pid = vfork();
	if (!pid) {
		execv("/usr/bin/echo", argv);
		_exit(1);
	}
	waitpid(pid, NULL, 0);
	execvp("echo", argv);
	return 1;
}
