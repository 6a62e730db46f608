package cell

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/membrane"
	"nipcells/internal/wall"
)

// Lesson is what a cell used of what it was given, and what it lacked.
type Lesson struct {
	// Pledge are the promises that it used, and those that it lacked.
	Pledge, Lacked capability.Pledge
	// Unveil is the smallest list worth having that covers what it used of what was
	// unveiled.
	Unveil []capability.Unveil
	// Narrow are paths that were unveiled with fewer rights than these, which it wanted.
	Narrow []capability.Unveil
	// Hidden are paths of the host that it looked for and that it had no name for, with
	// the rights that it wanted there. They are for the person: the cell is gone.
	Hidden []capability.Unveil
	// Net are the rules for the network that it needed of those it had, and Closed ones
	// that it lacked.
	Net, Closed []capability.Net
	// Never are the calls it made that no cell may.
	Never []string
}

// placesMost is how many paths of one kind a learner keeps, and neverMost how many
// calls: a cell may come with any number.
const placesMost, neverMost = 1 << 14, 64

// learner collects what the listener is told while the cell runs. What takes a look
// at the host waits until the cell is gone, which so cannot find out by the time
// that an answer takes.
type learner struct {
	mutex          sync.Mutex
	pledge, lacked capability.Pledge
	at             map[string]trace   // below what is unveiled
	made           map[string]bool    // paths that the cell has made
	links          map[string]bool    // names that led through a symlink
	peers          map[[2]string]bool // directories between which something was moved
	narrow, wanted map[string]capability.Rights
	net, closed    map[capability.Net]bool
	never          map[string]bool
	own            []string // HOME, tmp, run
}

// trace is what was used of one path.
type trace struct {
	rights capability.Rights
	dir    bool
}

// learnFrom makes the Membrane tell this cell's learner.
func (c *cell) learnFrom(config *membrane.Config) {
	c.learner = &learner{
		pledge: capability.Stdio, at: map[string]trace{}, made: map[string]bool{}, links: map[string]bool{}, peers: map[[2]string]bool{},
		net: map[capability.Net]bool{}, closed: map[capability.Net]bool{},
		narrow: map[string]capability.Rights{}, wanted: map[string]capability.Rights{}, never: map[string]bool{},
		own: config.Writable[:3], // see writable
	}
	config.Deny, config.Learn, config.First = true, c.learn, c.child.PID
}

func (l *learner) fault(f membrane.Fault) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if f.Missing == 0 && len(l.never) < neverMost {
		l.never[f.Call] = true
	}
	l.lacked |= f.Missing
}

// learn takes in one thing that the cell used or wanted.
func (c *cell) learn(u membrane.Use) {
	l := c.learner
	l.mutex.Lock()
	defer l.mutex.Unlock()
	// The directory that the cell begins in must be visible as a whole, if it matters.
	if u.From == c.cwd && capability.RightsAt(c.unveil, c.cwd) != 0 {
		c.learnAt(c.cwd, trace{capability.Read, true})
	}
	switch {
	case u.Net != nil && u.Refused && len(l.closed) < placesMost:
		l.closed[*u.Net] = true
	case u.Net != nil && !u.Refused && len(l.net) < placesMost:
		l.net[*u.Net] = true
	case u.Net != nil:
	case u.Path != "":
		c.learnPlace(&u)
	case u.Name == "":
		l.pledge |= u.Promise
	case len(l.wanted) < placesMost:
		l.wanted[u.Name] |= u.Rights
	}
}

// learnPlace takes in what was done, or refused, in a place that the cell has.
func (c *cell) learnPlace(u *membrane.Use) {
	l := c.learner
	given := capability.RightsAt(c.unveil, u.Path)
	if given == 0 && !slices.ContainsFunc(l.own, func(dir string) bool { return below(u.Path, dir) }) {
		return // the package's, a device: no promise and no unveil makes a difference
	}
	if u.Name != "" && u.Name != u.Path && len(l.links) < placesMost && capability.RightsAt(c.unveil, u.Name) != 0 {
		l.links[u.Name] = true
	}
	lacks := u.Promise &^ c.pledge
	narrow := given != 0 && !given.Has(u.Rights)
	l.lacked |= lacks
	if narrow && len(l.narrow) < placesMost {
		l.narrow[u.Path] |= u.Rights
	}
	if narrow || u.Refused && lacks == 0 {
		u.Rights, u.Promise = 0, 0 // it was seen, all the same
	}
	l.pledge |= u.Promise
	if given == 0 {
		return // HOME and the like are there in any case
	}
	if u.Made && len(l.made) < placesMost {
		l.made[u.Path] = true
	}
	c.learnAt(u.Path, trace{u.Rights, u.Dir})
	if u.Peer != "" && len(l.peers) < placesMost {
		l.peers[[2]string{u.Path, u.Peer}] = true
	}
}

// learnAt adds what was used of a path. If there are too many it counts for all that
// was unveiled with it.
func (c *cell) learnAt(path string, t trace) {
	l := c.learner
	old, known := l.at[path]
	if !known && len(l.at) >= placesMost {
		i := slices.IndexFunc(c.unveil, func(u capability.Unveil) bool { return u.Contains(path) && u.Rights.Has(t.rights) })
		if i >= 0 {
			path, t.rights = c.unveil[i].Path, t.rights|capability.Read&c.unveil[i].Rights
			old = l.at[path]
		}
	}
	l.at[path] = trace{old.rights | t.rights, old.dir || t.dir}
}

