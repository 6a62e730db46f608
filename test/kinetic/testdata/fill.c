/* Fills the disk as fast as it can, and says what it was told.
 *
 *   fill KIND MEGABYTES
 *
 * Works in HOME. Prints "wrote MEGABYTES, then ERROR", with "no end" if it was told
 * nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char block[1 << 20] __attribute__((aligned(4096)));
static long wanted;

static void tell(double megabytes, int error)
{
	printf("wrote %.1f, then %s\n", megabytes, error ? strerror(error) : "no end");
	fflush(stdout);
}

static void pour(int fd)
{
	long sum = 0;
	ssize_t n = 0;

	while (sum < wanted << 20 && (n = write(fd, block, sizeof(block))) > 0)
		sum += n;
	tell(sum / 1048576.0, n < 0 ? errno : 0);
}

static int made(const char *name, int flags)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | flags, 0600);

	if (fd < 0) {
		tell(0, errno);
		exit(1);
	}
	return fd;
}

static void big(void)
{
	pour(made("big", 0));
}

static void direct(void)
{
	pour(made("direct", O_DIRECT));
}

static void nameless(void)
{
	int fd = made("nameless", 0);

	unlink("nameless");
	pour(fd);
}

static void once(void)
{
	size_t size = (size_t)wanted << 20;
	char *all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = made("once", 0);
	ssize_t n = 0, sum = 0;

	while ((size_t)sum < size && (n = write(fd, all + sum, size - sum)) > 0)
		sum += n;
	tell(sum / 1048576.0, n < 0 ? errno : 0);
}

static void small(void)
{
	long n = 0, of = wanted << 7; /* 8 KB each */
	char name[64];

	for (; n < of; n++) {
		int fd, ok;

		if (n % 1000 == 0) {
			snprintf(name, sizeof(name), "d%ld", n / 1000);
			if (mkdir(name, 0700))
				break;
		}
		snprintf(name, sizeof(name), "d%ld/%ld", n / 1000, n);
		fd = open(name, O_WRONLY | O_CREAT, 0600);
		if (fd < 0)
			break;
		ok = write(fd, block, 8192) == 8192;
		close(fd);
		if (!ok)
			break;
	}
	tell(n / 128.0, n < of ? errno : 0);
}

/* Sparse, and then filled through a mapping: nothing can be refused there. */
static void mapped(void)
{
	size_t size = (size_t)wanted << 20;
	int fd = made("mapped", 0);
	char *p;

	if (ftruncate(fd, size) != 0) {
		tell(0, errno);
		return;
	}
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
	tell(wanted, 0);
}

static void sparse(void)
{
	int fd = made("sparse", 0);

	if (ftruncate(fd, (off_t)wanted << 20) != 0) {
		tell(0, errno);
		return;
	}
	pour(fd);
}

static void allocated(void)
{
	int fd = made("allocated", 0);

	tell(wanted, fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)wanted << 20) ? errno : 0);
}

/* Many processes, a file each. */
static void many(void)
{
	char name[64];

	wanted /= 16;
	for (int i = 0; i < 16; i++)
		if (fork() == 0) {
			snprintf(name, sizeof(name), "many%d", i);
			pour(made(name, 0));
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
}

/* What is removed makes room. */
static void again(void)
{
	for (int i = 0; i < 3; i++) {
		pour(made("again", 0));
		if (unlink("again"))
			tell(0, errno);
		close(3);
		usleep(300000);
	}
}

/* Two that are removed make room for a longer one. */
static void longer(void)
{
	long all = wanted;

	wanted = 100;
	pour(made("one", 0));
	pour(made("two", 0));
	usleep(100000);
	unlink("one");
	unlink("two");
	close(3);
	close(4);
	wanted = all;
	pour(made("longer", 0));
}

static void deep(void)
{
	for (long i = 0; i < 1000; i++)
		if (mkdir("d", 0700) || chdir("d")) {
			tell(i, errno);
			return;
		}
	pour(made("bottom", 0));
}

static void shut(void)
{
	if (mkdir("shut", 0700) || chdir("shut")) {
		tell(0, errno);
		return;
	}
	int fd = made("within", 0);

	chmod(".", 0);
	pour(fd);
}

int main(int c, char **v)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} kinds[] = {
		{ "big", big }, { "direct", direct }, { "nameless", nameless }, { "once", once }, { "small", small },
		{ "mapped", mapped }, { "sparse", sparse }, { "allocated", allocated }, { "many", many }, { "again", again },
		{ "deep", deep }, { "shut", shut }, { "longer", longer },
	};

	if (c != 3 || chdir(getenv("HOME")))
		return 2;
	wanted = atol(v[2]);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(v[1], kinds[i].name)) {
			kinds[i].run();
			return 0;
		}
	return 2;
}
