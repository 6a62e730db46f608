// Package view plans and builds the file system tree that a package's cells
// have for their root (DESIGN.md, "Views"):
//
//	Programs/<Title>/<Version>/…   the files of the package and of each dependency, hard links to the same blobs
//	bin lib share etc …            for each top-level name of these packages a relative symlink into the one that
//	                               has it, or, where several have a directory of that name, a directory of such links
//	usr                            a symlink to "."
//	Cell Data dev proc tmp …       empty directories of mode 0, where a cell has something else (see Holes)
//
// What a package has below usr counts as if it were one level up. Where two
// packages have different things under one name, the package itself wins over
// its dependencies, and an earlier dependency over a later one; directories are
// merged as deep as they overlap.
//
// Invariant: every symlink is relative and stays inside the view. A view is
// planned from checked package heads alone, so that the same plan serves to
// build it, to look names up before it exists, and to verify it.
package view

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"nipcells/internal/npk"
)

// ErrLimit reports packages whose merged view would be unreasonably large.
var ErrLimit = errors.New("view is beyond the limits")

const (
	maxNodes = npk.MaxEntries
	maxLinks = 40 // symlinks on one way, as in the kernel
)

// Package is one member of a closure.
type Package struct {
	Head *npk.Head
}

// Dir is where the package's files are, below the view and below the root:
// Programs/<Title>/<Version>.
func (p Package) Dir() string {
	m := &p.Head.Manifest
	return "Programs/" + m.Title + "/" + m.Version
}

// Node is one name of a view outside the packages' own directories.
type Node struct {
	Path   string
	Target string // of a symlink; empty for a directory
	Hole   bool   // an empty directory of mode 0: see Holes
}

// Mode is the mode of a directory.
func (n Node) Mode() uint32 {
	if n.Hole {
		return HoleMode
	}
	return DirMode
}

// Holes returns the names at which every cell has something that is not in its
// view. In the view an empty directory of mode 0 stands for each: who comes
// there, whichever way, has no right to go on (EACCES), and so asks the
// supervisor, while a listing shows the name as what it is.
func Holes() []string { return []string{"Cell", "Data", "dev", "proc", "tmp", "var/tmp"} }

// leads reports whether path is a hole, and whether one lies below it.
func (v *View) leads(path string) (hole, above bool) {
	for _, h := range v.holes {
		hole = hole || h == path
		above = above || strings.HasPrefix(h, path+"/")
	}
	return hole, above
}

// View is the plan of a view. It is immutable and safe for concurrent use.
type View struct {
	packages []Package
	nodes    []Node // directories before what they hold
	byPath   map[string]int
	holes    []string
	children []map[string][]int // per package: directory -> its entries
}

// New plans the view of the first package, whose dependencies the others are,
// in order. No two may have the same title. at is where the view will be on the
// host, absolute: cells know it by that name, too, so that the way there is in
// the view, and a hole in its place. If it lies below another hole, or is empty,
// it is not.
func New(packages []Package, at string) (*View, error) {
	v := &View{packages: packages, byPath: map[string]int{}, holes: Holes()}
	at = strings.TrimPrefix(strings.TrimPrefix(at, "/"), "usr/") // usr leads to the view itself
	if !slices.ContainsFunc(v.holes, func(h string) bool { return at == h || strings.HasPrefix(at, h+"/") }) && at != "" {
		v.holes = append(v.holes, at)
	}
	titles := map[string]string{}
	for _, p := range packages {
		m := &p.Head.Manifest
		if other, ok := titles[m.Title]; ok {
			return nil, fmt.Errorf("packages %s and %s both have the title %q", other, m.Name, m.Title)
		}
		titles[m.Title] = m.Name
		for dir := range prefixes(p.Dir()) {
			if _, ok := v.byPath[dir]; !ok {
				v.add(Node{Path: dir})
			}
		}
		v.children = append(v.children, children(p.Head.Entries))
	}
	v.add(Node{Path: "usr", Target: "."})
	if err := v.merge("", v.roots()); err != nil {
		return nil, err
	}
	for _, hole := range v.holes {
		for path := range prefixes(hole) {
			if _, ok := v.byPath[path]; !ok {
				v.add(Node{Path: path, Hole: path == hole})
			}
		}
	}
	return v, nil
}

func (v *View) add(n Node) {
	v.byPath[n.Path] = len(v.nodes)
	v.nodes = append(v.nodes, n)
}

// prefixes yields a, a/b and a/b/c of a/b/c.
func prefixes(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := range len(path) {
			if path[i] == '/' && !yield(path[:i]) {
				return
			}
		}
		yield(path)
	}
}

func children(entries []npk.Entry) map[string][]int {
	c := map[string][]int{}
	for i := range entries {
		dir, _ := split(entries[i].Path)
		c[dir] = append(c[dir], i)
	}
	return c
}

