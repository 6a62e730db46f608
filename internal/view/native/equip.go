package native

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"nipcells/internal/elfimage"
)

// Kind is what a file of a package is to native views.
type Kind uint8

// The kinds of files. Whatever is not mentioned stays as it is.
const (
	Plain    Kind = iota
	CLibrary      // makes the path calls of programs: to have the shim
	Loader        // begins programs, and makes path calls: to have shim and stub
	Static        // a program that begins by itself: to have the stub, and the shim where its calls can be followed
	Library       // loaded by others only: nobody needs its execute bit
)

// cLibraries are the names of glibc's libraries that make path calls
// (libpthread until 2.33).
var cLibraries = [...]string{"libc.so.6", "libpthread.so.0"}

// IsCLibrary reports whether a library of that name is to have the shim.
func IsCLibrary(name string) bool { return slices.Contains(cLibraries[:], path.Base(name)) }

// loaders are what the names of loaders begin with, for those that no program of
// the package names. musl's loader is its C library.
var loaders = [...]string{"ld-linux", "ld-musl", "ld.so", "ld64.so"}

// Classify says what a file is. named says that a program of the package names
// it as its loader, exec that it has the execute bit.
//
// A library and a position-independent static program look much alike (ET_DYN
// without PT_INTERP): the program has DF_1_PIE, the library a name, a library
// that it needs, or no entry. What has nothing of all that is taken for a
// program.
func Classify(name string, m *elfimage.Image, exec, named bool) Kind {
	base := m.Soname()
	if base == "" {
		base = path.Base(name)
	}
	alone := !m.HasInterp() && m.Entry() != 0 && len(m.Needed()) == 0
	prefixed := slices.ContainsFunc(loaders[:], func(p string) bool { return strings.HasPrefix(base, p) })
	switch {
	case named, alone && m.Dynamic() && (prefixed || base == "libc.so"):
		return Loader
	case IsCLibrary(base):
		return CLibrary
	case !exec || m.HasInterp():
		return Plain
	case m.FixedAddress() || m.StaticPIE():
		return Static
	case m.Soname() != "" || len(m.Needed()) > 0 || m.Entry() == 0:
		return Library
	}
	return Static
}

// Equipment is what a file has for native views, and why not more.
type Equipment struct {
	Shim, Stub  bool
	Taken, Left int   // path calls that go to the shim, and that do not
	NoShim      error // why there is none; nil where none is needed
	NoStub      error
}

// ErrGo reports a Go program, which keeps its path calls: it may make them on
// stacks that have no room for the shim.
var ErrGo = errors.New("is a Go program, whose stacks are too small for the shim")

// Equip puts into an image what its kind is to have, as far as it can be proved
// to keep the program as it was, and says what it has now. It is deterministic,
// and leaves its own results alone.
func Equip(image []byte, k Kind) ([]byte, Equipment) {
	var e Equipment
	if k == CLibrary || k == Loader || k == Static {
		image = e.shim(image)
	}
	if k == Loader || k == Static {
		out, err := Stub(image)
		if err == nil {
			image = out
		}
		e.Stub, e.NoStub = err == nil, err
	}
	return image, e
}

func (e *Equipment) shim(image []byte) []byte {
	if isGo(image) {
		e.NoShim = ErrGo
		return image
	}
	out, r, err := Rewrite(image)
	if err != nil {
		e.NoShim = err
		return image
	}
	e.Taken, e.Left = r.Taken(), len(r.Sites)-r.Taken()
	e.Shim = ShimmedFile(bytes.NewReader(out), int64(len(out)))
	if !e.Shim && (len(r.Sites) > 0 || r.Unknown > 0) {
		e.NoShim = fmt.Errorf("%w: none of its path calls can be followed", ErrUnproven)
	}
	return out
}

// Asks reports whether an image has path calls of its own that do not go to the
// shim, or may have: glibc's libpthread has none any more.
func Asks(image []byte) bool {
	if ShimmedFile(bytes.NewReader(image), int64(len(image))) {
		return false
	}
	_, r, err := Rewrite(image)
	return err != nil || len(r.Sites) > 0 || r.Unknown > 0
}

// isGo reports whether an image has Go's own build id or table of functions.
func isGo(image []byte) bool {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return false
	}
	for _, s := range f.Sections {
		if s.Name == ".gopclntab" || s.Name == ".note.go.buildid" {
			return true
		}
	}
	const magic = "\xff Go buildinf:" // debug/buildinfo: aligned, in a data segment
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Off > uint64(len(image)) || p.Filesz > uint64(len(image))-p.Off {
			continue
		}
		if bytes.Contains(image[p.Off:p.Off+p.Filesz], []byte(magic)) {
			return true
		}
	}
	return false
}
