/* timing.h: how the timing programs take the time of one call. */
#ifndef TIMING_H
#define TIMING_H

#include <stdio.h>
#include <time.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/*
 * measure prints the nanoseconds of a call, the best of seven rounds. A round takes
 * about a fiftieth of a second, as some calls take fifty times as long as others.
 */
static void measure(const char *name, void (*call)(void))
{
	double best = 1e18, t = now();
	int round, i, n;

	for (i = 0; i < 100; i++)
		call();
	n = (int)(2e7 / ((now() - t) / 100)) + 1;
	for (round = 0; round < 7; round++) {
		t = now();
		for (i = 0; i < n; i++)
			call();
		t = (now() - t) / n;
		if (t < best)
			best = t;
	}
	printf("%s %.0f\n", name, best);
}

#endif
