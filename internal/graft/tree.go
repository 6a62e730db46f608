package graft

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is the staging directory. Every name that is created goes through an
// os.Root: no link that an archive brings can lead a write out of it.
type tree struct {
	dir   string
	root  *os.Root
	owner map[string]string // path -> what brought it: a Debian package, or ""
	notes notes
	keep  bool
	bytes int64 // written so far
}

// Bounds on what one source may unpack to.
const (
	maxTreeBytes = 64 << 30
	maxTreeFiles = 4 << 20
)

// sourceTime is the modification time of every file: constant, so that equal
// sources give equal packages. 1980 is the oldest year that zip can store.
func sourceTime() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

func newTree(dir string) (*tree, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("%s is not empty", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &tree{dir: dir, root: root, owner: map[string]string{}}, nil
}

func (t *tree) close() { t.root.Close() } // only read from here on

// notes collects sentences for the person, grouped by what they say.
type notes struct {
	order []string
	about map[string][]string
}

// add notes text about one thing; things with the same text become one
// sentence.
func (n *notes) add(text, thing string) {
	if n.about == nil {
		n.about = map[string][]string{}
	}
	if _, ok := n.about[text]; !ok {
		n.order = append(n.order, text)
	}
	if thing != "" && !slices.Contains(n.about[text], thing) {
		n.about[text] = append(n.about[text], thing)
	}
}

// maxNamed is how many things a note names before it only counts.
const maxNamed = 6

func (n *notes) sentences() []string {
	var out []string
	for _, text := range n.order {
		things := n.about[text]
		switch {
		case len(things) == 0:
			out = append(out, text)
		case len(things) > maxNamed:
			out = append(out, fmt.Sprintf("%s: %s and %d more", text, strings.Join(things[:maxNamed], ", "), len(things)-maxNamed))
		default:
			out = append(out, text+": "+strings.Join(things, ", "))
		}
	}
	return out
}

// placing maps what a source calls its files to paths in the tree; ok is false
// for what the tree does not take.
type placing struct {
	name     func(name string) (path string, ok bool) // names in the archive
	absolute func(name string) (path string, ok bool) // absolute targets of links
}

// unpack adds the files of an archive to the tree, in who's name.
func (t *tree) unpack(ctx context.Context, tr *tar.Reader, place placing, who string) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.add(h, tr, place, who); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

func (t *tree) add(h *tar.Header, r io.Reader, place placing, who string) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if slices.Contains(strings.Split(h.Name, "/"), "..") || strings.ContainsRune(h.Name, 0) {
		return fmt.Errorf("%w: its name leads out of the tree", ErrHostile)
	}
	name, ok := place.name(h.Name)
	if !ok || name == "." || !t.keep && stripped(name) {
		return nil
	}
	if len(t.owner) >= maxTreeFiles {
		return fmt.Errorf("%w: more than %d files", ErrHostile, maxTreeFiles)
	}
	if h.FileInfo().Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 && h.Typeflag != tar.TypeDir {
		t.notes.add("setuid and setgid bits are dropped", name)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return t.mkdir(name, who)
	case tar.TypeReg:
		return t.file(name, r, h.FileInfo().Mode().Perm()&0o111 != 0, who)
	case tar.TypeSymlink:
		target, ok := linkTarget(h.Name, name, h.Linkname, place)
		if !ok {
			t.notes.add("links to what only a host has are left out", name+" -> "+h.Linkname)
			return nil
		}
		if target == "" {
			return nil // a link onto itself once directories are merged: bin -> usr/bin
		}
		return t.symlink(name, target, who)
	case tar.TypeLink:
		old, ok := place.name(h.Linkname)
		if !ok || !t.exists(old) {
			return fmt.Errorf("hard link to %q, which is not in the tree", h.Linkname)
		}
		return t.hardlink(name, old, who)
	}
	return fmt.Errorf("%w: a device node or the like", ErrHostile)
}

func (t *tree) mkdir(name, who string) error {
	if err := t.root.MkdirAll(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, known := t.owner[name]; !known {
		t.owner[name] = who
	}
	return nil
}

// clear makes name free for a new file.
func (t *tree) clear(name string) error {
	if err := t.root.MkdirAll(path.Dir(name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	err := t.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (t *tree) file(name string, r io.Reader, exec bool, who string) error {
	if err := t.clear(name); err != nil {
		return err
	}
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, maxTreeBytes-t.bytes+1))
	t.bytes += n
	if err == nil && t.bytes > maxTreeBytes {
		err = fmt.Errorf("%w: unpacks to more than %d GB", ErrHostile, maxTreeBytes>>30)
	}
	if err == nil && exec {
		err = f.Chmod(0o755)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	t.owner[name] = who
	return err
}

// symlink makes a relative link. Where a directory with files in it has the
// name, the directory stays: its files were asked for by another package.
func (t *tree) symlink(name, target, who string) error {
	if fi, err := t.root.Lstat(name); err == nil && fi.IsDir() {
		if t.root.Remove(name) != nil { // not empty
			t.notes.add("links are left out where a directory has their name", name+" -> "+target)
			return nil
		}
	}
	if err := t.clear(name); err != nil {
		return err
	}
	t.owner[name] = who
	return t.root.Symlink(target, name)
}

func (t *tree) hardlink(name, old, who string) error {
	if name == old {
		return nil
	}
	if err := t.clear(name); err != nil {
		return err
	}
	t.owner[name] = who
	return t.root.Link(old, name)
}

// walk calls f for every name in the tree, in lexical order, directories
// before what they hold.
func (t *tree) walk(f func(name string, d fs.DirEntry) error) error {
	return fs.WalkDir(t.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		return f(name, d)
	})
}

// resolves returns where name leads, all links followed inside the tree. ok is
// false for what does not exist or leads out.
func (t *tree) resolve(name string) (string, bool) {
	const maxLinks = 40
	rest := strings.Split(path.Clean(name), "/")
	at := "."
	for hops := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			if at == "." {
				return "", false
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		fi, err := t.root.Lstat(next)
		if err != nil {
			return "", false
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		target, err := t.root.Readlink(next)
		if hops++; err != nil || hops > maxLinks || path.IsAbs(target) {
			return "", false
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, true
}

// exists reports whether name leads to something in the tree.
func (t *tree) exists(name string) bool {
	_, ok := t.resolve(name)
	return ok
}

// executable reports whether name leads to a regular file with an execute bit.
func (t *tree) executable(name string) bool {
	real, ok := t.resolve(name)
	if !ok {
		return false
	}
	fi, err := t.root.Lstat(real)
	return err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0
}
