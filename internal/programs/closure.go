package programs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/npk"
	"nipcells/internal/view"
)

// closure returns the packages that a view of head consists of: its
// dependencies in their order, each followed by its own, one version of a name,
// the active one. A missing one is an error that wraps ErrDepends and says what
// to install.
func closure(head *npk.Head, all []*Installed) ([]*Installed, error) {
	var deps []*Installed
	var missing []string
	seen := map[string]bool{head.Manifest.Name: true}
	var visit func(m *npk.Manifest)
	visit = func(m *npk.Manifest) {
		for _, name := range m.Depends {
			if seen[name] {
				continue
			}
			seen[name] = true
			p := find(all, name, "")
			if p == nil {
				missing = append(missing, name)
				continue
			}
			deps = append(deps, p)
			visit(&p.Head.Manifest)
		}
	}
	visit(&head.Manifest)
	if missing != nil {
		slices.Sort(missing)
		return nil, fmt.Errorf("%w: %s", ErrDepends, strings.Join(missing, ", "))
	}
	return deps, nil
}

// planView plans the view of head with its dependencies below root.
func planView(root *hier.Root, head *npk.Head, deps []*Installed) (*view.View, error) {
	list := []view.Package{{Head: head}}
	for _, d := range deps {
		list = append(list, view.Package{Head: d.Head})
	}
	return view.New(list, root.View(head.Manifest.Title, head.Manifest.Version))
}

// frameView makes a view in the new directory dir, but for the files.
func frameView(v *view.View, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("build view: %w", err)
	}
	if err := os.Chmod(dir, view.DirMode); err != nil {
		return fmt.Errorf("build view: %w", err)
	}
	fd, err := openPath(dir)
	if err != nil {
		return fmt.Errorf("build view: %w", err)
	}
	defer unix.Close(fd) // a path descriptor has nothing to flush
	return v.Frame(fd)
}

// linkView makes the files of a view that frameView made in dir. own is where
// the package's own files are.
func linkView(v *view.View, dir, own string, root *hier.Root) error {
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd) // path descriptors have nothing to flush
		}
	}()
	paths := []string{dir, own}
	for _, p := range v.Packages()[1:] {
		paths = append(paths, root.Join(p.Dir()))
	}
	for _, path := range paths {
		fd, err := openPath(path)
		if err != nil {
			return fmt.Errorf("build view: %w", err)
		}
		fds = append(fds, fd)
	}
	return v.Link(fds[0], fds[1:])
}

// openPath opens a directory as a path.
func openPath(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// pinned returns the version of a dependency that a view holds; empty if none.
func pinned(p *Installed, title string) string {
	list, err := os.ReadDir(p.Root.View(p.Title, p.Version) + "/Programs/" + title)
	if err != nil || len(list) != 1 {
		return ""
	}
	return list[0].Name()
}

// Held returns the packages that the view of p holds besides p itself: its
// closure, in the versions that were active when the view was made.
func Held(p *Installed) ([]*Installed, error) {
	if len(p.Head.Manifest.Depends) == 0 {
		return nil, nil
	}
	all, err := List(p.Root)
	if err != nil {
		return nil, err
	}
	var held []*Installed
	for _, q := range all {
		if q.Name != p.Name && pinned(p, q.Title) == q.Version {
			held = append(held, q)
		}
	}
	return held, nil
}

// users returns the packages whose views hold the version p.
func users(p *Installed, all []*Installed) (by []*Installed) {
	for _, q := range all {
		if q.Name != p.Name && pinned(q, p.Title) == p.Version {
			by = append(by, q)
		}
	}
	return by
}

// refreshViews rebuilds the views whose dependencies are no longer the active
// ones, except those of packages that are running: their files must not go
// away under them, so that they follow at the next change. Each view is
// replaced by one exchange of names.
func (c *change) refreshViews(all []*Installed) error {
	for _, p := range all {
		if len(p.Head.Manifest.Depends) == 0 {
			continue
		}
		deps, err := closure(p.Head, all)
		if errors.Is(err, ErrDepends) {
			continue // forced: the view keeps what it has
		}
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(deps, func(d *Installed) bool { return pinned(p, d.Title) != d.Version }) || !c.idle(p) {
			continue
		}
		if err := c.refreshView(p, deps); err != nil {
			return fmt.Errorf("refresh view of %s: %w", p, err)
		}
	}
	return nil
}

func (c *change) idle(p *Installed) bool {
	if c.opt.Running == nil {
		return true
	}
	ids, err := c.opt.Running(p.Name, p.Version)
	return err == nil && len(ids) == 0
}

func (c *change) refreshView(p *Installed, deps []*Installed) error {
	c.opt.at("refresh view")
	v, err := planView(p.Root, p.Head, deps)
	if err != nil {
		return err
	}
	dir := c.path("refreshed")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := frameView(v, dir); err != nil {
		return err
	}
	if err := linkView(v, dir, c.root.Program(p.Title, p.Version), c.root); err != nil {
		return err
	}
	if err := c.syncAll(); err != nil {
		return err
	}
	c.opt.at("exchange view")
	live := c.root.View(p.Title, p.Version)
	if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, live, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: dir, New: live, Err: err}
	}
	return os.RemoveAll(dir)
}
