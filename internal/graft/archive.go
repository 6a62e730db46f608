package graft

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"nipcells/internal/cid"
)

// collectTar fills the tree from a tarball, compressed or not.
func (g *grafting) collectTar(ctx context.Context) error {
	g.Progress("read", 0, 0)
	f, err := os.Open(g.what)
	if err != nil {
		return err
	}
	defer f.Close()
	if g.source, err = hashReader(f); err != nil {
		return fmt.Errorf("read %s: %w", g.what, err)
	}
	shape := &shapeFinder{}
	// Names first: they say whether one directory holds all, and whether it is
	// a root file system.
	if err := eachEntry(f, func(h *tar.Header, _ io.Reader) error { return shape.see(h) }); err != nil {
		return fmt.Errorf("read %s: %w", g.what, err)
	}
	place := shape.placing("")
	g.Progress("unpack", 0, 0)
	err = eachEntry(f, func(h *tar.Header, r io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.tree.add(h, r, place, ""); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("unpack %s: %w", g.what, err)
	}
	return nil
}

// eachEntry reads a tarball from its beginning.
func eachEntry(f io.ReadSeeker, visit func(*tar.Header, io.Reader) error) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	plain, err := decompress(f)
	if err != nil {
		return err
	}
	defer plain.Close()
	for tr := tar.NewReader(plain); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = visit(h, tr)
		}
		if err != nil {
			return err
		}
	}
}

// shapeFinder learns from the names of a tree what kind of tree it is.
type shapeFinder struct {
	seen  bool
	top   string // the one directory that holds everything, "" if there is none
	mixed bool
	roots map[string]bool // top directories that hold a usr
	usr   bool
}

func (s *shapeFinder) see(h *tar.Header) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" || h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	first, rest, nested := strings.Cut(name, "/")
	if !nested && h.Typeflag != tar.TypeDir || s.seen && first != s.top {
		s.mixed = true
	}
	s.seen, s.top = true, first
	if first == "usr" {
		s.usr = true
	}
	if second, _, _ := strings.Cut(rest, "/"); second == "usr" {
		if s.roots == nil {
			s.roots = map[string]bool{}
		}
		s.roots[first] = true
	}
	return nil
}

// placing returns how to place the tree's names. base, unless empty, is the
// absolute path at which the tree lies: links that name it stay inside.
func (s *shapeFinder) placing(base string) placing {
	top := ""
	if s.seen && !s.mixed && !layoutTop(s.top) {
		top = s.top // name-1.0/bin/…: what a release tarball looks like
	}
	place := plainPlace
	if s.usr || top != "" && s.roots[top] {
		place = rootPlace
	}
	return placing{
		name: func(name string) (string, bool) {
			name = strings.TrimPrefix(path.Clean("/"+name), "/")
			if top != "" {
				if name == top {
					return ".", true
				}
				name = strings.TrimPrefix(name, top+"/")
			}
			return place(name)
		},
		absolute: func(name string) (string, bool) {
			if rest, ok := strings.CutPrefix(name, base+"/"); base != "" && ok {
				return place(rest)
			}
			return rootPlace(name)
		},
	}
}

// layoutTop reports whether a directory is part of a layout, so that it is not
// taken for the wrapper of a release tarball.
func layoutTop(name string) bool {
	switch name {
	case "usr", "bin", "sbin", "lib", "lib64", "libexec", "share", "etc", "var", "opt", "games":
		return true
	}
	return false
}

// collectDir fills the tree from a directory. Its content id is computed over
// names, execute bits and contents, in order.
func (g *grafting) collectDir(ctx context.Context) error {
	base, err := filepath.Abs(g.what)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	defer root.Close()
	g.Progress("copy", 0, 0)
	_, err = root.Stat("usr")
	shape := &shapeFinder{mixed: true, usr: err == nil}
	place := shape.placing(base)
	sum := cid.NewHasher()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() && d.Name() == ".git" && !g.Keep {
			g.tree.notes.add("version control data is left out", name)
			return fs.SkipDir
		}
		if err := g.copyEntry(root, name, d, place, sum); err != nil {
			return fmt.Errorf("copy %s: %w", filepath.Join(g.what, name), err)
		}
		return nil
	})
	g.source = sum.CID()
	return err
}

func (g *grafting) copyEntry(root *os.Root, name string, d fs.DirEntry, place placing, sum *cid.Hasher) error {
	fi, err := d.Info()
	if err != nil {
		return err
	}
	target := ""
	if d.Type() == fs.ModeSymlink {
		if target, err = root.Readlink(name); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(fi, target)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHostile, err)
	}
	h.Name = name
	var content cid.CID
	if !d.Type().IsRegular() {
		err = g.tree.add(h, strings.NewReader(""), place, "")
	} else {
		var f *os.File
		if f, err = root.Open(name); err != nil {
			return err
		}
		hashed := cid.NewHasher()
		r := io.TeeReader(f, hashed)
		if err = g.tree.add(h, r, place, ""); err == nil {
			_, err = io.Copy(io.Discard, r) // what the tree did not take counts too
		}
		content = hashed.CID()
		f.Close()
	}
	fmt.Fprintf(sum, "%q %s %v %q %s\n", name, d.Type(), fi.Mode().Perm()&0o111 != 0, target, content)
	return err
}
