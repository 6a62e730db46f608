/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* What a segment looks like, and reading and writing its header. Include ion.h. */
#ifndef ION_LAYOUT_H
#define ION_LAYOUT_H

#ifdef __KERNEL__

#include <linux/barrier.h>
#include <linux/compiler.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>

typedef u8 ion_u8;
typedef u16 ion_u16;
typedef u32 ion_u32;
typedef u64 ion_u64;
typedef u32 ion_word32; /* of a segment: both sides access it */
typedef u64 ion_word64;

#define ion_load(p) READ_ONCE(*(p))
#define ion_load_acquire(p) smp_load_acquire(p)
#define ion_store(p, v) WRITE_ONCE(*(p), v)
#define ion_store_release(p, v) smp_store_release(p, v)
#define ion_barrier() smp_mb()

#else

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t ion_u8;
typedef uint16_t ion_u16;
typedef uint32_t ion_u32;
typedef uint64_t ion_u64;
typedef _Atomic uint32_t ion_word32;
typedef _Atomic uint64_t ion_word64;

#define ion_load(p) atomic_load_explicit(p, memory_order_relaxed)
#define ion_load_acquire(p) atomic_load_explicit(p, memory_order_acquire)
#define ion_store(p, v) atomic_store_explicit(p, v, memory_order_relaxed)
#define ion_store_release(p, v) atomic_store_explicit(p, v, memory_order_release)
#define ion_barrier() atomic_thread_fence(memory_order_seq_cst)

#endif

#define ION_ASSERT(what) _Static_assert(what, #what)

/* ABI.md, Limits and Header. */
enum {
	ION_MAGIC = 0x494F4E52,
	ION_VERSION = 1,
	ION_HEADER_SIZE = 1024,
	ION_ENTRY_SIZE = 64,
	ION_MAX_LANES = 64,
	ION_LANES_START = 8192,
	ION_NAME_SIZE = 32,
	ION_MAX_SEGMENT = 1 << 30,
	ION_LINE = 128,
	ION_MESSAGE_HEADER = 8,
	ION_GRANT_SIZE = 8,
	ION_BEGINNING = 64, /* of a slot, copied before its header is looked at */
	ION_FLAG_GRANT = 1,
};

/*
 * Copies what the other side may change at any time. The compiler must not read it again
 * instead of using the copy: what was checked would not be what is used.
 */
static inline void ion_copy(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
	__asm__ __volatile__("" ::: "memory");
}

/* Sides. */
enum { ION_HOST = 0, ION_GUEST = 1 };

/* Well-known channels. */
enum {
	ION_NET_RECEIVE = 0x0500,
	ION_NET_TRANSMIT = 0x0501,
	ION_CONSOLE_IN = 0x1000,
	ION_CONSOLE_OUT = 0x1001,
	ION_FILES = 0x2000,
};

/* States of a lane. */
enum { ION_OPEN = 0, ION_CLOSED = 1, ION_VIOLATED = 2 };

/* What functions return that fail. */
enum {
	ION_EFORMAT = -1,	/* the memory is no segment of this version */
	ION_ECHANNEL = -2,	/* the segment has no such channel, or no lane that way */
	ION_EMESSAGE = -3,	/* ours is no message, or too large for the lane */
	ION_EBUFFER = -4,	/* the buffer is not this side's to give */
	ION_ECLOSED = -5,	/* this side has closed the channel */
	ION_EPEER_CLOSED = -6,	/* the other side has */
	ION_EPEER_ABORT = -7,	/* the other side says that this one broke the rules */
	ION_EVIOLATION = -8,	/* the other side broke the rules */
	ION_EOS = -9,		/* the system refused something: errno says what */
};

/* A lane's control block. */
struct ion_control {
	ion_word64 tail;
	ion_u8 pad0[ION_LINE - 8];

	ion_word64 data_event;
	ion_word32 consumer_state;
	ion_word32 room_bell;
	ion_u8 pad1[ION_LINE - 16];

	ion_word64 head;
	ion_u8 pad2[ION_LINE - 8];

	ion_word64 room_event;
	ion_word64 return_event;
	ion_word32 producer_state;
	ion_word32 data_bell;
	ion_u8 pad3[ION_LINE - 24];

	ion_word64 return_tail;
	ion_u8 pad4[ION_LINE - 8];
	ion_word64 return_head;
	ion_u8 pad5[ION_LINE - 8];

	ion_word64 sample_index;
	ion_word64 sample_time;
	ion_word64 producer_rings;
	ion_word64 producer_sleeps;
	ion_u8 pad6[ION_LINE - 32];

	ion_word64 reserved[2];
	ion_word64 consumer_rings;
	ion_word64 consumer_sleeps;
	ion_u8 pad7[ION_LINE - 32];

	ion_word64 latency[32];
};

