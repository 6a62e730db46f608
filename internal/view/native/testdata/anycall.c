/*
 * anycall.c: system calls by way of syscall(2), as programs make them that know
 * calls which their C library does not. Run as it is and by way of the shim it
 * must print the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long (*volatile by_number)(long, ...) = syscall;

static void say(const char *what, long r)
{
	printf("%-24s %ld %s\n", what, r < 0 ? -1 : r, r < 0 ? strerrorname_np(errno) : "");
}

static void paths(const char *p)
{
	struct statx stx;
	struct stat st;
	char b[64] = "";
	long fd;

	printf("%s\n", p);
	fd = by_number(SYS_openat, AT_FDCWD, p, O_RDONLY, 0);
	say("openat", fd < 0 ? fd : read((int)fd, b, 4));
	say("openat, high half", by_number(1L << 40 | SYS_openat, AT_FDCWD, p, O_RDONLY, 0) < 0 ? -1 : 0);
	memset(&stx, 0, sizeof(stx));
	say("statx", by_number(SYS_statx, AT_FDCWD, p, 0, STATX_BASIC_STATS, &stx));
	say("mode", stx.stx_mode);
	say("newfstatat", by_number(SYS_newfstatat, AT_FDCWD, p, &st, AT_SYMLINK_NOFOLLOW));
	say("faccessat2", by_number(SYS_faccessat2, AT_FDCWD, p, R_OK, 0));
	say("readlinkat", by_number(SYS_readlinkat, AT_FDCWD, p, b, sizeof(b)));
	say("chdir", by_number(SYS_chdir, p));
#ifdef SYS_open
	say("open", by_number(SYS_open, p, O_WRONLY, 0) < 0 ? -1 : 0);
	say("lstat", by_number(SYS_lstat, p, &st));
#endif
}

/* six makes a call that needs all six arguments. */
static void six(void)
{
	int fd = open("two pages", O_RDWR | O_CREAT, 0600);
	long page = sysconf(_SC_PAGESIZE);
	char *p;

	if (ftruncate(fd, 2 * page) || pwrite(fd, "second", 6, page) != 6)
		perror("two pages");
	p = (char *)by_number(SYS_mmap, 0, page, PROT_READ, MAP_PRIVATE, fd, page);
	printf("mmap %s\n", p == MAP_FAILED ? "failed" : p);
	say("no such call", by_number(4000, 1, 2, 3, 4, 5, 6));
	say("negative call", by_number(-100, 1, 2, 3, 4, 5, 6));
}

/* registers reports whether a call leaves the arguments where it had them. */
static int registers(long nr, long a1, long a2, long a3, long a4, long a5)
{
	long left[6];
	int same;

#if defined(__x86_64__)
	register long r8 __asm__("r8") = a4;
	register long r9 __asm__("r9") = a5;
	long rdi = nr, rsi = a1, rdx = a2, rcx = a3;

	__asm__ volatile("pushq %%rbx\n\tmovq %%rsp, %%rbx\n\tandq $-16, %%rsp\n\tsubq $128, %%rsp\n\tandq $-16, %%rsp\n\tpushq $0\n\tpushq $77\n\t"
			 "call *%7\n\tmovq %%rbx, %%rsp\n\tpopq %%rbx\n\t"
			 "movq %%rdi, (%6)\n\tmovq %%rsi, 8(%6)\n\tmovq %%rdx, 16(%6)\n\tmovq %%r10, 24(%6)\n\tmovq %%r8, 32(%6)\n\tmovq %%r9, 40(%6)"
			 : "+D"(rdi), "+S"(rsi), "+d"(rdx), "+c"(rcx), "+r"(r8), "+r"(r9)
			 : "r"(left), "r"(by_number)
			 : "rax", "r10", "r11", "memory", "cc");
	same = left[5] == 77;
#else
	register long x0 __asm__("x0") = nr;
	register long x1 __asm__("x1") = a1;
	register long x2 __asm__("x2") = a2;
	register long x3 __asm__("x3") = a3;
	register long x4 __asm__("x4") = a4;
	register long x5 __asm__("x5") = a5;
	register long x6 __asm__("x6") = 77;
	register long (*f)(long, ...) __asm__("x20") = by_number;
	register long *to __asm__("x21") = left;

	__asm__ volatile("mov x19, x8\n\tblr x20\n\tstp x1, x2, [x21]\n\tstp x3, x4, [x21, #16]\n\tstr x5, [x21, #32]\n\tstr x8, [x21, #40]"
			 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x6)
			 : "r"(f), "r"(to)
			 : "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x19", "x30", "memory", "cc");
	left[4] = left[4] == 77 ? a5 : 0;
	same = left[5] == nr;
	left[0] = left[0] == a2 && left[1] == a3 && left[2] == a4 && left[3] == a5 ? a1 : ~a1;
	left[1] = a2, left[2] = a3, left[3] = a4;
#endif
	return same && left[0] == a1 && left[1] == a2 && left[2] == a3 && left[3] == a4 && left[4] == a5;
}

#ifdef __x86_64__
static char stack[65536] __attribute__((aligned(16)));

static void child(void)
{
	_exit(42);
}

/* cloned: the child of a clone with a stack of its own returns to what is on it. */
static void cloned(void)
{
	void **top = (void **)(stack + sizeof(stack) - 64);
	int status = 0;
	long pid;

	*top = (void *)child;
	pid = by_number(SYS_clone, SIGCHLD, top, 0, 0, 0);
	if (pid > 0 && waitpid((pid_t)pid, &status, 0) == pid)
		printf("clone %d\n", WEXITSTATUS(status));
}
#endif

int main(void)
{
	const char *names[] = { "/usr/bin/echo", "/tmp", "/usr/none", "/file", "here", "/", "", "/Data/apps/scratch" };
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		paths(names[i]);
	six();
	printf("registers %d %d %d\n", registers(SYS_getpid, 11, 12, 13, 14, 15), registers(SYS_sched_yield, 11, 12, 13, 14, 15),
	       registers(SYS_openat, AT_FDCWD, (long)"/", 0, 14, 15));
#ifdef __x86_64__
	cloned();
#endif
	return 0;
}
