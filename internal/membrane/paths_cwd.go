package membrane

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// The working directory of a process that sees only its names.
//
// Nobody can make another process change its directory, and letting the kernel
// do it would mean to trust a string that the program can still change. So the
// kernel's own stays where it is, and the supervisor keeps the one that counts: a
// descriptor, in a table by number. The number is kept by the kernel,
// as the soft RLIMIT_LOCKS of the process, which Linux has not used since 2.4
// and which the filter lets nobody change: so a child has its parent's
// directory from the very moment of the fork, and a program that is executed
// keeps it, without anything to follow or to miss. fchdir alone goes on in the
// kernel, as its argument is a number: then the kernel's directory is the one
// that counts. The shim of native views only uses that one; the stub fetches it
// when a program is executed whose directory the supervisor has.
//
// Numbers are not used again. One that is not in the table any more, because a
// process was overlooked when the table was cleaned, is a directory that is
// gone; it is never another directory.
type cwds struct {
	table map[uint64]int // number -> path descriptor
	ids   map[fileID]uint64
	next  uint64
}

type fileID struct{ dev, ino uint64 }

// cwdFirst is the first number; what is below is a limit that somebody set. At
// cwdMost directories the table is cleaned.
const cwdFirst, cwdMost = 1 << 40, 256

// cwd returns the descriptor of the caller's working directory: -1 if it is
// still where the kernel says.
func (m *Membrane) cwd(pid int) (fd int, errno unix.Errno) {
	var l unix.Rlimit
	if m.limit(pid, unix.RLIMIT_LOCKS, nil, &l) != 0 {
		return -1, unix.ENOENT
	}
	if l.Cur < cwdFirst || l.Cur == unix.RLIM_INFINITY {
		return -1, 0
	}
	fd, ok := m.cwds.table[l.Cur]
	if !ok {
		return -1, unix.ENOENT
	}
	return fd, 0
}

// directoryOf returns a copy of the working directory of a process.
func (m *Membrane) directoryOf(pid int) (int, unix.Errno) {
	fd, errno := m.cwd(pid)
	if errno != 0 {
		return -1, errno
	}
	var err error
	if fd < 0 {
		fd, err = unix.Open("/proc/"+strconv.Itoa(pid)+"/cwd", unix.O_PATH|unix.O_CLOEXEC, 0)
	} else {
		fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	return fd, errnoOf(err)
}

// setCwd makes fd, which it takes over, the caller's working directory.
func (m *Membrane) setCwd(n *notification, fd int) unix.Errno {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return errnoOf(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		unix.Close(fd)
		return unix.ENOTDIR
	}
	if errno := m.look(func() unix.Errno { return faccess(fd, unix.X_OK) }); errno != 0 {
		unix.Close(fd)
		return errno
	}
	c := &m.cwds
	if c.table == nil {
		c.table, c.ids, c.next = map[uint64]int{}, map[fileID]uint64{}, cwdFirst
	}
	file := fileID{uint64(st.Dev), st.Ino}
	id, known := c.ids[file]
	if known { // an open descriptor keeps the inode's number its own
		unix.Close(fd)
	} else {
		if len(c.table) >= cwdMost {
			m.cleanCwds()
		}
		if len(c.table) >= 4*cwdMost {
			unix.Close(fd)
			return unix.ENOMEM
		}
		id = c.next
		c.next++
		c.table[id], c.ids[file] = fd, id
	}
	if !m.valid(n) {
		return unix.ENOENT
	}
	var old unix.Rlimit
	errno := m.limit(int(n.pid), unix.RLIMIT_LOCKS, nil, &old)
	switch {
	case errno != 0:
		return errno
	case old.Max < id:
		return unix.ENOMEM
	}
	old.Cur = id
	return m.limit(int(n.pid), unix.RLIMIT_LOCKS, &old, nil)
}

// limit is prlimit(2). Where the supervisor may not (it is another user's cell,
// and root has been deprived of CAP_SYS_RESOURCE), the opener may, who is the
// cell's user.
func (m *Membrane) limit(pid, resource int, set, old *unix.Rlimit) unix.Errno {
	if err := unix.Prlimit(pid, resource, set, old); err != unix.EPERM {
		return errnoOf(err)
	}
	return m.act(func() unix.Errno { return errnoOf(unix.Prlimit(pid, resource, set, old)) })
}

// cleanCwds forgets directories that no process of the cell is in. Two looks,
// as a process can be made behind the first.
func (m *Membrane) cleanCwds() {
	used := map[uint64]bool{}
	for range 2 {
		for _, pid := range m.processes() {
			var l unix.Rlimit
			if m.limit(pid, unix.RLIMIT_LOCKS, nil, &l) == 0 {
				used[l.Cur] = true
			}
		}
	}
	for file, id := range m.cwds.ids {
		if !used[id] {
			unix.Close(m.cwds.table[id])
			delete(m.cwds.table, id)
			delete(m.cwds.ids, file)
		}
	}
}

// processes lists the processes of the cell.
func (m *Membrane) processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var list []int
	for _, name := range entries {
		if pid, err := strconv.Atoi(name); err == nil && m.member(pid) {
			list = append(list, pid)
		}
	}
	return list
}