ION_ASSERT(sizeof(struct ion_control) == 1280);
ION_ASSERT(offsetof(struct ion_control, data_event) == 128);
ION_ASSERT(offsetof(struct ion_control, head) == 256);
ION_ASSERT(offsetof(struct ion_control, room_event) == 384);
ION_ASSERT(offsetof(struct ion_control, data_bell) == 404);
ION_ASSERT(offsetof(struct ion_control, return_tail) == 512);
ION_ASSERT(offsetof(struct ion_control, return_head) == 640);
ION_ASSERT(offsetof(struct ion_control, sample_index) == 768);
ION_ASSERT(offsetof(struct ion_control, consumer_rings) == 912);
ION_ASSERT(offsetof(struct ion_control, latency) == 1024);

/* What a side says of itself, at 128 (host) and 256 (guest). */
struct ion_block {
	ion_word32 epoch;
	ion_word32 state;
	ion_word32 pid;
	ion_word32 reserved;
	ion_word64 since;
};

/* One direction of a channel. */
struct ion_lane {
	ion_u32 id, from, slot_size, slots, buffer_size, buffers;
	ion_u64 control, slots_at, returns, held, arena; /* offsets; the last three 0 without an arena */
};

/* A segment's private copy of what must not change. */
struct ion_segment {
	ion_u8 *mem;
	ion_u64 size;
	ion_u64 serial;
	ion_u32 side;
	ion_u32 lanes;
	struct ion_lane lane[ION_MAX_LANES];
	char name[ION_NAME_SIZE + 1];
};

/* Which bell rings: for room or returned buffers, or for data. */
enum { ION_ROOM, ION_DATA };

/* Whose a buffer of a sender's arena is. */
enum { ION_FREE, ION_TAKEN, ION_GRANTED };

/* One end of a lane. */
struct ion_end {
	const struct ion_lane *lane; /* NULL: there is none this way */
	struct ion_control *c;
	ion_u64 ours;	/* the sender's tail, the receiver's head */
	ion_u64 acked;	/* of the latter, what the other side knows */
	ion_u64 theirs; /* the last of the other side's that was seen, and checked */
	ion_u64 rings, sleeps;

	/* Arena: hands says whose each buffer is (sender), or which this side holds. */
	ion_u8 *hands;
	ion_u64 returned; /* the sender's return head, the receiver's return tail */
	ion_u64 seen;	  /* the sender: the last return tail that was checked */
	ion_u64 granted;  /* how many are out */
	ion_u32 next;	  /* where to look for a free one */
};

/* One side's end of a channel. */
struct ion_ring {
	struct ion_segment *segment;
	struct ion_end out, in;
	int over; /* 0, or why nothing more will come of it */
	/* Rings the other side; NULL: a futex (not in the kernel). */
	void (*bell)(struct ion_ring *r, const struct ion_lane *lane, int which);
	void *context; /* of whoever sets bell */
};

static inline ion_u64 ion_up(ion_u64 n, ion_u64 to) { return (n + to - 1) & ~(to - 1); }
static inline int ion_power_of_two(ion_u32 n) { return n && !(n & (n - 1)); }

static inline ion_u32 ion_returns(const struct ion_lane *l)
{
	ion_u32 n = 2;

	while (n < l->buffers)
		n *= 2;
	return n;
}

/* Puts the lanes where they belong; 0 if a lane breaks a limit, else the segment's size. */
static inline ion_u64 ion_lay(struct ion_lane *lanes, ion_u32 n)
{
	ion_u64 at = ION_LANES_START;
	ion_u32 i, k;

	if (n == 0 || n > ION_MAX_LANES)
		return 0;
	for (i = 0; i < n; i++) {
		struct ion_lane *l = &lanes[i];

		if (l->id == 0 || l->from > ION_GUEST || !ion_power_of_two(l->slot_size) || l->slot_size < 64 || l->slot_size > 4096 ||
		    !ion_power_of_two(l->slots) || l->slots < 2 || l->slots > 65536)
			return 0;
		if ((l->buffers || l->buffer_size) && (l->buffers == 0 || l->buffers > 65536 || !ion_power_of_two(l->buffer_size) ||
						       l->buffer_size < 64 || l->buffer_size > 1 << 24))
			return 0;
		for (k = 0; k < i; k++)
			if (lanes[k].id == l->id && lanes[k].from == l->from)
				return 0;
		l->control = ion_up(at, ION_LINE);
		l->slots_at = ion_up(l->control + sizeof(struct ion_control), ION_LINE);
		at = l->slots_at + (ion_u64)l->slot_size * l->slots;
		l->returns = l->held = l->arena = 0;
		if (l->buffers) {
			l->returns = ion_up(at, ION_LINE);
			l->held = ion_up(l->returns + 8ull * ion_returns(l), ION_LINE);
			l->arena = ion_up(l->held + 4ull * l->buffers, 4096);
			at = l->arena + (ion_u64)l->buffer_size * l->buffers;
		}
		if (at > ION_MAX_SEGMENT)
			return 0;
	}
	return ion_up(at, 4096);
}

