/* The other side of a segment, in C: what ion.h does must go together with the Go package.
 *
 *   peer ROLE
 *
 * Descriptor 3 is the socket of a link. Roles:
 *   layout   prints what it reads of the segment
 *   answer   sends back what comes on channel 1, and acknowledges a message after that
 *   arena    channel 3: turns granted buffers around and returns them, and grants its own
 *   victim   answers on channel 1, and does all that can be done on channels 2 and 3,
 *            which are attacked, again and again
 *   polls    sends back what comes on channel 1, and never sleeps
 *   takes    takes what comes on channel 1 in batches, and answers the last of COUNT
 */
#define _GNU_SOURCE
#include "../ion.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static struct ion_segment s;

static void fail(const char *what, int result)
{
	fprintf(stderr, "peer: %s: %d %s\n", what, result, result == ION_EOS ? strerror(errno) : "");
	exit(1);
}

static void open_channel(struct ion_ring *r, ion_u32 id, int must)
{
	void *scratch = calloc(1, ion_scratch(&s, id) + 1);
	int result;

	if (!scratch)
		fail("calloc", ION_EOS);
	result = ion_open(r, &s, id, scratch, NULL);
	if (result && must)
		fail("open", result);
}

static void attached(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	ion_attached(&s, (ion_u32)getpid(), (ion_u64)now.tv_sec * 1000000000u + (ion_u64)now.tv_nsec);
}

static int link_ended(void)
{
	struct pollfd p = { 3, POLLIN, 0 };

	return poll(&p, 1, 0) > 0;
}

static int layout(void)
{
	printf("%s %llx %llu %u\n", s.name, (unsigned long long)s.serial, (unsigned long long)s.size, s.side);
	for (ion_u32 i = 0; i < s.lanes; i++) {
		struct ion_lane *l = &s.lane[i];

		printf("%u %u %u %u %u %u %llu %llu %llu %llu %llu\n", l->id, l->from, l->slot_size, l->slots, l->buffer_size, l->buffers,
		       (unsigned long long)l->control, (unsigned long long)l->slots_at, (unsigned long long)l->returns,
		       (unsigned long long)l->held, (unsigned long long)l->arena);
	}
	return 0;
}

/* Waits for room and sends; 0 if it was sent. */
static int send_all(struct ion_ring *r, const void *m, ion_u32 n)
{
	for (;;) {
		int sent = ion_try_send(r, m, n);

		if (sent)
			return sent < 0 ? sent : 0;
		if (ion_wait(r, ION_FOR_ROOM, 100000000) == ION_EOS && link_ended())
			return ION_EPEER_CLOSED;
	}
}

static int receive(struct ion_ring *r, void *m, int poll_only)
{
	for (;;) {
		int n = ion_try_recv(r, m);

		if (n)
			return n;
		if (!poll_only && ion_wait(r, ION_FOR_DATA, 100000000) == ION_EOS && link_ended())
			return ION_EPEER_CLOSED;
	}
}

static int answer(int poll_only)
{
	struct ion_ring r;
	ion_u8 m[4096];
	ion_u64 number, last = 0;

	open_channel(&r, 1, 1);
	attached();
	ion_ring_all(&r);
	for (int first = 1;; first = 0) {
		int n = receive(&r, m, poll_only);

		if (n < 0)
			break; /* the other side has had enough */
		memcpy(&number, m + ION_MESSAGE_HEADER, 8);
		if (!first && number != last + 1) {
			fprintf(stderr, "peer: %llu after %llu\n", (unsigned long long)number, (unsigned long long)last);
			return 1;
		}
		last = number;
		if (send_all(&r, m, (ion_u32)n))
			break;
		ion_ack(&r);
	}
	return r.over == ION_EVIOLATION;
}

static int takes(ion_u64 count)
{
	struct ion_ring r;
	ion_u8 m[4096];
	int n = 0;

	open_channel(&r, 1, 1);
	attached();
	ion_ring_all(&r);
	for (;;) {
		for (ion_u64 i = 0; i < count; i++) {
			n = receive(&r, m, 0);
			if (n < 0)
				return r.over == ION_EVIOLATION;
		}
		if (send_all(&r, m, (ion_u32)n))
			return r.over == ION_EVIOLATION;
	}
}

