package escape

import (
	"os"
	"testing"

	"nipcells/internal/capability"
)

func TestFiles(t *testing.T) { try(t, fileRows()) }

func fileRows() []attempt {
	return []attempt{
		{name: "read a file", args: w("open-read {outside}/secret"), control: granted("open-read {granted}/secret")},
		{name: "read /etc/passwd", args: w("open-read /etc/passwd"), control: granted("open-read /etc/passwd", "--unveil", "/etc/passwd:r")},
		{name: "read /etc/shadow", args: w("open-read /etc/shadow"), control: asked("open-read /etc/shadow", "done", "EACCES")},
		{name: "read a system library's directory", args: w("list /usr/lib"), control: granted("list /usr/lib", "--unveil", "/usr/lib:r")},
		{name: "list the root", args: w("list-name / sys"), control: outside("list-name / sys")},
		{name: "list /home", args: w("list /home"), control: outside("list /home")},
		{name: "list a directory", args: w("list {outside}"), control: granted("list {granted}")},
		{name: "write a file", args: w("open-write {outside}/secret"), control: granted("open-write {granted}/secret")},
		{name: "write a file that may be read", args: w("open-write {outside}/secret"), flags: w("--unveil {outside}:r"),
			control: granted("open-read {outside}/secret")},
		{name: "empty a file", args: w("open-truncate {outside}/secret"), control: granted("open-truncate {granted}/secret")},
		{name: "truncate a file", args: w("truncate {outside}/secret"), control: granted("truncate {granted}/secret")},
		{name: "make a file", args: w("open-create {outside}/new"), control: granted("open-create {granted}/new")},
		{name: "make a file without a name", args: w("open-tmpfile {outside}"), control: granted("open-tmpfile {granted}")},
		{name: "make a file in the host's /tmp", args: w("open-create /tmp/nip-escape-new"), silent: true,
			untouched: w("/tmp/nip-escape-new"), control: granted("open-create $TMPDIR/new")},
		{name: "make a file in /dev/shm", args: w("open-create /dev/shm/nip-escape-new"), silent: true,
			untouched: w("/dev/shm/nip-escape-new"), control: granted("open-create $HOME/new")},
		{name: "remove a file", args: w("unlink {outside}/secret"), control: granted("unlink {granted}/secret")},
		{name: "make a directory", args: w("mkdir {outside}/new"), control: granted("mkdir {granted}/new")},
		{name: "remove a directory", args: w("rmdir {outside}/empty"), control: granted("rmdir {granted}/empty")},
		{name: "make a symlink", args: w("symlink {outside}/new"), control: granted("symlink {granted}/new")},
		{name: "follow an own symlink out", args: w("symlink-read {outside}/secret"), control: granted("symlink-read {granted}/secret")},
		{name: "follow a symlink out of HOME to /etc", args: w("symlink-parent /etc passwd"),
			control: granted("symlink-parent {granted} secret")},
		{name: "turn a symlink while it is opened", args: w("symlink-race {home}/own {outside}/secret S 20000"),
			control: outside("symlink-race {home}/own {granted}/secret S 20000")},
		{name: "hardlink a file in", args: w("hardlink-read {outside}/secret"), control: granted("hardlink-read {home}/own")},
		{name: "rename a file in", args: w("rename {outside}/spare {home}/in"), control: granted("rename {home}/own {home}/in")},
		{name: "rename a file out", args: w("rename {home}/own {outside}/out"), control: granted("rename {granted}/spare {granted}/sub/out")},
		{name: "exchange a file with one outside", args: w("exchange {home}/own {outside}/spare"),
			control: granted("exchange {granted}/spare {granted}/sub/below")},
		{name: "leave a directory by dotdot", args: w("dotdot {home} ../../../../outside/secret"),
			control: granted("dotdot {granted}/sub ../secret")},
		{name: "walk there first", args: w("chdir-read {outside} secret"), control: granted("chdir-read {granted} secret")},
		{name: "open from an O_PATH directory", args: w("opath-openat {outside} secret"), control: granted("opath-openat {granted} secret")},
		{name: "open from an O_PATH root", args: w("opath-openat / etc/passwd"), control: outside("opath-openat / etc/passwd")},
		{name: "reopen an O_PATH file", args: w("opath-reopen {outside}/secret"), control: outside("opath-reopen {outside}/secret")},
		{name: "open by file handle", args: w("handle {outside}/secret"),
			control: asked("handle {outside}/secret", "done|ENOTSUP", "EPERM|ENOTSUP")},
		{name: "make a block device", args: w("mknod {home}/disk 0060600 8 0"), control: granted("mknod {home}/fifo 0010600 0 0")},
		{name: "make a character device", args: w("mknod {granted}/memory 0020600 1 1"),
			control: asked("mknod {granted}/memory 0020600 1 1", "done", "EPERM")},
		{name: "read kernel messages", args: w("open-read /dev/kmsg"), control: asked("open-read /dev/kmsg", "done", "done|EACCES|EPERM")},
		{name: "make a terminal", args: w("device-ioctl /dev/ptmx 0x80045430"), unless: capability.Tty, control: outside("device-ioctl /dev/ptmx 0x80045430")},
		{name: "read the kernel's settings", args: w("open-read /proc/sys/kernel/core_pattern"),
			control: outside("open-read /proc/sys/kernel/core_pattern")},
		{name: "change the kernel's settings", args: w("open-write /proc/sys/kernel/osrelease"),
			control: granted("open-read /proc/sys/kernel/osrelease")},
		{name: "list /proc", args: w("list-name /proc 1"), control: outside("list-name /proc 1")},
		{name: "list /sys", args: w("list /sys/kernel"), control: outside("list /sys/kernel")},
		{name: "read the environment of a process", args: w("open-read /proc/{victim}/environ"),
			control: outside("open-read /proc/{victim}/environ")},
		{name: "write the memory of a process", args: w("proc-mem {victim}"), control: outside("proc-mem child")},
		{name: "write the memory of the supervisor", args: w("proc-mem parent"), control: outside("proc-mem child")},
		{name: "write own memory through /proc", args: w("proc-mem self"), control: outside("proc-mem self")},
	}
}

