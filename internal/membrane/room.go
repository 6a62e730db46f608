package membrane

import (
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// addRoom has what takes room on the disk ask for it: what makes files without opening
// them (open asks by itself), and what allocates at once. What may give room back is told.
func (m *Membrane) addRoom(table map[uint32]handler) {
	wrap := func(names string, around func(handler) handler) {
		for name := range strings.FieldsSeq(names) {
			if nr, ok := m.config.Arch.Number(name); ok && table[nr] != nil {
				table[nr] = around(table[nr])
			}
		}
	}
	wrap("mkdir mkdirat mknod mknodat symlink symlinkat link linkat", func(make handler) handler {
		return func(m *Membrane, n *notification) (int64, unix.Errno) {
			if !m.config.Disk.Room(0) {
				return 0, unix.EDQUOT
			}
			return make(m, n)
		}
	})
	wrap("unlink unlinkat rename renameat renameat2", func(remove handler) handler {
		return func(m *Membrane, n *notification) (int64, unix.Errno) {
			m.config.Disk.Removing()
			return remove(m, n)
		}
	})
	for name, h := range map[string]handler{"fallocate": fallocate, "ftruncate": ftruncate} {
		if nr, ok := m.config.Arch.Number(name); ok {
			table[nr] = h
		}
	}
}

// fallocate lets the call go on if there is room for all that it says, whatever it is of
// that which is there already. The registers alone decide.
func fallocate(m *Membrane, n *notification) (int64, unix.Errno) {
	if by, _ := wall.Permitting(m.config.Arch, m.config.Pledge, n.nr, n.args); by == 0 {
		m.fault(n)
		return 0, later
	}
	const frees = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_COLLAPSE_RANGE
	if mode, length := uint32(n.args[1]), int64(n.args[3]); mode&frees == 0 && length > 0 && !m.config.Disk.Room(length) {
		return 0, unix.EDQUOT
	}
	m.proceed(n)
	return 0, later
}

// ftruncate lets the call go on, and the file become as long as it says.
func ftruncate(m *Membrane, n *notification) (int64, unix.Errno) {
	if by, _ := wall.Permitting(m.config.Arch, m.config.Pledge, n.nr, n.args); by == 0 {
		m.fault(n)
		return 0, later
	}
	m.config.Disk.Lengthen(threadGroup(int(n.pid)), int64(n.args[1]))
	m.proceed(n)
	return 0, later
}

// openWithoutRoom opens for a cell that has no room for another file what is there.
func (m *Membrane) openWithoutRoom(n *notification, dirfd int32, path string, how unix.OpenHow) (int64, unix.Errno) {
	if how.Flags&unix.O_EXCL != 0 || how.Flags&tmpfileBit != 0 {
		return 0, unix.EDQUOT
	}
	how.Flags &^= unix.O_CREAT
	how.Mode = 0
	value, errno := m.open(n, dirfd, path, how)
	if errno == unix.ENOENT {
		errno = unix.EDQUOT
	}
	return value, errno
}
