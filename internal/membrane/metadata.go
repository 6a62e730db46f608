package membrane

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/wall"
)

// Landlock says nothing about modes, owners, times, extended attributes, locks
// and watches. This file does: they may be changed on what lies, at the moment
// of the look, below a directory that the cell may write.

// handlers are the calls that the filters of package wall ask about, as far as
// pledge permits them: the others come here as faults.
func handlers(a wall.Arch, pledge capability.Pledge) map[uint32]handler {
	list := []struct {
		needs capability.Pledge
		name  string
		h     handler
	}{
		{capability.Stdio, "memfd_create", memfdCreate},
		{capability.Stdio, "flock", flock},
		{capability.Inet, "connect", connect},
		{capability.Inet, "bind", bind},
		{capability.Inet, "listen", listen},
		{capability.Unix, "connect", connect},
		{capability.Unix, "bind", bind},
		{capability.Unix, "listen", listen},
		{capability.Udp, "connect", connect},
		{capability.Udp, "bind", bind},
		{capability.Udp, "sendto", sendto},
		{capability.Udp, "sendmsg", sendmsg},
		{capability.Stdio, "inotify_add_watch", inotifyAddWatch},
		{capability.Fattr, "chmod", pathCall(pathArgs{dir: -1, path: 0, flags: -1}, 1, chmod)},
		{capability.Fattr, "fchmodat", pathCall(pathArgs{dir: 0, path: 1, flags: -1}, 2, chmod)},
		{capability.Fattr, "fchmodat2", pathCall(pathArgs{dir: 0, path: 1, flags: 3}, 2, chmod)},
		{capability.Fattr, "fchmod", fdCall(1, chmod)},
		{capability.Fattr, "chown", pathCall(pathArgs{dir: -1, path: 0, flags: -1}, 1, chown)},
		{capability.Fattr, "lchown", pathCall(pathArgs{dir: -1, path: 0, flags: -1, nofollow: true}, 1, chown)},
		{capability.Fattr, "fchownat", pathCall(pathArgs{dir: 0, path: 1, flags: 4}, 2, chown)},
		{capability.Fattr, "fchown", fdCall(1, chown)},
		{capability.Fattr, "utime", pathCall(pathArgs{dir: -1, path: 0, flags: -1}, 1, utime)},
		{capability.Fattr, "utimes", pathCall(pathArgs{dir: -1, path: 0, flags: -1}, 1, utimes)},
		{capability.Fattr, "futimesat", pathCall(pathArgs{dir: 0, path: 1, flags: -1}, 2, utimes)},
		{capability.Fattr, "utimensat", utimensat},
		{capability.Fattr, "setxattr", pathCall(pathArgs{dir: -1, path: 0, flags: -1}, 1, setxattr)},
		{capability.Fattr, "lsetxattr", pathCall(pathArgs{dir: -1, path: 0, flags: -1, nofollow: true}, 1, setxattr)},
		{capability.Fattr, "fsetxattr", fdCall(1, setxattr)},
		{capability.Fattr, "removexattr", pathCall(pathArgs{dir: -1, path: 0, flags: -1}, 1, removexattr)},
		{capability.Fattr, "lremovexattr", pathCall(pathArgs{dir: -1, path: 0, flags: -1, nofollow: true}, 1, removexattr)},
		{capability.Fattr, "fremovexattr", fdCall(1, removexattr)},
	}
	table := make(map[uint32]handler, len(list))
	for _, e := range list {
		if nr, ok := a.Number(e.name); ok && pledge.Has(e.needs) {
			table[nr] = e.h
		}
	}
	return table
}

// pathArgs says which arguments of a call name its file; -1: there is none.
type pathArgs struct {
	dir, path, flags int
	nofollow         bool
}

// deed changes the file behind fd, a descriptor of ours, on the opener's
// thread. Its arguments in n begin at index at; memory is read before.
type deed func(m *Membrane, n *notification, at int) (do func(fd int) unix.Errno, errno unix.Errno)

// pathCall handles a change by name.
func pathCall(args pathArgs, at int, d deed) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		do, errno := d(m, n, at)
		if errno != 0 {
			return 0, errno
		}
		fd, errno := m.resolve(n, args)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(fd)
		return 0, m.change(fd, false, do)
	}
}

// fdCall handles a change by descriptor, which is argument 0.
func fdCall(at int, d deed) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		do, errno := d(m, n, at)
		if errno != 0 {
			return 0, errno
		}
		fd, err := m.fetch(n.pid, int(int32(n.args[0])))
		if err != nil {
			return 0, unix.EBADF
		}
		defer unix.Close(fd)
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_PATH != 0 {
			return 0, unix.EBADF
		}
		return 0, m.change(fd, flags&unix.O_ACCMODE != unix.O_RDONLY, do)
	}
}

