/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See nexus.h. Filters are cut of the template in nexus_table.h, which is made from the
 * same rows as the filters of cells. Sources: seccomp(2), landlock(7),
 * Documentation/userspace-api/landlock.rst.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "nexus.h"
#include "nexus_internal.h"
#include "nexus_table.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Since Linux 5.7, 5.13 and 6.19: headers may be older. */
#ifndef SECCOMP_FILTER_FLAG_TSYNC_ESRCH
#define SECCOMP_FILTER_FLAG_TSYNC_ESRCH (1UL << 4)
#endif
#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000U
#endif
#define CREATE_RULESET 444
#define ADD_RULE 445
#define RESTRICT_SELF 446
#define RULESET_VERSION 1U
#define RULE_PATH_BENEATH 1
#define RESTRICT_TSYNC (1U << 3)
#define ABI_TSYNC 8

static enum nexus_mode mode = NEXUS_KILL;
static int gathering = -1; /* ruleset of what nexus_unveil collects */

int nexus_pledge_mode(enum nexus_mode m)
{
	if (m != NEXUS_KILL && m != NEXUS_DENY) {
		errno = EINVAL;
		return -1;
	}
	mode = m;
	return 0;
}

/* lookup returns the bits of a word, 0 if there is no such word. */
static unsigned int lookup(const char *word, size_t length)
{
	for (size_t i = 0; i < COUNT(nexus_words); i++)
		if (strlen(nexus_words[i].word) == length && !strncasecmp(nexus_words[i].word, word, length))
			return nexus_words[i].bits;
	return 0;
}

int nexus_parse(const char *promises, unsigned int *mask)
{
	static const char between[] = " \t\n,";
	const char *at = promises + strspn(promises, between);
	size_t length = strcspn(at, between);
	int none = length == 4 && !strncasecmp(at, "none", 4) && !at[4 + strspn(at + 4, between)];

	for (*mask = 0; *at && !none; length = strcspn(at, between)) {
		int minus = *at == '-';
		unsigned int bits = lookup(at + minus, length - minus);

		if (!bits)
			return EINVAL;
		*mask = minus ? *mask & ~bits : *mask | bits;
		at += length;
		at += strspn(at, between);
	}
	return 0;
}

/* held returns the promises that this process, its ancestors and its cell left it. */
static unsigned int held(void)
{
	unsigned int mask = 0;

	for (unsigned int bit = 1; bit <= NEXUS_ALL; bit <<= 1)
		if (!(prctl((int)NEXUS_HELD, (unsigned long)bit, 0UL, 0UL, 0UL) == -1 && errno == EPERM))
			mask |= bit & NEXUS_ALL;
	return mask;
}

/*
 * in_zone: in a cell with native views the zone is where it belongs, and sealed, which
 * nothing but mseal(2) makes mprotect say EPERM for. Elsewhere memory there is the
 * program's own.
 */
static int in_zone(void)
{
	unsigned char page;
	const char *table = (const char *)NEXUS_ZONE_TABLE;
	uint64_t magic;
	uint32_t flags;

	if (mincore((void *)NEXUS_ZONE_TABLE, 1, &page))
		return 0;
	/* the compiler is not to think about an address that is no object's */
	__asm__("" : "+r"(table));
	memcpy(&magic, table, sizeof(magic));
	memcpy(&flags, table + NEXUS_ZONE_FLAGS, sizeof(flags));
	return magic == NEXUS_ZONE_MAGIC && !(flags & NEXUS_ZONE_ASK_ALL) &&
	       mprotect((void *)NEXUS_ZONE, NEXUS_ZONE_SIZE, PROT_READ) && errno == EPERM;
}

const char *nexus_empty(void) { return in_zone() ? (const char *)NEXUS_ZONE_EMPTY : ""; }

#ifdef NEXUS_MACHINE
/* cut makes one instruction of the filter that holds what is in mask. */
static struct sock_filter cut(struct sock_filter in, unsigned int mask, uint64_t pass)
{
	unsigned int need = in.k & 0xffff, lack = in.k >> 16;

	if (in.code == NEXUS_GUARD) {
		int there = (mask & need) == need && (!lack || (mask & lack) != lack);

		return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, there ? 0U : in.jt, 0, 0);
	}
	if (in.code == (BPF_RET | BPF_K) && in.k == NEXUS_FAULT)
		in.k = mode == NEXUS_DENY ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_KILL_PROCESS;
	if (in.code == NEXUS_JEQ && in.k - NEXUS_PASS < 2)
		in.k = (uint32_t)(pass >> (in.k == NEXUS_PASS ? 0 : 32));
	return in;
}