/*
 * Reads the header of a segment, or of a window with one, into s: this is the only time
 * that it is read. mem must be mapped for as long as s is used, on a page boundary, and must
 * not be one that the other side can shorten (ion_map checks that).
 */
static inline int ion_read(struct ion_segment *s, void *mem, ion_u64 size, ion_u32 side)
{
	ion_u8 *b = mem;
	ion_u8 head[64];
	ion_u32 i, n32;
	ion_u16 n16;
	ion_u64 said, places[ION_MAX_LANES][5]; /* as the header has them */
	int ended = 0;

	if (size < ION_LANES_START || side > ION_GUEST)
		return ION_EFORMAT;
	ion_copy(head, b, sizeof(head));
	memcpy(&n32, head, 4);
	memcpy(&n16, head + 4, 2);
	if (n32 != ION_MAGIC || n16 != ION_VERSION)
		return ION_EFORMAT;
	memcpy(&n16, head + 6, 2);
	memcpy(&said, head + 8, 8);
	memcpy(&s->lanes, head + 16, 4);
	memcpy(&n32, head + 20, 4);
	if (n16 != ION_ENTRY_SIZE || n32 != ION_HEADER_SIZE || s->lanes == 0 || s->lanes > ION_MAX_LANES)
		return ION_EFORMAT;
	memcpy(&s->serial, head + 24, 8);
	memcpy(s->name, head + 32, ION_NAME_SIZE);
	s->name[ION_NAME_SIZE] = 0;
	for (i = 0; i < ION_NAME_SIZE; i++) {
		char c = s->name[i];

		if (c == 0)
			ended = 1;
		else if (ended || c <= ' ' || c > '~' || c == '/')
			return ION_EFORMAT;
	}
	for (i = 0; i < s->lanes; i++) {
		ion_u8 e[ION_ENTRY_SIZE];

		ion_copy(e, b + ION_HEADER_SIZE + i * ION_ENTRY_SIZE, sizeof(e));
		memcpy(&s->lane[i].id, e, 4);
		memcpy(&s->lane[i].from, e + 4, 4);
		memcpy(&s->lane[i].slot_size, e + 8, 4);
		memcpy(&s->lane[i].slots, e + 12, 4);
		memcpy(&s->lane[i].buffer_size, e + 16, 4);
		memcpy(&s->lane[i].buffers, e + 20, 4);
		memcpy(places[i], e + 24, sizeof(places[i]));
	}
	s->size = ion_lay(s->lane, s->lanes);
	if (s->size == 0 || s->size != said || size < said)
		return ION_EFORMAT;
	for (i = 0; i < s->lanes; i++) {
		const struct ion_lane *l = &s->lane[i];
		const ion_u64 *at = places[i];

		if (at[0] != l->control || at[1] != l->slots_at || at[2] != l->returns || at[3] != l->held || at[4] != l->arena)
			return ION_EFORMAT;
	}
	s->mem = b;
	s->side = side;
	return 0;
}

/*
 * Writes a segment of the n lanes in s->lane, whose name is in s->name, into memory that is
 * all zeros and that nobody else uses yet; s is its host side then.
 */
static inline int ion_format(struct ion_segment *s, void *mem, ion_u64 size, ion_u32 n, ion_u64 serial)
{
	ion_u8 *b = mem;
	ion_u32 i;
	const ion_u32 magic = ION_MAGIC, directory = ION_HEADER_SIZE;
	const ion_u16 version = ION_VERSION, entry = ION_ENTRY_SIZE;

	s->size = ion_lay(s->lane, n);
	if (s->size == 0 || size < s->size)
		return ION_EFORMAT;
	s->mem = b;
	s->side = ION_HOST;
	s->lanes = n;
	s->serial = serial;
	memcpy(b, &magic, 4);
	memcpy(b + 4, &version, 2);
	memcpy(b + 6, &entry, 2);
	memcpy(b + 8, &s->size, 8);
	memcpy(b + 16, &n, 4);
	memcpy(b + 20, &directory, 4);
	memcpy(b + 24, &serial, 8);
	memcpy(b + 32, s->name, ION_NAME_SIZE);
	for (i = 0; i < n; i++) {
		const struct ion_lane *l = &s->lane[i];
		ion_u8 *e = b + ION_HEADER_SIZE + i * ION_ENTRY_SIZE;

		memcpy(e, &l->id, 4);
		memcpy(e + 4, &l->from, 4);
		memcpy(e + 8, &l->slot_size, 4);
		memcpy(e + 12, &l->slots, 4);
		memcpy(e + 16, &l->buffer_size, 4);
		memcpy(e + 20, &l->buffers, 4);
		memcpy(e + 24, &l->control, 8);
		memcpy(e + 32, &l->slots_at, 8);
		memcpy(e + 40, &l->returns, 8);
		memcpy(e + 48, &l->held, 8);
		memcpy(e + 56, &l->arena, 8);
	}
	return 0;
}

#endif /* ION_LAYOUT_H */
