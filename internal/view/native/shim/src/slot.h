/* slot.h: which slot holds the struct open_how of a call. */
#ifndef SLOT_H
#define SLOT_H

#if defined(ZONE_amd64) || defined(ZONE_arm64)
#elif defined(__x86_64__)
#define ZONE_amd64
#elif defined(__aarch64__)
#define ZONE_arm64
#endif
#include "zone.h"

/*
 * zone_slot returns the number of the slot for open(2)'s flags and mode below
 * the cell's "/", or -1; ZONE_HALF more is the one for any other root. The
 * classes are those of package zone: a combination is in one of them at most.
 */
static inline long zone_slot(unsigned long flags, unsigned long mode)
{
	unsigned long rest, n, found;

	flags = (unsigned int)flags & ~ZONE_LARGEFILE;
	if (flags & ZONE_PATH)
		flags &= ZONE_PATH_FLAGS;
	mode = flags & ZONE_CREAT ? mode & 07777 : 0;
#define CLASS(fixed, first)                                                                                                      \
	if ((flags & (fixed)) == (fixed)) {                                                                                      \
		rest = flags & ~(fixed);                                                                                         \
		n = (first);                                                                                                     \
		found = 0;
#define BIT(bit, number)                                                                                                         \
	if (rest & (bit)) {                                                                                                      \
		rest &= ~(bit);                                                                                                  \
		n += 1UL << (number);                                                                                            \
	}
#define MODE(value, add)                                                                                                         \
	if (mode == (value)) {                                                                                                   \
		n += (add);                                                                                                      \
		found = 1;                                                                                                       \
	}
#define END(modes)                                                                                                               \
	if (!rest && (found || !(modes)))                                                                                        \
		return (long)n;                                                                                                  \
	}
	ZONE_CLASSES(CLASS, BIT, MODE, END)
#undef CLASS
#undef BIT
#undef MODE
#undef END
	return -1;
}

#endif
