package programs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nipcells/internal/npk"
	"nipcells/internal/view/native"
)

// What Native says of a package.
const (
	NativeYes    = "native" // cells keep path calls below their roots by themselves
	NativePartly = "partly" // so do they, but some programs ask the supervisor
	NativeNo     = "no"     // cells ask the supervisor about everything
)

// Native says whether cells of the package have native views, from the bytes
// that are installed, dependencies included; what the manifest says is not
// looked at. why names the files that are in the way, for people.
func (p *Installed) Native() (state, why string) {
	deps, err := p.dependencies()
	if err != nil {
		return NativeNo, err.Error()
	}
	c := nativeCheck{loaders: map[string]bool{}}
	for _, q := range append([]*Installed{p}, deps...) {
		if err := c.check(q); err != nil {
			return NativeNo, err.Error()
		}
	}
	switch {
	case len(c.refused) > 0:
		return NativeNo, some(c.refused)
	case len(c.asking) > 0:
		return NativePartly, some(c.asking) + ": without shim"
	}
	return NativeYes, ""
}

func (p *Installed) dependencies() ([]*Installed, error) {
	if len(p.Head.Manifest.Depends) == 0 {
		return nil, nil
	}
	all, err := List(p.Root)
	if err != nil {
		return nil, err
	}
	return closure(p.Head, all)
}

// some joins a few of a list's lines.
func some(list []string) string {
	const most = 4
	if more := len(list) - most; more > 0 {
		list = append(slices.Clone(list[:most]), fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// nativeCheck collects what is in the way of native views.
type nativeCheck struct {
	loaders map[string]bool // path in Cas/ld -> begins with the stub
	refused []string        // executables, and why
	asking  []string        // files without shim
}

func (c *nativeCheck) check(p *Installed) error {
	named := map[string]bool{} // content ids of loaders
	for i := range p.Head.Entries {
		if l := p.Head.Entries[i].Interp; !l.IsZero() {
			named[l.String()] = true
		}
	}
	for l := range named {
		if err := c.loader(p.Root.Loader(l)); err != nil {
			return err
		}
	}
	libraries := map[string]bool{}
	for i := range p.Head.Entries {
		e := &p.Head.Entries[i]
		if native.IsCLibrary(e.Path) {
			if real, err := p.Head.Resolve(e.Path); err == nil && real.Kind == npk.File {
				libraries[real.Path] = true // libc.so.6 may be a link to libc-2.31.so
			}
		}
	}
	for i := range p.Head.Entries {
		e := &p.Head.Entries[i]
		if e.Kind != npk.File || !e.Exec && !libraries[e.Path] {
			continue
		}
		alone := e.Interp.IsZero() // makes its own path calls, if it is no script
		if err := c.file(p, e, libraries[e.Path] || named[e.CID.String()] || alone); err != nil {
			return err
		}
	}
	return nil
}

func (c *nativeCheck) loader(path string) error {
	return readFile(path, func(f io.ReaderAt, size int64) { c.loaders[path] = native.StubbedFile(f, size) })
}

// file checks one file. calls says that it makes path calls if it is an ELF file.
func (c *nativeCheck) file(p *Installed, e *npk.Entry, calls bool) error {
	return readFile(filepath.Join(p.Root.Program(p.Title, p.Version), e.Path), func(f io.ReaderAt, size int64) {
		magic := make([]byte, 4)
		if n, _ := f.ReadAt(magic, 0); n < 4 || string(magic) != "\x7fELF" {
			return // a script: its interpreter is another file
		}
		if e.Exec {
			if err := native.Executable(f, size, func(path string) bool { return c.loaders[path] }); err != nil {
				c.refused = append(c.refused, e.Path+" "+err.Error())
				return
			}
		}
		if calls && !native.ShimmedFile(f, size) && (e.Exec || asks(f, size)) {
			c.asking = append(c.asking, e.Path)
		}
	})
}

// asks reads a library, which is not large, and reports whether it makes path
// calls.
func asks(f io.ReaderAt, size int64) bool {
	const most = 64 << 20
	if size > most {
		return true
	}
	b := make([]byte, size)
	if n, _ := f.ReadAt(b, 0); n < len(b) {
		return true
	}
	return native.Asks(b)
}

func readFile(path string, read func(f io.ReaderAt, size int64)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	read(f, fi.Size())
	return nil
}

// checkNative compares what the manifest says of files for native views with
// the bytes below dir.
func (u *unpacker) checkNative(dir string) error {
	for _, n := range u.head.Manifest.Native {
		var shim, stub bool
		err := readFile(filepath.Join(dir, n.Path), func(f io.ReaderAt, size int64) {
			shim, stub = native.ShimmedFile(f, size), native.StubbedFile(f, size)
		})
		switch {
		case err != nil:
			return err
		case n.Shim && !shim:
			return fmt.Errorf("%s: the manifest says that it has the shim of this version, but it has not: %w", n.Path, npk.ErrCorrupt)
		case n.Stub && !stub:
			return fmt.Errorf("%s: the manifest says that it has the stub of this version, but it has not: %w", n.Path, npk.ErrCorrupt)
		}
	}
	return nil
}
