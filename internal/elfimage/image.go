package elfimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Reasons why Parse refuses a file.
var (
	ErrNotELF      = errors.New("not an ELF file")
	ErrUnsupported = errors.New("unsupported ELF file")
	ErrMalformed   = errors.New("malformed ELF file")
)

// Machine is the e_machine of an image.
type Machine uint16

// The machines that packages are made for.
const (
	AMD64 Machine = 62
	ARM64 Machine = 183
)

// String returns the architecture's name as recipes write it.
func (m Machine) String() string {
	switch m {
	case AMD64:
		return "amd64"
	case ARM64:
		return "arm64"
	}
	return fmt.Sprintf("machine %d", uint16(m))
}

// Values of elf(5) that this package decides on.
const (
	typeExec = 2
	typeDyn  = 3

	ptLoad        = 1
	ptDynamic     = 2
	ptNote        = 4
	ptPhdr        = 6
	ptGNUProperty = 0x6474e553

	shtStrtab  = 3
	shtDynamic = 6
	shtNobits  = 8
	shfAlloc   = 2

	shdrSize = 64
	symSize  = 24
	relaSize = 24
	dynSize  = 16
)

// Flags of a loadable segment.
const (
	FlagExec  uint32 = 1
	FlagWrite uint32 = 2
	FlagRead  uint32 = 4
)

var le = binary.LittleEndian

// segment is one program header.
type segment struct {
	typ, flags                         uint32
	off, addr, paddr, size, mem, align uint64
}

func (s segment) end() uint64    { return s.addr + s.mem }
func (s segment) offEnd() uint64 { return s.off + s.size }

// addrOf returns the address at which file offset off of s is loaded.
func (s segment) addrOf(off uint64) uint64 { return s.addr + off - s.off }

// section is what this package uses of a section header.
type section struct {
	typ             uint32
	allocated       bool // SHF_ALLOC: its bytes are loaded
	addr, off, size uint64
	fileSize        uint64 // size, or 0 for SHT_NOBITS
}

func (s section) offEnd() uint64 { return s.off + s.fileSize }

// Image is a parsed ELF64 little-endian executable or shared object. It keeps
// a reference to the bytes it was made from, which must not change. It is safe
// for concurrent reading.
type Image struct {
	data           []byte
	typ            uint16
	machine        Machine
	entry          uint64
	phoff, shoff   uint64
	segs           []segment
	sections       []section
	dyn            []dynEntry // up to and without DT_NULL
	dynSeg         int        // index of PT_DYNAMIC in segs, -1: none
	interpSeg      int        // index of PT_INTERP in segs, -1: none
	strOff, strLen uint64     // file range of the dynamic string table
	strAddr        uint64
}

// Parse checks b, the bytes of a whole file, and returns its image. Everything
// that the accessors and Apply rely on is checked here: headers lie inside the
// file, loadable segments are in ascending order and do not overlap, and the
// dynamic section and its string table are inside loaded bytes.
func Parse(b []byte) (*Image, error) {
	if len(b) < ehdrSize || string(b[:4]) != "\x7fELF" {
		return nil, ErrNotELF
	}
	m := &Image{data: b, dynSeg: -1, interpSeg: -1}
	if b[4] != 2 || b[5] != 1 || b[6] != 1 {
		return nil, fmt.Errorf("%w: not 64-bit little-endian", ErrUnsupported)
	}
	m.typ, m.machine = le.Uint16(b[16:]), Machine(le.Uint16(b[18:]))
	if m.typ != typeExec && m.typ != typeDyn {
		return nil, fmt.Errorf("%w: type %d is no executable and no shared object", ErrUnsupported, m.typ)
	}
	if m.machine != AMD64 && m.machine != ARM64 {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, m.machine)
	}
	m.entry = le.Uint64(b[24:])
	for _, step := range []func() error{m.parseSegments, m.parseSections, m.parseDynamic} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// inFile reports whether n bytes at off lie inside the file.
func (m *Image) inFile(off, n uint64) bool {
	return off <= uint64(len(m.data)) && n <= uint64(len(m.data))-off
}

