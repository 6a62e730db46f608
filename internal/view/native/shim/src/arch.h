/* arch.h: numbers, structures and the call instruction of each machine. */
#ifndef ARCH_H
#define ARCH_H

#define O_RDONLY 0
#define O_NONBLOCK 04000
#define O_CLOEXEC 02000000
#define O_PATH 010000000
#define RLIMIT_LOCKS 10

/* The part of struct statx that the shim looks at. */
struct kstatx {
	unsigned int mask, blksize;
	unsigned long attributes;
	unsigned int nlink, uid, gid;
	unsigned short mode, pad;
	unsigned long ino, size;
};

#if defined(__x86_64__)

#define O_DIRECTORY 0200000
#define O_NOFOLLOW 0400000

#define NR_open 2
#define NR_close 3
#define NR_stat 4
#define NR_fstat 5
#define NR_lstat 6
#define NR_pread64 17
#define NR_access 21
#define NR_execve 59
#define NR_getcwd 79
#define NR_chdir 80
#define NR_fchdir 81
#define NR_readlink 89
#define NR_getrlimit 97
#define NR_statfs 137
#define NR_fstatfs 138
#define NR_openat 257
#define NR_newfstatat 262
#define NR_readlinkat 267
#define NR_faccessat 269
#define NR_execveat 322
#define NR_statx 332

struct kstat {
	unsigned long dev, ino, nlink;
	unsigned int mode, uid, gid, pad;
	unsigned long rdev;
	long size, blksize, blocks, time[6], unused[3];
};

static inline long sys5(long nr, long a0, long a1, long a2, long a3, long a4)
{
	register long r10 __asm__("r10") = a3;
	register long r8 __asm__("r8") = a4;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return ret;
}

#elif defined(__aarch64__)

#define O_DIRECTORY 040000
#define O_NOFOLLOW 0100000

#define NR_getcwd 17
#define NR_statfs 43
#define NR_fstatfs 44
#define NR_faccessat 48
#define NR_chdir 49
#define NR_fchdir 50
#define NR_openat 56
#define NR_close 57
#define NR_pread64 67
#define NR_readlinkat 78
#define NR_newfstatat 79
#define NR_fstat 80
#define NR_getrlimit 163
#define NR_execve 221
#define NR_execveat 281
#define NR_statx 291

struct kstat {
	unsigned long dev, ino;
	unsigned int mode, nlink, uid, gid;
	unsigned long rdev, pad;
	long size;
	int blksize, pad2;
	long blocks, time[6];
	unsigned int unused[2];
};

static inline long sys5(long nr, long a0, long a1, long a2, long a3, long a4)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a0;
	register long x1 __asm__("x1") = a1;
	register long x2 __asm__("x2") = a2;
	register long x3 __asm__("x3") = a3;
	register long x4 __asm__("x4") = a4;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}

#else
#error "no such machine"
#endif

#define NR_close_range 436
#define NR_openat2 437
#define NR_faccessat2 439

#define sys4(nr, a, b, c, d) sys5(nr, a, b, c, d, 0)
#define sys3(nr, a, b, c) sys5(nr, a, b, c, 0, 0)
#define sys2(nr, a, b) sys5(nr, a, b, 0, 0, 0)
#define sys1(nr, a) sys5(nr, a, 0, 0, 0, 0)

#endif
