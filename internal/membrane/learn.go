package membrane

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/wall"
)

// A cell that learns tells what it uses (Config.Learn). Its path calls are all
// asked, so that each is answered here, where it is known what became of it; calls
// that a promise permits by their registers alone come to be told of and go on. Of
// what makes processes only the processes are seen: whoever asks something and is
// not the first is one.

// Use is something that a program of the cell used, or wanted.
type Use struct {
	// Promise permits it. Where there is a Path, it is one that Landlock's rules at
	// that place depend on, else one that the call itself takes.
	Promise capability.Pledge
	// Name is the path by which the cell asked, absolute, and From the directory that
	// it counted from, "" for an absolute one.
	Name, From string
	// Path is what it is on the host; "" if there is no such thing for the cell.
	Path   string
	Peer   string            // the directory that something was moved or linked to from Path, a directory
	Dir    bool              // it is a directory
	Made   bool              // the cell has made it just now
	Rights capability.Rights // that it takes to have it unveiled there; 0: to be seen
	Net    *capability.Net   // whom a socket was to reach, instead of a path
	// Refused says that the cell lacks these rights, or the promise.
	Refused bool
}

// learnCall tells of the promise that a call takes, whatever becomes of it: without
// the promise it would be a fault.
func (m *Membrane) learnCall(n *notification) {
	if m.config.Learn == nil {
		return
	}
	if by, _ := wall.Permitting(m.config.Arch, m.config.Pledge, n.nr, n.args); by != 0 && by != capability.Stdio {
		m.config.Learn(Use{Promise: by})
	}
	if m.known[n.pid] {
		return
	}
	if of := threadGroup(int(n.pid)); m.valid(n) {
		const most = 1 << 14
		if m.known == nil || len(m.known) >= most {
			m.known = map[uint32]bool{}
		}
		m.known[n.pid] = true
		if of != m.config.First {
			m.config.Learn(Use{Promise: capability.Proc})
		}
	}
}

// learnNet tells of an address that the cell used, or was refused.
func (m *Membrane) learnNet(kind capability.NetKind, a capability.Addr, port uint16, refused bool) {
	if m.config.Learn == nil {
		return
	}
	n := capability.Net{Kind: kind, Addr: a, Bits: 128, From: port, To: port}
	const chosen = 32768 // by the kernel, perhaps (ip_local_port_range): it is another one next time
	if port >= chosen {
		n.From, n.To = 0, 1<<16-1
	}
	server := capability.Net{Kind: kind, Name: capability.NameServers, From: 53, To: 53}
	if w := m.config.Network; w != nil && !refused && port == 53 && slices.Contains(w.Rules, server) && slices.Contains(w.NameServers(), a) {
		n = server
	}
	m.config.Learn(Use{Net: &n, Refused: refused})
}

// goOn answers calls that are only asked to be learnt of, and those that no promise
// permits, which come here in a cell that learns.
func goOn(m *Membrane, n *notification) (int64, unix.Errno) {
	if _, free := wall.Permitting(m.config.Arch, m.config.Pledge, n.nr, n.args); free {
		m.proceed(n)
	} else {
		m.fault(n)
	}
	return 0, later
}

// name is the path as the cell means it, by its text.
func (p *way) name() string { return path.Clean("/" + strings.Join(p.all, "/")) }

// from is the directory that a relative path counts from.
func (p *way) from() string {
	if p.floor == 0 {
		return ""
	}
	return "/" + strings.Join(p.all[:p.floor], "/")
}

// learnFound tells of a path that was followed to fd, or to nothing.
func (m *Membrane) learnFound(p *way, fd int, wants capability.Rights, errno unix.Errno) {
	if m.config.Learn == nil || errno != 0 && errno != unix.ENOENT {
		return
	}
	u := Use{Name: p.name(), From: p.from()}
	if errno != 0 {
		u.Rights = wants
	} else {
		u.place(fd)
	}
	m.config.Learn(u)
}

