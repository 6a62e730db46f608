package membrane

import (
	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// Names are made, removed and moved by the opener, in directories that were
// found first. What may be changed Landlock decides.

// spotCall handles a call that makes or removes one name. Its mode, if it has
// one, is the argument after the path.
func spotCall(dir, path int, making bool, do func(s *spot, n *notification) error) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		s, errno := m.spotArg(n, dir, path)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(s.fd)
		switch {
		case s.taken && making:
			return 0, unix.EEXIST
		case s.taken:
			return 0, unix.EBUSY
		}
		umask := -1
		if making {
			if umask, errno = m.umaskOf(n); errno != 0 {
				return 0, errno
			}
		}
		errno = m.act(func() unix.Errno {
			if umask >= 0 {
				unix.Umask(umask)
			}
			return errnoOf(do(&s, n))
		})
		m.learnSpot(&s, making, errno)
		return 0, errno
	}
}

// spotArg reads a path argument and finds its directory; dir < 0 stands for the
// working directory.
func (m *Membrane) spotArg(n *notification, dir, path int) (spot, unix.Errno) {
	name, errno := m.readString(n, n.args[path], unix.PathMax)
	if errno != 0 {
		return spot{fd: -1}, errno
	}
	dirfd := int32(unix.AT_FDCWD)
	if dir >= 0 {
		dirfd = int32(n.args[dir])
	}
	return m.spot(n, dirfd, name)
}

func mkdirCall(dir, path int) handler {
	return spotCall(dir, path, true, func(s *spot, n *notification) error {
		return unix.Mkdirat(s.fd, s.name, uint32(n.args[path+1])&allModes)
	})
}

func mknodCall(dir, path int) handler {
	return spotCall(dir, path, true, func(s *spot, n *notification) error {
		mode := uint32(n.args[path+1])
		if t := mode & unix.S_IFMT; t != 0 && t != unix.S_IFREG && t != unix.S_IFIFO {
			return unix.EPERM
		}
		return unix.Mknodat(s.fd, s.name, mode, 0)
	})
}

// unlinkCall handles unlink, rmdir and unlinkat; of the last flags is the
// number of an argument.
func unlinkCall(dir, path, flags int, given int) handler {
	return spotCall(dir, path, false, func(s *spot, n *notification) error {
		bits := given
		if flags >= 0 {
			bits = int(int32(n.args[flags]))
		}
		return unix.Unlinkat(s.fd, s.name, bits)
	})
}

// symlinkCall handles symlink and symlinkat. The text means nothing yet.
func symlinkCall(dir, path int) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		text, errno := m.readString(n, n.args[0], unix.PathMax)
		if errno != 0 {
			return 0, errno
		}
		if text == "" {
			return 0, unix.ENOENT
		}
		return spotCall(dir, path, true, func(s *spot, n *notification) error { return unix.Symlinkat(text, s.fd, s.name) })(m, n)
	}
}

// renameCall handles rename, renameat and renameat2.
func renameCall(fromDir, from, toDir, to, flags int) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		old, errno := m.spotArg(n, fromDir, from)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(old.fd)
		target, errno := m.spotArg(n, toDir, to)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(target.fd)
		bits := uint(0)
		if flags >= 0 {
			bits = uint(uint32(n.args[flags]))
		}
		if target.taken && bits&unix.RENAME_NOREPLACE != 0 {
			return 0, unix.EEXIST
		}
		if old.taken || target.taken {
			return 0, unix.EBUSY
		}
		if bits&unix.RENAME_WHITEOUT != 0 {
			return 0, unix.EPERM // it makes a device
		}
		errno = m.act(func() unix.Errno { return errnoOf(unix.Renameat2(old.fd, old.name, target.fd, target.name, bits)) })
		m.learnSpot(&old, bits&unix.RENAME_EXCHANGE != 0, errno)
		m.learnSpot(&target, true, errno)
		m.learnMoved(old.fd, &target, errno)
		return 0, errno
	}
}

// linkCall handles link and linkat.
func linkCall(fromDir, from, toDir, to, flags int) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		bits, dirfd := uint32(0), int32(unix.AT_FDCWD)
		if flags >= 0 {
			bits, dirfd = uint32(n.args[flags]), int32(n.args[fromDir])
		}
		if bits&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
			return 0, unix.EINVAL
		}
		o, errno := m.at(n, dirfd, n.args[from], bits&unix.AT_SYMLINK_FOLLOW != 0, bits&unix.AT_EMPTY_PATH != 0)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(o.fd)
		target, errno := m.spotArg(n, toDir, to)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(target.fd)
		if target.taken {
			return 0, unix.EEXIST
		}
		if fileType(o.fd) == unix.S_IFSOCK && m.isOwn(o.fd) != m.isOwn(target.fd) {
			return 0, unix.EPERM
		}
		errno = m.act(func() unix.Errno {
			return errnoOf(unix.Linkat(unix.AT_FDCWD, procFD(o.fd), target.fd, target.name, unix.AT_SYMLINK_FOLLOW))
		})
		m.learnSpot(&target, true, errno)
		m.learnMoved(o.fd, &target, errno)
		return 0, errno
	}
}

func truncate(m *Membrane, n *notification) (int64, unix.Errno) {
	size := int64(n.args[1])
	if size < 0 {
		return 0, unix.EINVAL
	}
	o, errno := m.at(n, unix.AT_FDCWD, n.args[0], true, false)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(o.fd)
	if o.file != nil {
		return 0, unix.EACCES
	}
	errno = m.act(func() unix.Errno { return errnoOf(unix.Truncate(procFD(o.fd), size)) })
	m.learnUse(o.fd, capability.Write, capability.WriteOnly, errno)
	return 0, errno
}