// change does the deed if fd lies where the cell may write. opened says that the caller
// has it open for writing.
func (m *Membrane) change(fd int, opened bool, do func(fd int) unix.Errno) unix.Errno {
	if !within(fd, m.config.Writable) {
		m.learnUse(fd, capability.Write, 0, unix.EPERM)
		return unix.EPERM
	}
	m.learnUse(fd, capability.Write, 0, 0)
	return m.act(func() unix.Errno {
		if !opened && !m.mayWrite(fd) {
			return unix.EPERM
		}
		return do(fd)
	})
}

// within reports whether the file behind fd is below one of the paths, by the
// kernel's own name for it. Memory files, pipes and sockets are nobody else's.
func within(fd int, paths []string) bool {
	var buf [4096]byte
	n, err := unix.Readlink(procFD(fd), buf[:])
	if err != nil || n == len(buf) {
		return false
	}
	name := string(buf[:n])
	if !strings.HasPrefix(name, "/") {
		return true // pipe:[7], socket:[7], anon_inode:…
	}
	if strings.HasPrefix(name, "/memfd:") {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		return err == nil
	}
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(name, p); ok && (rest == "" || rest[0] == '/' || p == "/") {
			return true
		}
	}
	return false
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// resolve opens, as a path only, the file that a call names. The walk is made
// by the opener, beginning at a copy of the caller's directory.
func (m *Membrane) resolve(n *notification, args pathArgs) (int, unix.Errno) {
	path, errno := m.readString(n, n.args[args.path], unix.PathMax)
	if errno != 0 {
		return -1, errno
	}
	flags := uint64(0)
	if args.flags >= 0 {
		flags = n.args[args.flags]
	}
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return -1, unix.EINVAL
	}
	dirfd := int32(unix.AT_FDCWD)
	if args.dir >= 0 {
		dirfd = int32(n.args[args.dir])
	}
	if path == "" && flags&unix.AT_EMPTY_PATH == 0 {
		return -1, unix.ENOENT
	}
	if m.config.Hide != nil && path != "" {
		o, errno := m.find(n, dirfd, path, !args.nofollow && flags&unix.AT_SYMLINK_NOFOLLOW == 0)
		return o.fd, errno
	}
	base := -1
	if !strings.HasPrefix(path, "/") {
		if base, errno = m.directory(n, dirfd); errno != 0 {
			return -1, errno
		}
		if path == "" {
			return base, 0
		}
		defer unix.Close(base)
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if args.nofollow || flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd := -1
	errno = m.act(func() unix.Errno {
		var err error
		fd, err = unix.Openat2(base, path, &how)
		return errnoOf(err)
	})
	return fd, errno
}

// directory copies the caller's working directory or a descriptor of its.
func (m *Membrane) directory(n *notification, dirfd int32) (int, unix.Errno) {
	if m.config.Hide != nil && dirfd == unix.AT_FDCWD {
		return m.directoryOf(int(n.pid))
	}
	link := "/proc/" + strconv.Itoa(int(n.pid)) + "/cwd"
	if dirfd != unix.AT_FDCWD {
		link = "/proc/" + strconv.Itoa(int(n.pid)) + "/fd/" + strconv.Itoa(int(dirfd))
	}
	fd, err := unix.Open(link, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, unix.EBADF
	}
	if !m.valid(n) {
		unix.Close(fd)
		return -1, unix.EBADF
	}
	return fd, 0
}

// readString reads a NUL-terminated string of fewer than max bytes, page by
// page: what follows the string may not be mapped.
func (m *Membrane) readString(n *notification, addr uint64, max int) (string, unix.Errno) {
	buf := make([]byte, 0, 256)
	for len(buf) < max {
		chunk := min(int(m.pagesize-addr%m.pagesize), 256, max-len(buf))
		piece := buf[len(buf) : len(buf)+min(chunk, cap(buf)-len(buf))]
		if len(piece) == 0 {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
			continue
		}
		got, err := readMemory(int(n.pid), addr, piece)
		if err != nil || got == 0 {
			return "", unix.EFAULT
		}
		if i := bytes.IndexByte(piece[:got], 0); i >= 0 {
			// Of a call that only looks no more than the answer comes of it, which
			// finds out by itself if nobody is there for it.
			if !m.looking && !m.valid(n) {
				return "", unix.EFAULT
			}
			return string(buf[:len(buf)+i]), 0
		}
		buf, addr = buf[:len(buf)+got], addr+uint64(got)
	}
	return "", unix.ENAMETOOLONG
}

