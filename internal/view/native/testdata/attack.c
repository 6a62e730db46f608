/*
 * attack.c: what a hostile program may try against the zone, its descriptors
 * and the view. It prints one line for each attempt: "refused", or "OPEN" where
 * it got what it wanted. Descriptor 60 is /proc, if the name leads nowhere. "control" lines must say "works":
 * they make the same call in the way that is allowed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "raw.h"

#define PROC 60
#define VIEW 41
#define WORK 44
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

struct how {
	unsigned long flags, mode, resolve;
};

static char before[ZONE_SIZE];

/* changed reports whether the zone is not what it was. */
static int changed(void)
{
	int fd[2], bad;
	char now[4096];

	if (pipe(fd))
		return 1;
	bad = write(fd[1], ZONE + 4096, 4096) != 4096 || read(fd[0], now, 4096) != 4096 || memcmp(now, before + 4096, 4096);
	close(fd[0]);
	close(fd[1]);
	return bad || memcmp(before, ZONE, ZONE_SIZE);
}

static void memory(void)
{
	char *page = mmap(0, 4 * ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec mine = { before, 64 }, theirs = { ZONE, 64 };
	int fd, id;

	memset(page, 0x41, ZONE_SIZE);
	tell("mprotect write", mprotect(ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE) == 0);
	tell("mprotect write, one page", mprotect(ZONE + 4096, 4096, PROT_READ | PROT_WRITE) == 0);
	tell("mprotect none", mprotect(ZONE, ZONE_SIZE, PROT_NONE) == 0);
	tell("munmap", munmap(ZONE, ZONE_SIZE) == 0);
	tell("munmap, last page", munmap(ZONE + ZONE_SIZE - 4096, 4096) == 0);
	tell("munmap, larger range", munmap(ZONE - 4096, ZONE_SIZE + 8192) == 0);
	tell("mremap away", mremap(ZONE, ZONE_SIZE, ZONE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, page + 2 * ZONE_SIZE) != MAP_FAILED);
	tell("mremap smaller", mremap(ZONE, ZONE_SIZE, 4096, 0) != MAP_FAILED);
	tell("mremap larger", mremap(ZONE, ZONE_SIZE, 2 * ZONE_SIZE, 0) != MAP_FAILED && changed());
	tell("mremap onto", mremap(page, ZONE_SIZE, ZONE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, ZONE) != MAP_FAILED);
	tell("mremap onto, keeping", mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, ZONE) != MAP_FAILED);
	tell("mmap over", mmap(ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	tell("mmap over one page", mmap(ZONE + 8192, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	tell("mmap over by a hint", mmap(ZONE, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == (void *)ZONE);
	tell("mmap over, growing down", mmap(ZONE, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0) != MAP_FAILED);
	id = shmget(IPC_PRIVATE, ZONE_SIZE, IPC_CREAT | 0600);
	tell("shmat over", id >= 0 && shmat(id, ZONE, SHM_REMAP) != (void *)-1);
	if (id >= 0)
		shmctl(id, IPC_RMID, 0);
	tell("remap_file_pages", remap_file_pages(ZONE, 4096, 0, 4, 0) == 0 && changed());
	tell("madvise remove", madvise(ZONE, ZONE_SIZE, MADV_REMOVE) == 0);
	tell("madvise dontneed", madvise(ZONE, ZONE_SIZE, MADV_DONTNEED) == 0 && changed());
	tell("madvise free", madvise(ZONE, ZONE_SIZE, MADV_FREE) == 0 && changed());
	tell("brk to it", (long)raw(SYS_brk, ZONE + 4096) == (long)(ZONE + 4096));
	fd = openat(PROC, "self/mem", O_RDWR);
	if (!getenv("NIP_CELL")) /* where there is no such file, and no such call */
		control("control: /proc/self/mem writes elsewhere", fd >= 0 && pwrite(fd, "x", 1, (off_t)page) == 1);
	tell("/proc/self/mem", pwrite(fd, page, 64, ZONE_ADDR) > 0 || changed());
	close(fd);
	theirs.iov_base = page;
	if (!getenv("NIP_CELL"))
		control("control: process_vm_writev elsewhere", process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0) == 64);
	theirs.iov_base = ZONE;
	tell("process_vm_writev", process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0) > 0);
	tell("read into it", read(openat(PROC, "version", O_RDONLY), ZONE, 64) > 0);
	tell("anything of this changed it", changed());
}

/* forge reports whether a page of the caller's own at the zone's place serves as a slot. */
static int forge(void)
{
	char *page = mmap(ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	struct how *own = (struct how *)page;

	if (page != ZONE)
		return 0;
	own->flags = O_RDONLY;
	return openat2(VIEW, "../hidden", ZONE_ADDR, ZONE_HOW_SIZE) >= 0 || errno != ENOSYS;
}

/* child_of forks, has the child try something, and reports whether it worked. */
static int child_of(int (*try)(void))
{
	int status = 1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(try());
	return waitpid(pid, &status, 0) != pid || status != 0;
}

static int unmap(void)
{
	return munmap(ZONE, ZONE_SIZE) == 0 || mprotect(ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE) == 0;
}

static int write_to_parent(void)
{
	pid_t parent = getppid();
	long word = 0x4141414141414141;

	return ptrace(PTRACE_ATTACH, parent, 0, 0) == 0 && waitpid(parent, 0, __WALL) == parent &&
	       ptrace(PTRACE_POKEDATA, parent, ZONE, word) == 0;
}

/* forks: what a child gets of the zone. */
static void forks(void)
{
	static const int advice[] = { MADV_DONTFORK, MADV_WIPEONFORK };
	struct iovec all = { ZONE, ZONE_SIZE };
	void *other = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char what[64];
	unsigned i;

	tell("munmap in a child", child_of(unmap));
	tell("writing to it by ptrace", child_of(write_to_parent) || changed());
	for (i = 0; i < sizeof(advice) / sizeof(*advice); i++) {
		snprintf(what, sizeof(what), "advice %d and fork", advice[i]);
		raw(SYS_madvise, ZONE, ZONE_SIZE, advice[i]);
		raw(SYS_madvise, ZONE, ZONE_SIZE, 1L << 32 | advice[i]);
		raw(SYS_madvise, ZONE, 4096, advice[i]);
		tell(what, child_of(forge) || child_of(changed));
		raw(SYS_madvise, ZONE, ZONE_SIZE, MADV_DOFORK);
	}
	i = (unsigned)raw(SYS_pidfd_open, getpid());
	raw(SYS_process_madvise, i, &all, 1, MADV_DONTFORK);
	raw(SYS_process_madvise, -10000 /* itself, from Linux 6.14 on */, &all, 1, MADV_DONTFORK);
	tell("advice to itself and fork", child_of(forge) || child_of(changed));
	close((int)i);
	control("control: other memory can be kept from children", raw(SYS_madvise, other, 4096, MADV_WIPEONFORK) == 0);
}

/* copies: the zone mapped once more. */
static void copies(void)
{
	char *copy = mremap(ZONE, 0, ZONE_SIZE, MREMAP_MAYMOVE);
	int fd = openat(PROC, "self/mem", O_RDWR);

	tell("writing to a copy by mremap", copy != MAP_FAILED && mprotect(copy, ZONE_SIZE, PROT_READ | PROT_WRITE) == 0);
	tell("the same by /proc/self/mem", copy != MAP_FAILED && (pwrite(fd, "x", 1, (off_t)copy) > 0 || changed()));
	close(fd);
	copy = mmap(0, ZONE_SIZE, PROT_READ, MAP_SHARED, ZONE_FD, 0);
	tell("writing to a copy by mmap", copy != MAP_FAILED && mprotect(copy, ZONE_SIZE, PROT_READ | PROT_WRITE) == 0);
	copy = mmap(0, ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, ZONE_FD, 0);
	if (copy != MAP_FAILED)
		memset(copy, 0x41, ZONE_SIZE);
	tell("a private copy changes it", changed());
	tell("moving a copy onto it", copy != MAP_FAILED && mremap(copy, ZONE_SIZE, ZONE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, ZONE) != MAP_FAILED);
	tell("pkey_mprotect", raw(SYS_pkey_mprotect, ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE, -1) == 0);
	tell("madvise populate write", madvise(ZONE, ZONE_SIZE, 23 /* MADV_POPULATE_WRITE */) == 0);
	tell("anything of this changed it", changed());
}

static void file(void)
{
	tell("pwrite to the zone's file", pwrite(ZONE_FD, "x", 1, 0) > 0);
	tell("ftruncate of the zone's file", ftruncate(ZONE_FD, 0) == 0);
	tell("punching a hole into it", fallocate(ZONE_FD, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0);
	tell("mapping it to be written", mmap(0, ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, ZONE_FD, 0) != MAP_FAILED);
	tell("opening it again to be written", openat(PROC, "self/fd/55", O_RDWR) >= 0 && pwrite(openat(PROC, "self/fd/55", O_RDWR), "x", 1, 0) > 0);
	tell("anything of this changed it", changed());
}

/*
 * pointer tries what is no slot. Without a supervisor the call is refused as a
 * whole; a supervisor answers it, in the cell's names.
 */
static void pointer(const char *what, unsigned long how, unsigned long size)
{
	int asked = getenv("NIP_CELL") != 0;
	long fd = openat2(asked ? WORK : VIEW, asked ? "../hidden" : "usr", how, size);

	tell(what, fd >= 0 || (!asked && errno != ENOSYS));
	if (fd >= 0)
		close((int)fd);
}

static void pointers(void)
{
	static struct how own = { O_RDONLY, 0, 0 };
	unsigned long slot = slot_of(O_RDONLY, 1), last = ZONE_ADDR + ZONE_SLOT_SIZE * (2UL * ZONE_HALF - 1), i;
	struct how *page = mmap((void *)0x100000000, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	char what[64];
	long fd = openat2(VIEW, "usr", slot, ZONE_HOW_SIZE);

	control("control: openat2 by a slot", fd >= 0);
	close((int)fd);
	fd = openat2(VIEW, "usr", last, ZONE_HOW_SIZE);
	control("control: openat2 by the last slot", fd >= 0 || errno != ENOSYS);
	for (i = 1; i < ZONE_SLOT_SIZE; i++) {
		snprintf(what, sizeof(what), "slot and %lu bytes", i);
		pointer(what, slot + i, ZONE_HOW_SIZE);
	}
	pointer("last slot and 8", last + 8, ZONE_HOW_SIZE);
	pointer("behind the last slot", last + ZONE_SLOT_SIZE, ZONE_HOW_SIZE);
	pointer("the zeroes behind the slots", ZONE_TABLE - ZONE_SLOT_SIZE, ZONE_HOW_SIZE);
	pointer("the table", ZONE_TABLE, ZONE_HOW_SIZE);
	pointer("the empty string", ZONE_EMPTY, ZONE_HOW_SIZE);
	pointer("end of the zone", ZONE_ADDR + ZONE_SIZE - 8, ZONE_HOW_SIZE);
	pointer("behind the zone", ZONE_ADDR + ZONE_SIZE, ZONE_HOW_SIZE);
	pointer("before the zone", ZONE_ADDR - ZONE_SLOT_SIZE, ZONE_HOW_SIZE);
	pointer("own memory", (unsigned long)&own, ZONE_HOW_SIZE);
	if (page != MAP_FAILED)
		page[(slot >> 3) / 3].resolve = 0;
	pointer("high half of the pointer", 0x100000000UL | slot, ZONE_HOW_SIZE);
	pointer("sign of the pointer", 1UL << 63 | slot, ZONE_HOW_SIZE);
	pointer("size 0", slot, 0);
	pointer("size 8", slot, 8);
	pointer("size 16", slot, 16);
	pointer("size 32", slot, 32);
	pointer("size 4096", slot, 4096);
	pointer("high half of the size", slot, 1UL << 32 | ZONE_HOW_SIZE);
}

static void descriptors(void)
{
	struct stat was, is;
	int fds[16], wrong = 0, fd = open("/usr/bin", O_RDONLY);
	unsigned i;

	for (i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		fds[i] = 40 + (int)i;
		wrong |= fstat(fds[i], &was) != 0;
		close(fds[i]);
		raw(SYS_close, 1L << 32 | fds[i]);
		wrong |= dup2(fd, fds[i]) >= 0;
		wrong |= dup3(fd, fds[i], O_CLOEXEC) >= 0;
		raw(SYS_dup3, fd, 1L << 32 | fds[i], 0);
		fcntl(fds[i], F_SETFD, FD_CLOEXEC);
		raw(SYS_fcntl, 1L << 32 | fds[i], F_SETFD, FD_CLOEXEC);
		ioctl(fds[i], FIOCLEX);
		raw(SYS_ioctl, 1L << 32 | fds[i], 1L << 32 | FIOCLEX, 0);
		raw(SYS_close_range, fds[i], fds[i], 0);
		raw(SYS_close_range, 3, ~0U, 0);
		raw(SYS_close_range, 1L << 32 | 3, ~0UL, 4);
		wrong |= fcntl(fds[i], F_GETFD) != 0;
		wrong |= fstat(fds[i], &is) || was.st_ino != is.st_ino || was.st_dev != is.st_dev;
	}
	tell("closing, replacing and marking its descriptors", wrong);
	fd = open("/usr/bin", O_RDONLY); /* a shim may have split close_range */
	control("control: the same with others", dup2(fd, 60 + 1) == 61 && !fcntl(61, F_SETFD, FD_CLOEXEC) && !close(61) && fcntl(61, F_GETFD) < 0);
	control("control: close_range of the C library", close_range(62, ~0U, 0) == 0);
}

/* seen reports whether a path can be opened in some way, a symlink in the root itself aside. */
static int seen(const char *path, long dir, int in_root)
{
	static const int how[] = { O_RDONLY, O_PATH, O_PATH | O_NOFOLLOW, O_RDONLY | O_DIRECTORY, O_WRONLY };
	struct stat st;
	unsigned i;
	long fd;

	for (i = 0; i < sizeof(how) / sizeof(*how); i++) {
		fd = openat2(dir, path, slot_of(how[i], in_root), ZONE_HOW_SIZE);
		if (fd >= 0 && !(fstat((int)fd, &st) == 0 && S_ISLNK(st.st_mode)))
			return 1;
	}
	return 0;
}

static void escapes(void)
{
	const char *names[] = { "../hidden", "/../hidden", "usr/../../hidden", "usr/bin/../../../hidden", "lib/../../hidden", "out/hidden", "abs",
				"chain", "self/root/etc/passwd", "self/cwd/../hidden", "self/fd/41/../hidden", "self/exe", "/etc/passwd", "/etc/hostname" };
	char what[64];
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(what, sizeof(what), "view: %s", names[i]);
		tell(what, seen(names[i], VIEW, 1) || seen(names[i], VIEW, 0));
		snprintf(what, sizeof(what), "work: %s", names[i]);
		tell(what, seen(names[i], WORK, 1) || seen(names[i], WORK, 0));
		if (!strncmp(names[i], "self/", 5))
			tell("the same by /proc", seen(names[i], PROC, 1) || seen(names[i], PROC, 0));
	}
	control("control: /proc itself", seen("self/status", PROC, 0) || access("/proc/self/status", R_OK) == 0);
	control("control: work/inside", seen("inside", WORK, 0));
}

static volatile int stop;
static char swapped[64] = "inside";

static void *swap(void *unused)
{
	while (!stop) {
		memcpy(swapped, "../hidden", 10);
		__sync_synchronize();
		memcpy(swapped, "inside\0\0\0", 10);
	}
	return unused;
}

static void *move(void *unused)
{
	while (!stop) {
		renameat(WORK, "a/b/c", WORK, "c");
		renameat(WORK, "c", WORK, "a/b/c");
	}
	return unused;
}

static void races(void)
{
	pthread_t a, b;
	struct timespec t0, t;
	long got, hits = 0, in = 0, out = 0;
	char text[8];

	mkdirat(WORK, "a", 0755);
	mkdirat(WORK, "a/b", 0755);
	mkdirat(WORK, "a/b/c", 0755);
	pthread_create(&a, 0, swap, 0);
	pthread_create(&b, 0, move, 0);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		int i;

		for (i = 0; i < 1000; i++) {
			got = openat2(WORK, swapped, slot_of(O_RDONLY, i & 1), ZONE_HOW_SIZE);
			if (got >= 0) {
				memset(text, 0, sizeof(text));
				if (read((int)got, text, 6) == 6 && !memcmp(text, "hidden", 6))
					out++;
				in++;
				close((int)got);
			}
			got = openat2(WORK, "a/b/c/../../../hidden", slot_of(O_RDONLY, i & 1), ZONE_HOW_SIZE);
			if (got >= 0) {
				out++;
				close((int)got);
			} else if (errno == EXDEV || errno == EAGAIN) {
				hits++;
			}
		}
		clock_gettime(CLOCK_MONOTONIC, &t);
		/* On a busy machine it takes longer until a race is one. */
	} while (t.tv_sec - t0.tv_sec < 2 || (!(in > 0 && hits > 0) && t.tv_sec - t0.tv_sec < 40));
	stop = 1;
	pthread_join(a, 0);
	pthread_join(b, 0);
	tell("races of strings and renames", out != 0);
	control("control: both sides of the races were seen", in > 0 && hits > 0);
}

static char self[4096]; /* the program's path */

/*
 * faked installs a filter that lets calls do nothing and pretend, and executes
 * the program again behind it. It returns how that ended.
 */
static int faked(const int *calls, int n, int with)
{
	struct sock_filter f[16], *p = f;
	struct sock_fprog prog = { 0, f };
	int status = 0, i;
	pid_t pid;

	*p++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
	for (i = 0; i < n; i++) {
		*p++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
		*p++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)(i ? with : 0));
	}
	*p++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = (unsigned short)(p - f);
	pid = fork();
	if (!pid) {
		char *argv[] = { self, "unseal", 0 };

		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
			_exit(77);
		execv(argv[0], argv);
		_exit(78);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

/* unseal is what faked executes: it ends with 1 if the zone is not sealed. */
static int unseal(void)
{
	char *p = mmap(ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return p == (char *)ZONE;
}

/* liars: what a program that is executed inherits must not fool the stub. */
static void liars(void)
{
	static const int calls[] = { SYS_mseal, SYS_mprotect, SYS_munmap, SYS_madvise };
	int none = faked(calls, 0, 0);

	if (none)
		printf("it ended with %d\n", none);
	control("control: without a lie the program runs, sealed", none == 0);
	tell("a filter that makes mseal a lie", faked(calls, 1, 0) != 125);
	tell("and that refuses mprotect", faked(calls, 2, EPERM) != 125);
	tell("and that refuses all else that a seal refuses", faked(calls, 4, EPERM) != 125);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "unseal"))
		return unseal();
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		strncpy(self, argv[0], sizeof(self) - 1);
	if (fcntl(PROC, F_GETFD) < 0)
		dup2(open("/proc", O_RDONLY | O_DIRECTORY), PROC);
	memcpy(before, ZONE, ZONE_SIZE);
	memory();
	forks();
	copies();
	file();
	pointers();
	descriptors();
	escapes();
	liars();
	races();
	return 0;
}
