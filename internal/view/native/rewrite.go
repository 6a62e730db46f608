// Package native puts into executables what native views need (DESIGN.md,
// "Native views"): a stub that maps and seals the zone before a program's first
// instruction, and a shim by way of which a C library and a loader make their
// path calls. It also tells whether an executable that a package brings may run
// in a cell that has a zone.
//
// Nothing here is trusted but the stub, and the stub only where Stubbed says
// that it is there: whoever installs asks that of every file that may be
// executed and has no loader.
package native

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"nipcells/internal/elfimage"
	"nipcells/internal/view/native/shim"
)

// ErrUnproven reports an image whose code could not be followed well enough to
// change anything in it.
var ErrUnproven = errors.New("code cannot be proven")

// AnyCall is the name of a call whose number is known at run time only.
const AnyCall = "any"

// Site is a system call instruction that makes a path call.
type Site struct {
	Addr  uint64 // of the instruction
	Call  string // name of the call, or AnyCall
	Taken bool   // it now goes to the shim
	Why   string // it was not taken
}

// Rewriting is what Rewrite did with an image.
type Rewriting struct {
	Sites []Site // in order of addresses
	// Unknown is how many system call instructions have a number that is not a
	// constant in their own basic block and cannot be taken as AnyCall either:
	// they go to the kernel as they are, and if they name a path, to the supervisor.
	Unknown int
}

// Taken returns how many sites go to the shim.
func (r *Rewriting) Taken() (n int) {
	for _, s := range r.Sites {
		if s.Taken {
			n++
		}
	}
	return n
}

// program is an image with what the rewriter needs to know of it.
type program struct {
	image  *elfimage.Image
	file   *elf.File
	data   []byte
	ours   uint64 // address of the segment that Rewrite or Stub added, 0: none
	oursSz uint64
}

// part is a section of code.
type part struct {
	addr uint64
	code []byte
}

// patch is one site's change: the bytes from, Size long, become a jump to a
// trampoline.
type patch struct {
	site  int    // in Rewriting.Sites
	from  uint64 // address of the first byte replaced
	moved []byte // instructions that go to the trampoline
	size  int    // bytes replaced, the system call's own included
	any   bool   // the trampoline looks at the number: what is no path call it makes itself
}

// pathCall is a call that the shim makes.
type pathCall struct {
	nr   uint32
	name string
}

// nameOf returns the name of a path call, or "".
func nameOf(list []pathCall, nr uint32) string {
	for _, c := range list {
		if c.nr == nr {
			return c.name
		}
	}
	return ""
}

// machine is what differs between processors.
type machine interface {
	// sites finds the system call instructions of the program's code, and how
	// to take those that make path calls.
	sites(p *program) ([]Site, []patch, int, error)
	// trampolineSize is how many bytes the trampoline of a patch takes.
	trampolineSize(p patch) int
	// trampoline is the code at addr that a patch jumps to; entry is the shim's.
	trampoline(p patch, addr, entry uint64) ([]byte, error)
	// jump is what replaces the bytes of a patch.
	jump(p patch, trampoline uint64) ([]byte, error)
	// branch is a jump from addr to another address.
	branch(addr, to uint64) ([]byte, error)
	arch() string
}

func machineOf(m *elfimage.Image) (machine, error) {
	switch m.Machine() {
	case elfimage.AMD64:
		return x86{}, nil
	case elfimage.ARM64:
		return a64{}, nil
	}
	return nil, fmt.Errorf("%w: %v", ErrUnproven, m.Machine())
}

// The segment that Rewrite and Stub add begins with a header: a magic number
// with the version of what follows and the size of the whole, padded to
// headSize. Then there is room for the stub, then the shim, and one trampoline
// for each site.
const (
	segmentMagic = "nipshim\x01"
	headSize     = 32
	stubRoom     = 352
	shimOff      = headSize + stubRoom
)