// readBytes reads exactly size bytes.
func (m *Membrane) readBytes(n *notification, addr uint64, size int) ([]byte, unix.Errno) {
	b := make([]byte, size)
	got, err := readMemory(int(n.pid), addr, b)
	if err != nil || got != size || !m.valid(n) {
		return nil, unix.EFAULT
	}
	return b, 0
}

func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	if e, ok := err.(unix.Errno); ok {
		return e
	}
	return unix.EIO
}

// chmod refuses set-user-id and set-group-id on files: such a file would act
// for others with the cell's user, outside the cell.
func chmod(m *Membrane, n *notification, at int) (func(int) unix.Errno, unix.Errno) {
	mode := uint32(n.args[at]) & 0o7777
	return func(fd int) unix.Errno {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return errnoOf(err)
		}
		if mode&0o6000 != 0 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return unix.EPERM
		}
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return errnoOf(fchmodat2(fd, mode&^ownMark|st.Mode&ownMark))
		}
		return errnoOf(fchmodat2(fd, mode))
	}, 0
}

func chown(m *Membrane, n *notification, at int) (func(int) unix.Errno, unix.Errno) {
	uid, gid := int(int32(n.args[at])), int(int32(n.args[at+1]))
	return func(fd int) unix.Errno { return errnoOf(unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH)) }, 0
}

func setTimes(ts []unix.Timespec) func(int) unix.Errno {
	return func(fd int) unix.Errno {
		if ts == nil {
			ts = []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
		}
		return errnoOf(unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH))
	}
}

// utime takes struct utimbuf: two seconds.
func utime(m *Membrane, n *notification, at int) (func(int) unix.Errno, unix.Errno) {
	s, errno := m.readLongs(n, n.args[at], 2)
	if errno != 0 || s == nil {
		return setTimes(nil), errno
	}
	return setTimes([]unix.Timespec{{Sec: s[0]}, {Sec: s[1]}}), 0
}

// utimes takes two struct timeval: seconds and microseconds.
func utimes(m *Membrane, n *notification, at int) (func(int) unix.Errno, unix.Errno) {
	s, errno := m.readLongs(n, n.args[at], 4)
	if errno != 0 || s == nil {
		return setTimes(nil), errno
	}
	if s[1] < 0 || s[1] >= 1e6 || s[3] < 0 || s[3] >= 1e6 {
		return nil, unix.EINVAL
	}
	return setTimes([]unix.Timespec{{Sec: s[0], Nsec: s[1] * 1000}, {Sec: s[2], Nsec: s[3] * 1000}}), 0
}

// utimensat(dirfd, NULL, …) is futimens.
func utimensat(m *Membrane, n *notification) (int64, unix.Errno) {
	times := func(m *Membrane, n *notification, _ int) (func(int) unix.Errno, unix.Errno) {
		s, errno := m.readLongs(n, n.args[2], 4)
		if errno != 0 || s == nil {
			return setTimes(nil), errno
		}
		return setTimes([]unix.Timespec{{Sec: s[0], Nsec: s[1]}, {Sec: s[2], Nsec: s[3]}}), 0
	}
	if n.args[1] == 0 {
		return fdCall(0, times)(m, n)
	}
	return pathCall(pathArgs{dir: 0, path: 1, flags: 3}, 0, times)(m, n)
}

// readLongs reads count 64-bit numbers, or nil from a null pointer.
func (m *Membrane) readLongs(n *notification, addr uint64, count int) ([]int64, unix.Errno) {
	if addr == 0 {
		return nil, 0
	}
	b, errno := m.readBytes(n, addr, 8*count)
	if errno != 0 {
		return nil, errno
	}
	s := make([]int64, count)
	for i := range s {
		s[i] = int64(binary.NativeEndian.Uint64(b[8*i:]))
	}
	return s, 0
}

// xattrMax is XATTR_SIZE_MAX, and xattrName XATTR_NAME_MAX (linux/limits.h).
const xattrMax, xattrName = 64 << 10, 255

// attribute reads the name of an extended attribute; only the user's own
// namespace can be changed (the others carry rights).
func (m *Membrane) attribute(n *notification, addr uint64) (string, unix.Errno) {
	name, errno := m.readString(n, addr, xattrName+1)
	if errno == unix.ENAMETOOLONG {
		return "", unix.ERANGE
	}
	if errno == 0 && !strings.HasPrefix(name, "user.") {
		return "", unix.EOPNOTSUPP
	}
	return name, errno
}

