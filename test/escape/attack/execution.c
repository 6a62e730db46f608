/* Running code that no package brought. What runs prints "executed" or, if it is no copy of us, ends with 10. */
#include "attack.h"

#include <elf.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int executed(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return done("executed");
}

/* exec PATH [ARGUMENT...] */
static int exec_path(int argc, char **argv)
{
	execv(argument(argc, argv, 1), argv + 1);
	return refused("execve");
}

/* exec-fd PATH [ARGUMENT...]: by descriptor, so that no path is judged at the exec. */
static int exec_fd(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_PATH | O_CLOEXEC);

	if (fd < 0)
		return refused("open O_PATH");
	syscall(SYS_execveat, fd, "", argv + 1, environ, AT_EMPTY_PATH);
	return refused("execveat");
}

/* fork-exec PATH [ARGUMENT...]: from a child, whose end is ours. */
static int fork_exec(int argc, char **argv)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return refused("fork");
	if (pid == 0)
		_exit(exec_path(argc, argv));
	if (waitpid(pid, &status, 0) < 0)
		return broken("waitpid: %s", strerrorname_np(errno));
	if (WIFSIGNALED(status)) {
		printf("RESULT refused child killed by %d\n", WTERMSIG(status));
		return REFUSED;
	}
	return WEXITSTATUS(status);
}

static int fork_only(int argc, char **argv)
{
	int status;
	pid_t pid = fork();

	(void)argc;
	(void)argv;
	if (pid < 0)
		return refused("fork");
	if (pid == 0)
		_exit(0);
	return outcome("waitpid", waitpid(pid, &status, 0));
}

/* exec-memfd: a copy of us that has no name at all. */
static int exec_memfd(int argc, char **argv)
{
	char path[64], *arguments[] = { "attack", "executed", NULL };
	unsigned flags = argc > 1 ? (unsigned)number(argv[1]) : 0;
	int fd = memfd_create("program", flags), in = open("/proc/self/exe", O_RDONLY);
	char buffer[65536];
	ssize_t n;

	if (fd < 0)
		return refused("memfd_create");
	if (in < 0)
		in = open(getenv("ATTACK_SELF") ? getenv("ATTACK_SELF") : "", O_RDONLY);
	if (in < 0)
		return broken("set ATTACK_SELF to the path of this program");
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(fd, buffer, (size_t)n) != n)
			return refused("write");
	syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (errno == ENOSYS)
		execv(path, arguments);
	return refused("execveat memfd");
}

/* exec-copy FROM TO: writes a program, then runs it. */
static int exec_copy(int argc, char **argv)
{
	char *arguments[] = { "attack", "executed", NULL };
	const char *to = argument(argc, argv, 2);

	unlink(to);
	if (copy_program(argument(argc, argv, 1), to) < 0)
		return refused("write the copy");
	execv(to, arguments);
	return refused("execve");
}

/* exec-script PATH INTERPRETER [ARGUMENT]: writes a script and runs it: the kernel opens the interpreter. */
static int exec_script(int argc, char **argv)
{
	const char *path = argument(argc, argv, 1);
	char *arguments[] = { (char *)path, NULL };
	FILE *f = (unlink(path), fopen(path, "w"));

	if (!f)
		return refused("fopen");
	fprintf(f, "#!%s %s\nexit 10\n", argument(argc, argv, 2), argc > 3 ? argv[3] : "");
	if (fchmod(fileno(f), 0755) < 0 || fclose(f) != 0)
		return refused("chmod");
	execv(path, arguments);
	return refused("execve");
}

/*
 * exec-interp PATH INTERPRETER: writes an ELF file of ours that names a program
 * of the host as its interpreter: the kernel would map and start that.
 */
static int exec_interp(int argc, char **argv)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment[2];
		char interpreter[256];
	} image = { 0 };
	const char *path = argument(argc, argv, 1), *interpreter = argument(argc, argv, 2);
	char *arguments[] = { (char *)interpreter, "-c", "exit 10", NULL };
	int fd = (unlink(path), open(path, O_WRONLY | O_CREAT | O_EXCL, 0755));

	if (fd < 0)
		return refused("open");
	memcpy(image.header.e_ident, ELFMAG "\2\1\1", 7);
	image.header.e_type = ET_EXEC;
#if defined(__x86_64__)
	image.header.e_machine = EM_X86_64;
#else
	image.header.e_machine = EM_AARCH64;
#endif
	image.header.e_version = 1;
	image.header.e_entry = 0x20000000;
	image.header.e_phoff = sizeof(image.header);
	image.header.e_ehsize = sizeof(image.header);
	image.header.e_phentsize = sizeof(Elf64_Phdr);
	image.header.e_phnum = 2;
	image.segment[0] = (Elf64_Phdr){ .p_type = PT_INTERP, .p_offset = offsetof(typeof(image), interpreter),
					 .p_filesz = strlen(interpreter) + 1, .p_memsz = strlen(interpreter) + 1, .p_align = 1 };
	image.segment[1] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = 0x20000000,
					 .p_filesz = sizeof(image), .p_memsz = sizeof(image), .p_align = 4096 };
	snprintf(image.interpreter, sizeof(image.interpreter), "%s", interpreter);
	if (write(fd, &image, sizeof(image)) != (ssize_t)sizeof(image))
		return refused("write");
	if (fchmod(fd, 0755) < 0)
		return refused("fchmod");
	close(fd);
	execv(path, arguments);
	return refused("execve");
}

