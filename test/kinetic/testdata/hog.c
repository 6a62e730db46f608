/* Takes memory as fast as it can, in the ways that a budget has to see.
 *
 *   hog KIND COUNT MEGABYTES
 *
 * With AFTER=SECONDS in its environment it sleeps first, long enough for a meter to doze.
 * COUNT children or threads take it together until they have so many, are refused or
 * killed. It prints "peak BYTES refused N killed N done N": the most that was held at a
 * time, by who was alive then. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL /* linux/memfd.h, 6.3 */
#define MFD_NOEXEC_SEAL 8U
#endif

enum { PIECE = 1 << 20, MOST = 64 };
enum { REFUSED = 3 };

static struct shared {
	_Atomic long held, peak, of[MOST];
} *all;
static const char *kind;
static long each; /* bytes for one of them */
static int self;

static void have(long n)
{
	long now;

	all->of[self] += n;
	now = all->held += n;
	if (now > all->peak)
		all->peak = now;
}

static void touch(char *p, long n)
{
	for (long i = 0; i < n; i += 65536) {
		long size = n - i < 65536 ? n - i : 65536;

		for (long k = 0; k < size; k += 4096)
			p[i + k] = 1;
		have(size);
	}
}

static char *map(long n, int flags)
{
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int take(void)
{
	long got = 0;
	char *p = NULL;

	if (!strcmp(kind, "cow")) {
		for (char *q = (char *)all + 4096; got < each; got += PIECE) /* made by the parent */
			touch(q + got, PIECE);
		return 0;
	}
	if (!strcmp(kind, "huge")) {
		p = map(each, MAP_PRIVATE);
		if (!p)
			return REFUSED;
		madvise(p, each, MADV_HUGEPAGE);
	} else if (!strcmp(kind, "shared")) {
		p = map(each, MAP_SHARED);
		if (!p)
			return REFUSED;
	} else if (!strcmp(kind, "memfd")) {
		int fd = memfd_create("hog", MFD_NOEXEC_SEAL);

		if (fd < 0 || ftruncate(fd, each) < 0)
			return REFUSED;
		p = mmap(NULL, each, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			return REFUSED;
	}
	for (; got < each; got += PIECE) {
		char *q = p ? p + got : !strcmp(kind, "brk") ? sbrk(PIECE) : !strcmp(kind, "malloc") ? malloc(PIECE) : map(PIECE, MAP_PRIVATE);

		if (!q || q == (char *)-1)
			return REFUSED;
		touch(q, PIECE);
	}
	return 0;
}

static void *thread(void *p)
{
	(void)p;
	return (void *)(long)take();
}

int main(int c, char **v)
{
	int n, status, refused = 0, killed = 0, done = 0, threads;
	pid_t pids[MOST];
	long size;

	if (c != 4)
		return 2;
	if (getenv("AFTER"))
		sleep(atoi(getenv("AFTER")));
	kind = v[1];
	n = atoi(v[2]);
	each = atol(v[3]) / n << 20;
	threads = !strcmp(kind, "threads");
	size = 4096 + (!strcmp(kind, "cow") ? each : 0);
	all = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED || n < 1 || n > MOST)
		return 2;
	if (!strcmp(kind, "cow")) { /* what all share until they write */
		char *p = mmap((char *)all + 4096, size - 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		if (p == MAP_FAILED) { /* something lies there: elsewhere, then */
			char *both = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			if (both == MAP_FAILED)
				return 2;
			all = mmap(both, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		}
		self = MOST - 1;
		touch((char *)all + 4096, each);
	}
	for (int i = 0; i < (threads ? 1 : n); i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			return 2;
		if (pids[i] == 0) {
			self = i;
			if (threads) {
				pthread_t t[MOST];
				long worst = 0;
				void *result;

				for (int k = 0; k < n; k++)
					if (pthread_create(&t[k], NULL, thread, NULL))
						_exit(REFUSED);
				for (int k = 0; k < n; k++) {
					pthread_join(t[k], &result);
					if (result)
						worst = (long)result;
				}
				_exit(worst);
			}
			_exit(take());
		}
	}
	for (pid_t pid; (pid = wait(&status)) > 0 || errno == EINTR;) {
		for (int i = 0; i < (threads ? 1 : n); i++)
			if (pid > 0 && pids[i] == pid)
				all->held -= all->of[i];
		if (WIFSIGNALED(status))
			killed++;
		else if (WEXITSTATUS(status) == REFUSED)
			refused++;
		else
			done++;
		errno = 0;
	}
	printf("peak %ld refused %d killed %d done %d\n", all->peak, refused, killed, done);
	return 0;
}
