package membrane

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/wall"
)

// Flags of open(2) that say how the file is then used, and those that the
// kernel looks at beside O_PATH. All others that open(2) does not know are
// passed over, as ever.
const (
	openKnown = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_APPEND | unix.O_NONBLOCK |
		unix.O_SYNC | unix.O_DSYNC | unix.O_ASYNC | unix.O_DIRECT | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME |
		unix.O_CLOEXEC | unix.O_PATH | unix.O_TMPFILE
	openPathOnly = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	openStatus   = unix.O_APPEND | unix.O_ASYNC | unix.O_DIRECT | unix.O_NOATIME
	largeFile    = (0x8000 | 0x20000) &^ unix.O_NOFOLLOW // O_LARGEFILE: on each machine the one that is not O_NOFOLLOW; Go has it as 0
	tmpfileBit   = unix.O_TMPFILE &^ unix.O_DIRECTORY
	allModes     = 0o7777

	resolveCached = 0x20 // RESOLVE_CACHED, linux/openat2.h
)

// openCall handles open and openat, whose arguments begin with a directory if
// dir is 0, and creat, whose flags are given.
func openCall(dir, path, flags, mode int, given uint64) handler {
	return func(m *Membrane, n *notification) (int64, unix.Errno) {
		dirfd := int32(unix.AT_FDCWD)
		if dir >= 0 {
			dirfd = int32(n.args[dir])
		}
		how := unix.OpenHow{Flags: given}
		if flags >= 0 {
			how.Flags = uint64(uint32(n.args[flags]))
		}
		how.Flags &= openKnown
		if how.Flags&unix.O_PATH != 0 {
			how.Flags &= openPathOnly
		}
		if makes(how.Flags) {
			how.Mode = n.args[mode] & allModes
		}
		name, errno := m.readString(n, n.args[path], unix.PathMax)
		if errno != 0 {
			return 0, errno
		}
		if errno, ok := m.openDevice(n, name, how.Flags); ok {
			return 0, errno
		}
		if errno, ok := m.openTerminal(n, name, how.Flags); ok {
			return 0, errno
		}
		return m.open(n, dirfd, name, how)
	}
}

// openat2 copies struct open_how once. The kernel checks what is in it, except
// what is ours to say.
func openat2(m *Membrane, n *notification) (int64, unix.Errno) {
	const first = 24 // OPEN_HOW_SIZE_VER0
	size := n.args[3]
	if size < first {
		return 0, unix.EINVAL
	}
	if size > uint64(m.pagesize) {
		return 0, unix.E2BIG
	}
	b, errno := m.readBytes(n, n.args[2], int(size))
	if errno != 0 {
		return 0, errno
	}
	if len(bytes.Trim(b[first:], "\x00")) > 0 {
		return 0, unix.E2BIG
	}
	how := unix.OpenHow{Flags: binary.NativeEndian.Uint64(b), Mode: binary.NativeEndian.Uint64(b[8:]), Resolve: binary.NativeEndian.Uint64(b[16:])}
	const resolves = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS |
		unix.RESOLVE_NO_XDEV | resolveCached
	both := uint64(unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT)
	switch {
	case how.Flags&^(openKnown|largeFile) != 0, how.Resolve&^resolves != 0, how.Resolve&both == both:
		return 0, unix.EINVAL
	case how.Flags&unix.O_PATH != 0 && how.Flags&^openPathOnly != 0:
		return 0, unix.EINVAL
	case how.Mode != 0 && !makes(how.Flags), how.Mode&^allModes != 0:
		return 0, unix.EINVAL
	case how.Mode&0o6000 != 0:
		return 0, unix.EPERM // as the filter says of open(2)
	case how.Resolve&resolveCached != 0:
		return 0, unix.EAGAIN // nothing is known without a look
	}
	how.Flags &^= largeFile
	name, errno := m.readString(n, n.args[1], unix.PathMax)
	if errno != 0 {
		return 0, errno
	}
	return m.open(n, int32(n.args[0]), name, how)
}

func makes(flags uint64) bool { return flags&(unix.O_CREAT|tmpfileBit) != 0 }

