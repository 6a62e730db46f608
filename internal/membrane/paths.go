package membrane

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/wall"
)

// This file finds what the path calls of a cell that sees only its names mean.
//
// A path is copied once. It is first tried as a whole from the longest name
// that it begins with, or from the directory that it is relative to: the kernel
// keeps such a walk below that directory (RESOLVE_BENEATH). Where that ends
// with EXDEV, or might have passed another name of the table, the path is
// walked component by component (paths_walk.go). Both are done as the cell's user
// (look); whatever is opened to be read or written, or changed, is the work of the
// opener's thread, behind the cell's Landlock rules (act).

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS

// way is a path on its way.
type way struct {
	base   int    // where to try rest first; -1: nowhere
	own    bool   // base is to be closed
	rest   string // never empty if base is there
	nested bool   // that rest is not below base proves nothing
	all    []string
	slash  bool
	floor  int   // components of all that are the directory's
	named  place // the path is this name itself, which is opened already; mode is 0 if not
}

func newWay(path string) way {
	return way{base: -1, all: split(path), slash: path[len(path)-1] == '/' || path == "." || strings.HasSuffix(path, "/.")}
}

// restOf is the path without its first components.
func (p *way) restOf(used int) string {
	rest := strings.Join(p.all[used:], "/")
	if p.slash {
		rest += "/"
	}
	return rest
}

func (p *way) close() {
	if p.own {
		unix.Close(p.base)
	}
}

// begin finds where a path starts. An absolute one has no use for dirfd.
func (m *Membrane) begin(n *notification, dirfd int32, path string) (way, unix.Errno) {
	if path == "" {
		return way{base: -1}, unix.ENOENT
	}
	if m.names == nil {
		return m.beginEarly(n, dirfd, path)
	}
	p := newWay(path)
	if path[0] != '/' {
		base, errno := m.directory(n, dirfd)
		if errno != 0 {
			return p, errno
		}
		at, known := m.names.nameOf(base)
		if !known {
			errno := unix.ENOENT // removed, or moved to where the cell has no name for it
			if !isDir(base) {
				errno = unix.ENOTDIR
			}
			unix.Close(base)
			return p, errno
		}
		above := split(at)
		p.floor = len(above)
		p.all = slices.Concat(above, p.all)
		if _, used := m.names.longest(above); used < len(above) {
			p.base, p.own, p.rest = base, true, path
			return p, 0
		}
		unix.Close(base)
	}
	if slices.Contains(p.all, "..") {
		return p, 0
	}
	d, used := m.names.longest(p.all)
	switch {
	case used < len(p.all) && d.mode == unix.S_IFDIR && !d.proc:
		p.base, p.rest, p.nested = d.base(), p.restOf(used), len(d.below) > 0
	case used == len(p.all) && d.single() && (d.mode == unix.S_IFDIR || !p.slash):
		p.named = place{d.fd, d.mode}
	}
	return p, 0
}

