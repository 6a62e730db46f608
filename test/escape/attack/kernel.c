/* The kernel's own surface: raw system calls, other entries, namespaces, terminals. */
#include "attack.h"

#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/*
 * A raw argument: a number; text:STRING for a pointer to it; words:A,B,… for a
 * pointer to 64-bit words followed by zeroes; zero for a pointer to zeroes.
 */
static long raw(char *word)
{
	unsigned long *words;

	if (!strncmp(word, "text:", 5))
		return (long)(word + 5);
	if (strncmp(word, "words:", 6) && strcmp(word, "zero"))
		return number(word);
	words = calloc(512, sizeof(*words));
	if (!words)
		give_up(broken("out of memory"));
	if (*word == 'w') {
		size_t i = 0;

		for (char *w = strtok(word + 6, ","); w && i < 512; w = strtok(NULL, ","))
			words[i++] = (unsigned long)number(w);
	}
	return (long)words;
}

/* sys NUMBER [ARGUMENT...]: up to six raw arguments. */
static int sys(int argc, char **argv)
{
	long a[7] = { 0 };

	for (int i = 0; i < 7 && i + 1 < argc; i++)
		a[i] = raw(argv[i + 1]);
	return outcome("syscall", syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]));
}

/* int80 NUMBER ARGUMENT: the 32-bit entry of x86, where numbers mean other calls. */
static int int80(int argc, char **argv)
{
#if defined(__x86_64__)
	long rc, nr = number(argument(argc, argv, 1)), a = number(argument(argc, argv, 2));

	__asm__ volatile("int $0x80" : "=a"(rc) : "a"(nr), "b"(a), "c"(0), "d"(0) : "memory", "r8", "r9", "r10", "r11");
	if (rc < 0 && rc > -4096) {
		errno = (int)-rc;
		rc = -1;
	}
	return outcome("int 0x80", rc);
#else
	(void)argc;
	(void)argv;
	errno = ENOSYS;
	return refused("int 0x80");
#endif
}

static int clone_flags(int argc, char **argv)
{
	int status;
	pid_t pid = (pid_t)syscall(SYS_clone, number(argument(argc, argv, 1)) | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return pid < 0 ? refused("clone") : outcome("waitpid", waitpid(pid, &status, 0));
}

static int clone3_flags(int argc, char **argv)
{
	unsigned long arguments[8] = { (unsigned long)number(argument(argc, argv, 1)), 0, 0, 0, SIGCHLD, 0, 0, 0 };
	int status;
	pid_t pid = (pid_t)syscall(SYS_clone3, arguments, sizeof(arguments));

	if (pid == 0)
		_exit(0);
	return pid < 0 ? refused("clone3") : outcome("waitpid", waitpid(pid, &status, 0));
}

/* userns-mount: becomes root of its own user namespace and mounts. */
static int userns_mount(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return refused("unshare");
	return outcome("mount", mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

/* tty-ioctl REQUEST: on the terminal that is our standard input. */
static int tty_ioctl(int argc, char **argv)
{
	char byte = argc > 2 ? argv[2][0] : 'x';

	return outcome("ioctl", syscall(SYS_ioctl, 0, number(argument(argc, argv, 1)), &byte));
}

/* seccomp-listener: a filter of our own whose notifications we would answer ourselves. */
static int seccomp_listener(int argc, char **argv)
{
	struct {
		unsigned short code;
		unsigned char jt, jf;
		unsigned k;
	} allow = { 0x06, 0, 0, 0x7fff0000 };
	struct {
		unsigned short length;
		void *filter;
	} program = { 1, &allow };

	(void)argc;
	(void)argv;
	/* Outside a cell an ordinary user needs it; inside it is set already. */
	syscall(SYS_prctl, 38, 1, 0, 0, 0);
	return outcome("seccomp NEW_LISTENER", syscall(SYS_seccomp, 1, 1 << 3, &program));
}

/* null-page: memory at address 0 turns a kernel's null pointer into ours. */
static int null_page(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return p == MAP_FAILED ? refused("mmap at 0") : done("mmap at 0");
}

const struct attempt kernel[] = {
	{ "sys", sys },
	{ "int80", int80 },
	{ "clone", clone_flags },
	{ "clone3", clone3_flags },
	{ "userns-mount", userns_mount },
	{ "tty-ioctl", tty_ioctl },
	{ "seccomp-listener", seccomp_listener },
	{ "null-page", null_page },
	{ NULL, NULL },
};
