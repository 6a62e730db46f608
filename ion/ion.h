/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * ION rings for C: one side of a segment (ABI.md, version 1), for programs (C11) and for
 * the Linux kernel. Only this header: include it where it is used.
 *
 * A side is one thread for each end of a lane: one may send on a ring while another
 * receives. Nothing here allocates memory, and nothing sleeps but ion_wait_*.
 *
 * The other side is taken for hostile. What must not change is read once, by ion_read, into
 * the caller's memory; each side's own indices, and whose a buffer is, stand in the caller's
 * memory alone; every other field is read once, checked, then used. What breaks a rule
 * closes the channel: ION_EVIOLATION from then on. The bytes of messages and buffers are
 * the other side's: copy, then check.
 *
 * Numbers are little-endian in the segment; so must the machine be.
 */
#ifndef ION_H
#define ION_H

#ifdef __KERNEL__

#include <linux/barrier.h>
#include <linux/compiler.h>
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
#define ION_ASSERT(what) _Static_assert(what, #what)

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
#define ION_ASSERT(what) _Static_assert(what, #what)

#endif

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
	ion_u64 said;

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
	for (i = 0, n32 = 0; i < ION_NAME_SIZE; i++) { /* n32: it has ended */
		char c = s->name[i];

		if (c == 0)
			n32 = 1;
		else if (n32 || c <= ' ' || c > '~' || c == '/')
			return ION_EFORMAT;
	}
	{
		struct said {
			ion_u64 at[5];
		} places[ION_MAX_LANES];

		for (i = 0; i < s->lanes; i++) {
			ion_u8 e[ION_ENTRY_SIZE];

			ion_copy(e, b + ION_HEADER_SIZE + i * ION_ENTRY_SIZE, sizeof(e));
			memcpy(&s->lane[i].id, e, 4);
			memcpy(&s->lane[i].from, e + 4, 4);
			memcpy(&s->lane[i].slot_size, e + 8, 4);
			memcpy(&s->lane[i].slots, e + 12, 4);
			memcpy(&s->lane[i].buffer_size, e + 16, 4);
			memcpy(&s->lane[i].buffers, e + 20, 4);
			memcpy(&places[i], e + 24, 40);
		}
		s->size = ion_lay(s->lane, s->lanes);
		if (s->size == 0 || s->size != said || size < said)
			return ION_EFORMAT;
		for (i = 0; i < s->lanes; i++) {
			const struct ion_lane *l = &s->lane[i];
			const ion_u64 *at = places[i].at;

			if (at[0] != l->control || at[1] != l->slots_at || at[2] != l->returns || at[3] != l->held || at[4] != l->arena)
				return ION_EFORMAT;
		}
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

static inline struct ion_block *ion_block_of(const struct ion_segment *s, ion_u32 side)
{
	return (struct ion_block *)(s->mem + 128 + 128 * side);
}

#ifndef __KERNEL__
static inline void ion_futex_ring(struct ion_ring *r, const struct ion_lane *lane, int which);
#endif

static inline void ion_ring_bell(struct ion_ring *r, const struct ion_end *e, int which)
{
	if (r->bell)
		r->bell(r, e->lane, which);
#ifndef __KERNEL__
	else
		ion_futex_ring(r, e->lane, which);
#endif
}

/* Rings both bells: the other side looks again, whatever it waits for. */
static inline void ion_ring_all(struct ion_ring *r)
{
	if (r->out.lane)
		ion_ring_bell(r, &r->out, ION_DATA);
	if (r->in.lane)
		ion_ring_bell(r, &r->in, ION_ROOM);
}

/* Ends both directions, once; the first reason stays. */
static inline int ion_shut(struct ion_ring *r, int why, ion_u32 state)
{
	if (!r->over) {
		r->over = why;
		if (r->out.lane)
			ion_store(&r->out.c->producer_state, state);
		if (r->in.lane)
			ion_store(&r->in.c->consumer_state, state);
		ion_barrier();
		ion_ring_all(r);
	}
	return r->over;
}

static inline int ion_violated(struct ion_ring *r) { return ion_shut(r, ION_EVIOLATION, ION_VIOLATED); }

/* Closes the channel. What was sent before can still be taken by the other side. */
static inline void ion_close(struct ion_ring *r) { (void)ion_shut(r, ION_ECLOSED, ION_CLOSED); }

static inline int ion_peer_says(struct ion_ring *r, ion_u32 state)
{
	switch (state) {
	case ION_CLOSED:
		return ION_EPEER_CLOSED;
	case ION_VIOLATED:
		return ION_EPEER_ABORT;
	}
	return ion_violated(r);
}

/* Wakes the other side if it waits for something that lies between two values of an index. */
static inline void ion_wake(struct ion_ring *r, struct ion_end *e, ion_word64 *event, ion_u64 old, ion_u64 now, int which)
{
	ion_barrier();
	if (ion_load(event) - old >= now - old)
		return;
	e->rings++;
	ion_store(which == ION_DATA ? &e->c->producer_rings : &e->c->consumer_rings, e->rings);
	ion_ring_bell(r, e, which);
}

static inline ion_u8 *ion_slot(const struct ion_ring *r, const struct ion_end *e, ion_u64 index)
{
	return r->segment->mem + e->lane->slots_at + (index & (e->lane->slots - 1)) * e->lane->slot_size;
}

static inline ion_word32 *ion_held(const struct ion_ring *r, const struct ion_end *e)
{
	return (ion_word32 *)(r->segment->mem + e->lane->held);
}

static inline ion_u8 *ion_return_slot(const struct ion_ring *r, const struct ion_end *e, ion_u64 index)
{
	return r->segment->mem + e->lane->returns + (index & (ion_returns(e->lane) - 1)) * 8;
}

/* The bytes of a buffer: shared memory. */
static inline ion_u8 *ion_buffer(const struct ion_ring *r, const struct ion_end *e, ion_u32 buffer)
{
	return r->segment->mem + e->lane->arena + (ion_u64)buffer * e->lane->buffer_size;
}

/* Checks the beginning of a slot, in private memory. Its size, or 0 if it breaks a rule. */
static inline ion_u32 ion_incoming(const ion_u8 *h, const struct ion_lane *l)
{
	ion_u16 size, zero;

	memcpy(&size, h, 2);
	memcpy(&zero, h + 6, 2);
	if (size < ION_MESSAGE_HEADER || size > l->slot_size || zero || h[5] & ~ION_FLAG_GRANT)
		return 0;
	if (h[5] && (!l->buffers || size < ION_MESSAGE_HEADER + ION_GRANT_SIZE))
		return 0;
	return size;
}

/* The buffer that a message from another process's time grants, or lane->buffers. */
static inline ion_u32 ion_granted_by(const struct ion_ring *r, const struct ion_end *e, ion_u64 index)
{
	ion_u8 h[ION_MESSAGE_HEADER + ION_GRANT_SIZE];
	ion_u32 buffer;

	ion_copy(h, ion_slot(r, e, index), sizeof(h));
	memcpy(&buffer, h + ION_MESSAGE_HEADER, 4);
	if (!ion_incoming(h, e->lane) || !h[5] || buffer >= e->lane->buffers)
		return e->lane->buffers;
	return buffer;
}

/* Puts a buffer into the ring of returned ones. */
static inline int ion_give_back(struct ion_ring *r, ion_u32 buffer, ion_u32 length)
{
	struct ion_end *e = &r->in;
	ion_u8 *slot = ion_return_slot(r, e, e->returned);

	if (e->returned - ion_load_acquire(&e->c->return_head) >= ion_returns(e->lane))
		return ion_violated(r);
	e->hands[buffer] = 0;
	ion_store(&ion_held(r, e)[buffer], (ion_u32)(e->returned << 2 | 2));
	memcpy(slot, &buffer, 4);
	memcpy(slot + 4, &length, 4);
	e->returned++;
	ion_store_release(&e->c->return_tail, e->returned);
	ion_store(&ion_held(r, e)[buffer], 0);
	return 0;
}

/* Goes on where a process before this one stopped (ABI.md, Resynchronisation). */
static inline int ion_resume_out(struct ion_ring *r)
{
	struct ion_end *e = &r->out;
	ion_u64 i, tail;
	ion_u32 b;

	ion_store(&e->c->producer_state, ION_OPEN);
	e->ours = ion_load_acquire(&e->c->tail);
	e->theirs = ion_load_acquire(&e->c->head);
	if (e->ours - e->theirs > e->lane->slots)
		return ion_violated(r);
	if (!e->lane->buffers)
		return 0;
	memset(e->hands, ION_FREE, e->lane->buffers);
	for (i = e->theirs; i != e->ours; i++) {
		b = ion_granted_by(r, e, i);
		if (b < e->lane->buffers)
			e->hands[b] = ION_GRANTED;
	}
	for (b = 0; b < e->lane->buffers; b++)
		if (ion_load_acquire(&ion_held(r, e)[b]))
			e->hands[b] = ION_GRANTED;
	e->returned = ion_load(&e->c->return_head);
	tail = ion_load_acquire(&e->c->return_tail);
	if (tail - e->returned > ion_returns(e->lane))
		return ion_violated(r);
	for (; e->returned != tail; e->returned++) {
		ion_copy(&b, ion_return_slot(r, e, e->returned), 4);
		if (b < e->lane->buffers)
			e->hands[b] = ION_FREE;
	}
	e->seen = tail;
	ion_store_release(&e->c->return_head, tail);
	for (b = 0, e->granted = 0; b < e->lane->buffers; b++)
		e->granted += e->hands[b] == ION_GRANTED;
	return 0;
}

static inline int ion_resume_in(struct ion_ring *r)
{
	struct ion_end *e = &r->in;
	ion_u64 i;
	ion_u32 b, began;

	ion_store(&e->c->consumer_state, ION_OPEN);
	e->ours = e->acked = ion_load_acquire(&e->c->head);
	e->theirs = ion_load_acquire(&e->c->tail);
	if (e->theirs - e->ours > e->lane->slots)
		return ion_violated(r);
	if (!e->lane->buffers)
		return 0;
	memset(e->hands, 0, e->lane->buffers);
	for (i = e->ours; i != e->theirs; i++) { /* these come again */
		b = ion_granted_by(r, e, i);
		if (b < e->lane->buffers)
			e->hands[b] = 1;
	}
	e->returned = ion_load_acquire(&e->c->return_tail);
	if (e->returned - ion_load_acquire(&e->c->return_head) > ion_returns(e->lane))
		return ion_violated(r);
	began = (ion_u32)e->returned;
	for (b = 0; b < e->lane->buffers; b++) {
		ion_u32 state = ion_load(&ion_held(r, e)[b]);
		int done = (state & 3) == 2 && state >> 2 != (began & ((1u << 30) - 1));
		int again = e->hands[b];

		e->hands[b] = 0;
		ion_store(&ion_held(r, e)[b], 0);
		if (state && !again && !done && ion_give_back(r, b, 0))
			return r->over;
	}
	return 0;
}

/* How many bytes of private memory ion_open needs for the arenas of a channel. */
static inline ion_u64 ion_scratch(const struct ion_segment *s, ion_u32 id)
{
	ion_u64 n = 0;
	ion_u32 i;

	for (i = 0; i < s->lanes; i++)
		if (s->lane[i].id == id)
			n += s->lane[i].buffers;
	return n;
}

/*
 * Opens this side's end of a channel, in place of any process before this one. scratch has
 * ion_scratch bytes for as long as the ring is used; bell rings the other side. A channel
 * that makes no sense any more is closed from the start, and says so.
 */
static inline int ion_open(struct ion_ring *r, struct ion_segment *s, ion_u32 id, void *scratch,
			   void (*bell)(struct ion_ring *r, const struct ion_lane *lane, int which))
{
	ion_u8 *hands = scratch;
	ion_u32 i;

	memset(r, 0, sizeof(*r));
	r->segment = s;
	r->bell = bell;
	for (i = 0; i < s->lanes; i++) {
		struct ion_end *e = s->lane[i].from == s->side ? &r->out : &r->in;

		if (s->lane[i].id != id)
			continue;
		e->lane = &s->lane[i];
		e->c = (struct ion_control *)(s->mem + e->lane->control);
		e->hands = hands;
		hands += e->lane->buffers;
	}
	if (!r->out.lane && !r->in.lane)
		return ION_ECHANNEL;
	if (r->out.lane && ion_resume_out(r))
		return r->over;
	if (r->in.lane && ion_resume_in(r))
		return r->over;
	return 0;
}

/*
 * Says that this side is there. To be called when all channels are open; ring all their
 * bells then (ion_ring_all): a process before this one may have died before it did.
 */
static inline void ion_attached(struct ion_segment *s, ion_u32 pid, ion_u64 now_ns)
{
	struct ion_block *b = ion_block_of(s, s->side);
	ion_u32 epoch = ion_load(&b->epoch) + 1;

	ion_store(&b->pid, pid);
	ion_store(&b->since, now_ns);
	ion_store_release(&b->epoch, epoch ? epoch : 1);
	ion_store_release(&b->state, 1);
}

/* Says that this side has left in order. Close all channels before. */
static inline void ion_leave(struct ion_segment *s) { ion_store_release(&ion_block_of(s, s->side)->state, 2); }

/* Begins a message of size bytes, with its header, in m. */
static inline void ion_header(void *m, ion_u16 size, ion_u16 kind, ion_u8 version)
{
	ion_u8 *h = m;

	memcpy(h, &size, 2);
	memcpy(h + 2, &kind, 2);
	h[4] = version;
	h[5] = h[6] = h[7] = 0;
}

/* How many slots are free, at most want are asked for; negative: an error. */
static inline long ion_room(struct ion_ring *r, ion_u32 want)
{
	struct ion_end *e = &r->out;
	ion_u32 state;

	if (!e->lane)
		return ION_ECHANNEL;
	if (r->over)
		return r->over;
	state = ion_load(&e->c->consumer_state);
	if (state != ION_OPEN)
		return ion_peer_says(r, state);
	if (e->lane->slots - (e->ours - e->theirs) < want) {
		ion_u64 head = ion_load_acquire(&e->c->head);

		if (head - e->theirs > e->ours - e->theirs)
			return ion_violated(r);
		e->theirs = head;
	}
	return (long)(e->lane->slots - (e->ours - e->theirs));
}

static inline void ion_publish(struct ion_ring *r, ion_u32 n)
{
	struct ion_end *e = &r->out;
	ion_u64 old = e->ours;

	e->ours += n;
	ion_store_release(&e->c->tail, e->ours);
	ion_wake(r, e, &e->c->data_event, old, e->ours, ION_DATA);
}

static inline int ion_put_message(struct ion_ring *r, const void *m, ion_u32 n, ion_u8 flags)
{
	const ion_u8 *h = m;
	ion_u16 size;
	long room;

	if (!r->out.lane)
		return ION_ECHANNEL;
	if (n < ION_MESSAGE_HEADER || n > r->out.lane->slot_size)
		return ION_EMESSAGE;
	memcpy(&size, h, 2);
	if (size != n || h[5] != flags || h[6] || h[7])
		return ION_EMESSAGE;
	room = ion_room(r, 1);
	if (room <= 0)
		return (int)room;
	memcpy(ion_slot(r, &r->out, r->out.ours), m, n);
	ion_publish(r, 1);
	return 1;
}

/* Sends a message of n bytes, if there is room: 1, else 0. */
static inline int ion_try_send(struct ion_ring *r, const void *m, ion_u32 n) { return ion_put_message(r, m, n, 0); }

/* Lets the other side know what was taken. */
static inline void ion_ack(struct ion_ring *r)
{
	struct ion_end *e = &r->in;
	ion_u64 old = e->acked;

	if (old == e->ours)
		return;
	e->acked = e->ours;
	ion_store_release(&e->c->head, e->ours);
	ion_wake(r, e, &e->c->room_event, old, e->ours, ION_ROOM);
}

/* 1 if there is something to take, else 0; then all is acknowledged. */
static inline int ion_look(struct ion_ring *r)
{
	struct ion_end *e = &r->in;
	int again;

	for (again = 0;; again = 1) {
		ion_u64 tail = ion_load_acquire(&e->c->tail);
		ion_u32 state;

		if (tail - e->ours > e->lane->slots || tail - e->ours < e->theirs - e->ours)
			return ion_violated(r);
		e->theirs = tail;
		if (tail != e->ours)
			return 1;
		ion_ack(r);
		/* What was sent before the end counts: look once more after having seen the end. */
		state = ion_load_acquire(&e->c->producer_state);
		if (state == ION_OPEN)
			return 0;
		if (again)
			return ion_peer_says(r, state);
	}
}

/*
 * Takes a message into dst, which has room for a slot: its size, or 0 if there is none. A
 * grant in it is this side's until ion_return.
 */
static inline int ion_try_recv(struct ion_ring *r, void *dst)
{
	struct ion_end *e = &r->in;
	ion_u32 n;

	if (!e->lane)
		return ION_ECHANNEL;
	if (r->over)
		return r->over;
	if (e->ours == e->theirs) {
		int some = ion_look(r);

		if (some <= 0)
			return some;
	}
	ion_copy(dst, ion_slot(r, e, e->ours), ION_BEGINNING);
	n = ion_incoming(dst, e->lane);
	if (n == 0)
		return ion_violated(r);
	if (n > ION_BEGINNING)
		ion_copy((ion_u8 *)dst + ION_BEGINNING, ion_slot(r, e, e->ours) + ION_BEGINNING, n - ION_BEGINNING);
	if (((ion_u8 *)dst)[5]) {
		ion_u32 grant[2];

		memcpy(grant, (ion_u8 *)dst + ION_MESSAGE_HEADER, sizeof(grant));
		if (grant[0] >= e->lane->buffers || grant[1] > e->lane->buffer_size || e->hands[grant[0]])
			return ion_violated(r);
		e->hands[grant[0]] = 1;
		ion_store(&ion_held(r, e)[grant[0]], 1);
	}
	e->ours++;
	if (e->ours - e->acked >= (e->lane->slots + 3) / 4)
		ion_ack(r);
	return (int)n;
}

/* The buffer that a taken message grants, NULL if none; *length of it count. */
static inline ion_u8 *ion_granted(const struct ion_ring *r, const void *m, ion_u32 *buffer, ion_u32 *length)
{
	const struct ion_end *e = &r->in;
	ion_u32 grant[2];

	if (!e->lane || !e->lane->buffers || !((const ion_u8 *)m)[5])
		return NULL;
	memcpy(grant, (const ion_u8 *)m + ION_MESSAGE_HEADER, sizeof(grant));
	if (grant[0] >= e->lane->buffers || grant[1] > e->lane->buffer_size || !e->hands[grant[0]])
		return NULL;
	*buffer = grant[0];
	*length = grant[1];
	return ion_buffer(r, e, grant[0]);
}

/* Gives a granted buffer back, of which this side has written length bytes. */
static inline int ion_return(struct ion_ring *r, ion_u32 buffer, ion_u32 length)
{
	struct ion_end *e = &r->in;
	ion_u64 old;

	if (!e->lane || !e->lane->buffers)
		return ION_ECHANNEL;
	if (r->over)
		return r->over;
	if (buffer >= e->lane->buffers || !e->hands[buffer] || length > e->lane->buffer_size)
		return ION_EBUFFER;
	ion_ack(r);
	old = e->returned;
	if (ion_give_back(r, buffer, length))
		return r->over;
	ion_wake(r, e, &e->c->return_event, old, e->returned, ION_ROOM);
	return 0;
}

/* The next buffer that came back: 1, or 0 if there is none. It is this side's then. */
static inline int ion_try_returned(struct ion_ring *r, ion_u32 *buffer, ion_u32 *length)
{
	struct ion_end *e = &r->out;
	ion_u32 slot[2], state;

	if (!e->lane || !e->lane->buffers)
		return ION_ECHANNEL;
	if (r->over)
		return r->over;
	if (e->returned == e->seen) {
		ion_u64 tail = ion_load_acquire(&e->c->return_tail);

		if (tail - e->returned > e->granted || tail - e->returned < e->seen - e->returned)
			return ion_violated(r);
		e->seen = tail;
		if (tail == e->returned) {
			state = ion_load(&e->c->consumer_state);
			return state == ION_OPEN ? 0 : ion_peer_says(r, state);
		}
	}
	ion_copy(slot, ion_return_slot(r, e, e->returned), sizeof(slot));
	if (slot[0] >= e->lane->buffers || e->hands[slot[0]] != ION_GRANTED || slot[1] > e->lane->buffer_size)
		return ion_violated(r);
	e->hands[slot[0]] = ION_TAKEN;
	e->granted--;
	e->returned++;
	ion_store_release(&e->c->return_head, e->returned); /* before it is granted again */
	*buffer = slot[0];
	*length = slot[1];
	return 1;
}

/* Takes a free buffer of the arena of what this side sends: 1, or 0 if there is none. */
static inline int ion_take(struct ion_ring *r, ion_u32 *buffer)
{
	struct ion_end *e = &r->out;
	ion_u32 i, length;

	if (!e->lane || !e->lane->buffers)
		return ION_ECHANNEL;
	if (r->over)
		return r->over;
	for (i = 0; i < e->lane->buffers && e->granted < e->lane->buffers; i++) {
		ion_u32 b = e->next;

		e->next = b + 1 < e->lane->buffers ? b + 1 : 0;
		if (e->hands[b] == ION_FREE) {
			e->hands[b] = ION_TAKEN;
			*buffer = b;
			return 1;
		}
	}
	return ion_try_returned(r, buffer, &length);
}

/* Gives a taken buffer back that was not granted. */
static inline int ion_put(struct ion_ring *r, ion_u32 buffer)
{
	if (!r->out.lane || buffer >= r->out.lane->buffers || r->out.hands[buffer] != ION_TAKEN)
		return ION_EBUFFER;
	r->out.hands[buffer] = ION_FREE;
	return 0;
}

/* Sends a message that grants a taken buffer, of which length bytes count: 1, or 0. The
 * eight bytes of m behind its header are overwritten. */
static inline int ion_try_send_grant(struct ion_ring *r, void *m, ion_u32 n, ion_u32 buffer, ion_u32 length)
{
	struct ion_end *e = &r->out;
	ion_u8 *h = m;
	int sent;

	if (!e->lane || !e->lane->buffers)
		return ION_ECHANNEL;
	if (n < ION_MESSAGE_HEADER + ION_GRANT_SIZE)
		return ION_EMESSAGE;
	if (buffer >= e->lane->buffers || e->hands[buffer] != ION_TAKEN || length > e->lane->buffer_size)
		return ION_EBUFFER;
	h[5] = ION_FLAG_GRANT;
	memcpy(h + ION_MESSAGE_HEADER, &buffer, 4);
	memcpy(h + ION_MESSAGE_HEADER + 4, &length, 4);
	e->hands[buffer] = ION_GRANTED; /* before it can come back */
	e->granted++;
	sent = ion_put_message(r, m, n, ION_FLAG_GRANT);
	if (sent <= 0) {
		e->hands[buffer] = ION_TAKEN;
		e->granted--;
	}
	h[5] = 0;
	return sent;
}

/*
 * The sleeper's half of the wake-up protocol: says that this side will sleep until there is
 * data, room, or a returned buffer. 1 if it may, after a look at its bell that came before;
 * 0 if there is something to do. The order is what keeps wake-ups from being lost.
 */
enum { ION_FOR_DATA, ION_FOR_ROOM, ION_FOR_RETURN };

static inline int ion_may_sleep(struct ion_ring *r, int what)
{
	struct ion_end *e = what == ION_FOR_DATA ? &r->in : &r->out;
	ion_word64 *index, *event;
	ion_word32 *state;
	ion_u64 seen;

	if (r->over || !e->lane)
		return 0;
	state = &e->c->consumer_state;
	switch (what) {
	case ION_FOR_DATA:
		ion_ack(r);
		index = &e->c->tail, event = &e->c->data_event, seen = e->ours, state = &e->c->producer_state;
		break;
	case ION_FOR_ROOM:
		index = &e->c->head, event = &e->c->room_event, seen = e->theirs;
		break;
	default:
		index = &e->c->return_tail, event = &e->c->return_event, seen = e->returned;
	}
	ion_store(event, seen);
	ion_barrier();
	if (ion_load(index) != seen || ion_load(state) != ION_OPEN)
		return 0;
	e->sleeps++;
	ion_store(what == ION_FOR_DATA ? &e->c->consumer_sleeps : &e->c->producer_sleeps, e->sleeps);
	return 1;
}

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

#endif /* ION_H */
