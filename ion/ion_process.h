/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* What only processes have: futexes, memory files, sockets. Include ion.h. */
#ifndef ION_PROCESS_H
#define ION_PROCESS_H

#include "ion_message.h"

#ifndef __KERNEL__

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifndef F_GET_SEALS
#error "define _GNU_SOURCE before the first header"
#endif

static inline ion_word32 *ion_bell_of(struct ion_ring *r, const struct ion_lane *lane, int which)
{
	struct ion_control *c = (struct ion_control *)(r->segment->mem + lane->control);

	return which == ION_DATA ? &c->data_bell : &c->room_bell;
}

static inline void ion_futex_ring(struct ion_ring *r, const struct ion_lane *lane, int which)
{
	ion_word32 *bell = ion_bell_of(r, lane, which);

	atomic_fetch_add(bell, 1);
	(void)syscall(SYS_futex, bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/*
 * Sleeps until there may be something (ION_FOR_...): 0, or ION_EOS with ETIMEDOUT after so
 * many nanoseconds; negative is without end. The other side rings a futex.
 */
static inline int ion_wait(struct ion_ring *r, int what, long long ns)
{
	const struct ion_end *e = what == ION_FOR_DATA ? &r->in : &r->out;
	ion_word32 *bell;
	ion_u32 value;
	struct timespec t = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };

	if (!e->lane)
		return ION_ECHANNEL;
	bell = ion_bell_of(r, e->lane, what == ION_FOR_DATA ? ION_DATA : ION_ROOM);
	value = ion_load_acquire(bell);
	if (!ion_may_sleep(r, what))
		return 0;
	if (syscall(SYS_futex, bell, FUTEX_WAIT, value, ns < 0 ? NULL : &t, NULL, 0) && errno == ETIMEDOUT)
		return ION_EOS;
	return 0; /* EAGAIN: it has rung; EINTR: look again */
}

#ifndef F_SEAL_SHRINK
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#endif

/*
 * Maps a memory file that somebody else gave us, after checks that nobody can shorten it,
 * and reads the segment in it. The descriptor can be closed then.
 */
static inline int ion_map(struct ion_segment *s, int fd, ion_u32 side)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	const long tmpfs = 0x01021994; /* TMPFS_MAGIC: no huge pages */
	struct statfs fs;
	struct stat st;
	void *mem;

	if (fstatfs(fd, &fs))
		return ION_EOS;
	if ((long)fs.f_type != tmpfs || (fcntl(fd, F_GET_SEALS) & seals) != seals)
		return ION_EFORMAT;
	if (fstat(fd, &st))
		return ION_EOS;
	if (st.st_size < ION_LANES_START || st.st_size > ION_MAX_SEGMENT)
		return ION_EFORMAT;
	mem = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		return ION_EOS;
	if (ion_read(s, mem, (ion_u64)st.st_size, side)) {
		munmap(mem, (size_t)st.st_size);
		return ION_EFORMAT;
	}
	return 0;
}

/*
 * Receives the segment that the process at the other end of a SOCK_SEQPACKET socket offers
 * (ABI.md, Links), as the side that it asks for. The socket stays open for as long as both
 * live: its end says that the other is gone.
 */
static inline int ion_accept(struct ion_segment *s, int socket)
{
	ion_u8 packet[25];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec v = { packet, sizeof(packet) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c;
	ion_u32 magic, side, zero;
	ion_u16 version, kind;
	ssize_t n;
	int fd, result;

	do
		n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return ION_EOS;
	c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
		return ION_EFORMAT;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	memcpy(&magic, packet, 4);
	memcpy(&version, packet + 4, 2);
	memcpy(&kind, packet + 6, 2);
	memcpy(&side, packet + 8, 4);
	memcpy(&zero, packet + 12, 4);
	result = ION_EFORMAT;
	if (n == 24 && !(m.msg_flags & MSG_CTRUNC) && magic == ION_MAGIC && version == ION_VERSION && kind == 1 && side <= ION_GUEST && !zero)
		result = ion_map(s, fd, side);
	close(fd);
	return result;
}

#endif /* !__KERNEL__ */

#endif /* ION_PROCESS_H */
