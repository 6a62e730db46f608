package escape

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestNames comes to files by another way than their name, and asks what names there are.
func TestNames(t *testing.T) { try(t, nameRows()) }

func nameRows() []attempt {
	var rows []attempt
	for _, look := range []struct{ name, words string }{
		{"stat", "stat"}, {"access", "access"}, {"statfs", "statfs"}, {"list the attributes of", "list-attributes"}, {"map", "map-write"},
		{"open by a long name", "long-read"},
	} {
		rows = append(rows, attempt{name: look.name + " a file outside", args: w(look.words + " {outside}/secret"),
			control: granted(look.words + " {granted}/secret")})
	}
	return append(rows,
		attempt{name: "stat the host's name of HOME", args: w("stat {host}/own"), control: granted("stat {home}/own")},
		attempt{name: "map the own program for writing", args: w("map-write {self}"), control: granted("map-write {granted}/secret")},
		attempt{name: "read a link of a process", args: w("readlink /proc/{victim}/exe"), control: outside("readlink /proc/{victim}/exe")},
		attempt{name: "read a link of the first process", args: w("readlink /proc/1/cwd"), control: asked("readlink /proc/1/cwd", "done|EACCES", "EACCES|EPERM|done")},
		attempt{name: "tell a file from none by errors", args: w("errors {outside}/secret {outside}/absent"),
			control: outside("errors {outside}/secret {outside}/absent")},
		attempt{name: "tell a directory from none by errors", args: w("errors {outside}/sub {outside}/absent"),
			control: outside("errors {outside}/sub {outside}/absent")},
		attempt{name: "tell a user from none by errors", args: w("errors /home /nip-escape-none"), control: outside("errors /etc/passwd /nip-escape-none")},
		attempt{name: "name a nameless file outside", args: w("tmpfile-link {outside}/new"), control: granted("tmpfile-link {granted}/new", "--unveil", "{granted}:rwc")},
		attempt{name: "make what an own symlink leads to", args: w("symlink-create {outside}/new"), control: granted("symlink-create {granted}/new")},
		attempt{name: "remove by an own symlink", args: w("symlink-unlink {outside} secret"), control: granted("symlink-unlink {granted} secret")},
		attempt{name: "leave a hole where a file was", args: w("whiteout {granted}/secret {granted}/moved"),
			control: asked("whiteout {granted}/secret {granted}/moved", "done|EINVAL", "")},
		attempt{name: "read by the root of the process", args: w("root-read {outside}/secret"), control: outside("root-read {outside}/secret")},
		attempt{name: "walk to a directory by descriptor", args: w("fchdir-read {outside} secret"), control: granted("fchdir-read {granted} secret")},
		attempt{name: "open below every descriptor", args: w("any-directory ../../../../../../../../outside/secret"),
			control: outsideIn("any-directory secret")},
		attempt{name: "widen Landlock's rules", args: w("landlock-widen {outside}/secret"), control: outside("landlock-widen {outside}/secret")},
		attempt{name: "leave no room for Landlock's rules", args: w("landlock-layers {outside}/secret"), control: outside("landlock-layers {outside}/secret")},
		attempt{name: "widen the filter", args: w("seccomp-widen"), control: outside("seccomp-widen")},
		attempt{name: "answer before the supervisor", args: w("seccomp-log {outside}/secret"), control: granted("seccomp-log {granted}/secret")},
		call("openat2 with an own structure", unix.SYS_OPENAT2, "-100 text:{outside}/secret zero 24", "done", ""),
		call("openat2 with a longer structure", unix.SYS_OPENAT2, "-100 text:{outside}/secret zero 32", "done", ""),
	)
}

// TestMounts changes what names lead to. The controls make the same call where it
// changes nothing, and must reach the kernel.
func TestMounts(t *testing.T) { try(t, mountRows()) }

func mountRows() []attempt {
	const nobody = "EPERM"
	return []attempt{
		call("mount", unix.SYS_MOUNT, "text:none text:/nip-escape-none text:tmpfs 0 0", "ENOENT", "ENOENT|EPERM"),
		call("umount2", unix.SYS_UMOUNT2, "text:/nip-escape-none 0", "ENOENT", "ENOENT|EPERM"),
		call("pivot_root", unix.SYS_PIVOT_ROOT, "text:/nip-escape-none text:/nip-escape-none", "ENOENT", nobody),
		call("chroot", unix.SYS_CHROOT, "text:/", "done", nobody),
		call("fsopen", unix.SYS_FSOPEN, "text:tmpfs 0", "done", nobody),
		call("fspick", unix.SYS_FSPICK, "-100 text:/nip-escape-none 0", "ENOENT", "ENOENT|EPERM"),
		call("fsconfig", unix.SYS_FSCONFIG, "-1 6 0 0 0", "EBADF|EINVAL", ""),
		call("fsmount", unix.SYS_FSMOUNT, "-1 0 0", "EBADF", nobody),
		call("open_tree", unix.SYS_OPEN_TREE, "-100 text:/ 1", "done", nobody),
		call("open_tree_attr", 467, "-100 text:/nip-escape-none 0 zero 32", "ENOENT|ENOSYS", "ENOENT|ENOSYS|EPERM"),
		call("move_mount", unix.SYS_MOVE_MOUNT, "-1 text: -1 text: 0x44", "EBADF|EINVAL|ENOENT", nobody),
		call("mount_setattr", unix.SYS_MOUNT_SETATTR, "-1 text:/nip-escape-none 0 zero 32", "done|EBADF|ENOENT|EINVAL", "done|EPERM|EBADF|ENOENT|EINVAL"),
		call("statmount", 457, "words:24,0xffffffffffffffff,1 zero 512 0", "ENOENT|EPERM|ENOSYS", ""),
		call("listmount", 458, "words:24,0xffffffffffffffff,0 zero 16 0", "done|ENOSYS", "done|EPERM|ENOSYS"),
		call("swapon", unix.SYS_SWAPON, "text:/nip-escape-none 0", "ENOENT|ENOSYS", "EPERM|ENOSYS"),
		call("swapoff", unix.SYS_SWAPOFF, "text:/nip-escape-none", "ENOENT|ENOSYS", "EPERM|ENOSYS"),
		call("acct", unix.SYS_ACCT, "text:/nip-escape-none", "ENOENT|ENOSYS", "EPERM|ENOSYS"),
		{name: "mount in a user namespace", args: w("userns-mount"), control: asked("userns-mount", "done", "done|EPERM")},
	}
}