func (m *Image) parseSegments() error {
	m.phoff = le.Uint64(m.data[32:])
	entsize, num := le.Uint16(m.data[54:]), uint64(le.Uint16(m.data[56:]))
	if num == 0 || num == 0xffff || entsize != phdrSize || m.phoff < ehdrSize || !m.inFile(m.phoff, num*phdrSize) {
		return malformed("program headers")
	}
	var end uint64
	for i := range int(num) {
		p := m.data[m.phoff+uint64(i)*phdrSize:]
		s := segment{typ: le.Uint32(p), flags: le.Uint32(p[4:]), off: le.Uint64(p[8:]), addr: le.Uint64(p[16:]),
			paddr: le.Uint64(p[24:]), size: le.Uint64(p[32:]), mem: le.Uint64(p[40:]), align: le.Uint64(p[48:])}
		m.segs = append(m.segs, s)
		switch s.typ {
		case ptLoad:
			if err := m.checkLoad(s, end); err != nil {
				return err
			}
			end = s.end()
		case ptDynamic, ptInterp:
			which := &m.dynSeg
			if s.typ == ptInterp {
				which = &m.interpSeg
			}
			if *which >= 0 || !m.inFile(s.off, s.size) {
				return malformed("program header %d", i)
			}
			*which = i
		case ptNote, ptGNUProperty, ptPhdr:
			if !m.inFile(s.off, s.size) || s.addr > maxAddr {
				return malformed("program header %d", i)
			}
		}
	}
	if end == 0 {
		return malformed("no loadable segment")
	}
	return nil
}

// maxAddr bounds every address, so that sums of addresses and sizes cannot
// overflow: both machines have at most 56 bits of user address space.
const maxAddr = 1 << 56

func (m *Image) checkLoad(s segment, prev uint64) error {
	switch {
	case !m.inFile(s.off, s.size), s.size > s.mem, s.mem > maxAddr, s.addr > maxAddr:
		return malformed("loadable segment outside the file")
	case s.addr < prev:
		return malformed("loadable segments overlap or are out of order")
	case s.align > 1 && (bits.OnesCount64(s.align) != 1 || s.align > 1<<30 || (s.addr-s.off)&(s.align-1) != 0):
		return malformed("loadable segment is not aligned")
	}
	return nil
}

func (m *Image) parseSections() error {
	m.shoff = le.Uint64(m.data[40:])
	entsize, num := le.Uint16(m.data[58:]), uint64(le.Uint16(m.data[60:]))
	if m.shoff == 0 {
		return nil // stripped of its section headers
	}
	if num == 0 || entsize != shdrSize || m.shoff < ehdrSize || !m.inFile(m.shoff, num*shdrSize) {
		return malformed("section headers")
	}
	for i := range int(num) {
		p := m.data[m.shoff+uint64(i)*shdrSize:]
		s := section{typ: le.Uint32(p[4:]), allocated: le.Uint64(p[8:])&shfAlloc != 0,
			addr: le.Uint64(p[16:]), off: le.Uint64(p[24:]), size: le.Uint64(p[32:])}
		if i == 0 {
			s = section{} // reserved (elf(5)): describes nothing
		}
		if s.typ != 0 && (s.typ != shtNobits && !m.inFile(s.off, s.size) || s.addr > maxAddr || s.size > maxAddr) {
			return malformed("section %d lies outside the file", i)
		}
		if s.typ != shtNobits && s.typ != 0 {
			s.fileSize = s.size
		}
		m.sections = append(m.sections, s)
	}
	return nil
}

// offsetOf translates an address to the file offset that is loaded there. ok
// is false unless all of [addr, addr+n) comes from one segment's file bytes.
func (m *Image) offsetOf(addr, n uint64) (off uint64, ok bool) {
	for _, s := range m.segs {
		if s.typ == ptLoad && addr >= s.addr && addr-s.addr <= s.size && n <= s.size-(addr-s.addr) {
			return s.off + addr - s.addr, true
		}
	}
	return 0, false
}

// Bytes returns the file bytes that are loaded at [addr, addr+n), or nil where
// they are not all in one segment. The caller must not change them.
func (m *Image) Bytes(addr, n uint64) []byte {
	off, ok := m.offsetOf(addr, n)
	if !ok {
		return nil
	}
	return m.data[off : off+n : off+n]
}

// Machine returns the image's architecture.
func (m *Image) Machine() Machine { return m.machine }

// Entry returns the address at which execution starts.
func (m *Image) Entry() uint64 { return m.entry }

// FixedAddress reports whether the image can only be loaded at its own address
// (ET_EXEC).
func (m *Image) FixedAddress() bool { return m.typ == typeExec }

// Dynamic reports whether the image has a dynamic section.
func (m *Image) Dynamic() bool { return m.dynSeg >= 0 }

// HasInterp reports whether the kernel starts the image through a loader.
func (m *Image) HasInterp() bool { return m.interpSeg >= 0 }

// Interp returns the path in PT_INTERP, up to its first NUL, or "".
func (m *Image) Interp() string {
	if m.interpSeg < 0 {
		return ""
	}
	s := m.segs[m.interpSeg]
	b := m.data[s.off:s.offEnd()]
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
