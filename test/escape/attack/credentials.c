/* Becoming somebody else, or more than one was. */
#include "attack.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int setuid_to(int argc, char **argv)
{
	return outcome("setuid", syscall(SYS_setuid, (uid_t)number(argument(argc, argv, 1))));
}

static int setresuid_to(int argc, char **argv)
{
	uid_t id = (uid_t)number(argument(argc, argv, 1));

	return outcome("setresuid", syscall(SYS_setresuid, id, id, id));
}

static int setgid_to(int argc, char **argv)
{
	return outcome("setgid", syscall(SYS_setgid, (gid_t)number(argument(argc, argv, 1))));
}

static int setgroups_to(int argc, char **argv)
{
	gid_t group = (gid_t)number(argument(argc, argv, 1));

	return outcome("setgroups", syscall(SYS_setgroups, 1, &group));
}

static int setfsuid_to(int argc, char **argv)
{
	uid_t id = (uid_t)number(argument(argc, argv, 1));

	syscall(SYS_setfsuid, id);
	errno = EPERM;
	return (uid_t)syscall(SYS_setfsuid, -1) == id ? done("setfsuid") : refused("setfsuid");
}

/* capset CAPABILITY: raises it in every set. */
static int capset_raise(int argc, char **argv)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };
	unsigned capability = (unsigned)number(argument(argc, argv, 1));
	unsigned bit = 1U << (capability % 32), word = capability / 32;

	data[word].effective = data[word].permitted = data[word].inheritable = bit;
	return outcome("capset", syscall(SYS_capset, &header, data));
}

/* capabilities: done if any set of ours holds anything. */
static int capabilities(int argc, char **argv)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };
	int held = 0;

	(void)argc;
	(void)argv;
	if (syscall(SYS_capget, &header, data) < 0)
		return refused("capget");
	for (int w = 0; w < 2; w++)
		held |= data[w].effective || data[w].permitted || data[w].inheritable;
	errno = EPERM;
	return held ? done("capabilities are held") : refused("all sets are empty:");
}

static int bounding(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	for (int c = 0; c < 41; c++)
		if (prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1)
			return done("the bounding set has %d", c);
	return refused("every PR_CAPBSET_READ");
}

static int ambient(int argc, char **argv)
{
	return outcome("PR_CAP_AMBIENT_RAISE",
		       prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number(argument(argc, argv, 1)), 0, 0));
}

static int securebits(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return outcome("PR_SET_SECUREBITS", prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS, 0, 0, 0));
}

/* new-privileges: done if an exec could still gain any. */
static int new_privileges(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0)
		return done("no_new_privs is not set");
	return outcome("PR_SET_NO_NEW_PRIVS 0", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

/* effective-uid UID: done if that is whom we run as; what a set-user-id program is asked. */
static int effective_uid(int argc, char **argv)
{
	if (geteuid() == (uid_t)number(argument(argc, argv, 1)))
		return done("effective uid %d", (int)geteuid());
	errno = EPERM;
	return refused("another effective uid");
}

/* group GID: done if it is among ours. */
static int in_group(int argc, char **argv)
{
	gid_t groups[256], wanted = (gid_t)number(argument(argc, argv, 1));
	int n = getgroups(256, groups);

	if (n < 0)
		return refused("getgroups");
	for (int i = 0; i < n; i++)
		if (groups[i] == wanted)
			return done("in group %d", (int)wanted);
	errno = EPERM;
	return refused("not among the groups:");
}

static int set_prctl(int argc, char **argv)
{
	return outcome("prctl", syscall(SYS_prctl, number(argument(argc, argv, 1)), number(argument(argc, argv, 2)), 0, 0, 0));
}

const struct attempt credentials[] = {
	{ "setuid", setuid_to },
	{ "setresuid", setresuid_to },
	{ "setgid", setgid_to },
	{ "setgroups", setgroups_to },
	{ "setfsuid", setfsuid_to },
	{ "capset", capset_raise },
	{ "capabilities", capabilities },
	{ "bounding", bounding },
	{ "ambient", ambient },
	{ "securebits", securebits },
	{ "new-privileges", new_privileges },
	{ "effective-uid", effective_uid },
	{ "in-group", in_group },
	{ "prctl", set_prctl },
	{ NULL, NULL },
};
