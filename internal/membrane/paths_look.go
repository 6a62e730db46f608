package membrane

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// statxSync is AT_STATX_SYNC_TYPE, linux/fcntl.h.
const statxSync = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC

// statCall handles stat and lstat.
func statCall(follow bool) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		return m.stat(n, unix.AT_FDCWD, n.args[0], follow, false, n.args[1])
	}
}

func newfstatat(m *Membrane, n *notification) (int64, unix.Errno) {
	flags := uint32(n.args[3])
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT|statxSync) != 0 {
		return 0, unix.EINVAL
	}
	return m.stat(n, int32(n.args[0]), n.args[1], flags&unix.AT_SYMLINK_NOFOLLOW == 0, flags&unix.AT_EMPTY_PATH != 0, n.args[2])
}

func (m *Membrane) stat(n *notification, dirfd int32, path uint64, follow, empty bool, to uint64) (int64, unix.Errno) {
	o, errno := m.at(n, dirfd, path, follow, empty)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(o.fd)
	var st unix.Stat_t
	if err := unix.Fstat(o.fd, &st); err != nil {
		return 0, errnoOf(err)
	}
	return 0, writeStruct(m, n, to, &st)
}

func statx(m *Membrane, n *notification) (int64, unix.Errno) {
	flags, mask := uint32(n.args[2]), uint32(n.args[3])
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT|statxSync) != 0 || mask&unix.STATX__RESERVED != 0 ||
		flags&statxSync == statxSync {
		return 0, unix.EINVAL
	}
	o, errno := m.at(n, int32(n.args[0]), n.args[1], flags&unix.AT_SYMLINK_NOFOLLOW == 0, flags&unix.AT_EMPTY_PATH != 0)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(o.fd)
	var st unix.Statx_t
	if err := unix.Statx(o.fd, "", int(flags&statxSync)|unix.AT_EMPTY_PATH, int(mask), &st); err != nil {
		return 0, errnoOf(err)
	}
	return 0, writeStruct(m, n, n.args[4], &st)
}

// accessCall handles access, faccessat and faccessat2. Who asks is the cell's user.
// That real and effective user might differ is of no account: in a cell they cannot.
func accessCall(dir, path, flags int) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		dirfd, bits, mode := int32(unix.AT_FDCWD), uint32(0), uint32(n.args[path+1])
		if dir >= 0 {
			dirfd = int32(n.args[dir])
		}
		if flags >= 0 {
			bits = uint32(n.args[flags])
		}
		if mode&^7 != 0 || bits&^(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
			return 0, unix.EINVAL
		}
		o, errno := m.at(n, dirfd, n.args[path], bits&unix.AT_SYMLINK_NOFOLLOW == 0, bits&unix.AT_EMPTY_PATH != 0)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(o.fd)
		return 0, m.look(func() unix.Errno { return faccess(o.fd, mode) })
	}
}

// readlinkCall handles readlink and readlinkat.
func readlinkCall(dir, path int) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		dirfd, size := int32(unix.AT_FDCWD), int32(n.args[path+2])
		if dir >= 0 {
			dirfd = int32(n.args[dir])
		}
		if size <= 0 {
			return 0, unix.EINVAL
		}
		name, errno := m.readString(n, n.args[path], unix.PathMax)
		if errno != 0 {
			return 0, errno
		}
		var o object
		if name == "" && dir >= 0 {
			o.fd, errno = m.copyOf(n, dirfd)
		} else {
			o, errno = m.find(n, dirfd, name, false)
		}
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(o.fd)
		text := o.text
		if !o.link {
			if fileType(o.fd) != unix.S_IFLNK {
				if name == "" {
					return 0, unix.ENOENT
				}
				return 0, unix.EINVAL
			}
			if text, errno = readLink(o.fd); errno != 0 {
				return 0, errno
			}
		}
		text = text[:min(len(text), int(size))]
		return int64(len(text)), m.writeBytes(n, n.args[path+1], []byte(text))
	}
}

func statfs(m *Membrane, n *notification) (int64, unix.Errno) {
	o, errno := m.at(n, unix.AT_FDCWD, n.args[0], true, false)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(o.fd)
	var st unix.Statfs_t
	if err := unix.Fstatfs(o.fd, &st); err != nil {
		return 0, errnoOf(err)
	}
	return 0, writeStruct(m, n, n.args[1], &st)
}

// getxattrCall handles getxattr and lgetxattr.
func getxattrCall(follow bool) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		name, errno := m.readString(n, n.args[1], xattrName+1)
		if errno == unix.ENAMETOOLONG || errno == 0 && name == "" {
			return 0, unix.ERANGE
		}
		if errno != 0 {
			return 0, errno
		}
		return m.xattr(n, follow, n.args[2], n.args[3], func(file string, b []byte) (int, error) { return unix.Getxattr(file, name, b) })
	}
}

// listxattrCall handles listxattr and llistxattr.
func listxattrCall(follow bool) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		return m.xattr(n, follow, n.args[1], n.args[2], unix.Listxattr)
	}
}

func (m *Membrane) xattr(n *notification, follow bool, to, size uint64, get func(file string, b []byte) (int, error)) (int64, unix.Errno) {
	o, errno := m.at(n, unix.AT_FDCWD, n.args[0], follow, false)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(o.fd)
	var got int
	b := make([]byte, min(size, xattrMax))
	errno = m.act(func() unix.Errno {
		var err error
		got, err = get(procFD(o.fd), b)
		return errnoOf(err)
	})
	if errno != 0 || len(b) == 0 {
		return int64(got), errno
	}
	return int64(got), m.writeBytes(n, to, b[:got])
}

// faccess is faccessat2(2) of a descriptor, for the effective user: the thread may
// be wearing the cell's.
func faccess(fd int, mode uint32) unix.Errno {
	var empty byte
	_, _, errno := unix.RawSyscall6(unix.SYS_FACCESSAT2, uintptr(fd), uintptr(unsafe.Pointer(&empty)), uintptr(mode), unix.AT_EMPTY_PATH|unix.AT_EACCESS, 0, 0)
	return errno
}
