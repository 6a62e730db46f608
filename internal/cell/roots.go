package cell

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/view/zone"
	"nipcells/internal/wall"
)

// Every program of a cell has the descriptors PackageFD to FD of package zone
// open, and cannot close them: the zone, and path descriptors of its roots. They
// give no right, Landlock checks what is opened through them. Numbers that no root
// needs are further copies of the view's, so that nothing of a program's own ever
// gets one that it could not close again. All are below 64: a larger number makes
// the kernel grow the table of descriptors of a process with threads, and wait for
// all processors to notice.

// reserve takes the numbers before anything else is opened that could get one.
func (c *cell) reserve() error {
	view, err := openPath(c.Plan.View)
	if err != nil {
		return err
	}
	for fd := zone.PackageFD; fd <= zone.FD; fd++ {
		if fd == view { // it happened to be free next
			if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
				return fmt.Errorf("keep descriptor %d: %w", fd, err)
			}
			view = -1
			view, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, zone.FD+1)
		} else {
			err = unix.Dup3(view, fd, 0)
		}
		if err != nil {
			return fmt.Errorf("take descriptor %d: %w", fd, err)
		}
	}
	return unix.Close(view)
}

func openPath(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// place puts what path leads to at number fd and leaves it open across exec.
func place(path string, fd int) error {
	from, err := openPath(path)
	if err != nil {
		return err
	}
	defer unix.Close(from) // a path descriptor has nothing to flush
	if err := unix.Dup3(from, fd, 0); err != nil {
		return fmt.Errorf("put %s at descriptor %d: %w", path, fd, err)
	}
	return nil
}

// openUnveiled opens what is unveiled, before any program of the cell can put
// something else in its place: directories at the numbers that there are for
// them, the rest for the supervisor alone.
func (c *cell) openUnveiled() error {
	next := zone.FirstFD
	for _, u := range c.unveil {
		fd, err := openPath(u.Path)
		if err != nil {
			return &UnveilError{u.Path, cause(err)}
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return &UnveilError{u.Path, err}
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR && next <= zone.LastFD {
			err := unix.Dup3(fd, next, 0)
			unix.Close(fd)
			if err != nil {
				return fmt.Errorf("put %s at descriptor %d: %w", u.Path, next, err)
			}
			fd = next
			next++
		}
		c.unveilFD = append(c.unveilFD, fd)
	}
	return nil
}

// placeRoots makes the cell's roots and its zone. Where path calls are asked the
// zone only says so: loaders want one all the same.
func (c *cell) placeRoots() error {
	if err := c.openUnveiled(); err != nil {
		return err
	}
	var roots []zone.Root
	var dirs []zone.Dir
	var err error
	if c.sight >= wall.Native {
		for fd, path := range map[int]string{zone.HomeFD: c.home, zone.TmpFD: c.state.tmp()} {
			if err := place(path, fd); err != nil {
				return err
			}
		}
		roots = c.roots()
		if roots, err = c.placeShortcuts(roots); err != nil {
			return err
		}
		dirs = c.directories(roots)
	}
	table, err := zone.BuildTable(roots, dirs)
	if err != nil {
		return err
	}
	fd, err := zone.Create(table)
	if err != nil {
		return err
	}
	defer unix.Close(fd) // the copy stays
	if err := unix.Dup3(fd, zone.FD, 0); err != nil {
		return fmt.Errorf("put the zone at descriptor %d: %w", zone.FD, err)
	}
	return nil
}

// placeShortcuts gives directories of the view the numbers that are left. That of
// the package has one for itself.
func (c *cell) placeShortcuts(roots []zone.Root) ([]zone.Root, error) {
	next := zone.FirstFD
	for _, fd := range c.unveilFD {
		if fd >= next && fd <= zone.LastFD {
			next = fd + 1
		}
	}
	for i, s := range c.Plan.Shortcuts {
		fd := next
		if i == 0 {
			fd = zone.PackageFD
		} else if next++; fd > zone.LastFD {
			break
		}
		if err := place(s.Dir, fd); err != nil {
			return nil, err
		}
		for _, name := range s.Names {
			of, ok := rootOf(roots, name)
			if !ok || of.FD != zone.ViewFD {
				continue // something else is unveiled there
			}
			flags := zone.Within | of.Flags&zone.InRoot
			if below(name, c.Plan.Prefix) { // others are symlinks, or below one
				flags |= of.Flags & zone.Known
			}
			roots = append(roots, zone.Root{Prefix: name, FD: fd, Flags: flags})
		}
	}
	return roots, nil
}

// rootOf returns the root that name belongs to.
func rootOf(roots []zone.Root, name string) (of zone.Root, ok bool) {
	for _, r := range roots {
		if r.Flags&(zone.Exact|zone.Within) == 0 && below(name, r.Prefix) && (!ok || len(r.Prefix) > len(of.Prefix)) {
			of, ok = r, true
		}
	}
	return of, ok
}

// roots says which descriptor the names of the cell lead to, and which names are
// asked. It must agree with what package membrane makes of names.
func (c *cell) roots() []zone.Root {
	fiber := "/Cell/" + c.state.fiber
	t := rootTable{list: []zone.Root{
		{Prefix: "/", FD: zone.ViewFD, Flags: zone.InRoot},
		{Prefix: c.Plan.View, FD: zone.ViewFD, Flags: known(c.Plan.View)}, // above it are directories of its name, not "/"
		{Prefix: "/tmp", FD: zone.TmpFD},
		{Prefix: "/var/tmp", FD: zone.TmpFD},
		{Prefix: "/dev/shm", FD: zone.TmpFD},
		{Prefix: fiber + "/tmp", FD: zone.TmpFD},
		{Prefix: "/Cell/self/tmp", FD: zone.TmpFD},
		{Prefix: c.homeName(), FD: zone.HomeFD, Flags: zone.Known},
		{Prefix: "/Cell", FD: zone.Ask}, {Prefix: "/Data", FD: zone.Ask}, {Prefix: "/dev", FD: zone.Ask}, {Prefix: "/proc", FD: zone.Ask},
	}}
	t.announce(c.Plan.View, false)
	if rest, ok := strings.CutPrefix(c.Plan.View, "/tmp/"); ok && !c.tmpUnveiled() {
		top, _, _ := strings.Cut(rest, "/")
		t.add(zone.Root{Prefix: "/tmp/" + top, FD: zone.Ask})
	}
	for _, f := range c.resolver {
		t.announce(f, true)
		t.add(zone.Root{Prefix: f, FD: zone.Ask, Flags: zone.Unseen})
	}
	for i, u := range c.unveil {
		fd, flags := zone.Ask, zone.Unseen
		if at := c.unveilFD[i]; at >= zone.FirstFD && at <= zone.LastFD {
			fd, flags = at, flags|known(u.Path)
		}
		t.announce(u.Path, true)
		t.add(zone.Root{Prefix: u.Path, FD: fd, Flags: flags})
	}
	return t.list
}

// rootTable collects roots.
type rootTable struct{ list []zone.Root }

// add adds a root, in the place of one with the same prefix.
func (t *rootTable) add(r zone.Root) {
	for i := range t.list {
		if old := &t.list[i]; old.Prefix == r.Prefix && old.Flags&zone.Exact == r.Flags&zone.Exact {
			*old = r
			return
		}
	}
	t.list = append(t.list, r)
}

// announce makes the directories above path ask where the view cannot tell that
// path is there. listed says that a listing of "/" is to show it.
func (t *rootTable) announce(path string, listed bool) {
	top, _, _ := strings.Cut(path[1:], "/")
	for _, r := range t.list {
		if r.FD == zone.Ask && r.Flags&zone.Exact == 0 && below(path, r.Prefix) || r.FD == zone.TmpFD && below(path, r.Prefix) {
			return // asked already, or shown there (see punch)
		}
	}
	if unix.Faccessat(zone.ViewFD, top, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) != nil {
		t.add(zone.Root{Prefix: "/" + top, FD: zone.Ask, Flags: zone.Unseen})
		if listed {
			t.add(zone.Root{Prefix: "/", FD: zone.Ask, Flags: zone.Exact})
		}
		return
	}
	if !listed {
		return // the way there is in the view (view.New)
	}
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		r := zone.Root{Prefix: dir, FD: zone.Ask, Flags: zone.Exact}
		if !inView(dir) {
			r.Flags |= zone.Unseen
		}
		t.add(r)
	}
}

// known returns Known for a directory's name if nothing on the way there is a symlink
// of the view's, as usr may be.
func known(name string) zone.RootFlags {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(zone.ViewFD, name, &how)
	if err == nil {
		unix.Close(fd) // a path descriptor has nothing to flush
	}
	if errors.Is(err, unix.ELOOP) {
		return 0
	}
	return zone.Known
}

// inView reports whether the view has something of that name.
func inView(name string) bool {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(zone.ViewFD, name, &how)
	if err != nil {
		return false
	}
	unix.Close(fd) // a path descriptor has nothing to flush
	return true
}

// directories are those whose names getcwd tells without asking, and those of the
// view that the supervisor lists.
func (c *cell) directories(roots []zone.Root) (list []zone.Dir) {
	add := func(fd int, name string) {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			listed := slices.ContainsFunc(roots, func(r zone.Root) bool { return r.Prefix == name && r.Flags&zone.Exact != 0 })
			list = append(list, zone.Dir{Dev: uint64(st.Dev), Ino: st.Ino, Name: name, Listed: listed})
		}
	}
	add(zone.HomeFD, c.homeName())
	add(zone.ViewFD, "/")
	add(zone.TmpFD, "/tmp")
	for _, r := range roots {
		if r.Flags&zone.Exact == 0 || r.Prefix == "/" {
			continue
		}
		how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
		if fd, err := unix.Openat2(zone.ViewFD, r.Prefix, &how); err == nil {
			add(fd, r.Prefix)
			unix.Close(fd) // a path descriptor has nothing to flush
		}
	}
	for i, u := range c.unveil {
		add(c.unveilFD[i], u.Path)
	}
	if c.cwd == c.home {
		return list
	}
	if cwd, err := openPath(c.cwd); err == nil {
		add(cwd, c.cellName(c.cwd))
		unix.Close(cwd) // a path descriptor has nothing to flush
	}
	return list
}

