package membrane

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symlinks one path may lead through, as in the kernel.
const maxLinks = 40

// walk follows a path from the root of the cell's names, one component at a
// time, as the cell's user (look, act). Every step is made from a descriptor of a
// directory that was reached in the same way, never along a string that could
// mean something else by now: whatever is found lies where the table leads.
type walk struct {
	names *names
	todo  []string
	slash bool // the path ended with one: it must be a directory, and a last symlink is followed
	links int

	follow  bool   // a last symlink too
	resolve uint64 // RESOLVE_* of openat2(2)
	floor   int    // components of the directory that RESOLVE_BENEATH and RESOLVE_IN_ROOT mean

	steps   []step
	missing string // the last component, if only that is not there
	proc    bool   // the walk has come to /proc; todo is what is left of the path
}

// step is a directory, or at the end a file, on the way.
type step struct {
	name string
	fd   int // -1: of a node that is not made yet
	mode uint32
	dev  uint64
	node *node // nil: the table does not have it, and fd is the walk's own
}

// bare reports whether nothing can be found in the directory but names of the table.
func (s *step) bare() bool { return s.node != nil && s.node.bare() }

func (s *step) base() int {
	if s.node != nil {
		return s.node.base()
	}
	return s.fd
}

// run walks. What it has opened is given up by close.
func (w *walk) run() unix.Errno {
	if w.names == nil {
		return unnamed
	}
	w.steps = append(make([]step, 0, 16), step{fd: w.names.root.fd, mode: unix.S_IFDIR, node: w.names.root})
	if errno := w.descend(w.floor); errno != 0 {
		return errno
	}
	return w.descend(0)
}

// descend takes components until only left of them are to do. The first ones,
// down to the floor, are known to hold no symlinks: they are a directory's name.
func (w *walk) descend(first int) unix.Errno {
	for n := 0; len(w.todo) > 0 && (first == 0 || n < first); n++ {
		top := &w.steps[len(w.steps)-1]
		if top.mode != unix.S_IFDIR {
			return unix.ENOTDIR
		}
		c := w.todo[0]
		if top.node != nil && top.node.proc && c != ".." && top.node.below[c] == nil {
			w.proc = true
			return 0
		}
		w.todo = w.todo[1:]
		if c == ".." {
			if errno := w.ascend(top); errno != 0 {
				return errno
			}
			continue
		}
		next, errno := w.enter(top, c)
		if errno == unix.ENOENT && len(w.todo) == 0 {
			w.missing = c
			return 0
		}
		if errno != 0 {
			return errno
		}
		if next.mode == unix.S_IFLNK && (len(w.todo) > 0 || w.follow || w.slash) {
			errno = w.through(&next)
			w.release(&next)
			if errno != 0 {
				return errno
			}
			continue
		}
		w.steps = append(w.steps, next)
	}
	if first > 0 {
		return 0
	}
	top := w.top()
	if w.slash && top.mode != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	w.proc = top.node != nil && top.node.proc
	return 0
}

// ascend goes up, for which the kernel wants the right to search, too.
func (w *walk) ascend(top *step) unix.Errno {
	if !top.bare() { // the skeleton's may be searched
		fd, err := unix.Openat(top.base(), ".", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return errnoOf(err)
		}
		unix.Close(fd)
	}
	switch at := len(w.steps) - 1; {
	case at == w.floor && w.resolve&unix.RESOLVE_BENEATH != 0:
		return unix.EXDEV
	case at == 0, at == w.floor && w.resolve&unix.RESOLVE_IN_ROOT != 0:
		return 0
	default:
		return w.leave(at)
	}
}

// leave gives up the steps from number at on.
func (w *walk) leave(at int) unix.Errno {
	below := &w.steps[at-1]
	if w.resolve&unix.RESOLVE_NO_XDEV != 0 && at > w.floor && below.dev != w.steps[at].dev {
		return unix.EXDEV
	}
	for i := at; i < len(w.steps); i++ {
		w.release(&w.steps[i])
	}
	w.steps = w.steps[:at]
	return 0
}

// enter finds c in the directory top. Names of the table come first.
func (w *walk) enter(top *step, c string) (step, unix.Errno) {
	next := step{name: c}
	if top.node != nil && top.node.below[c] != nil {
		next.node = top.node.below[c]
		next.fd = next.node.fd
	} else if top.bare() {
		return next, unix.ENOENT
	} else {
		fd, err := unix.Openat(top.base(), c, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return next, errnoOf(err)
		}
		next.fd = fd
	}
	if next.node != nil && next.node.ours {
		next.mode, next.dev = next.node.mode, w.names.dev
	} else {
		var st unix.Stat_t
		if err := unix.Fstat(next.fd, &st); err != nil {
			w.release(&next)
			return next, errnoOf(err)
		}
		next.mode, next.dev = st.Mode&unix.S_IFMT, uint64(st.Dev)
	}
	if w.resolve&unix.RESOLVE_NO_XDEV != 0 && len(w.steps) > w.floor && top.dev != 0 && top.dev != next.dev {
		w.release(&next)
		return next, unix.EXDEV
	}
	return next, 0
}

// through puts the text of a symlink before what is left of the path.
func (w *walk) through(link *step) unix.Errno {
	if w.links++; w.links > maxLinks || w.resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
		return unix.ELOOP
	}
	text, errno := "", unix.Errno(0)
	if link.node != nil {
		text = link.node.link
	} else if text, errno = readLink(link.fd); errno != 0 {
		return errno
	}
	if text == "" {
		return unix.ENOENT
	}
	if len(w.todo) == 0 && strings.HasSuffix(text, "/") {
		w.slash = true
	}
	w.todo = slices.Concat(split(text), w.todo)
	if text[0] != '/' {
		return 0
	}
	if w.resolve&unix.RESOLVE_BENEATH != 0 {
		return unix.EXDEV
	}
	at := 1
	if w.resolve&unix.RESOLVE_IN_ROOT != 0 {
		at += w.floor
	}
	if at < len(w.steps) {
		return w.leave(at)
	}
	return 0
}

// reached returns a copy of the descriptor of what the walk has come to.
func (w *walk) reached() (int, unix.Errno) {
	top := w.top()
	if errno := w.names.need(top.node); errno != 0 {
		return -1, errno
	}
	fd, err := unix.FcntlInt(uintptr(top.fd), unix.F_DUPFD_CLOEXEC, 0)
	return fd, errnoOf(err)
}

func (w *walk) top() *step { return &w.steps[len(w.steps)-1] }

// parent is the directory that the last step is in, or would be.
func (w *walk) parent() *step {
	if w.missing != "" || len(w.steps) == 1 {
		return w.top()
	}
	return &w.steps[len(w.steps)-2]
}

func (w *walk) release(s *step) {
	if s.node == nil {
		unix.Close(s.fd)
	}
}

func (w *walk) close() {
	for i := range w.steps {
		w.release(&w.steps[i])
	}
	w.steps = nil
}

// readLink returns the text of the symlink that fd, a path descriptor, is.
func readLink(fd int) (string, unix.Errno) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", buf[:])
	return string(buf[:max(n, 0)]), errnoOf(err)
}

// linkText returns the text of a symlink of the host's.
func linkText(path string) (string, unix.Errno) {
	var buf [2 * unix.PathMax]byte
	n, err := unix.Readlink(path, buf[:])
	if n == len(buf) {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:max(n, 0)]), errnoOf(err)
}