// learnDead says which child of the supervisor is to be reaped next, -1 for any, and
// looks at it before: an orphan was made by a process of the cell.
func (c *cell) learnDead(options int) int {
	if c.learner == nil {
		return -1
	}
	var info struct { // siginfo_t of SIGCHLD, waitid(2)
		_   [4]int32
		pid int32
		_   [108]byte
	}
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOWAIT|options, nil).(unix.Errno)
	}
	if err != 0 || info.pid == 0 {
		return -1
	}
	pid := int(info.pid)
	id, marked := wall.MarkOf(pid)
	if pid == c.child.PID && hadChildren(pid) || pid != c.child.PID && marked && id == c.state.id {
		c.learn(membrane.Use{Promise: capability.Proc & c.pledge})
	}
	return pid
}

// hadChildren reports whether a process that is about to be reaped has waited for
// children, whose page faults it has then, or chose not to have to: it ignores
// SIGCHLD. What no look finds are children that asked nothing, of a process that did
// the same by SA_NOCLDWAIT.
func hadChildren(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// proc_pid_stat(5), from the third field on.
	const cminflt, cmajflt = 11 - 3, 13 - 3
	fields := wall.StatFields(stat)
	if len(fields) > cmajflt && (fields[cminflt] != "0" || fields[cmajflt] != "0") {
		return true
	}
	set, err := wall.Facts(pid, "status", "SigIgn")
	if err != nil {
		return false
	}
	ignored, err := strconv.ParseUint(set[0], 16, 64)
	return err == nil && ignored&(1<<(unix.SIGCHLD-1)) != 0
}

// lesson sums up.
func (c *cell) lesson() Lesson {
	l := c.learner
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return Lesson{
		Pledge: l.pledge | l.lacked, Lacked: l.lacked, Unveil: capability.FoldUnveils(l.used(c.unveil), c.unveil),
		Net: capability.NormalizeNets(slices.Collect(maps.Keys(l.net))), Closed: capability.NormalizeNets(slices.Collect(maps.Keys(l.closed))),
		Narrow: unveilsOf(l.narrow), Hidden: c.hidden(), Never: slices.Sorted(maps.Keys(l.never)),
	}
}

// used lists what the cell used of what was unveiled.
func (l *learner) used(unveiled []capability.Unveil) []capability.Unveil {
	rights := map[string]capability.Rights{}
	var seen []string // directories that only had to be there
	for path, t := range l.at {
		at := l.before(path)
		switch {
		case t.rights != 0:
			rights[at] |= t.rights
		case at != path: // what the cell makes, it sees
		case t.dir:
			seen = append(seen, path)
		default:
			rights[behind(path)] |= capability.Read
		}
	}
	for name := range l.links {
		rights[linkIn(name, unveiled)] |= capability.Read
	}
	// Landlock moves nothing to where it would have more rights.
	for p := range l.peers {
		a, b := l.before(p[0]), l.before(p[1])
		both := rights[a] | rights[b]
		for _, dir := range []string{a, b} {
			if capability.RightsAt(unveiled, dir) != 0 {
				rights[dir] |= both
			}
		}
	}
	// The way to something visible is there without being unveiled.
	slices.SortFunc(seen, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	led := map[string]bool{}
	for path := range rights {
		eachAncestor(path, func(dir string) { led[dir] = true })
	}
	for _, dir := range seen {
		if !led[dir] {
			rights[dir] |= capability.Read
			eachAncestor(dir, func(dir string) { led[dir] = true })
		}
	}
	return unveilsOf(rights)
}

// before returns the place that had to be there for path before the cell made it, or
// made what it lies in: the directory in which that was made.
func (l *learner) before(path string) string {
	at := path
	eachAncestor(path, func(dir string) {
		if l.made[dir] {
			at = filepath.Dir(dir)
		}
	})
	return at
}

// behind returns what to unveil so that path is seen: a symlink is seen in its
// directory, since what is unveiled is never followed.
func behind(path string) string {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSymlink != 0 {
		return filepath.Dir(path)
	}
	return path
}

// linkIn returns the directory of the first symlink that a name leads through, below
// what is unveiled.
func linkIn(name string, unveiled []capability.Unveil) string {
	in := name
	eachAncestor(name, func(dir string) {
		if capability.RightsAt(unveiled, dir) == 0 {
			return
		}
		if at := behind(dir); at != dir {
			in = at
		}
	})
	return in
}

func unveilsOf(rights map[string]capability.Rights) []capability.Unveil {
	var list []capability.Unveil
	for _, path := range slices.Sorted(maps.Keys(rights)) {
		list = append(list, capability.Unveil{Path: path, Rights: rights[path]})
	}
	return list
}

// hidden lists what the cell looked for in vain and the host has, but for nip's own
// files, and for /proc and /dev, which come from the supervisor alone.
func (c *cell) hidden() []capability.Unveil {
	own := c.ownFiles()
	found := map[string]capability.Rights{}
	led := map[string]bool{}
	for name, rights := range c.learner.wanted {
		_, err := os.Lstat(name)
		if err != nil && rights.Has(capability.Create) {
			name = filepath.Dir(name)
			_, err = os.Lstat(name)
		}
		if err != nil || below(name, "/proc") || below(name, "/dev") || capability.RightsAt(c.unveil, name) != 0 {
			continue
		}
		if real, err := filepath.EvalSymlinks(name); err != nil || own.meet(real) {
			continue
		}
		if rights == 0 {
			rights = capability.Read
		}
		found[name] |= rights
		if name != "/" {
			eachAncestor(filepath.Dir(name), func(dir string) { led[dir] = true })
		}
	}
	for name, rights := range found {
		if led[name] && rights == capability.Read { // only on the way
			delete(found, name)
		}
	}
	return unveilsOf(found)
}
