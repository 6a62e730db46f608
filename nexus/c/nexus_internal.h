/* SPDX-License-Identifier: Apache-2.0 */
/* What nip-pledge has from the library beside nexus.h. */
#ifndef NEXUS_INTERNAL_H
#define NEXUS_INTERNAL_H

#include <stdint.h>

/* nexus_parse reads promises; EINVAL for a word that is none. */
int nexus_parse(const char *promises, unsigned int *mask);

/* nexus_empty is the empty path that a cell lets an execveat pass natively. */
const char *nexus_empty(void);

/*
 * nexus_pledge_pass is nexus_pledge, but if pass is not 0 an execveat is allowed, whatever
 * the promises, that has the low half of pass as the upper half of its first argument and
 * the other as that of its fifth; to the kernel both are an int. It clears the registers
 * as the program begins, and nobody but root can read a filter: so a pass of random bits
 * is good for the next program and for none after it.
 */
int nexus_pledge_pass(const char *promises, uint64_t pass);

#endif