static int install(unsigned int mask, uint64_t pass)
{
	struct sock_filter filter[COUNT(nexus_template)];
	struct sock_fprog program = { COUNT(filter), filter };
	unsigned long flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;

	if (in_zone())
		mask |= NEXUS_BY_ZONE;
	if (pass)
		mask |= NEXUS_BY_PASS;
	for (size_t i = 0; i < COUNT(filter); i++)
		filter[i] = cut(nexus_template[i], mask, pass);
	/* the kernel gives other threads both */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program))
		return errno;
	return 0;
}
#else
static int install(unsigned int mask, uint64_t pass)
{
	(void)mask;
	(void)pass;
	return ENOSYS;
}
#endif

int nexus_pledge_pass(const char *promises, uint64_t pass)
{
	unsigned int mask;
	int err = promises ? nexus_parse(promises, &mask) : EINVAL;

	if (!err && mask & ~held())
		err = EPERM;
	if (!err)
		err = install(mask, pass);
	if (!err)
		return 0;
	errno = err;
	return -1;
}

int nexus_pledge(const char *promises) { return nexus_pledge_pass(promises, 0); }

/* access_of returns the Landlock rights of letters, 0 if one is none. */
static uint64_t access_of(const char *letters)
{
	uint64_t access = 0;

	for (; *letters; letters++) {
		switch (*letters) {
		case 'r': access |= NEXUS_ACCESS_READ; break;
		case 'w': access |= NEXUS_ACCESS_WRITE; break;
		case 'x': access |= NEXUS_ACCESS_EXEC; break;
		case 'c': access |= NEXUS_ACCESS_CREATE; break;
		default: return 0;
		}
	}
	return access;
}

/* version returns that of Landlock, -1 with errno if there is none. */
static int version(void) { return (int)syscall(CREATE_RULESET, NULL, 0, RULESET_VERSION); }

/* handled returns all rights that the kernel's Landlock knows and we do. */
static uint64_t handled(int v)
{
	return nexus_handled[v < (int)COUNT(nexus_handled) ? v : (int)COUNT(nexus_handled) - 1];
}

/* begin makes the ruleset of a layer, if there is none yet. */
static int begin(int v)
{
	uint64_t fs = handled(v);

	if (gathering < 0)
		gathering = (int)syscall(CREATE_RULESET, &fs, sizeof(fs), 0);
	return gathering < 0 ? -1 : 0;
}

/*
 * open_name opens what a rule is about. A cell's supervisor gives no path descriptor of a
 * device; one that is open for reading names it as well.
 */
static int open_name(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0 && errno == EACCES)
		fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd;
}

static int gather(const char *path, uint64_t access, int v)
{
	struct {
		uint64_t access;
		int32_t fd;
	} __attribute__((packed)) rule = { access, open_name(path) };
	struct stat st;
	int err = 0;

	if (rule.fd < 0)
		return -1;
	if (fstat(rule.fd, &st))
		err = errno;
	if (!err && S_ISCHR(st.st_mode))
		rule.access |= NEXUS_ACCESS_DEVICE;
	if (!err && !S_ISDIR(st.st_mode))
		rule.access &= NEXUS_ACCESS_FILES;
	rule.access &= handled(v);
	/* c alone gives a file nothing, and the kernel takes no empty rule */
	if (!err && rule.access && syscall(ADD_RULE, gathering, RULE_PATH_BENEATH, &rule, 0))
		err = errno;
	close(rule.fd);
	errno = err;
	return err ? -1 : 0;
}

/* enter puts the layer around the process. */
static int enter(int v)
{
	unsigned int flags = v >= ABI_TSYNC ? RESTRICT_TSYNC : 0;
	int err = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) || syscall(RESTRICT_SELF, gathering, flags))
		err = errno;
	close(gathering);
	gathering = -1;
	errno = err;
	return err ? -1 : 0;
}

int nexus_unveil(const char *path, const char *permissions)
{
	uint64_t access = permissions ? access_of(permissions) : 0;
	int v = version();

	if (v < 0)
		return -1;
	if (!path != !permissions || (permissions && !access)) {
		errno = EINVAL;
		return -1;
	}
	if (begin(v))
		return -1;
	return path ? gather(path, access, v) : enter(v);
}