// member reports whether a process or thread carries the cell's mark.
func (m *Membrane) member(pid int) bool {
	var l unix.Rlimit
	if m.limit(pid, unix.RLIMIT_MSGQUEUE, nil, &l) != 0 {
		return false
	}
	fiber, ok := wall.FiberOf(l)
	return ok && fiber == m.config.Hide.Fiber
}

func chdir(m *Membrane, n *notification) (int64, unix.Errno) {
	o, errno := m.at(n, unix.AT_FDCWD, n.args[0], true, false)
	if errno != 0 {
		return 0, errno
	}
	return 0, m.setCwd(n, o.fd)
}

// fchdir makes the kernel's directory the one that counts again: the descriptor
// is the caller's own, or will be at worst another of its own, so that the call
// can go on.
func fchdir(m *Membrane, n *notification) (int64, unix.Errno) {
	fd, errno := m.copyOf(n, int32(n.args[0]))
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(fd)
	switch {
	case int32(n.args[0]) == unix.AT_FDCWD:
		return 0, unix.EBADF
	case !isDir(fd):
		return 0, unix.ENOTDIR
	}
	if errno := m.look(func() unix.Errno { return faccess(fd, unix.X_OK) }); errno != 0 {
		return 0, errno
	}
	if errno := m.clearCwd(n); errno != 0 {
		return 0, errno
	}
	m.proceed(n)
	return 0, later
}

// clearCwd forgets the directory that the supervisor has for the caller.
func (m *Membrane) clearCwd(n *notification) unix.Errno {
	if !m.valid(n) {
		return unix.ENOENT
	}
	var l unix.Rlimit
	errno := m.limit(int(n.pid), unix.RLIMIT_LOCKS, nil, &l)
	if errno != 0 || l.Cur < cwdFirst || l.Cur == unix.RLIM_INFINITY {
		return errno
	}
	if l.Cur = l.Max; l.Max != unix.RLIM_INFINITY {
		l.Cur = 0 // the hard limit can be a number of ours, too (domains)
	}
	return m.limit(int(n.pid), unix.RLIMIT_LOCKS, &l, nil)
}

func getcwd(m *Membrane, n *notification) (int64, unix.Errno) {
	if m.names == nil {
		return 0, unnamed
	}
	fd, errno := m.directory(n, unix.AT_FDCWD)
	if errno != 0 {
		return 0, unix.ENOENT
	}
	defer unix.Close(fd)
	name, ok := m.names.nameOf(fd)
	var st unix.Stat_t
	if !ok || unix.Fstat(fd, &st) != nil || st.Nlink == 0 {
		return 0, unix.ENOENT
	}
	if m.config.Learn != nil {
		m.config.Learn(Use{From: name})
	}
	b := append([]byte(name), 0)
	if n.args[1] < uint64(len(b)) {
		return 0, unix.ERANGE
	}
	return int64(len(b)), m.writeBytes(n, n.args[0], b)
}

// proceed lets the kernel carry out the call.
func (m *Membrane) proceed(n *notification) {
	_ = respond(m.listener, response{id: n.id, flags: flagContinue})
}
