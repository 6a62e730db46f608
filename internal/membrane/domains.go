package membrane

import (
	"errors"
	"runtime"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// Landlock domains that programs of the cell put around themselves (package nexus,
// or anybody's own use of landlock(7)).
//
// What is asked is done by an opener, which knows nothing of a domain that one process
// has beside the cell's. So landlock_restrict_self is asked, too: an opener of its own
// enters the cell's rules and then the same ruleset, and from then on acts for that
// process and all that it forks and executes. Which one does is kept by the kernel, as
// with working directories (cwds), in a value that all of them inherit and nobody can
// change: the hard RLIMIT_LOCKS. Without rights it can only be lowered, so numbers go
// down, and a process can only come to a domain within its own.
//
// A domain is a thread's for the kernel and a process's for us: where only some threads
// have one, asked calls of the others are refused what it refuses.
//
// A ruleset that somebody has entered must not get more rules: an opener for a domain
// within that one enters it once more. So landlock_add_rule is asked and done here,
// on copies of the descriptors, and refused for such a ruleset.
type domains struct {
	table map[uint64]*domain
	next  uint64
}

// domain is one ruleset within the cell's rules, or within another domain.
type domain struct {
	id      uint64
	above   *domain // nil: the cell's rules
	ruleset int     // a copy of the program's descriptor
	opener  opener
	pins    atomic.Int32 // threads that are on their way into it
}

// Numbers of domains, from domainFirst down to domainLast; working directories have
// those below. At domainMost the table is cleaned, at four times as many it is full.
const domainFirst, domainLast, domainMost = 1 << 60, 1 << 50, 32

// domainOf returns the domain of a process, nil if it has none of its own. One whose
// domain has been forgotten is refused everything.
func (m *Membrane) domainOf(pid int) (*domain, unix.Errno) {
	if m.domains.table == nil {
		return nil, 0
	}
	var l unix.Rlimit
	if m.limit(pid, unix.RLIMIT_LOCKS, nil, &l) != 0 {
		return nil, unix.EACCES
	}
	if l.Max < domainLast || l.Max > domainFirst {
		return nil, 0
	}
	d, ok := m.domains.table[l.Max]
	if !ok {
		return nil, unix.EACCES
	}
	return d, 0
}

// within reports whether d is other or lies within it; nil is the cell's own.
func (d *domain) within(other *domain) bool {
	for ; d != other; d = d.above {
		if d == nil {
			return false
		}
	}
	return true
}

// confinement returns what puts the rules of the caller's domain around another thread.
// release is called when that has been done.
func (m *Membrane) confinement() (confine func() error, release func()) {
	d := m.current
	if d == nil {
		return m.config.Confine, func() {}
	}
	d.pins.Add(1)
	return func() error { return d.enter(m.config.Confine) }, func() { d.pins.Add(-1) }
}

func (d *domain) enter(cell func() error) error {
	err := error(nil)
	if d.above != nil {
		err = d.above.enter(cell)
	} else {
		err = cell()
	}
	if err != nil {
		return err
	}
	return wall.RestrictThread(d.ruleset)
}

// act does f on the opener's thread that has the caller's rules.
func (m *Membrane) act(f func() unix.Errno) unix.Errno {
	if m.current == nil {
		return m.opener.do(m.config.Confine, f)
	}
	return m.current.opener.do(nil, f) // it runs already
}

// landlockRestrictSelf makes the caller's domain narrower, and lets the kernel do the
// same. A ruleset that is entered again, by another thread of the process, say, is
// nothing new.
func landlockRestrictSelf(m *Membrane, n *notification) (int64, unix.Errno) {
	if int32(n.args[0]) == -1 { // no ruleset: flags for the log
		m.proceed(n)
		return 0, later
	}
	// What the kernel will refuse must not have made anything narrower by then.
	if flags := uint32(n.args[1]); flags != 0 {
		if errno := m.act(func() unix.Errno { return wall.RestrictFlags(flags) }); errno != 0 {
			return 0, errno
		}
	}
	ruleset, errno := m.rulesetOf(n)
	if errno != 0 {
		return 0, errno
	}
	for d := m.current; d != nil; d = d.above {
		if sameDescription(d.ruleset, ruleset) {
			unix.Close(ruleset)
			m.proceed(n)
			return 0, later
		}
	}
	d, errno := m.newDomain(ruleset)
	if errno != 0 {
		unix.Close(ruleset)
		return 0, errno
	}
	if errno := m.moveTo(n, d); errno != 0 {
		m.forget(d)
		return 0, errno
	}
	m.proceed(n)
	return 0, later
}

// newDomain makes a domain within the caller's, and its opener: what the ruleset says
// now counts, which nobody can change before the caller goes on.
func (m *Membrane) newDomain(ruleset int) (*domain, unix.Errno) {
	all := &m.domains
	if all.table == nil {
		all.table, all.next = map[uint64]*domain{}, domainFirst
	}
	if len(all.table) >= domainMost {
		m.cleanDomains()
	}
	if len(all.table) >= 4*domainMost || all.next < domainLast {
		return nil, unix.ENOMEM
	}
	d := &domain{id: all.next, above: m.current, ruleset: ruleset}
	d.opener.alone, d.opener.near = true, true
	d.opener.do(func() error { return d.enter(m.config.Confine) }, func() unix.Errno { return 0 })
	if err := d.opener.err; err != nil {
		errno := unix.EPERM
		errors.As(err, &errno) // E2BIG: no layer is left
		return nil, errno
	}
	all.next--
	all.table[d.id] = d
	// See cell.grown: one more thread that blocks.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), min(len(all.table)+4, 16)))
	return d, 0
}

// moveTo makes d the domain of the caller's process.
func (m *Membrane) moveTo(n *notification, d *domain) unix.Errno {
	if !m.valid(n) {
		return unix.ENOENT
	}
	var l unix.Rlimit
	if errno := m.limit(int(n.pid), unix.RLIMIT_LOCKS, nil, &l); errno != 0 {
		return errno
	}
	if l.Max < d.id {
		return unix.EOPNOTSUPP // somebody set a limit before the cell began: there is no place for the number
	}
	l.Max = d.id
	if l.Cur > l.Max {
		l.Cur = 0 // no directory of ours
	}
	return m.limit(int(n.pid), unix.RLIMIT_LOCKS, &l, nil)
}

func (m *Membrane) forget(d *domain) {
	d.opener.stop()
	unix.Close(d.ruleset)
	delete(m.domains.table, d.id)
}

// cleanDomains forgets domains that no process of the cell is in or within. Two looks,
// as a process can be made behind the first.
func (m *Membrane) cleanDomains() {
	used := map[*domain]bool{}
	use := func(d *domain) {
		for ; d != nil; d = d.above {
			used[d] = true
		}
	}
	use(m.current)
	for range 2 {
		for _, pid := range m.processes() {
			d, _ := m.domainOf(pid)
			use(d)
		}
	}
	for _, d := range m.domains.table {
		if d.pins.Load() > 0 {
			use(d)
		}
	}
	for _, d := range m.domains.table {
		if !used[d] {
			m.forget(d)
		}
	}
}

// landlockAddRule adds a rule to a ruleset of the caller's that nobody has entered. In
// the cell's terms a rule says more than in the kernel's: "/" is the package where the
// cell has a directory of the skeleton, and who may execute what is in a directory may
// have it loaded.
func landlockAddRule(m *Membrane, n *notification) (int64, unix.Errno) {
	if n.args[3] != 0 {
		return 0, unix.EINVAL
	}
	ruleset, errno := m.rulesetOf(n)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(ruleset)
	for _, d := range m.domains.table {
		if sameDescription(d.ruleset, ruleset) {
			return 0, unix.EPERM
		}
	}
	const beneath, port = 1, 2 // LANDLOCK_RULE_*
	switch n.args[1] {
	case beneath:
		return 0, m.addPathRule(n, ruleset)
	case port:
		b, errno := m.readBytes(n, n.args[2], 16)
		if errno != 0 {
			return 0, errno
		}
		return 0, errnoOf(wall.AddPortRule(ruleset, [16]byte(b)))
	}
	return 0, unix.EINVAL
}

func (m *Membrane) addPathRule(n *notification, ruleset int) unix.Errno {
	b, errno := m.readBytes(n, n.args[2], 12) // struct landlock_path_beneath_attr
	if errno != 0 {
		return errno
	}
	access, number := wall.PathRule([12]byte(b))
	fd, err := m.fetch(n.pid, number)
	if err != nil || !m.valid(n) {
		return unix.EBADF
	}
	defer unix.Close(fd)
	if err := wall.AddRule(ruleset, fd, access); err != nil {
		return errnoOf(err)
	}
	if under, ok := m.packageUnder(fd); ok {
		if err := wall.AddRule(ruleset, under, access); err != nil {
			return errnoOf(err)
		}
	}
	if access &= wall.Loading; access&wall.Executing == 0 {
		return 0
	}
	loaders, err := unix.Open(m.config.Hide.Loaders, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0 // a root without dynamic programs
	}
	defer unix.Close(loaders)
	return errnoOf(wall.AddRule(ruleset, loaders, access))
}

// packageUnder returns the directory that lies under a directory of the skeleton.
func (m *Membrane) packageUnder(fd int) (int, bool) {
	if m.names == nil {
		return -1, false // nothing is on the skeleton yet
	}
	host, errno := linkText(procFD(fd))
	path, ours := strings.CutPrefix(host, m.names.skeleton)
	if errno != 0 || !ours {
		return -1, false
	}
	parts := split(path)
	d, used := m.names.longest(parts)
	return d.under, used == len(parts) && d.under >= 0
}

// rulesetOf copies the ruleset that is the caller's first argument.
func (m *Membrane) rulesetOf(n *notification) (int, unix.Errno) {
	fd, errno := m.copyOf(n, int32(n.args[0]))
	if errno != 0 {
		return -1, unix.EBADF
	}
	if text, errno := linkText(procFD(fd)); errno != 0 || text != "anon_inode:[landlock-ruleset]" {
		unix.Close(fd)
		return -1, unix.EBADFD
	}
	return fd, 0
}

// mayWrite reports, on the opener's thread, whether the caller's own domain lets it
// write what fd leads to: Landlock says nothing about modes, owners and times, and must
// be asked about something else. A file that its owner may not write cannot be told
// from one that the domain closes.
func (m *Membrane) mayWrite(fd int) bool {
	if m.current == nil {
		return true // the cell's rules are Config.Writable
	}
	flags := uint64(unix.O_WRONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC)
	if isDir(fd) {
		flags = unix.O_TMPFILE | unix.O_WRONLY | unix.O_CLOEXEC
	}
	probe, err := reopen(fd, flags)
	if err == nil {
		unix.Close(probe)
	}
	return err == nil || err == unix.ENXIO // a FIFO without a reader
}

// mayRead is the same about reading.
func (m *Membrane) mayRead(fd int) bool {
	if m.current == nil {
		return true
	}
	probe, err := reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	if err == nil {
		unix.Close(probe)
	}
	return err == nil
}

// mayLookInto reports whether the caller may know what process pid has open and in its
// memory: Landlock forbids that about processes that are not within one's domain.
func (m *Membrane) mayLookInto(pid int) bool {
	if m.current == nil {
		return true
	}
	d, errno := m.domainOf(pid)
	return errno == 0 && d.within(m.current)
}

// sameDescription reports whether two descriptors are the same open file
// (F_DUPFD_QUERY, Linux 6.10).
func sameDescription(a, b int) bool {
	same, err := unix.FcntlInt(uintptr(a), unix.F_DUPFD_QUERY, b)
	return err == nil && same == 1
}