/* map-exec PATH: maps a file's pages executable; the bytes must be readable for it. */
static int map_exec(int argc, char **argv)
{
	int fd = open(argument(argc, argv, 1), O_RDONLY);

	if (fd < 0)
		return refused("open");
	if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		return refused("mmap PROT_EXEC");
	return done("mmap PROT_EXEC");
}

/* exec-at DIRECTORY RELATIVE [ARGUMENT...]: up and out from a directory. */
static int exec_at(int argc, char **argv)
{
	int dir = open(argument(argc, argv, 1), O_PATH | O_DIRECTORY);

	if (dir < 0)
		return refused("open O_PATH");
	syscall(SYS_execveat, dir, argument(argc, argv, 2), argv + 2, environ, 0);
	return refused("execveat");
}

/* exec-magic PATH [ARGUMENT...]: by the link in /proc of a descriptor. */
static int exec_magic(int argc, char **argv)
{
	char link[64];
	int fd = open(argument(argc, argv, 1), O_PATH);

	if (fd < 0)
		return refused("open O_PATH");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	execv(link, argv + 1);
	return refused("execve");
}

/* exec-chain PATH INTERPRETER: a script for a script, whose interpreter is of the host. */
static int exec_chain(int argc, char **argv)
{
	const char *path = argument(argc, argv, 1);
	char second[4096], *arguments[] = { (char *)path, NULL };
	FILE *f;

	snprintf(second, sizeof(second), "%s-second", path);
	for (int i = 0; i < 2; i++) {
		unlink(i ? path : second);
		f = fopen(i ? path : second, "w");
		if (!f)
			return refused("fopen");
		fprintf(f, "#!%s\nexit 10\n", i ? second : argument(argc, argv, 2));
		if (fchmod(fileno(f), 0755) < 0 || fclose(f) != 0)
			return refused("chmod");
	}
	execv(path, arguments);
	return refused("execve");
}

/* exec-sealed: a memory file that must not be executable gets the right to be. */
static int exec_sealed(int argc, char **argv)
{
	char *arguments[] = { "ten", NULL };
	int fd = memfd_create("program", argc > 1 ? (unsigned)number(argv[1]) : 8 /* MFD_NOEXEC_SEAL */);

	if (fd < 0)
		return refused("memfd_create");
	if (fchmod(fd, 0755) < 0)
		return refused("fchmod");
	if (dprintf(fd, "#!/bin/sh\nexit 10\n") < 0)
		return refused("write");
	syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
	return refused("execveat");
}

/* exec-check PATH: asks whether it could be executed, which tells of it. */
static int exec_check(int argc, char **argv)
{
	const char *path = argument(argc, argv, 1);

	if (syscall(SYS_execveat, AT_FDCWD, path, argv + 1, environ, 0x10000 /* AT_EXECVE_CHECK */) == 0)
		return done("execveat AT_EXECVE_CHECK");
	return errno == EINVAL ? outcome("access X_OK", access(path, X_OK)) : refused("execveat");
}

/* exec-replaced PATH TARGET: puts a symlink in the place of a program that may be executed. */
static int exec_replaced(int argc, char **argv)
{
	static char path[4096];
	char *arguments[] = { path, "executed", NULL };
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s", argument(argc, argv, 1));
	/* The file that was just granted is another one when it is executed. */
	if (unlink(path) < 0)
		return refused("unlink");
	if (symlink(argument(argc, argv, 2), path) < 0)
		return refused("symlink");
	pid = vfork();
	if (pid < 0)
		return refused("vfork");
	if (pid == 0) {
		execv(path, arguments);
		_exit(REFUSED);
	}
	if (waitpid(pid, &status, 0) < 0)
		return broken("waitpid");
	errno = EACCES;
	return WIFEXITED(status) && WEXITSTATUS(status) == DONE ? done("the child was it") : refused("execve");
}

const struct attempt execution[] = {
	{ "executed", executed },
	{ "exec", exec_path },
	{ "exec-fd", exec_fd },
	{ "fork-exec", fork_exec },
	{ "fork", fork_only },
	{ "exec-memfd", exec_memfd },
	{ "exec-copy", exec_copy },
	{ "exec-script", exec_script },
	{ "exec-interp", exec_interp },
	{ "map-exec", map_exec },
	{ "exec-at", exec_at },
	{ "exec-magic", exec_magic },
	{ "exec-chain", exec_chain },
	{ "exec-sealed", exec_sealed },
	{ "exec-check", exec_check },
	{ "exec-replaced", exec_replaced },
	{ NULL, NULL },
};