// load parses an image.
func load(image []byte) (*program, machine, error) {
	m, err := elfimage.Parse(image)
	if err != nil {
		return nil, nil, err
	}
	how, err := machineOf(m)
	if err != nil {
		return nil, nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	p := &program{image: m, file: f, data: image}
	for _, s := range f.Progs {
		if s.Type != elf.PT_LOAD || s.Flags&elf.PF_X == 0 {
			continue
		}
		b := m.Bytes(s.Vaddr, s.Filesz)
		if at := ownSegment(b); at >= 0 && s.Flags&elf.PF_W == 0 {
			p.ours, p.oursSz = s.Vaddr+uint64(at), uint64(len(b)-at)
		}
	}
	return p, how, nil
}

// Rewrite makes the path calls of a C library, a loader or a static program of
// the GNU C library go to the shim, which it adds. A site is taken only where it is proven that its number is the
// call's and that nothing jumps into the bytes that are replaced; the others are
// listed. It is deterministic; an image that has nothing to take, its own
// result among them, is returned as it is. Images that elfimage refuses to edit
// give elfimage.ErrRefused, such as cannot be followed ErrUnproven.
func Rewrite(image []byte) ([]byte, *Rewriting, error) {
	p, how, err := load(image)
	if err != nil {
		return nil, nil, fmt.Errorf("rewrite: %w", err)
	}
	if p.ours != 0 {
		return image, &Rewriting{}, nil
	}
	if err := p.ordinary(); err != nil {
		return nil, nil, fmt.Errorf("rewrite: %w", err)
	}
	sites, patches, unknown, err := how.sites(p)
	if err != nil {
		return nil, nil, fmt.Errorf("rewrite: %w", err)
	}
	report := &Rewriting{Sites: sites, Unknown: unknown}
	if len(patches) == 0 {
		return image, report, nil
	}
	code := shim.Code(how.arch())
	size := shimOff + (len(code)+15)&^15
	for _, t := range patches {
		size += how.trampolineSize(t)
	}
	fill := func(addr uint64) ([]byte, []elfimage.Patch, error) {
		b := segmentHead(size)
		b = append(b, code...)
		for len(b)%16 != 0 {
			b = append(b, 0)
		}
		var changes []elfimage.Patch
		for _, t := range patches {
			at := addr + uint64(len(b))
			tramp, err := how.trampoline(t, at, addr+shimOff)
			if err != nil {
				return nil, nil, err
			}
			jump, err := how.jump(t, at)
			if err != nil {
				return nil, nil, err
			}
			b = append(b, tramp...)
			changes = append(changes, elfimage.Patch{Addr: t.from, Old: p.image.Bytes(t.from, uint64(t.size)), New: jump})
		}
		return b, changes, nil
	}
	edit := elfimage.Edit{Segments: []elfimage.Segment{{Flags: elfimage.FlagRead | elfimage.FlagExec, Size: uint64(size), Fill: fill}}}
	out, err := edit.Apply(p.image)
	if err != nil {
		return nil, nil, fmt.Errorf("rewrite: %w", err)
	}
	for _, t := range patches {
		report.Sites[t.site].Taken = true
	}
	return out, report, nil
}

// segmentHead is the header and the room for the stub, which is zeroes.
func segmentHead(size int) []byte {
	b := make([]byte, shimOff, size)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(size))
	return b
}

// Shimmed reports whether an image's path calls go to the shim of this version,
// as Rewrite leaves it.
func Shimmed(image []byte) bool {
	p, how, err := load(image)
	if err != nil || p.ours == 0 {
		return false
	}
	code := shim.Code(how.arch())
	return string(p.image.Bytes(p.ours+shimOff, uint64(len(code)))) == code
}

// parts returns the sections of code, in order of addresses. They are where the
// image loads them.
func (p *program) parts() ([]part, error) {
	var list []part
	for _, s := range p.file.Sections {
		if s.Type != elf.SHT_PROGBITS || s.Flags&(elf.SHF_ALLOC|elf.SHF_EXECINSTR) != elf.SHF_ALLOC|elf.SHF_EXECINSTR || s.Size == 0 {
			continue
		}
		b := p.image.Bytes(s.Addr, s.Size)
		if b == nil || s.Offset > uint64(len(p.data)) || !bytes.HasPrefix(p.data[s.Offset:], b) {
			return nil, fmt.Errorf("%w: section %q is not loaded where it says", ErrUnproven, s.Name)
		}
		list = append(list, part{s.Addr, b})
	}
	slices.SortFunc(list, func(a, b part) int { return cmp.Compare(a.addr, b.addr) })
	for i := 1; i < len(list); i++ {
		if list[i].addr < list[i-1].addr+uint64(len(list[i-1].code)) {
			return nil, fmt.Errorf("%w: its sections of code overlap", ErrUnproven)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no section of code", ErrUnproven)
	}
	return list, nil
}

// functions returns the addresses at which the unwinder knows a function to
// begin (.eh_frame_hdr's table, in the one form that linkers write, else
// .eh_frame).
func (p *program) functions() []uint64 {
	const tableForm = 0x3b031b01 // version 1, then pc-relative, udata4, and datarel sdata4
	var list []uint64
	for _, s := range p.file.Progs {
		if s.Type != elf.PT_GNU_EH_FRAME {
			continue
		}
		b := p.image.Bytes(s.Vaddr, s.Filesz)
		if len(b) < 12 || binary.LittleEndian.Uint32(b) != tableForm {
			continue
		}
		n := binary.LittleEndian.Uint32(b[8:])
		for b = b[12:]; n > 0 && len(b) >= 8; n, b = n-1, b[8:] {
			list = append(list, s.Vaddr+uint64(int64(int32(binary.LittleEndian.Uint32(b)))))
		}
	}
	if list == nil {
		return p.framed()
	}
	return list
}

// pointers calls fn with every aligned word of the file that could be an address.
func (p *program) pointers(fn func(addr uint64)) {
	for b := p.data; len(b) >= 8; b = b[8:] {
		fn(binary.LittleEndian.Uint64(b))
	}
}
