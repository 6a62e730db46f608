package escape

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestMetadata changes what is known about files. No right to write bytes is
// needed for any of it, and Landlock judges none of it.
func TestMetadata(t *testing.T) { try(t, metadataRows()) }

func metadataRows() []attempt {
	var rows []attempt
	for _, kind := range []struct{ name, words string }{
		{"chmod", "chmod"}, {"fchmodat2", "fchmodat2"}, {"chmod by O_PATH", "opath-chmod"}, {"fchmod", "read-fchmod"},
		{"chown", "chown"}, {"fchown", "read-fchown"}, {"utimensat", "utime"}, {"utimes", "utimes"}, {"futimens", "read-futimens"},
		{"setxattr", "setxattr"}, {"fsetxattr", "read-fsetxattr"},
	} {
		rows = append(rows,
			attempt{name: kind.name + " a file outside", args: w(kind.words + " {outside}/secret"),
				control: granted(kind.words + " {granted}/secret")},
			attempt{name: kind.name + " a file that may be read", args: w(kind.words + " {outside}/secret"), flags: w("--unveil {outside}:r"),
				control: outside(kind.words + " {granted}/secret")},
			attempt{name: kind.name + " the own program", args: w(kind.words + " {self}"),
				control: granted(kind.words + " {granted}/program")})
	}
	return append(rows,
		attempt{name: "flock a file that may be read", args: w("read-flock {outside}/secret"), flags: w("--unveil {outside}:r"),
			control: outside("read-flock {outside}/secret")},
		attempt{name: "flock the own program", args: w("read-flock {self}"), control: granted("read-flock {granted}/secret")},
		attempt{name: "lease the own program", args: w("read-lease {self}"), control: outside("read-lease {granted}/secret")},
		attempt{name: "dnotify the own view", args: w("dnotify {view}"), control: outside("dnotify {view}")},
		attempt{name: "inotify a directory outside", args: w("inotify {outside}"), control: granted("inotify {granted}")},
		attempt{name: "inotify the own view", args: w("inotify {view}"), control: granted("inotify {home}")},
		attempt{name: "fanotify a directory", args: w("fanotify {granted}"), control: asked("fanotify {granted}", "done|ENOSYS", "done|EPERM|ENOSYS")},
		attempt{name: "chmod without the promise", args: w("chmod {granted}/secret"), flags: w("--pledge STDIO,RPATH,WPATH,EXEC,-FATTR --unveil {granted}:rw"),
			control: granted("chmod {granted}/secret", grant...)},
		attempt{name: "utimensat without the promise", args: w("utime {granted}/secret"), flags: w("--pledge STDIO,RPATH,WPATH,EXEC,-FATTR --unveil {granted}:rw"),
			control: granted("utime {granted}/secret", grant...)},
		attempt{name: "remove without the promise", args: w("unlink {granted}/secret"), flags: w("--pledge STDIO,RPATH,WPATH,EXEC,-CPATH --unveil {granted}:rw"),
			control: granted("unlink {granted}/secret", grant...)},
		attempt{name: "write without the promise", args: w("open-write {granted}/secret"), flags: w("--pledge STDIO,RPATH --unveil {granted}:rw"),
			control: granted("open-write {granted}/secret", grant...)},
		attempt{name: "make a program set-user-id", args: w("chmod {granted}/program 04755"), control: granted("chmod {granted}/program 0755")},
		attempt{name: "make a new file set-user-id", args: w("open-create {granted}/new 04755"), control: granted("open-create {granted}/new 0755")},
		attempt{name: "chmod by the link of a descriptor", args: w("magic-chmod {self}"), control: granted("magic-chmod {granted}/secret")},
		attempt{name: "chmod by a link of a descriptor that may be read", args: w("magic-chmod {outside}/secret"), flags: w("--unveil {outside}:r"),
			control: granted("magic-chmod {granted}/secret", grant...)},
		attempt{name: "chmod by another name", args: w("hardlink-chmod {self}"), control: granted("hardlink-chmod {home}/own")},
		attempt{name: "chmod in a moved directory", args: w("rename-chmod {outside}/sub below"), control: granted("rename-chmod {granted}/sub below")},
		attempt{name: "chmod in the moved view", args: w("rename-chmod {view}/Programs attack"), control: granted("rename-chmod {granted}/sub below")},
		attempt{name: "say how long the own program will live", args: w("rw-hint {self}"), control: outside("rw-hint {self}")},
		attempt{name: "say how long a file that may be read will live", args: w("rw-hint {outside}/secret"), flags: w("--unveil {outside}:r"),
			control: outside("rw-hint {outside}/secret")},
		attempt{name: "flag the own program", args: w("chattr {self}"), control: control{args: w("chattr {granted}/secret"), outside: true, want: fileFlags}},
		attempt{name: "flag a file outside", args: w("chattr {outside}/secret"),
			control: control{args: w("chattr {granted}/secret"), outside: true, want: fileFlags}},
		attempt{name: "put the own program into a project", args: w("project {self}"),
			control: control{args: w("project {granted}/secret"), outside: true, want: fileFlags}},
		attempt{name: "give the own program an access list", args: w("acl {self}"), control: control{args: w("acl {granted}/secret"), want: "done|EOPNOTSUPP"}},
		attempt{name: "give a file outside an access list", args: w("acl {outside}/secret"), control: control{args: w("acl {granted}/secret"), want: "done|EOPNOTSUPP"}},
		attempt{name: "give a program capabilities", args: w("file-capabilities {granted}/program"),
			control: asked("file-capabilities {granted}/program", "done", "EPERM")},
		attempt{name: "lock a part of the own program", args: w("lock-region {self}"), control: granted("lock-region {granted}/secret")},
		attempt{name: "lock a part of a file that may be read", args: w("lock-region {outside}/secret"), flags: w("--unveil {outside}:r"),
			control: granted("lock-region {granted}/secret", grant...)},
		call("lchown a file outside", unix.SYS_FCHOWNAT, "-100 text:{outside}/secret {uid} {gid} 0x100", "done", ""),
		call("remove an attribute of a file outside", unix.SYS_REMOVEXATTR, "text:{outside}/secret text:user.none", "ENODATA|EOPNOTSUPP", ""),
		call("remove an attribute of a symlink", unix.SYS_LREMOVEXATTR, "text:{outside}/secret text:user.none", "ENODATA|EOPNOTSUPP", ""),
		call("setxattrat a file outside", 463, "-100 text:{outside}/secret 0 text:user.attack zero 16", "done|ENOSYS|EOPNOTSUPP", ""),
		call("set the attributes of a file outside", 469, "-100 text:{outside}/secret zero 24 0", "done|ENOSYS|EOPNOTSUPP|ENOTTY", ""),
		call("quotactl of a descriptor", 443, "-1 0x80000700 0 zero", "EBADF|ENOSYS", ""),
		call("mark for fanotify", unix.SYS_FANOTIFY_MARK, "-1 1 2 -100 text:{outside}", "EBADF|EINVAL|ENOSYS", ""),
	)
}

// fileFlags is what file systems say to who asks for flags: not all have them.
const fileFlags = "done|ENOTTY|EOPNOTSUPP"
