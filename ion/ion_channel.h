/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* A channel: its bells, its end, and taking it over from another process. Include ion.h. */
#ifndef ION_CHANNEL_H
#define ION_CHANNEL_H

#include "ion_layout.h"

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

#endif /* ION_CHANNEL_H */
