// Package scratch runs programs with native views outside of cells: in trees of
// its own, with the zone, the descriptors and a filter as a cell has them, and a
// listener that counts what is asked and lets it go on. It serves tests and
// benchmarks. Main must be called first thing in main or TestMain.
//
// A Tree has the same programs twice: as they are, to be run in a chroot, and
// with the C library and the loader rewritten, to be run in a chroot with what
// native views need around it. What is asked goes on in the chroot: a truth that
// native calls can be compared with.
package scratch

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"nipcells/internal/view/native"
	"nipcells/internal/view/zone"
)

// Tree is where programs run.
type Tree struct {
	Native string // root directory of programs as they are
	Asked  string // root directory of rewritten ones, for what is asked
	View   string // what their zone calls "/"

	libraries []string // where the host has them
}

// Names in a tree that are not the view's.
const (
	Home = "/Data/apps/scratch"
	Work = "/work"        // an unveiled directory
	Deep = "/home/user/x" // another, which the view has no name for
	File = "/file"        // a file that is asked
	Link = "/alias"       // a symlink that is asked
)

// New makes a tree in dir with the host's programs, by path, and whole
// directories of the host, for each of which the libraries are found that
// shared objects in it need.
func New(dir string, programs, directories []string) (*Tree, error) {
	t := &Tree{Native: filepath.Join(dir, "native"), Asked: filepath.Join(dir, "asked"), View: filepath.Join(dir, "view"),
		libraries: []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/lib"}}
	if err := t.fill(programs, directories); err != nil {
		return nil, fmt.Errorf("make tree: %w", err)
	}
	for _, to := range []string{t.Asked, t.View} {
		if out, err := exec.Command("cp", "-al", t.Native, to).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make tree: %w: %s", err, out)
		}
		if err := t.rewrite(to); err != nil {
			return nil, fmt.Errorf("make tree: %w", err)
		}
	}
	for _, name := range []string{"/tmp", Home, Work, "/proc", "/dev"} {
		for _, root := range []string{t.Native, t.Asked} {
			if err := os.MkdirAll(root+name, 0o755); err != nil {
				return nil, err
			}
		}
		if err := os.MkdirAll(filepath.Dir(t.View+name), 0o755); err != nil {
			return nil, err
		}
		// What stands for another root in the view.
		if err := os.Mkdir(t.View+name, zone.PlaceholderMode); err != nil {
			return nil, err
		}
	}
	if err := t.odd(); err != nil {
		return nil, err
	}
	for _, root := range []string{t.Native, t.Asked} { // some programs insist on opening it
		if err := os.WriteFile(root+"/dev/null", nil, 0o666); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// odd makes the names of a kind by itself: a file and a symlink that are roots of
// their own, and directories that the view has nothing of, above one that is.
func (t *Tree) odd() error {
	for _, root := range []string{t.Native, t.Asked} {
		if err := os.MkdirAll(root+Deep, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, Deep, "file"), []byte("deep\n"), 0o644); err != nil {
			return err
		}
		for dir := filepath.Dir(Deep); dir != "/"; dir = filepath.Dir(dir) { // nothing can be made there
			if err := os.Chmod(root+dir, 0o555); err != nil {
				return err
			}
		}
		if err := os.WriteFile(root+File, []byte("text\n"), 0o644); err != nil {
			return err
		}
		if err := os.Symlink(Work[1:], root+Link); err != nil {
			return err
		}
	}
	if err := os.WriteFile(t.View+File, nil, zone.PlaceholderMode); err != nil {
		return err
	}
	return os.Symlink(zone.Placeholder(filepath.Base(Link)), t.View+Link)
}

// fill makes the native tree: /usr, with symlinks into it as Debian has them.
func (t *Tree) fill(programs, directories []string) error {
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.MkdirAll(filepath.Join(t.Native, "usr", name), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+name, filepath.Join(t.Native, name)); err != nil {
			return err
		}
	}
	done := map[string]bool{}
	for _, dir := range directories {
		to := t.inside(dir)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if out, err := exec.Command("cp", "-a", dir, to).CombinedOutput(); err != nil {
			return fmt.Errorf("copy %s: %w: %s", dir, err, out)
		}
		err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".so") {
				return t.needs(path, done)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, p := range programs {
		if err := t.add(p, done); err != nil {
			return err
		}
	}
	return nil
}

// inside returns a host's path in the native tree: what is in /bin or /lib is
// below /usr.
func (t *Tree) inside(path string) string {
	if !strings.HasPrefix(path, "/usr/") {
		path = "/usr" + path
	}
	return t.Native + path
}

// add copies a file of the host and what it needs.
func (t *Tree) add(path string, done map[string]bool) error {
	if done[path] {
		return nil
	}
	done[path] = true
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	to := t.inside(path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		return err
	}
	return t.needs(to, done)
}

// needs adds the libraries and the loader that an ELF file names.
func (t *Tree) needs(path string, done map[string]bool) error {
	f, err := elf.Open(path)
	if err != nil {
		return nil //nolint:nilerr // a script needs nothing here
	}
	defer f.Close()
	names, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				return err
			}
			if err := t.add(string(bytes.TrimRight(b, "\x00")), done); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		if err := t.library(name, done); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) library(name string, done map[string]bool) error {
	for _, dir := range t.libraries {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return t.add(path, done)
		}
	}
	return fmt.Errorf("library %s: %w", name, fs.ErrNotExist)
}

// rewrite replaces the C library and the loaders of a tree.
func (t *Tree) rewrite(root string) error {
	found := 0
	err := filepath.WalkDir(filepath.Join(root, "usr"), func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		loader := strings.HasPrefix(name, "ld-linux")
		if err != nil || !d.Type().IsRegular() || name != "libc.so.6" && !loader {
			return err
		}
		found++
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		out, _, err := native.Rewrite(data)
		if err == nil && loader {
			out, err = native.Stub(out)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := os.Remove(path); err != nil { // it is a hard link
			return err
		}
		return os.WriteFile(path, out, 0o755)
	})
	if err == nil && found < 2 {
		err = errors.New("no C library and loader in the tree")
	}
	return err
}
