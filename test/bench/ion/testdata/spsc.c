/* A plain queue of one producer and one consumer in shared memory, without any check: what
 * ION is measured against. It prints how many messages of 64 bytes a second went through,
 * one by one and in batches of 256.
 *
 *   spsc MESSAGES
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 1024, SIZE = 64, BATCH = 256 };

static struct queue {
	_Alignas(128) _Atomic uint64_t tail;
	_Alignas(128) _Atomic uint64_t head;
	_Alignas(128) uint8_t slots[SLOTS][SIZE];
} *q;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void produce(uint64_t count, uint64_t batch)
{
	uint64_t tail = 0, head = 0;
	static uint8_t m[BATCH][SIZE];

	while (tail < count) {
		uint64_t n = batch;

		while (SLOTS - (tail - head) < n)
			head = atomic_load_explicit(&q->head, memory_order_acquire);
		for (uint64_t i = 0; i < n; i++) {
			memcpy(m[i], &tail, sizeof(tail));
			memcpy(q->slots[(tail + i) % SLOTS], m[i], SIZE);
		}
		tail += n;
		atomic_store_explicit(&q->tail, tail, memory_order_release);
	}
}

static uint64_t consume(uint64_t count, uint64_t batch)
{
	uint64_t head = 0, tail = 0, sum = 0;
	static uint8_t m[BATCH][SIZE];

	while (head < count) {
		uint64_t n;

		while (tail == head)
			tail = atomic_load_explicit(&q->tail, memory_order_acquire);
		n = tail - head < batch ? tail - head : batch;
		for (uint64_t i = 0; i < n; i++) {
			memcpy(m[i], q->slots[(head + i) % SLOTS], SIZE);
			sum += m[i][0];
		}
		head += n;
		atomic_store_explicit(&q->head, head, memory_order_release);
	}
	return sum;
}

int main(int c, char **v)
{
	uint64_t count = c > 1 ? strtoull(v[1], NULL, 10) : 1 << 24, sum = 0;
	const uint64_t batches[2] = { 1, BATCH };

	count -= count % BATCH;
	q = mmap(NULL, sizeof(*q), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (q == MAP_FAILED)
		return 1;
	for (int i = 0; i < 2; i++) {
		double begin;
		pid_t child;

		memset(q, 0, sizeof(*q));
		begin = now();
		child = fork();
		if (child == 0) {
			produce(count, batches[i]);
			_exit(0);
		}
		if (child < 0)
			return 1;
		sum += consume(count, batches[i]);
		printf("%.0f\n", count / (now() - begin));
		waitpid(child, NULL, 0);
	}
	fprintf(stderr, "%s", sum == 1 ? " " : ""); /* it is used */
	return 0;
}
