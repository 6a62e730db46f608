package membrane

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/view/zone"
)

// Hide says what exists for a cell that is to see nothing else. Path calls of such
// a cell that do not go by the zone are asked (wall.Compile) and answered from
// this. All of it is opened when the first is asked.
type Hide struct {
	// Names are all that the cell can name. One must be "/".
	Names []Name
	// Skeleton is an empty directory of the cell's, to which its Landlock rules
	// give reading: directories that only lead to other names are made there, so
	// that listing them is the kernel's work.
	Skeleton string
	// Programs is the directory, by its name on the host, whose files are told
	// to be there when a process asks which program it is: execve(2) takes these
	// names (paths_exec.go). Loaders is where dynamic loaders are.
	Programs, Loaders string
	Fiber             uint32 // the cell's mark: whose processes /proc shows
}

// Name gives the cell a name. The longest prefix wins, component by component.
type Name struct {
	Prefix   string // canonical: absolute and clean
	Host     string // the directory or file that it leads to
	FD       int    // a path descriptor of it; 0: to be opened by its name, which no cell can change
	Link     string // if set, the name is a symlink with this text
	Proc     bool   // the name is that of /proc (see proc.go)
	Optional bool   // left out if Host is missing

	rank int
}

// names is the table of a cell. It does not change once it is made.
type names struct {
	root    *node
	hosts   []hostName      // longest first
	covered map[fileID]bool // directories that lie under ones of the skeleton
}

// node is a name, or a directory on the way to one.
type node struct {
	fd    int    // path descriptor of what the name leads to
	under int    // directory that lies under one of the skeleton's; -1
	mode  uint32 // file type, S_IF*
	proc  bool
	below map[string]*node
}

// base is the directory in which names that the table does not have are
// looked up.
func (d *node) base() int {
	if d.under >= 0 {
		return d.under
	}
	return d.fd
}

// single reports whether the node is the host's and no other name lies below.
func (d *node) single() bool { return len(d.below) == 0 && !d.proc && d.mode != unix.S_IFLNK }

// hostName says what something on the host is called in the cell.
type hostName struct {
	host, cell string
	rank       int // its place in the list of names
}

// newNames opens everything that the names lead to, with the rights of the
// caller, and makes the skeleton.
func newNames(h *Hide) (*names, error) {
	t := &names{covered: map[fileID]bool{}}
	list := slices.Clone(h.Names)
	for i := range list {
		list[i].rank = i
	}
	table := map[string]*Name{}
	for i := range list {
		n := &list[i]
		if n.Optional {
			if _, err := os.Stat(n.Host); errors.Is(err, os.ErrNotExist) {
				continue
			}
		}
		table[n.Prefix] = n
	}
	tree := newBranch(table)
	t.hosts = append(t.hosts, hostName{host: h.Skeleton, cell: "/"})
	var err error
	if t.root, err = t.make(h.Skeleton, "/", tree, nil); err != nil {
		return nil, err
	}
	slices.SortStableFunc(t.hosts, func(a, b hostName) int { return len(b.host) - len(a.host) })
	return t, nil
}

// branch is a name of the table, or the way to one, before it is opened.
type branch struct {
	name  *Name // nil: only on the way
	below map[string]*branch
}

func newBranch(table map[string]*Name) *branch {
	root := &branch{below: map[string]*branch{}}
	for prefix, n := range table {
		at := root
		for _, c := range split(prefix) {
			next := at.below[c]
			if next == nil {
				next = &branch{below: map[string]*branch{}}
				at.below[c] = next
			}
			at = next
		}
		at.name = n
	}
	return root
}