// TestOwnTree aims at what belongs to the package itself, to other packages
// and to nip, all in the root that the cell lives in.
func TestOwnTree(t *testing.T) { try(t, ownTreeRows()) }

func ownTreeRows() []attempt {
	return []attempt{
		{name: "write the own program", args: w("open-write {self}"), control: granted("open-write {granted}/program")},
		{name: "empty the own program", args: w("truncate {self}"), control: granted("truncate {granted}/program")},
		{name: "empty the own program by opening it", args: w("open-truncate {self}"), control: granted("open-truncate {granted}/program")},
		{name: "make a file in the own view", args: w("open-create {view}/new"), control: granted("open-create {granted}/new")},
		{name: "remove the own program", args: w("unlink {self}"), control: granted("unlink {granted}/program")},
		{name: "rename the own view", args: w("rename {view} {view}-old"), control: granted("rename {granted}/sub {granted}/sub-old")},
		{name: "hardlink the own program out of the view", args: w("hardlink-read {self}"), control: granted("hardlink-read {home}/own")},
		{name: "read HOME by the host's name", args: w("open-read {host}/own"), control: granted("open-read {home}/own")},
		{name: "make a file in HOME by the host's name", args: w("open-create {host}/new"), control: granted("open-create {home}/new")},
		{name: "read another package", args: w("open-read {other}"), control: granted("open-read {self}")},
		{name: "read another application's data", args: w("open-read {root}/Data/apps/other/own"), control: granted("open-read {home}/own")},
		{name: "write another application's data", args: w("open-create {root}/Data/apps/other/new"), control: granted("open-create {home}/new")},
		{name: "list the applications", args: w("list {root}/Data/apps"), control: granted("list {home}")},
		{name: "list the store", args: w("list {root}/Cas/blob"), control: granted("list {view}")},
		{name: "make a blob", args: w("open-create {root}/Cas/blob/new"), control: granted("open-create {home}/new")},
		{name: "make a loader", args: w("open-create {root}/Cas/ld/new"), control: granted("open-create {home}/new")},
		{name: "list the keys", args: w("list {root}/Nexus/keys"), control: granted("list {home}")},
		{name: "list the plans", args: w("list {root}/Nexus/plans"), control: granted("list {home}")},
		{name: "write the ledger", args: w("open-write {root}/Nexus/ledger"), control: granted("open-write {home}/own")},
		{name: "make a policy", args: w("open-create {root}/Nexus/policy.kdl"), control: granted("open-create {home}/policy.kdl")},
		{name: "make a cell", args: w("mkdir {root}/Cell/00000000"), control: granted("mkdir {home}/00000000")},
		{name: "make a command", args: w("open-create {root}/System/Index/bin/ls"), control: granted("open-create {home}/ls")},
		{name: "list the cells", args: w("list {root}/Cell"), control: granted("list $TMPDIR/.")},
	}
}

// TestWritableInView aims at a file of the view that everybody may write: nothing
// but Landlock and who answers stand before it.
func TestWritableInView(t *testing.T) {
	s := newStage(t)
	lent := s.words["view"] + "/lent"
	s.Write(lent, secret, 0o666)
	if err := os.Chmod(lent, 0o666); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	for _, a := range []attempt{
		{name: "truncate a file of the view", args: w("truncate {view}/lent"), untouched: w("{view}/lent"), control: granted("truncate {granted}/program")},
		{name: "empty a file of the view", args: w("open-truncate {view}/lent"), untouched: w("{view}/lent"), control: granted("open-truncate {granted}/program")},
		{name: "write a file of the view", args: w("open-write {view}/lent"), untouched: w("{view}/lent"), control: granted("open-write {granted}/program")},
	} {
		for _, a.flags = range [][]string{grant, executable} {
			t.Run(a.name+" "+a.flags[1], func(t *testing.T) { s.row(t, a) })
		}
	}
}