// openPath answers O_PATH. The kernel lets a supervisor hand over no path
// descriptor (SECCOMP_IOCTL_NOTIF_ADDFD takes none), so the caller gets one
// that is open for reading, where it may read; of anything but a file or a
// directory there is none.
func (m *Membrane) openPath(n *notification, dirfd int32, path string, how unix.OpenHow) (int64, unix.Errno) {
	o, errno := m.find(n, dirfd, path, how.Flags&unix.O_NOFOLLOW == 0)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(o.fd)
	kind := fileType(o.fd)
	switch {
	case o.link || kind == unix.S_IFLNK:
		return 0, unix.ELOOP
	case how.Flags&unix.O_DIRECTORY != 0 && kind != unix.S_IFDIR:
		return 0, unix.ENOTDIR
	case o.file != nil:
		fd, errno := m.procRead(o.file)
		if errno != 0 {
			return 0, errno
		}
		return m.give(n, fd, how.Flags)
	case kind != unix.S_IFDIR && kind != unix.S_IFREG:
		return 0, unix.EACCES
	}
	fd := -1
	errno = m.act(func() unix.Errno {
		var err error
		fd, err = reopen(o.fd, unix.O_RDONLY|unix.O_CLOEXEC)
		return errnoOf(err)
	})
	m.learnUse(o.fd, capability.Read, capability.Rpath, errno)
	if errno != 0 {
		return 0, errno
	}
	return m.give(n, fd, how.Flags)
}

// open opens a file for the caller.
func (m *Membrane) open(n *notification, dirfd int32, path string, how unix.OpenHow) (int64, unix.Errno) {
	if how.Flags&unix.O_PATH != 0 && how.Resolve&^unix.RESOLVE_NO_MAGICLINKS == 0 {
		return m.openPath(n, dirfd, path, how)
	}
	if m.config.Disk != nil && makes(how.Flags) {
		if !m.config.Disk.Room(0) {
			return m.openWithoutRoom(n, dirfd, path, how)
		}
		if how.Flags&tmpfileBit != 0 {
			m.config.Disk.Removing()
		}
	}
	p, errno := m.begin(n, dirfd, path)
	if errno != 0 {
		return 0, errno
	}
	defer p.close()
	if how.Resolve != 0 && m.names == nil {
		return 0, unnamed
	}
	if how.Resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0 {
		if path[0] == '/' {
			if how.Resolve&unix.RESOLVE_BENEATH != 0 {
				return 0, unix.EXDEV
			}
			if p, errno = m.begin(n, dirfd, "./"+path); errno != 0 {
				return 0, errno
			}
		}
	}
	if how.Resolve != 0 && p.base >= 0 {
		p.close()
		p.base, p.own = -1, false
	}
	umask := -1
	if makes(how.Flags) {
		if umask, errno = m.umaskOf(n); errno != 0 {
			return 0, errno
		}
	}
	m.learnOpening(n, &p, how.Flags)
	fd, o, errno := m.openWay(n, &p, how, umask)
	if o != nil {
		return m.openProc(n, o, how)
	}
	m.learnUnopened(n, &p, errno)
	return m.deliver(n, &p, fd, errno, how)
}

