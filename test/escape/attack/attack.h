/* What the families of attempts share. See main.c. */
#ifndef ATTACK_H
#define ATTACK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* How an attempt ended: the exit status of the process. Being killed is the fourth way. */
enum { DONE = 10, REFUSED = 11, BROKEN = 12 };

struct attempt {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the name; argv[argc] is NULL */
};

/* Each family ends with a NULL name. */
extern const struct attempt files[], names[], metadata[], execution[], processes[], signals[], kernel[], sockets[], network[], descriptors[],
	credentials[], resources[];

int done(const char *format, ...) __attribute__((format(printf, 1, 2)));
int broken(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Says that the call named what failed with errno. */
int refused(const char *what);
/* DONE where rc is not negative, REFUSED otherwise. */
int outcome(const char *what, long rc);

/* Ends an attempt that cannot be made; in a battery the next one follows. */
_Noreturn void give_up(int status);

/* Who started the first process: in a cell the supervisor. */
extern pid_t supervisor;

/*
 * The process that an argument names: a number, "self", "parent" (in a cell:
 * the supervisor), or "child": a process made for the occasion that waits to be killed.
 */
pid_t process(const char *word);
/* Ends the child that process() made, if any. */
void end_child(void);

/* The number in an argument, in any base that C writes. */
long number(const char *word);
/* The descriptor that an argument names: a number, or "received": the next one that comes through standard input. */
int descriptor(const char *word);
/* The argument i, or an exit with BROKEN. $NAME/… is a path below a directory of the environment. */
const char *argument(int argc, char **argv, int i);
/* Copies the file from to the new file to with mode 0755; -1 and errno if that fails. */
int copy_program(const char *from, const char *to);
/* "$HOME/name" in a static buffer; HOME is the one directory that a cell may always write. */
const char *in_home(const char *name);

#endif
