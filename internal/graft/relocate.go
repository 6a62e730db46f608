package graft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"nipcells/internal/elfimage"
	"nipcells/internal/view/native"
)

// elfFile is a dynamic executable or library of the tree.
type elfFile struct {
	name    string   // one of its names
	dirs    []string // every directory from which it may be opened, its own first
	machine elfimage.Machine
	needed  []string
	runpath string // of the source
	interp  string // in the source, "": none
	soname  string
	exec    bool // an execute bit is set
	imports []string
	skip    bool // a loader, or linked statically: stays as it is
	idle    bool // a library with an execute bit that nobody needs
}

// library reports whether f is loaded by others, though it may be a program
// too, as libc.so.6 is. It keeps its interpreter, which nobody uses.
func (f *elfFile) library() bool { return f.soname != "" && strings.Contains(path.Base(f.name), ".so") }

// elfIndex knows the ELF files of the tree.
type elfIndex struct {
	files   []*elfFile
	byName  map[string]*elfFile            // every name, links included
	provide map[elfimage.Machine]provision // libraries by the name that DT_NEEDED uses
}

// provision maps the base name of a library to the directories that have it.
type provision map[string][]string

// relocate makes every dynamic executable and library find its libraries and
// its loader inside the tree.
func (g *grafting) relocate(ctx context.Context) error {
	index, err := g.indexELF(ctx)
	if err != nil {
		return err
	}
	g.elves = index
	if err := g.dropExecuteBits(); err != nil {
		return err
	}
	for i, f := range index.files {
		if i%64 == 0 {
			g.Progress("relocate", int64(i), int64(len(index.files)))
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.skip {
			continue
		}
		if err := g.relocateFile(f); err != nil {
			return fmt.Errorf("relocate %s: %w", f.name, err)
		}
	}
	g.Progress("relocate", int64(len(index.files)), int64(len(index.files)))
	return nil
}

// dropExecuteBits takes the execute bit from libraries that are no loaders: a
// cell may only execute what begins with the stub of native views, or is begun
// by a loader that does.
func (g *grafting) dropExecuteBits() error {
	loaders := map[*elfFile]bool{}
	for _, f := range g.elves.files {
		if f.interp == "" {
			continue
		}
		if name, ok := g.loader(f); ok {
			real, _ := g.tree.resolve(name) // the loader exists
			loaders[g.elves.byName[real]] = true
		}
	}
	for _, f := range g.elves.files {
		if !f.idle || loaders[f] {
			continue
		}
		if err := g.tree.root.Chmod(f.name, 0o644); err != nil {
			return err
		}
		f.exec = false
	}
	return nil
}

// indexELF reads every ELF file of the tree. Hard links to one file are one
// entry with several directories.
func (g *grafting) indexELF(ctx context.Context) (*elfIndex, error) {
	x := &elfIndex{byName: map[string]*elfFile{}, provide: map[elfimage.Machine]provision{}}
	seen := map[uint64]*elfFile{}
	var symlinks []string
	err := g.tree.walk(func(name string, d fs.DirEntry) error {
		if d.Type() == fs.ModeSymlink {
			symlinks = append(symlinks, name)
		}
		if err := ctx.Err(); err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		inode := fi.Sys().(*syscall.Stat_t).Ino // one file system: a fresh directory
		f, ok := seen[inode]
		if !ok {
			if f, err = g.readELF(name, fi); err != nil || f == nil {
				return err
			}
			seen[inode] = f
			x.files = append(x.files, f)
		}
		x.record(name, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range symlinks {
		if real, ok := g.tree.resolve(name); ok && x.byName[real] != nil {
			x.record(name, x.byName[real])
		}
	}
	return x, nil
}

func (x *elfIndex) record(name string, f *elfFile) {
	x.byName[name] = f
	dir, base := path.Dir(name), path.Base(name)
	if (f.interp == "" || f.library()) && !slices.Contains(f.dirs, dir) {
		f.dirs = append(f.dirs, dir) // the kernel resolves links to executables, ld.so does not
	}
	if x.provide[f.machine] == nil {
		x.provide[f.machine] = provision{}
	}
	if p := x.provide[f.machine]; !slices.Contains(p[base], dir) {
		p[base] = append(p[base], dir)
	}
}

// readELF reads what relocation needs to know about a file; nil for what is no
// ELF file or cannot be edited.
func (g *grafting) readELF(name string, fi fs.FileInfo) (*elfFile, error) {
	head, err := g.tree.head(name, 4)
	if err != nil || string(head) != "\x7fELF" {
		return nil, err
	}
	data, err := g.tree.root.ReadFile(name)
	if err != nil {
		return nil, err
	}
	m, err := elfimage.Parse(data)
	if err != nil {
		if !strings.HasSuffix(name, ".o") {
			g.tree.notes.add("ELF files left as they are", name+" ("+reason(err)+")")
		}
		return nil, nil
	}
	f := &elfFile{name: name, dirs: []string{path.Dir(name)}, machine: m.Machine(), needed: m.Needed(), runpath: m.Runpath(),
		interp: m.Interp(), soname: m.Soname(), exec: fi.Mode().Perm()&0o111 != 0, imports: m.Imports()}
	f.idle = native.Classify(name, m, f.exec, false) == native.Library
	f.skip = !m.Dynamic() || m.StaticPIE() || isLoader(f)
	return f, nil
}

// reason shortens an error of elfimage for a note.
func reason(err error) string {
	for _, e := range []error{elfimage.ErrUnsupported, elfimage.ErrMalformed, elfimage.ErrRefused} {
		if errors.Is(err, e) {
			return strings.TrimPrefix(err.Error(), e.Error()+": ")
		}
	}
	return err.Error()
}

// isLoader reports whether f is a dynamic loader: nothing loads it, so nothing
// reads a library path in it.
func isLoader(f *elfFile) bool {
	base := f.soname
	if base == "" {
		base = path.Base(f.name)
	}
	return f.interp == "" && (strings.HasPrefix(base, "ld-linux") || strings.HasPrefix(base, "ld-musl") || strings.HasPrefix(base, "ld.so") ||
		strings.HasPrefix(base, "ld64.so") || base == "libc.so" && len(f.needed) == 0)
}

// relocateFile edits one file in place, so that hard links to it stay links.
func (g *grafting) relocateFile(f *elfFile) error {
	edit := elfimage.Edit{Runpath: g.runpath(f)}
	if f.interp != "" && !f.library() {
		loader, ok := g.loader(f)
		switch {
		case ok:
			edit.Interp = loader
		case f.exec && (g.kind == "dir" || g.kind == "tar"):
			return fmt.Errorf("%w: it asks for %s; add a C library with --with libc6, or link the program statically", ErrNoLoader, f.interp)
		default:
			g.tree.notes.add("programs whose loader is not in the tree cannot run", f.name+" ("+f.interp+")")
		}
	}
	if f.interp != "" && f.library() && f.exec {
		// Nobody runs it: a package holds no program that wants the host's loader.
		if err := g.tree.root.Chmod(f.name, 0o644); err != nil {
			return err
		}
	}
	data, err := g.tree.root.ReadFile(f.name)
	if err != nil {
		return err
	}
	m, err := elfimage.Parse(data)
	if err != nil {
		return err
	}
	edited, err := edit.Apply(m)
	if errors.Is(err, elfimage.ErrRefused) {
		g.tree.notes.add("ELF files left as they are", f.name+" ("+reason(err)+")")
		return nil
	}
	if err != nil {
		return err
	}
	w, err := g.tree.root.OpenFile(f.name, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = w.Write(edited)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}

// loader returns the path in the tree of the loader that f asks for.
func (g *grafting) loader(f *elfFile) (string, bool) {
	if name, ok := rootPlace(f.interp); ok && g.tree.exists(name) {
		return name, true
	}
	if name := strings.TrimPrefix(path.Clean("/"+f.interp), "/"); g.tree.exists(name) {
		return name, true // a field that an earlier graft has filled
	}
	dirs := g.elves.provide[f.machine][path.Base(f.interp)]
	if len(dirs) == 0 {
		return "", false
	}
	return path.Join(slices.Min(dirs), path.Base(f.interp)), true
}

// triplet returns Debian's name for a machine's directory of libraries.
func triplet(m elfimage.Machine) string {
	if m == elfimage.ARM64 {
		return "lib/aarch64-linux-gnu"
	}
	return "lib/x86_64-linux-gnu"
}

// runpath computes a file's DT_RUNPATH: first what it had, as far as that is in
// the tree; then the directories that provide what it needs; then the standard
// one, for what it opens by name at run time.
func (g *grafting) runpath(f *elfFile) string {
	var want []string
	add := func(dir string) {
		if !slices.Contains(want, dir) {
			want = append(want, dir)
		}
	}
	for _, dir := range g.oldRunpath(f) {
		add(dir)
	}
	have := g.elves.provide[f.machine]
	standard := g.standardDirs(f)
	for _, lib := range f.needed {
		dirs := have[path.Base(lib)]
		if len(dirs) == 0 {
			g.tree.notes.add("libraries that are needed but not in the tree", path.Base(lib)+" (by "+f.name+")")
			continue
		}
		if i := slices.IndexFunc(append(slices.Clone(want), standard...), func(d string) bool { return slices.Contains(dirs, d) }); i >= 0 {
			add(append(slices.Clone(want), standard...)[i])
			continue
		}
		if slices.Contains(dirs, f.dirs[0]) {
			add(f.dirs[0])
		} else {
			add(slices.Min(dirs))
		}
	}
	if len(standard) > 0 {
		add(standard[0])
	}
	var entries []string
	for _, dir := range want {
		for _, from := range f.dirs {
			e := "$ORIGIN"
			if from != dir {
				e += "/" + relative(from, dir)
			}
			if !slices.Contains(entries, e) {
				entries = append(entries, e)
			}
		}
	}
	return strings.Join(entries, ":")
}

// oldRunpath maps the directories of a file's own library path into the tree.
func (g *grafting) oldRunpath(f *elfFile) []string {
	var dirs []string
	for entry := range strings.SplitSeq(f.runpath, ":") {
		entry = strings.ReplaceAll(entry, "${ORIGIN}", "$ORIGIN")
		dir, ok := "", false
		if rest, found := strings.CutPrefix(entry, "$ORIGIN"); found {
			dir = path.Join("/", f.dirs[0], rest)[1:] // like the kernel, .. of the top is the top
			ok = true
		} else if path.IsAbs(entry) {
			dir, ok = rootPlace(entry)
		}
		if real, exists := g.tree.resolve(dir); ok && dir != "" && exists {
			if fi, err := os.Lstat(filepath.Join(g.tree.dir, real)); err == nil && fi.IsDir() {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// standardDirs returns the directories that the tree's own loader would
// search for every program: where the C library is comes first.
func (g *grafting) standardDirs(f *elfFile) []string {
	var dirs []string
	for _, d := range []string{triplet(f.machine), "lib64", "lib"} {
		if g.tree.exists(d) {
			dirs = append(dirs, d)
		}
	}
	libc := g.elves.provide[f.machine]["libc.so.6"]
	slices.SortStableFunc(dirs, func(a, b string) int {
		switch inA, inB := slices.Contains(libc, a), slices.Contains(libc, b); {
		case inA && !inB:
			return -1
		case inB && !inA:
			return 1
		}
		return 0
	})
	return dirs
}
