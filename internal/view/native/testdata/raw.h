/*
 * raw.h: system calls as a hostile program makes them, the slots of the zone that it
 * may pass to openat2, and how it says what became of its attempts.
 */
#ifndef RAW_H
#define RAW_H

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "slot.h"

#define ZONE ((char *)ZONE_ADDR)

/* raw is syscall(2), but by no way of the C library's, which may have a shim. */
static inline long raw6(long nr, long a0, long a1, long a2, long a3, long a4, long a5)
{
	long r;
#if defined(__x86_64__)
	register long r10 __asm__("r10") = a3;
	register long r8 __asm__("r8") = a4;
	register long r9 __asm__("r9") = a5;

	__asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
#else
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a0;
	register long x1 __asm__("x1") = a1;
	register long x2 __asm__("x2") = a2;
	register long x3 __asm__("x3") = a3;
	register long x4 __asm__("x4") = a4;
	register long x5 __asm__("x5") = a5;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	r = x0;
#endif
	if (r < 0 && r > -4096) {
		errno = (int)-r;
		return -1;
	}
	return r;
}

#define RAW(nr, a, b, c, d, e, f, ...) raw6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define raw(...) RAW(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

static inline void tell(const char *what, int open)
{
	printf("%-56s %s\n", what, open ? "OPEN" : "refused");
	fflush(stdout);
}

static inline void control(const char *what, int works)
{
	printf("%-56s %s\n", what, works ? "works" : "BROKEN");
	fflush(stdout);
}

static inline long openat2(long dir, const char *path, unsigned long how, unsigned long size)
{
	return raw(SYS_openat2, dir, path, how, size);
}

static inline unsigned long slot_of(int flags, int in_root)
{
	return ZONE_ADDR + ZONE_SLOT_SIZE * (unsigned long)(zone_slot((unsigned long)flags, 0) + (in_root ? 0 : ZONE_HALF));
}

#endif