func setxattr(m *Membrane, n *notification, at int) (func(int) unix.Errno, unix.Errno) {
	name, errno := m.attribute(n, n.args[at])
	if errno != 0 {
		return nil, errno
	}
	if n.args[at+2] > xattrMax {
		return nil, unix.E2BIG
	}
	value, errno := m.readBytes(n, n.args[at+1], int(n.args[at+2]))
	if errno != 0 {
		return nil, errno
	}
	flags := int(int32(n.args[at+3]))
	return func(fd int) unix.Errno { return errnoOf(unix.Setxattr(procFD(fd), name, value, flags)) }, 0
}

func removexattr(m *Membrane, n *notification, at int) (func(int) unix.Errno, unix.Errno) {
	name, errno := m.attribute(n, n.args[at])
	if errno != 0 {
		return nil, errno
	}
	return func(fd int) unix.Errno { return errnoOf(unix.Removexattr(procFD(fd), name)) }, 0
}

// memfdCreate makes the memory file that the program asked for, except that it
// can never be executed.
func memfdCreate(m *Membrane, n *notification) (int64, unix.Errno) {
	name, errno := m.readString(n, n.args[0], 250)
	if errno != 0 {
		return 0, unix.EINVAL
	}
	flags := int(uint32(n.args[1]))&^unix.MFD_EXEC | unix.MFD_NOEXEC_SEAL
	fd := -1
	errno = m.act(func() unix.Errno {
		var err error
		fd, err = unix.MemfdCreate(name, flags|unix.MFD_CLOEXEC)
		return errnoOf(err)
	})
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(fd)
	if err := giveFD(m.listener, n.id, fd, flags&unix.MFD_CLOEXEC != 0); err != nil {
		return 0, errnoOf(err)
	}
	return 0, later
}

// flock locks through a copy of the caller's descriptor, which is the same open
// file. A lock that has to be waited for is tried again until it is there or
// the caller gone, so that one cell's waiting does not stop all its others.
func flock(m *Membrane, n *notification) (int64, unix.Errno) {
	fd, err := m.fetch(n.pid, int(int32(n.args[0])))
	if err != nil {
		return 0, unix.EBADF
	}
	if !within(fd, m.config.Writable) {
		m.learnUse(fd, capability.Write, 0, unix.EACCES)
		unix.Close(fd)
		return 0, unix.EACCES
	}
	m.learnUse(fd, capability.Write, 0, 0)
	how := int(int32(n.args[1]))
	err = unix.Flock(fd, how|unix.LOCK_NB)
	if err != unix.EWOULDBLOCK || how&unix.LOCK_NB != 0 {
		unix.Close(fd)
		return 0, errnoOf(err)
	}
	if !m.mayWait(lockHolds) {
		unix.Close(fd)
		return 0, unix.ENOLCK
	}
	go m.waitForLock(n, fd, how)
	return 0, later
}

// Waiting for a lock begins with lockWait between tries and slows down to 16
// times as much.
const lockWait = time.Millisecond

func (m *Membrane) waitForLock(n *notification, fd, how int) {
	defer m.waited(lockHolds)
	defer unix.Close(fd)
	for wait := lockWait; m.valid(n); wait = min(2*wait, 16*lockWait) {
		time.Sleep(wait)
		if err := unix.Flock(fd, how|unix.LOCK_NB); err != unix.EWOULDBLOCK {
			m.reply(n, 0, errnoOf(err))
			return
		}
	}
}

// inotifyAddWatch watches what the cell may read, but no package files: they
// are one inode for all cells, whose opens would be seen.
func inotifyAddWatch(m *Membrane, n *notification) (int64, unix.Errno) {
	mask := uint32(n.args[2])
	target, errno := m.resolve(n, pathArgs{dir: -1, path: 1, flags: -1, nofollow: mask&unix.IN_DONT_FOLLOW != 0})
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(target)
	if !within(target, m.config.Writable) && !within(target, m.config.Readable) {
		return 0, unix.EACCES
	}
	ifd, err := m.fetch(n.pid, int(int32(n.args[0])))
	if err != nil {
		return 0, unix.EBADF
	}
	defer unix.Close(ifd)
	var watch int
	errno = m.act(func() unix.Errno {
		if !m.mayRead(target) {
			return unix.EACCES
		}
		watch, err = unix.InotifyAddWatch(ifd, procFD(target), mask&^unix.IN_DONT_FOLLOW)
		return errnoOf(err)
	})
	return int64(watch), errno
}
