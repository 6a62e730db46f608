/* The zone as the programs of a cell find it; numbers of package internal/view/zone. */
#ifndef ZONE_H
#define ZONE_H

#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ZONE 0x10000UL
#define ZONE_SIZE 0x10000UL
#define ZONE_TABLE 0x18000UL
#define ZONE_EMPTY 0x1c000UL
#define ZONE_SLOT 32UL
#define FCHDIR_MARK 0x6e637764

enum { PACKAGE_FD = 40, VIEW_FD, HOME_FD, TMP_FD, FIRST_FD, ZONE_FD = 55 };

/* openat2 with any pointer and size. */
static inline int open_how(int dir, const char *path, unsigned long how, unsigned long size)
{
	return (int)syscall(SYS_openat2, dir, path, how, size);
}

/* Whether the word at address a of the zone can be a slot: flags, mode and a way to resolve, then nothing. */
static inline int is_slot(unsigned long a)
{
	const unsigned long *w = (const unsigned long *)a;

	return w[2] == (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS) || w[2] == (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

/* The slot of these flags, without a mode; 0 if there is none. */
static inline unsigned long slot_of(unsigned long flags, unsigned long resolve)
{
	for (unsigned long a = ZONE; a < ZONE_TABLE && is_slot(a); a += ZONE_SLOT) {
		const unsigned long *w = (const unsigned long *)a;

		if (w[0] == flags && w[1] == 0 && w[2] == (resolve | RESOLVE_NO_MAGICLINKS))
			return a;
	}
	return 0;
}

/* The address behind the last slot. */
static inline unsigned long slots_end(void)
{
	unsigned long a = ZONE;

	while (a < ZONE_TABLE && is_slot(a))
		a += ZONE_SLOT;
	return a;
}

#endif