func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// provider is a directory of a package whose names appear in a directory of
// the view.
type provider struct {
	pkg int
	dir string
}

func (v *View) roots() (list []provider) {
	for i, p := range v.packages {
		list = append(list, provider{i, ""})
		if e, err := p.Head.Resolve("usr"); err == nil && e.Kind == npk.Dir {
			list = append(list, provider{i, e.Path})
		}
	}
	return list
}

// candidate is one package's thing under a name.
type candidate struct {
	pkg   int
	entry *npk.Entry
	dir   string // what to merge if it is a directory
	isDir bool
}

// merge plans the names that providers give to the directory dir of the view.
func (v *View) merge(dir string, providers []provider) error {
	var order []string
	byName := map[string][]candidate{}
	for _, p := range providers {
		for _, i := range v.children[p.pkg][p.dir] {
			e := &v.packages[p.pkg].Head.Entries[i]
			_, name := split(e.Path)
			if dir == "" && (name == "usr" || name == "Programs") {
				continue // the view's own
			}
			if hole, _ := v.leads(join(dir, name)); hole {
				continue
			}
			c := candidate{pkg: p.pkg, entry: e, dir: e.Path, isDir: e.Kind == npk.Dir}
			if dir == "" && e.Kind == npk.Symlink { // lib64 -> lib is a directory to merge, too
				if to, err := v.packages[p.pkg].Head.Resolve(e.Path); err == nil && to.Kind == npk.Dir {
					c.dir, c.isDir = to.Path, true
				}
			}
			if byName[name] == nil {
				order = append(order, name)
			}
			byName[name] = append(byName[name], c)
		}
	}
	for _, name := range order {
		if err := v.place(join(dir, name), byName[name]); err != nil {
			return err
		}
	}
	return nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// place plans one name of the view.
func (v *View) place(path string, candidates []candidate) error {
	if len(v.nodes) >= maxNodes {
		return fmt.Errorf("%s: %w", path, ErrLimit)
	}
	_, above := v.leads(path)
	if above { // it must be a directory of the view's own
		candidates = slices.DeleteFunc(candidates, func(c candidate) bool { return !c.isDir })
		if len(candidates) == 0 {
			return nil
		}
	}
	first := candidates[0]
	var dirs []provider
	for _, c := range candidates {
		if p := (provider{c.pkg, c.dir}); c.isDir && !contains(dirs, p) {
			dirs = append(dirs, p)
		}
	}
	if !first.isDir || len(dirs) == 1 && !above {
		target := strings.Repeat("../", strings.Count(path, "/")) + v.packages[first.pkg].Dir() + "/" + first.entry.Path
		v.add(Node{Path: path, Target: target})
		return nil
	}
	v.add(Node{Path: path})
	return v.merge(path, dirs)
}

func contains(list []provider, p provider) bool {
	for _, q := range list {
		if q == p {
			return true
		}
	}
	return false
}

// Packages returns the closure, the package itself first.
func (v *View) Packages() []Package { return v.packages }

// Nodes returns the names outside the packages' directories, directories before
// what they hold. Programs/<Title>/<Version> of each package is among them.
func (v *View) Nodes() []Node { return v.nodes }

// Resolve follows an absolute path in the view, as the kernel would for a
// process whose root it is, and returns the entry that it leads to and the
// package that has it. ok is false if it leads to nothing, or to a directory
// of the view's own.
func (v *View) Resolve(path string) (pkg int, entry *npk.Entry, ok bool) {
	at, todo := "", path
	for links := 0; todo != ""; {
		name, rest, _ := strings.Cut(todo, "/")
		todo = rest
		if name == "" || name == "." {
			continue
		}
		pkg, entry = -1, nil
		if name == ".." {
			at, _ = split(at)
			continue
		}
		dir := at
		at = join(at, name)
		var target string
		if target, pkg, entry, ok = v.lookup(at); !ok {
			return -1, nil, false
		}
		if target == "" {
			continue
		}
		if links++; links > maxLinks {
			return -1, nil, false
		}
		at, todo = dir, target+"/"+todo
	}
	return pkg, entry, entry != nil
}

// lookup returns what is at a path of the view that no symlink is part of:
// target is that of a symlink, entry is a package's.
func (v *View) lookup(path string) (target string, pkg int, entry *npk.Entry, ok bool) {
	if i, ok := v.byPath[path]; ok {
		return v.nodes[i].Target, -1, nil, true
	}
	for i, p := range v.packages {
		rest, found := strings.CutPrefix(path, p.Dir()+"/")
		if !found {
			continue
		}
		e, ok := p.Head.Lookup(rest)
		if !ok {
			return "", -1, nil, false
		}
		return e.Target, i, e, true
	}
	return "", -1, nil, false
}
