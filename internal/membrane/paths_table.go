package membrane

import (
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// addPathHandlers adds the calls that are asked because the cell sees only its
// names. Each is gated by the promise that allows it in the filter.
func (m *Membrane) addPathHandlers(table map[uint32]handler) {
	const creatFlags = unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC
	for needs, list := range map[capability.Pledge]map[string]handler{
		capability.Stdio: {
			"open":       openCall(-1, 0, 1, 2, 0),
			"openat":     openCall(0, 1, 2, 3, 0),
			"openat2":    openat2,
			"stat":       statCall(true),
			"lstat":      statCall(false),
			"newfstatat": newfstatat,
			"statx":      statx,
			"access":     accessCall(-1, 0, -1),
			"faccessat":  accessCall(0, 1, -1),
			"faccessat2": accessCall(0, 1, 3),
			"readlink":   readlinkCall(-1, 0),
			"readlinkat": readlinkCall(0, 1),
			"chdir":      chdir,
			"fchdir":     fchdir,
			"getcwd":     getcwd,
			"statfs":     statfs,
			"getxattr":   getxattrCall(true),
			"lgetxattr":  getxattrCall(false),
			"listxattr":  listxattrCall(true),
			"llistxattr": listxattrCall(false),

			"landlock_add_rule":      landlockAddRule,
			"landlock_restrict_self": landlockRestrictSelf,
		},
		capability.WriteOnly: {"truncate": truncate},
		capability.Cpath: {
			"creat":     openCall(-1, 0, -1, 1, creatFlags),
			"mkdir":     mkdirCall(-1, 0),
			"mkdirat":   mkdirCall(0, 1),
			"mknod":     mknodCall(-1, 0),
			"mknodat":   mknodCall(0, 1),
			"unlink":    unlinkCall(-1, 0, -1, 0),
			"rmdir":     unlinkCall(-1, 0, -1, unix.AT_REMOVEDIR),
			"unlinkat":  unlinkCall(0, 1, 2, 0),
			"symlink":   symlinkCall(-1, 1),
			"symlinkat": symlinkCall(1, 2),
			"link":      linkCall(-1, 0, -1, 1, -1),
			"linkat":    linkCall(0, 1, 2, 3, 4),
			"rename":    renameCall(-1, 0, -1, 1, -1),
			"renameat":  renameCall(0, 1, 2, 3, -1),
			"renameat2": renameCall(0, 1, 2, 3, 4),
		},
		capability.ExecOnly: {"execve": execve, "execveat": execveat},
	} {
		for name, h := range list {
			if nr, ok := m.config.Arch.Number(name); ok && m.config.Pledge.Has(needs) {
				table[nr] = h
			}
		}
	}
}

// markLooks notes which calls only look, or need no more rights than that (see look),
// which read the link of a path, and which open one.
func (m *Membrane) markLooks() {
	for name := range strings.FieldsSeq("stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat connect sendto sendmsg") {
		if nr, ok := m.config.Arch.Number(name); ok && nr < uint32(len(m.handlers)) {
			m.handlers[nr].looks = true
		}
	}
	for arg, name := range []string{"open", "openat"} {
		if nr, ok := m.config.Arch.Number(name); ok && nr < uint32(len(m.handlers)) {
			m.handlers[nr].opens = int8(arg)
		}
	}
	for arg, name := range []string{"readlink", "readlinkat"} {
		if nr, ok := m.config.Arch.Number(name); ok && nr < uint32(len(m.handlers)) {
			m.handlers[nr].link = int8(arg)
		}
	}
}
