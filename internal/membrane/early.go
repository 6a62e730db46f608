package membrane

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Making the table of names takes a good part of a millisecond, and most cells
// never ask for anything that needs it: they remove a temporary file, open a
// device, look at a file of the resolver's. Until the table is there, what lies at or below a name that no other name lies below is found by that name
// alone. For all else the handler gives up with unnamed, the table is made, and it
// begins again: nothing has been done by then.

// unnamed as an errno says that the call needs the table of names, or a node of it
// that is not on the disk yet (names.need).
const unnamed = unix.Errno(1<<16 - 2)

// early is what is known of the names before the table is made.
type early struct {
	hide *Hide
	tree *branch
	open map[*branch]place
}

// place is what a name leads to.
type place struct {
	fd   int // path descriptor
	mode uint32
}

func newEarly(h *Hide) *early {
	table := map[string]*Name{}
	for i := range h.Names {
		table[h.Names[i].Prefix] = &h.Names[i]
	}
	return &early{hide: h, tree: newBranch(table), open: map[*branch]place{}}
}

func (e *early) close() {
	for _, p := range e.open {
		unix.Close(p.fd)
	}
}

// find returns the longest name that a path begins with and how many components
// it has. ok is false if another lies below it, or it is not the host's.
func (e *early) find(components []string) (b *branch, used int, ok bool) {
	b = e.tree
	for used < len(components) && b.below[components[used]] != nil {
		b = b.below[components[used]]
		used++
	}
	return b, used, b.single()
}

// single reports whether the name leads somewhere by itself.
func (b *branch) single() bool {
	return b.name != nil && b.name.Host != "" && len(b.below) == 0
}

// place opens what a name leads to, once, with the rights of the caller.
func (e *early) place(b *branch) (place, bool) {
	fd, err := b.name.open()
	p := place{fd: fd}
	if err != nil {
		return p, false // one that may be missing, or a trouble that the table tells of
	}
	p.mode = fileType(p.fd)
	e.open[b] = p
	return p, true
}

// cellName returns what something on the host is called in the cell, if a single
// name says that.
func (e *early) cellName(host string) (string, bool) {
	var best *Name
	for i := range e.hide.Names {
		n := &e.hide.Names[i]
		rest, below := strings.CutPrefix(host, n.Host)
		if n.Host == "" || !below || rest != "" && rest[0] != '/' || best != nil && len(n.Host) <= len(best.Host) {
			continue
		}
		best = n
	}
	if best == nil {
		return "", false
	}
	if b, _, ok := e.find(split(best.Prefix)); !ok || b.name != best {
		return "", false
	}
	return best.Prefix + host[len(best.Host):], true
}

// beginEarly is begin without the table.
func (m *Membrane) beginEarly(n *notification, dirfd int32, path string) (way, unix.Errno) {
	if m.early == nil {
		m.early = newEarly(m.config.Hide)
	}
	p := newWay(path)
	if path[0] != '/' {
		base, errno := m.directory(n, dirfd)
		if errno != 0 {
			return p, errno
		}
		host, errno := linkText(procFD(base))
		at, known := "", false
		if errno == 0 {
			at, known = m.early.cellName(host)
		}
		if !known {
			unix.Close(base)
			return p, unnamed
		}
		above := split(at)
		p.floor = len(above)
		p.all = slices.Concat(above, p.all)
		if _, used, _ := m.early.find(above); used < len(above) {
			p.base, p.own, p.rest = base, true, path
			return p, 0
		}
		unix.Close(base)
	}
	b, used, ok := m.early.find(p.all)
	if !ok || slices.Contains(p.all, "..") {
		return p, unnamed
	}
	to, ok := m.early.open[b]
	if !ok {
		m.shed()
		to, ok = m.early.place(b)
	}
	switch {
	case !ok, to.mode != unix.S_IFDIR && (used < len(p.all) || p.slash):
		return p, unnamed
	case used == len(p.all):
		p.named = to
	default:
		p.base, p.rest = to.fd, p.restOf(used)
	}
	return p, 0
}
