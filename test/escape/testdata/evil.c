/*
 * evil.c: a program, or a loader, that puts its own memory where the zone would be
 * and calls openat2 with what it has written there.
 *
 *	evil HIDDEN ABSENT
 *
 * It has no C library and nothing that must be relocated, so that it can be what
 * the kernel starts first. HIDDEN is a file that it must not learn of, ABSENT a name
 * beside it that leads nowhere. It prints how both calls ended and whether the
 * memory was its own, and ends with 10 if it could tell the two apart, with 11 if not.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include "raw.h"
#include <sys/mman.h>

static int error;

int *__errno_location(void) { return &error; }

#ifdef FORGED /* a segment of the program's own in the zone's place: headers, and behind them this at 0x11000 */
unsigned long forged[4096] __attribute__((section(".forged"))) = { O_PATH, 0, 0 };
#define HOW (ZONE_ADDR + 0x1000)
#else
#define HOW ZONE_ADDR
#endif

static void say(char c) { raw(SYS_write, 1, &c, 1); }

static void number(char name, long n)
{
	char digits[24];
	int i = 0;

	say(' ');
	say(name);
	say(' ');
	do
		digits[i++] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	while (i)
		say(digits[--i]);
}

/* try returns the error of the call, 0 if there is none. */
static long try(const char *path)
{
	long fd = openat2(AT_FDCWD, path, HOW, ZONE_HOW_SIZE);

	if (fd < 0)
		return error;
	raw(SYS_close, fd);
	return 0;
}

__attribute__((used)) static void begin(long *stack)
{
	char **argv = (char **)(stack + 1);
	unsigned long *own;
	long hidden, absent, mine = 1;

#ifndef FORGED
	own = (unsigned long *)raw(SYS_mmap, ZONE, ZONE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	mine = own == (unsigned long *)ZONE;
	if (mine) {
		own[0] = O_PATH;
		own[1] = own[2] = 0;
	}
#else
	own = forged;
	own[0] = O_PATH;
#endif
	if (stack[0] < 3)
		raw(SYS_exit_group, 12);
	hidden = try(argv[1]);
	absent = try(argv[stack[0] - 1]); /* a script's name is between them */
	number('m', mine);
	number('h', hidden);
	number('a', absent);
	say('\n');
	raw(SYS_exit_group, hidden == absent ? 11 : 10);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\nhlt");
#else
__asm__(".globl _start\n_start: mov x0, sp\nbl begin\nbrk 1");
#endif