// openWay opens on the opener's thread, which also hands the file over (errno is
// later then) unless the caller may have to wait. Devices and FIFOs do not make it
// wait, and no terminal becomes the supervisor's own. A non-nil walk has come to
// /proc.
func (m *Membrane) openWay(n *notification, p *way, how unix.OpenHow, umask int) (fd int, atProc *walk, errno unix.Errno) {
	fd = -1
	how.Flags &^= unix.O_PATH // see openPath
	asked := how.Flags
	w := m.walk(p)
	defer w.close()
	w.resolve, w.floor = how.Resolve, 0
	if how.Resolve != 0 {
		w.floor = p.floor
	}
	w.follow = asked&unix.O_NOFOLLOW == 0 && asked&(unix.O_CREAT|unix.O_EXCL) != unix.O_CREAT|unix.O_EXCL
	how.Resolve = beneath
	how.Flags |= unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	direct := p.base >= 0
	if direct && !makes(asked) {
		if errno, direct = m.probe(p, asked); direct && errno != 0 {
			return -1, nil, errno
		}
	}
	open := func(f func() (int, error), last func(fd int, errno unix.Errno) bool) unix.Errno {
		return m.act(func() unix.Errno {
			if umask >= 0 {
				unix.Umask(umask) // the opener's alone, see opener.start
			}
			opened, err := f()
			if err != nil || !last(opened, 0) {
				return errnoOf(err)
			}
			m.learnOpened(opened)
			if waits(asked) && fileType(opened) == unix.S_IFIFO {
				fd = opened
				return 0
			}
			return m.handOver(n, opened, asked)
		})
	}
	if direct {
		errno = open(func() (int, error) { return unix.Openat2(p.base, p.rest, &how) }, func(fd int, errno unix.Errno) bool { return m.final(p, fd, errno) })
		if fd >= 0 || errno == later || errno != 0 && m.final(p, -1, errno) {
			return fd, nil, errno
		}
	}
	errno = 0
	if p.named.mode != 0 {
		w.steps = []step{{fd: p.named.fd, mode: p.named.mode, node: new(node)}}
	} else {
		errno = m.look(w.run)
	}
	if errno == 0 && !w.proc {
		errno = open(func() (int, error) { return w.open(&how) }, func(int, unix.Errno) bool { return true })
		return fd, nil, errno
	}
	if errno == 0 {
		atProc = &walk{todo: w.todo, slash: w.slash, follow: w.follow, links: w.links, resolve: w.resolve}
	}
	return -1, atProc, errno
}

// probe looks for what is to be opened, so that what is not there, as often it is
// not, needs no opener. last says that nothing else need be tried.
func (m *Membrane) probe(p *way, flags uint64) (errno unix.Errno, last bool) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags&(unix.O_NOFOLLOW|unix.O_DIRECTORY), Resolve: beneath}
	errno = m.look(func() unix.Errno {
		fd, err := unix.Openat2(p.base, p.rest, &how)
		if last = m.final(p, fd, errnoOf(err)); last && err == nil {
			unix.Close(fd)
		}
		return errnoOf(err)
	})
	return errno, last
}

// waits reports whether an open with these flags waits for the other end of a FIFO.
func waits(flags uint64) bool {
	return flags&unix.O_NONBLOCK == 0 && flags&unix.O_ACCMODE == unix.O_RDONLY
}

// handOver gives the caller the descriptor, with the flags that it asked for, and
// closes it.
func (m *Membrane) handOver(n *notification, fd int, asked uint64) unix.Errno {
	if asked&unix.O_NONBLOCK == 0 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, int(asked)&openStatus); err != nil {
			unix.Close(fd)
			return errnoOf(err)
		}
	}
	_, errno := m.give(n, fd, asked)
	return errno
}

// open opens where the walk has ended.
func (w *walk) open(how *unix.OpenHow) (int, error) {
	top, in := w.top(), w.parent()
	for _, s := range []*step{top, in} {
		if errno := w.names.need(s.node); errno != 0 && (s == top || w.missing != "") {
			return -1, errno
		}
	}
	switch {
	case w.missing != "" && how.Flags&unix.O_CREAT == 0:
		return -1, unix.ENOENT
	case w.missing != "" && w.slash:
		return -1, unix.EISDIR
	case w.missing != "":
		h := *how
		h.Flags |= unix.O_NOFOLLOW
		return unix.Openat2(in.fd, w.missing, &h)
	case top.mode == unix.S_IFLNK && how.Flags&unix.O_EXCL == 0:
		return -1, unix.ELOOP
	case top.node == nil:
		h := *how
		h.Flags |= unix.O_NOFOLLOW // it was no symlink, or is wanted as one
		return unix.Openat2(in.base(), top.name, &h)
	case how.Flags&unix.O_CREAT != 0 && how.Flags&unix.O_EXCL != 0:
		return -1, unix.EEXIST
	case how.Flags&unix.O_CREAT != 0 && top.mode == unix.S_IFDIR:
		return -1, unix.EISDIR
	case top.mode == unix.S_IFDIR:
		return unix.Openat2(top.fd, ".", how)
	}
	return reopen(top.fd, how.Flags)
}

// reopen opens the file behind a descriptor of ours again.
func reopen(fd int, flags uint64) (int, error) {
	return unix.Open(procFD(fd), int(flags)&^(unix.O_NOFOLLOW|unix.O_CREAT|unix.O_EXCL), 0)
}