func isDir(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// final reports whether the answer of the first try is the last word. It is not
// if the try came to a directory that lies under one of the skeleton's, or to a
// hole of the view; then fd is closed.
func (m *Membrane) final(p *way, fd int, errno unix.Errno) bool {
	switch {
	case errno == unix.EXDEV, errno == unix.EAGAIN: // EAGAIN: a rename, of whatever, ran beside ".."
		return false
	case !p.nested:
		return true
	case errno != 0:
		return errno != unix.ENOENT && errno != unix.ENOTDIR && errno != unix.ELOOP && errno != unix.EACCES
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && m.names.covered[fileID{uint64(st.Dev), st.Ino}] {
		unix.Close(fd)
		return false
	}
	return true
}

// walk returns the walk of the whole path.
func (m *Membrane) walk(p *way) *walk {
	return &walk{names: m.names, todo: p.all, slash: p.slash}
}

// look does f on the listener's own thread, which spares two switches of threads,
// as the cell's user without capabilities. It is for what Landlock has no say in:
// f opens path descriptors at most, by which nothing can be read, and asks about
// them. The thread stays what it is then until something else is to be done: most
// calls that are asked only look.
func (m *Membrane) look(f func() unix.Errno) unix.Errno {
	if m.guise == nil {
		g, err := wall.NewGuise(m.config.Identity)
		if err != nil {
			m.config.OnError(err)
			return unix.EPERM
		}
		m.guise = g
	}
	if errno := m.guise.Wear(); errno != 0 {
		m.stop(errno)
	}
	return f()
}

// shed makes the listener's thread the supervisor's again.
func (m *Membrane) shed() {
	if m.guise == nil {
		return
	}
	if errno := m.guise.Shed(); errno != 0 {
		m.stop(errno)
	}
}

// stop ends the listener, whose thread is neither the supervisor's user nor the
// cell's any more. All that is asked fails from then on.
func (m *Membrane) stop(errno unix.Errno) {
	m.config.OnError(fmt.Errorf("change to the cell's user and back: %w", errno))
	runtime.Goexit()
}

// object is what a path leads to.
type object struct {
	fd   int    // path descriptor, the receiver's to close
	text string // of a symlink that only the supervisor can read
	link bool   // it is one
	// magic says that a link of /proc led to it: fd is a copy of a descriptor
	// that its owner has, or as good as that.
	magic bool
	file  *procFile // a file of /proc; fd is the host's, only to be looked at
	dir   []string  // a directory of /proc
}

// find returns what a path leads to; follow says whether a last symlink is
// followed.
func (m *Membrane) find(n *notification, dirfd int32, path string, follow bool) (object, unix.Errno) {
	p, errno := m.begin(n, dirfd, path)
	if errno != 0 {
		return object{fd: -1}, errno
	}
	defer p.close()
	o, errno := m.findWay(n, &p, follow)
	m.learnFound(&p, o.fd, 0, errno)
	return o, errno
}

func (m *Membrane) findWay(n *notification, p *way, follow bool) (object, unix.Errno) {
	o := object{fd: -1}
	if p.named.mode != 0 {
		fd, err := unix.FcntlInt(uintptr(p.named.fd), unix.F_DUPFD_CLOEXEC, 0)
		o.fd = fd
		return o, errnoOf(err)
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: beneath}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	links := 0
	for {
		if p.base >= 0 {
			last := false
			errno := m.look(func() unix.Errno {
				fd, err := unix.Openat2(p.base, p.rest, &how)
				o.fd, last = fd, m.final(p, fd, errnoOf(err))
				return errnoOf(err)
			})
			if last {
				return o, errno
			}
		}
		w := m.walk(p)
		w.follow, w.links = follow, links
		errno := m.look(func() unix.Errno {
			o.fd = -1
			if errno := w.run(); errno != 0 || w.proc {
				return errno
			}
			if w.missing != "" {
				return unix.ENOENT
			}
			var errno unix.Errno
			o.fd, errno = w.reached()
			return errno
		})
		w.close()
		if errno != 0 || !w.proc {
			return o, errno
		}
		// /proc is the listener's, who may look at other processes.
		found, next, errno := m.procFind(n, w.todo, follow || w.slash)
		if errno == 0 && next == nil && w.slash && found.dir == nil && !isDir(found.fd) {
			unix.Close(found.fd)
			errno = unix.ENOTDIR
		}
		if errno != 0 || next == nil {
			return found, errno
		}
		if links = w.links + 1; links > maxLinks {
			return o, unix.ELOOP
		}
		p = &way{base: -1, all: next, slash: w.slash}
	}
}

// at returns what a call with a directory and flags means: AT_EMPTY_PATH is a
// descriptor itself.
func (m *Membrane) at(n *notification, dirfd int32, addr uint64, follow, empty bool) (object, unix.Errno) {
	o := object{fd: -1}
	path, errno := "", unix.Errno(0)
	if addr != 0 || !empty { // a null pointer is an empty path for the newest kernels
		path, errno = m.readString(n, addr, unix.PathMax)
	}
	if errno != 0 {
		return o, errno
	}
	if path != "" || !empty {
		return m.find(n, dirfd, path, follow)
	}
	o.fd, errno = m.copyOf(n, dirfd)
	return o, errno
}

// copyOf duplicates a descriptor of the caller's, or its working directory.
func (m *Membrane) copyOf(n *notification, fd int32) (int, unix.Errno) {
	if fd == unix.AT_FDCWD {
		return m.directory(n, fd)
	}
	own, err := m.fetch(n.pid, int(fd))
	if err != nil {
		return -1, unix.EBADF
	}
	if !m.valid(n) {
		unix.Close(own)
		return -1, unix.EBADF
	}
	return own, 0
}

// spot is the place of a name that is made, removed or moved.
type spot struct {
	fd   int    // of the directory; the receiver's to close
	name string // as the caller wrote it, with what slashes follow it
	// taken says that the name is one of the table's: it is there and stays.
	taken bool
}

// spot finds the directory of a path's last component.
func (m *Membrane) spot(n *notification, dirfd int32, path string) (spot, unix.Errno) {
	s := spot{fd: -1}
	if path == "" {
		return s, unix.ENOENT
	}
	end := len(strings.TrimRight(path, "/"))
	at := strings.LastIndexByte(path[:end], '/') + 1
	dir := path[:at]
	s.name = path[at:]
	switch {
	case end == 0: // the root: the kernel says what cannot be done with it
		dir, s.name = "/", "/"
	case at == 0:
		dir = "."
	}
	p, errno := m.begin(n, dirfd, dir)
	if errno != 0 {
		return s, errno
	}
	defer p.close()
	if p.named.mode != 0 {
		fd, err := unix.FcntlInt(uintptr(p.named.fd), unix.F_DUPFD_CLOEXEC, 0)
		s.fd = fd
		m.learnFound(&p, s.fd, 0, errnoOf(err))
		return s, errnoOf(err)
	}
	w := m.walk(&p)
	w.follow, w.slash = true, true
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: beneath}
	errno = m.look(func() unix.Errno {
		if p.base >= 0 {
			fd, err := unix.Openat2(p.base, p.rest, &how)
			if s.fd = fd; m.final(&p, fd, errnoOf(err)) {
				return errnoOf(err)
			}
		}
		s.fd = -1
		errno := w.run()
		switch {
		case errno != 0:
			return errno
		case w.missing != "", w.proc: // in /proc nothing can be made
			return unix.ENOENT
		}
		top := w.top()
		s.taken = top.node != nil && top.node.below[strings.TrimRight(s.name, "/")] != nil
		s.fd, errno = w.reached()
		return errno
	})
	w.close()
	m.learnFound(&p, s.fd, capability.Create, errno)
	return s, errno
}
