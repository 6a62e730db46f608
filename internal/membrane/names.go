package membrane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	// give reading: directories that only lead to other names are made there when
	// a call comes to them, so that listing them is the kernel's work.
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
	// Text, if set, may have something else in the place of the file Host, whose name it
	// is given.
	Text func(name string) (text []byte, other bool)

	rank int
}

// open opens what the name leads to.
func (n *Name) open() (fd int, err error) {
	if n.FD > 0 {
		return unix.FcntlInt(uintptr(n.FD), unix.F_DUPFD_CLOEXEC, 0)
	}
	if n.Text != nil {
		if text, other := n.Text(n.Host); other {
			return textFile(n.Prefix, text)
		}
	}
	return unix.Open(n.Host, unix.O_PATH|unix.O_CLOEXEC, 0)
}

// textFile makes a memory file that nobody can change.
func textFile(name string, text []byte) (fd int, err error) {
	if fd, err = unix.MemfdCreate(filepath.Base(name), unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL); err != nil {
		return -1, err
	}
	for len(text) > 0 && err == nil {
		var n int
		n, err = unix.Write(fd, text)
		text = text[max(n, 0):]
	}
	if err == nil {
		err = unix.Fchmod(fd, 0o444)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// names is the table of a cell. It does not change once it is made, but that nodes
// of the skeleton come to be on the disk.
type names struct {
	root     *node
	hosts    []hostName      // longest first
	covered  map[fileID]bool // directories that lie under ones of the skeleton
	skeleton string          // as Hide.Skeleton
	dev      uint64          // the skeleton's device
	wanted   *node           // the node that a call needs, where it is not on the disk
}

// node is a name, or a directory on the way to one.
type node struct {
	path  string // in the cell
	fd    int    // path descriptor of what the name leads to; -1: not made yet
	under int    // directory that lies under one of the skeleton's; -1
	mode  uint32 // file type, S_IF*
	proc  bool
	link  string // text of a symlink
	// ours says that the node is on the skeleton. Most cells need few of those, and
	// files cost: each is made when a call comes to it.
	ours  bool
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

// bare reports whether the directory has nothing but the names below it.
func (d *node) bare() bool { return d.ours && d.under < 0 }

// single reports whether the node is the host's and no other name lies below.
func (d *node) single() bool { return len(d.below) == 0 && !d.ours }

// hostName says what something on the host is called in the cell.
type hostName struct {
	host, cell string
	rank       int // its place in the list of names
}

// newNames opens everything that the names lead to on the host, with the rights of
// the caller.
func newNames(h *Hide) (*names, error) {
	var st unix.Stat_t
	if err := unix.Stat(h.Skeleton, &st); err != nil {
		return nil, fmt.Errorf("directory for the names of the cell: %w", err)
	}
	t := &names{covered: map[fileID]bool{}, skeleton: h.Skeleton, dev: uint64(st.Dev)}
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
	if t.root, err = t.add("/", tree, nil); err != nil {
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

// add adds the node of branch b, whose name in the cell is path. parent is nil for
// the root.
func (t *names) add(path string, b *branch, parent *node) (*node, error) {
	d := &node{path: path, fd: -1, under: -1, mode: unix.S_IFDIR, below: map[string]*node{}}
	var err error
	switch {
	case b.name != nil && b.name.Link != "":
		d.mode, d.link, d.ours = unix.S_IFLNK, b.name.Link, true
	case b.name != nil && b.name.Proc:
		d.proc, d.ours = true, true
	case b.name != nil && path != "/":
		err = t.open(d, b.name)
	case b.name != nil:
		err = t.open(d, b.name)
		d.fd, d.under, d.ours = -1, d.fd, true
	default:
		d.onTheWay(path[strings.LastIndexByte(path, '/')+1:], b, parent)
	}
	if err != nil {
		return nil, fmt.Errorf("name %s of the cell: %w", path, err)
	}
	if d.under >= 0 {
		t.cover(d.under, "", unix.AT_EMPTY_PATH)
	}
	for c, next := range b.below {
		t.cover(d.base(), c, unix.AT_SYMLINK_NOFOLLOW) // a hole of the view, or of the cell's /tmp
		if d.below[c], err = t.add(strings.TrimSuffix(path, "/")+"/"+c, next, d); err != nil {
			return nil, err
		}
	}
	return d, nil
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
	if d.fd, err = name.open(); err != nil {
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

// onTheWay finds a directory that only leads to other names. If what is there
// already, behind the parent's other names, has all of them, it is that; else the
// skeleton has it.
func (d *node) onTheWay(c string, b *branch, parent *node) {
	d.ours = true
	if parent.base() < 0 {
		return
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(parent.base(), c, &how)
	if err != nil {
		return
	}
	if isHole(fd) {
		unix.Close(fd)
		return
	}
	d.under = fd
	for name := range b.below {
		var st unix.Stat_t
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return
		}
	}
	d.fd, d.under, d.ours = fd, -1, false
}

// isHole reports whether a directory is one of mode 0, in which nothing is.
func isHole(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode == unix.S_IFDIR
}

// need reports whether the node is on the disk. If it is not, the call has to be
// begun again when it is: unnamed.
func (t *names) need(d *node) unix.Errno {
	if d == nil || !d.ours || d.fd >= 0 {
		return 0
	}
	t.wanted = d
	return unnamed
}

// make makes a node of the skeleton, with the rights of the caller, and everything
// that a listing of it is to show: the names below, and those of the directory under
// it. What is the skeleton's, too, is made in full, as a program comes to it
// natively; what stands for something else has mode 0, or is a symlink that loops,
// so that such a program gets nowhere and asks. The supervisor never looks anything
// up there.
func (t *names) make(d *node) (err error) {
	path := t.skeleton + d.path
	if d.mode == unix.S_IFLNK {
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = put(path, d.mode, d.link)
		}
	} else {
		err = os.MkdirAll(path, 0o755)
	}
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := t.fill(d, path); err != nil {
		unix.Close(fd)
		return err
	}
	d.fd = fd
	return nil
}

func (t *names) fill(d *node, path string) error {
	for c, n := range d.below {
		var err error
		if n.ours && n.fd < 0 {
			err = t.make(n)
		} else if !n.ours {
			err = put(path+"/"+c, n.mode, zone.Placeholder(c))
		}
		if err != nil {
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
	for _, fd := range []int{d.fd, d.under} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