// deliver gives the caller the descriptor, if nobody has, or waits for the other
// end of a FIFO.
func (m *Membrane) deliver(n *notification, p *way, fd int, errno unix.Errno, how unix.OpenHow) (int64, unix.Errno) {
	if errno == unix.ENXIO && how.Flags&unix.O_NONBLOCK == 0 && how.Flags&unix.O_ACCMODE == unix.O_WRONLY {
		o, errno := m.findWay(n, p, true)
		if errno != 0 {
			return 0, errno
		}
		if fileType(o.fd) != unix.S_IFIFO {
			unix.Close(o.fd)
			return 0, unix.ENXIO
		}
		return m.awaitFIFO(n, o.fd, how.Flags)
	}
	if errno != 0 {
		return 0, errno
	}
	if waits(how.Flags) && fileType(fd) == unix.S_IFIFO {
		return m.awaitFIFO(n, fd, how.Flags)
	}
	return 0, m.handOver(n, fd, how.Flags)
}

// give hands fd over and closes our copy. The calling thread must be deaf: see
// giveFD.
func (m *Membrane) give(n *notification, fd int, flags uint64) (int64, unix.Errno) {
	defer unix.Close(fd)
	if err := giveFD(m.listener, n.id, fd, flags&unix.O_CLOEXEC != 0); err != nil {
		if err == unix.ENOENT {
			return 0, later // the caller is gone
		}
		return 0, errnoOf(err)
	}
	return 0, later
}

func fileType(fd int) uint32 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Mode & unix.S_IFMT
}

// awaitFIFO opens a FIFO as the kernel does for a caller that wants to wait: on
// a thread of its own, which is released if the caller goes away.
func (m *Membrane) awaitFIFO(n *notification, fd int, flags uint64) (int64, unix.Errno) {
	if !m.mayWait(fifoHolds) {
		unix.Close(fd)
		return 0, unix.EMFILE
	}
	call := *n
	confine, release := m.confinement()
	go func() {
		defer m.waited(fifoHolds)
		defer release()
		defer unix.Close(fd)
		opened := make(chan struct{})
		go m.whenGone(&call, opened, func() { // the other end releases the thread
			if other, err := reopen(fd, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC); err == nil {
				<-opened
				unix.Close(other)
			}
		})
		waiter := opener{alone: true}
		errno := waiter.do(confine, func() (errno unix.Errno) {
			got, err := -1, error(unix.EINTR)
			for err == unix.EINTR {
				got, err = reopen(fd, flags&(unix.O_ACCMODE|openStatus)|unix.O_CLOEXEC)
			}
			if err != nil {
				return errnoOf(err)
			}
			_, errno = m.give(&call, got, flags) // here: this thread is deaf
			return errno
		})
		close(opened)
		waiter.stop()
		if errno != later {
			m.reply(&call, 0, errno)
		}
	}()
	return 0, later
}

// whenGone does f if the caller goes away before done is closed.
func (m *Membrane) whenGone(n *notification, done chan struct{}, f func()) {
	tick := time.NewTicker(16 * lockWait)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if !m.valid(n) {
			f()
			return
		}
	}
}

// umaskOf returns the caller's umask (proc_pid_status(5)). The opener makes
// files with it, so that default ACLs count as they do natively.
func (m *Membrane) umaskOf(n *notification) (int, unix.Errno) {
	umask, err := wall.Facts(int(n.pid), "status", "Umask")
	if err != nil || !m.valid(n) {
		return 0, unix.EPERM
	}
	mask, err := strconv.ParseUint(umask[0], 8, 9)
	if err != nil {
		return 0, unix.EPERM
	}
	return int(mask), 0
}

// writeStruct writes the bytes of a struct of the kernel's to the caller.
func writeStruct[T any](m *Membrane, n *notification, addr uint64, s *T) unix.Errno {
	return m.writeBytes(n, addr, unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)))
}

// writeBytes writes to the caller's memory, which it is waiting for.
func (m *Membrane) writeBytes(n *notification, addr uint64, b []byte) unix.Errno {
	if !m.valid(n) {
		return unix.EFAULT // nobody is there any more: the number may be another's
	}
	if wrote, err := writeMemory(int(n.pid), addr, b); err != nil || wrote != len(b) {
		return unix.EFAULT
	}
	return 0
}