// make makes the node of branch b, whose name in the cell is path. parent is
// nil for the root.
func (t *names) make(skeleton, path string, b *branch, parent *node) (*node, error) {
	d := &node{fd: -1, under: -1, mode: unix.S_IFDIR, below: map[string]*node{}}
	var err error
	switch {
	case b.name != nil && b.name.Link != "":
		d.mode = unix.S_IFLNK
		if err = put(skeleton+path, d.mode, b.name.Link); err == nil {
			d.fd, err = unix.Open(skeleton+path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
	case b.name != nil && b.name.Proc:
		d.proc = true
		err = d.onSkeleton(skeleton + path)
	case b.name != nil && path != "/":
		err = t.open(d, b.name)
	case b.name != nil:
		if err = t.open(d, b.name); err == nil {
			d.under = d.fd
			err = d.onSkeleton(skeleton)
		}
	default:
		err = d.onTheWay(skeleton+path, path[strings.LastIndexByte(path, '/')+1:], b, parent)
	}
	if err != nil {
		return nil, fmt.Errorf("name %s of the cell: %w", path, err)
	}
	if d.under >= 0 {
		t.cover(d.under, "", unix.AT_EMPTY_PATH)
	}
	for c, next := range b.below {
		t.cover(d.base(), c, unix.AT_SYMLINK_NOFOLLOW) // a hole of the view, or of the cell's /tmp
		if d.below[c], err = t.make(skeleton, strings.TrimSuffix(path, "/")+"/"+c, next, d); err != nil {
			return nil, err
		}
	}
	return d, d.fill(skeleton + path)
}

// cover notes that what is at path below dir is not what the cell finds there.
func (t *names) cover(dir int, path string, flags int) {
	var st unix.Stat_t
	if unix.Fstatat(dir, path, &st, flags) == nil {
		t.covered[fileID{uint64(st.Dev), st.Ino}] = true
	}
}

// open opens what name leads to and remembers what it is called.
func (t *names) open(d *node, name *Name) (err error) {
	if name.FD > 0 {
		d.fd, err = unix.FcntlInt(uintptr(name.FD), unix.F_DUPFD_CLOEXEC, 0)
	} else {
		d.fd, err = unix.Open(name.Host, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return err
	}
	d.mode = st.Mode & unix.S_IFMT
	host, err := os.Readlink(procFD(d.fd))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(t.hosts, func(h hostName) bool { return h.host == host })
	if i < 0 {
		t.hosts = append(t.hosts, hostName{host, name.Prefix, name.rank})
	} else if name.rank < t.hosts[i].rank { // of several names the first is the one that is told
		t.hosts[i] = hostName{host, name.Prefix, name.rank}
	}
	return nil
}

// onTheWay makes a directory that only leads to other names. If what is there
// already, behind the parent's other names, has all of them, it is that.
func (d *node) onTheWay(skeleton, c string, b *branch, parent *node) error {
	if parent != nil {
		how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
		if fd, err := unix.Openat2(parent.base(), c, &how); err == nil && isHole(fd) {
			unix.Close(fd)
		} else if err == nil {
			d.under = fd
			for name := range b.below {
				var st unix.Stat_t
				if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
					return d.onSkeleton(skeleton)
				}
			}
			d.fd, d.under = fd, -1
			return nil
		}
	}
	return d.onSkeleton(skeleton)
}

// isHole reports whether a directory is one of mode 0, in which nothing is.
func isHole(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode == unix.S_IFDIR
}

func (d *node) onSkeleton(path string) (err error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	d.fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return err
}

// fill puts into a directory of the skeleton everything that a listing of it is
// to show: the names below, and those of the directory under it. The supervisor
// never looks anything up there. A program that does natively gets nowhere and
// asks: what stands for something else has mode 0, or is a symlink that loops.
func (d *node) fill(path string) error {
	if fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err != nil || !sameFile(fd, d.fd) {
		if err == nil {
			unix.Close(fd)
		}
		return nil // not on the skeleton
	} else {
		unix.Close(fd)
	}
	for c, n := range d.below {
		if err := put(path+"/"+c, n.mode, zone.Placeholder(c)); err != nil {
			return err
		}
	}
	if d.under < 0 {
		return nil
	}
	entries, err := os.ReadDir(procFD(d.under) + "/.")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := put(path+"/"+e.Name(), typeOf(e), zone.Placeholder(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// put makes something of a type at path, which nobody may use, unless there is
// something already.
func put(path string, mode uint32, link string) error {
	var err error
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = unix.Mkdir(path, 0)
	case unix.S_IFLNK:
		err = unix.Symlink(link, path)
	default:
		err = unix.Mknod(path, unix.S_IFREG, 0)
	}
	if err == unix.EEXIST {
		return nil
	}
	return err
}

func typeOf(e os.DirEntry) uint32 {
	switch {
	case e.IsDir():
		return unix.S_IFDIR
	case e.Type()&os.ModeSymlink != 0:
		return unix.S_IFLNK
	}
	return unix.S_IFREG
}

func sameFile(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// longest follows components as far as the table has them.
func (t *names) longest(components []string) (d *node, used int) {
	d = t.root
	for used < len(components) {
		next := d.below[components[used]]
		if next == nil {
			break
		}
		d = next
		used++
	}
	return d, used
}

// cellName returns what something on the host is called in the cell. ok is
// false for what the cell has no name for.
func (t *names) cellName(host string) (name string, ok bool) {
	for _, h := range t.hosts {
		rest, ok := strings.CutPrefix(host, h.host)
		if !ok || rest != "" && rest[0] != '/' && h.host != "/" {
			continue
		}
		if name = strings.TrimSuffix(h.cell, "/") + rest; name == "" {
			name = "/"
		}
		return name, true
	}
	return "", false
}

// nameOf returns what the file behind our descriptor is called in the cell.
func (t *names) nameOf(fd int) (name string, ok bool) {
	host, errno := linkText(procFD(fd))
	if errno != 0 {
		return "", false
	}
	return t.cellName(host)
}

// split returns the components of a path, without those that mean nothing.
func split(path string) []string {
	list := make([]string, 0, 12)
	for c := range strings.SplitSeq(path, "/") {
		if c != "" && c != "." {
			list = append(list, c)
		}
	}
	return list
}

func (d *node) close() {
	for _, n := range d.below {
		n.close()
	}
	unix.Close(d.fd)
	if d.under >= 0 {
		unix.Close(d.under)
	}
}