// punch makes what has a name below /tmp visible in the cell's own, so that a
// directory on the way is the same one for who asks and who does not: at the end
// a directory of mode 0 stands there, as holes do in a view. The view's own name
// alone is not worth it (see roots).
func (c *cell) punch() error {
	if !c.Hide || !c.tmpUnveiled() {
		return nil
	}
	paths := []string{c.Plan.View}
	for _, u := range c.unveil {
		paths = append(paths, u.Path)
	}
	for _, path := range paths {
		rest, ok := strings.CutPrefix(path, "/tmp/")
		if !ok || slices.ContainsFunc(paths, func(p string) bool { return p != path && below(path, p) }) {
			continue // what is above it is such a directory
		}
		at, mode := c.state.tmp(), uint32(0o755)
		for name, more := "", true; more; {
			name, rest, more = strings.Cut(rest, "/")
			if at += "/" + name; !more {
				mode = 0
			}
			if err := c.punchOne(at, mode); err != nil {
				return fmt.Errorf("show %s: %w", path, err)
			}
			c.punched = append(c.punched, at)
		}
	}
	return nil
}

// tmpUnveiled reports whether something below /tmp is unveiled.
func (c *cell) tmpUnveiled() bool {
	return slices.ContainsFunc(c.unveil, func(u capability.Unveil) bool { return strings.HasPrefix(u.Path, "/tmp/") })
}

// fill takes away what punch made, so that a /tmp that nothing was left in can be
// the next cell's. What is not empty stays: then it cannot.
func (c *cell) fill() {
	for _, dir := range slices.Backward(c.punched) {
		_ = unix.Rmdir(dir) // ENOTEMPTY, or twice the same
	}
}

func (c *cell) punchOne(dir string, mode uint32) error {
	err := unix.Mkdir(dir, mode)
	if err == nil && c.identity.Change && c.identity.UID != 0 {
		err = unix.Lchown(dir, c.identity.UID, c.identity.GID)
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// closeUnveiled gives up what openUnveiled opened for the supervisor alone.
func (c *cell) closeUnveiled() {
	for _, fd := range c.unveilFD {
		if fd < zone.FirstFD || fd > zone.LastFD {
			unix.Close(fd)
		}
	}
}
