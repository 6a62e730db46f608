/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* Sending and taking messages and buffers, and going to sleep. Include ion.h. */
#ifndef ION_MESSAGE_H
#define ION_MESSAGE_H

#include "ion_channel.h"

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

#endif /* ION_MESSAGE_H */