// learnUse tells of what was done, or refused, with the file behind fd.
func (m *Membrane) learnUse(fd int, needs capability.Rights, by capability.Pledge, errno unix.Errno) {
	if m.config.Learn == nil || fd < 0 || errno != 0 && errno != unix.EACCES && errno != unix.EPERM {
		return
	}
	u := Use{Rights: needs, Promise: by, Refused: errno != 0}
	u.place(fd)
	m.config.Learn(u)
}

// learnSpot tells of a name that was made, removed or moved in a directory.
func (m *Membrane) learnSpot(s *spot, made bool, errno unix.Errno) {
	if m.config.Learn == nil || errno != 0 && errno != unix.EACCES && errno != unix.EXDEV {
		return
	}
	u := Use{Rights: capability.Create, Promise: capability.Cpath, Refused: errno != 0}
	u.place(s.fd)
	m.config.Learn(u)
	if made && errno == 0 {
		m.config.Learn(Use{Path: path.Join(u.Path, s.name), Made: true})
	}
}

// learnMoved tells that something was moved out of the directory behind fd, or that
// the file behind fd was linked, to a spot.
func (m *Membrane) learnMoved(fd int, to *spot, errno unix.Errno) {
	if m.config.Learn == nil || errno != 0 {
		return
	}
	u := Use{Rights: capability.Create, Promise: capability.Cpath}
	if u.place(fd); !u.Dir {
		u.Path, u.Dir = path.Dir(u.Path), true
	}
	if at, none := linkText(procFD(to.fd)); none == 0 && at != u.Path {
		u.Peer = at
		m.config.Learn(u)
	}
}

func (u *Use) place(fd int) {
	if at, errno := linkText(procFD(fd)); errno == 0 {
		u.Path, u.Dir = at, isDir(fd)
	}
}

// takes says what opening with these flags takes.
func takes(flags uint64) (r capability.Rights, by capability.Pledge) {
	if flags&unix.O_ACCMODE != unix.O_WRONLY {
		r, by = capability.Read, capability.Rpath
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0 {
		r, by = r|capability.Write, by|capability.WriteOnly
	}
	return r, by
}

// learnOpening notes what a file is opened for: whoever opens it tells of it before
// the caller has it, who may be the last of its cell and gone by then.
func (m *Membrane) learnOpening(n *notification, p *way, flags uint64) {
	if m.config.Learn == nil {
		return
	}
	u := Use{Name: p.name(), From: p.from(), Made: flags&tmpfileBit == tmpfileBit}
	u.Rights, u.Promise = takes(flags)
	if flags&unix.O_CREAT != 0 {
		o, errno := m.findWay(n, p, flags&unix.O_EXCL == 0)
		if o.fd >= 0 {
			unix.Close(o.fd)
		}
		if errno == unix.ENOENT {
			u.Rights, u.Promise, u.Made = u.Rights|capability.Create, u.Promise|capability.Cpath, true
		}
	}
	m.file = u
}

// learnOpened tells of what was opened, on the opener's thread.
func (m *Membrane) learnOpened(fd int) {
	if m.config.Learn != nil {
		u := m.file
		u.place(fd)
		m.config.Learn(u)
	}
}

// learnUnopened tells of what could not be opened.
func (m *Membrane) learnUnopened(n *notification, p *way, errno unix.Errno) {
	if m.config.Learn == nil {
		return
	}
	switch u := m.file; {
	case errno == unix.ENOENT:
		u.Made = false
		m.config.Learn(u)
	case errno == unix.EACCES && u.Made:
		m.learnUnmade(n, p, u.Rights, u.Promise)
	case errno == unix.EACCES:
		if o, found := m.findWay(n, p, true); found == 0 {
			m.learnUse(o.fd, u.Rights, u.Promise, errno)
			unix.Close(o.fd)
		}
	}
}

// learnUnmade tells of a file that could not be made: its directory lacks something.
func (m *Membrane) learnUnmade(n *notification, p *way, needs capability.Rights, by capability.Pledge) {
	if m.names == nil && m.name() != nil {
		return
	}
	dir := way{base: -1, all: split(path.Dir(p.name())), slash: true}
	if o, errno := m.findWay(n, &dir, true); errno == 0 {
		m.learnUse(o.fd, needs, by, unix.EACCES)
		unix.Close(o.fd)
	}
}
