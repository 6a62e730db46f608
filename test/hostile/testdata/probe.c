/* How late a process is woken that sleeps a millisecond, again and again.
 *
 *   probe SECONDS
 *
 * It prints "p50 MICROSECONDS p99 MICROSECONDS worst MICROSECONDS". */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int order(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int c, char **v)
{
	const struct timespec nap = { 0, 1000000 };
	double end = now() + (c > 1 ? atof(v[1]) : 1);
	long most = (long)((end - now()) * 1000) + 1, n = 0, *late = malloc(most * sizeof(*late));

	if (!late)
		return 2;
	for (double begin; n < most && (begin = now()) < end; n++) {
		nanosleep(&nap, NULL);
		late[n] = (long)((now() - begin) * 1e6) - 1000;
	}
	qsort(late, n, sizeof(*late), order);
	printf("p50 %ld p99 %ld worst %ld\n", late[n / 2], late[n * 99 / 100], late[n - 1]);
	return 0;
}
