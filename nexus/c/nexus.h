/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nexus.h: a program takes rights away from itself, for good.
 *
 * What is taken away stays away: in all threads, in what the process forks and
 * executes, inside a cell of NipCells and outside of any. It works for every user, and
 * sets no_new_privs: set-user-id programs that are executed later give no rights.
 *
 * All functions return 0, or -1 with errno. Link with -lnexus, or compile nexus.c along.
 */
#ifndef NEXUS_H
#define NEXUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* What becomes of a call that no promise allows. */
enum nexus_mode {
	NEXUS_KILL, /* the process ends with SIGSYS */
	NEXUS_DENY, /* the call fails with EPERM */
};

/*
 * nexus_pledge_mode says what the filters of later nexus_pledge calls do; without it
 * they kill. Of two filters that refuse a call the one that kills decides.
 *
 * EINVAL  no such mode
 */
int nexus_pledge_mode(enum nexus_mode mode);

/*
 * nexus_pledge keeps these promises and gives up all others. They are words with
 * blanks or commas between them, in upper or lower case:
 *
 *   stdio   memory, threads, time, signals, what is open already; every program needs it
 *   rpath   open files and directories for reading
 *   wpath   open files for writing; contains cpath and fattr
 *   cpath   make, rename and remove names
 *   fattr   change modes, owners, times and attributes
 *   inet    TCP and UDP over IPv4 and IPv6
 *   exec    execute programs; contains proc
 *   proc    make processes
 *
 * "-cpath" takes a part away again. "none" alone, or no word, keeps nothing: the
 * process can still end. What each promise allows: docs/PLEDGES.md of NipCells.
 *
 * EINVAL  no such promise
 * EPERM   a promise that is not held any more, given up by this process, by one that
 *         it comes from, or by the cell: nothing is changed
 * ESRCH   another thread has a filter of its own
 * ENOMEM  too many filters: after some twenty calls the kernel takes no more
 * ENOSYS  not for this processor
 */
int nexus_pledge(const char *promises);

/*
 * nexus_unveil collects what stays: path and all below it, with the rights of
 * permissions, letters of
 *
 *   r  read         w  write, make, rename and remove (contains c)
 *   x  execute      c  make, rename and remove
 *
 * Nothing happens until nexus_unveil(NULL, NULL): from then on there is nothing but
 * what was collected, as far as it was there before. That is one Landlock layer, of
 * which the kernel takes 16, a cell's own included. What is collected after that is the
 * next layer and can only narrow. Without anything collected it leaves nothing.
 *
 * The path is looked up at once; what lies there is meant, not its name. Names that are
 * not unveiled fail with EACCES; they do not vanish. Call it while there is one thread,
 * and before RPATH is given up: where Landlock is older than version 8, threads that
 * are there already keep what they had.
 *
 * EINVAL  no such letter, no letter, or only one of the arguments is NULL
 * E2BIG   no layer is left
 * EOPNOTSUPP, ENOSYS  no Landlock in this kernel
 * and those of open(2), after which what was collected before is still there
 */
int nexus_unveil(const char *path, const char *permissions);

#ifdef __cplusplus
}
#endif

#endif