static int arena(void)
{
	struct ion_ring r;
	ion_u8 m[4096], mine[16];
	ion_u32 buffer, length;
	ion_u64 number = 0;

	open_channel(&r, 3, 1);
	attached();
	ion_ring_all(&r);
	for (;;) {
		ion_u8 *b;
		int n = receive(&r, m, 0);

		if (n < 0)
			return r.over == ION_EVIOLATION;
		b = ion_granted(&r, m, &buffer, &length);
		if (!b)
			continue;
		for (ion_u32 i = 0; i < length / 2; i++) {
			ion_u8 x = b[i];

			b[i] = b[length - 1 - i];
			b[length - 1 - i] = x;
		}
		n = ion_return(&r, buffer, length);
		if (n)
			fail("return", n);
		/* One of ours, filled with a number that must come back doubled. */
		while ((n = ion_take(&r, &buffer)) == 0)
			ion_wait(&r, ION_FOR_RETURN, 100000000);
		if (n < 0)
			return r.over == ION_EVIOLATION;
		number++;
		memcpy(ion_buffer(&r, &r.out, buffer), &number, 8);
		ion_header(mine, 16, 9, 1);
		while ((n = ion_try_send_grant(&r, mine, 16, buffer, 8)) == 0)
			ion_wait(&r, ION_FOR_ROOM, 100000000);
		if (n < 0)
			return r.over == ION_EVIOLATION;
		while ((n = ion_try_returned(&r, &buffer, &length)) == 0)
			if (ion_wait(&r, ION_FOR_RETURN, 100000000) == ION_EOS && link_ended())
				return 0;
		if (n > 0) {
			ion_u64 twice;

			memcpy(&twice, ion_buffer(&r, &r.out, buffer), 8);
			if (length != 8 || twice != 2 * number) {
				fprintf(stderr, "peer: %llu came back as %llu, %u bytes\n", (unsigned long long)number, (unsigned long long)twice, length);
				return 1;
			}
			ion_put(&r, buffer);
		}
	}
}

static unsigned long fates[16], worked[8];

/* Does one thing on an attacked channel. */
static void suffer(struct ion_ring *r, unsigned what)
{
	static ion_u8 m[4096];
	static volatile ion_u8 touched;
	ion_u32 buffer, length;
	ion_u8 *b;
	int result = 0;

	switch (what % 6) {
	case 0:
		ion_header(m, 24, 7, 1);
		result = ion_try_send(r, m, 24);
		break;
	case 1:
		result = ion_try_recv(r, m);
		if (result > 0) {
			b = ion_granted(r, m, &buffer, &length);
			if (b) {
				for (ion_u32 i = 0; i < length; i++)
					touched += b[i]++;
				result = ion_return(r, buffer, length);
			}
		}
		break;
	case 2:
		result = ion_take(r, &buffer);
		if (result > 0) {
			memset(ion_buffer(r, &r->out, buffer), 7, r->out.lane->buffer_size);
			ion_header(m, 16, 9, 1);
			result = ion_try_send_grant(r, m, 16, buffer, r->out.lane->buffer_size);
			if (result == 0)
				ion_put(r, buffer);
		}
		break;
	case 3:
		result = ion_try_returned(r, &buffer, &length);
		if (result > 0) {
			for (ion_u32 i = 0; i < length; i++)
				touched += ion_buffer(r, &r->out, buffer)[i];
			ion_put(r, buffer);
		}
		break;
	case 4:
		ion_ack(r);
		break;
	default:
		ion_wait(r, (int)(what / 6 % 3), 20000);
	}
	if (result > 0)
		worked[what % 6]++;
	else if (result < 0)
		fates[-result]++;
}

static int victim(void)
{
	struct ion_ring honest, attacked[2];
	static const ion_u32 ids[2] = { 2, 3 };
	ion_u8 m[4096];
	unsigned long round = 0, answered = 0, opened = 0;

	open_channel(&honest, 1, 1);
	open_channel(&attacked[0], 2, 0);
	open_channel(&attacked[1], 3, 0);
	attached();
	for (; !(round % 64 == 0 && link_ended()); round++) {
		int n = ion_try_recv(&honest, m);

		if (n > 0 && send_all(&honest, m, (ion_u32)n) == 0)
			answered++;
		for (int i = 0; i < 2; i++) {
			suffer(&attacked[i], (unsigned)rand());
			if (attacked[i].over && rand() % 16 == 0) { /* as the process that comes next would */
				free(attacked[i].out.hands < attacked[i].in.hands ? attacked[i].out.hands : attacked[i].in.hands);
				open_channel(&attacked[i], ids[i], 0);
				opened++;
			}
		}
	}
	if (honest.over == ION_EVIOLATION)
		fail("the honest channel", honest.over);
	printf("rounds %lu answered %lu opened %lu violations %lu closed %lu aborted %lu sent %lu received %lu granted %lu returned %lu\n", round, answered, opened,
	       fates[-ION_EVIOLATION], fates[-ION_EPEER_CLOSED], fates[-ION_EPEER_ABORT], worked[0], worked[1], worked[2], worked[3]);
	return 0;
}

int main(int c, char **v)
{
	int result;

	if (c < 2)
		return 2;
	result = ion_accept(&s, 3);
	if (result)
		fail("accept", result);
	if (!strcmp(v[1], "layout"))
		return layout();
	if (!strcmp(v[1], "answer"))
		return answer(0);
	if (!strcmp(v[1], "polls"))
		return answer(1);
	if (!strcmp(v[1], "takes") && c > 2)
		return takes(strtoull(v[2], NULL, 10));
	if (!strcmp(v[1], "arena"))
		return arena();
	if (!strcmp(v[1], "victim"))
		return victim();
	return 2;
}
