package native

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
	"strings"

	"nipcells/internal/elfimage"
	"nipcells/internal/view/native/shim"
	"nipcells/internal/view/zone"
)

// Executable reports whether a file with the execute bit may be in reach of a
// cell that has a zone: nil if whatever execve(2) makes of it maps and seals the
// zone before its own first instruction. That is so for what is no ELF file (the
// kernel starts the interpreter of a script, which is another file), for a
// program whose loader the callback accepts (a path is accepted where it can
// only be that of a loader for which Stubbed holds), and for a program without
// a loader that begins with the stub. Any other file gives an error that says
// why, to be read behind the file's name.
//
// It reads headers only. Where the kernel's own reading leaves a doubt, the
// answer is no.
func Executable(f io.ReaderAt, size int64, loader func(path string) bool) error {
	return executable(f, size, hostMachine(), loader)
}

// executable is Executable for a machine, which need not be the host's.
func executable(f io.ReaderAt, size int64, m elfimage.Machine, loader func(path string) bool) error {
	isELF, err := startsELF(f)
	if err != nil || !isELF {
		return err
	}
	l, err := readLayout(f, size)
	if err != nil {
		return err
	}
	if l.machine != m {
		return fmt.Errorf("is a program for another machine (%v)", l.machine)
	}
	if l.hasInterp {
		if !loader(l.interp) {
			return errors.New("names a loader of its own")
		}
		return nil
	}
	return l.stubbed()
}

// hostMachine is the machine whose programs the host's kernel runs in 64 bits.
func hostMachine() elfimage.Machine {
	switch runtime.GOARCH {
	case "amd64":
		return elfimage.AMD64
	case "arm64":
		return elfimage.ARM64
	}
	return 0
}

// StubbedFile is Stubbed for a file, of which it reads headers only.
func StubbedFile(f io.ReaderAt, size int64) bool {
	l, err := readLayout(f, size)
	return err == nil && l.stubbed() == nil
}

// startsELF reports whether a file has the magic number. It asks the file and not
// its size: a size that is wrong must not hide a program.
func startsELF(f io.ReaderAt) (bool, error) {
	magic := make([]byte, 4)
	n, err := f.ReadAt(magic, 0)
	if n < len(magic) && err != io.EOF {
		return false, fmt.Errorf("cannot be read: %w", err)
	}
	return string(magic) == "\x7fELF", nil
}

func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("cannot be read: %w", err)
}

// layout is what the kernel reads of an ELF file before the program runs
// (fs/binfmt_elf.c, load_elf_binary and load_elf_interp).
type layout struct {
	file      io.ReaderAt
	machine   elfimage.Machine
	fixed     bool // ET_EXEC: loaded at its own addresses
	entry     uint64
	hasInterp bool
	interp    string    // up to its first NUL, as the kernel opens it
	loads     []segment // PT_LOAD, in ascending order
}

// segment is one PT_LOAD.
type segment struct {
	flags                uint32
	off, addr, size, mem uint64
}

// Sizes and numbers of elf(5), and the kernel's limits for them.
const (
	ehdrSize   = 64
	phdrSize   = 56
	maxHeaders = 65536 / phdrSize // load_elf_phdrs
	pathMax    = 4096             // of PT_INTERP
	addrLimit  = 1 << 56          // more than either machine gives to programs: sums cannot overflow
	kernelPage = 4096             // offsets and addresses agree modulo the page: elf_map

	elfExec, elfDyn               = 2, 3 // e_type
	phLoad, phInterp              = 1, 3 // p_type
	machine386, machineARM uint16 = 3, 40
)

// readLayout reads the headers of an ELF file as the kernel does, and refuses
// what the kernel would refuse, or read in two ways.
func readLayout(f io.ReaderAt, size int64) (*layout, error) {
	h := make([]byte, ehdrSize)
	if size < ehdrSize { // the kernel would read zeroes for what is missing
		return nil, errors.New("is a damaged program: it ends in its header")
	}
	if err := readFull(f, h, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if err := checkHeader(h); err != nil {
		return nil, err
	}
	l := &layout{file: f, machine: elfimage.Machine(le.Uint16(h[18:])), fixed: le.Uint16(h[16:]) == elfExec, entry: le.Uint64(h[24:])}
	num := uint64(le.Uint16(h[56:]))
	phoff, end := le.Uint64(h[32:]), uint64(size)
	if num == 0 || num > maxHeaders || le.Uint16(h[54:]) != phdrSize || phoff > end || num*phdrSize > end-phoff {
		return nil, errors.New("is a damaged program: its program headers")
	}
	table := make([]byte, num*phdrSize)
	if err := readFull(f, table, int64(phoff)); err != nil {
		return nil, err
	}
	for ; len(table) > 0; table = table[phdrSize:] {
		if err := l.header(table[:phdrSize], end); err != nil {
			return nil, err
		}
	}
	return l, l.checkLoads()
}

// checkHeader checks the ELF header but for the program headers. Which machine
// code a file is of the kernel tells by e_machine alone: 32-bit code can go over
// to 64 bits whenever it likes.
func checkHeader(h []byte) error {
	le := binary.LittleEndian
	machine := le.Uint16(h[18:])
	switch {
	case machine == machine386 || machine == machineARM || h[4] == 1:
		return errors.New("is a 32-bit program")
	case machine != uint16(elfimage.AMD64) && machine != uint16(elfimage.ARM64):
		return fmt.Errorf("is a program for another machine (%d)", machine)
	case h[4] != 2 || h[5] != 1:
		return errors.New("is a damaged program: neither of 32 nor of 64 bits")
	case le.Uint16(h[16:]) != elfExec && le.Uint16(h[16:]) != elfDyn:
		return errors.New("is no program, though it has the form of one")
	case le.Uint32(h[44:]) != 0:
		// The kernel gives a file that it could not read as one of 64 bits to its
		// reader of 32-bit files with this machine (x32), which has the number of
		// program headers here. Of e_shoff it is the high half.
		return errors.New("can be read as a 32-bit program, too")
	}
	return nil
}

// header takes one program header. end is the size of the file.
func (l *layout) header(p []byte, end uint64) error {
	le := binary.LittleEndian
	off, size := le.Uint64(p[8:]), le.Uint64(p[32:])
	switch le.Uint32(p) {
	case phInterp:
		if l.hasInterp {
			return errors.New("names two loaders")
		}
		if size < 2 || size > pathMax || off > end || size > end-off {
			return errors.New("is a damaged program: the name of its loader")
		}
		b := make([]byte, size)
		if err := readFull(l.file, b, int64(off)); err != nil {
			return err
		}
		if b[size-1] != 0 {
			return errors.New("is a damaged program: the name of its loader has no end")
		}
		l.hasInterp = true
		l.interp, _, _ = strings.Cut(string(b), "\x00")
	case phLoad:
		s := segment{flags: le.Uint32(p[4:]), off: off, addr: le.Uint64(p[16:]), size: size, mem: le.Uint64(p[40:])}
		return l.addLoad(s, le.Uint64(p[48:]), end)
	}
	return nil
}

// addLoad takes one PT_LOAD, which must be where linkers put it: behind the one
// before, its bytes in the file, congruent to its offset.
func (l *layout) addLoad(s segment, align, end uint64) error {
	page := max(align, kernelPage)
	odd := align > 1 && bits.OnesCount64(align) != 1
	switch {
	case s.off > end || s.size > end-s.off:
		return errors.New("is a damaged program: a segment is not in the file")
	case s.size > s.mem || s.mem > addrLimit || s.addr > addrLimit:
		return errors.New("is a damaged program: a segment is too large")
	case odd || page > 1<<30 || (s.addr-s.off)&(page-1) != 0:
		return errors.New("has segments with strange alignment")
	}
	if n := len(l.loads); n > 0 && s.addr < l.loads[n-1].addr+l.loads[n-1].mem {
		return errors.New("has segments that overlap or are out of order")
	}
	l.loads = append(l.loads, s)
	return nil
}

func (l *layout) checkLoads() error {
	if len(l.loads) == 0 || l.loads[0].size == 0 {
		return errors.New("is a damaged program: nothing of it is loaded") // or its place not the kernel's choice
	}
	if !l.fixed {
		return nil // the kernel looks for free addresses
	}
	for _, s := range l.loads {
		from, to := l.pages(s)
		if from < zone.Addr+zone.Size && to > zone.Addr {
			return errors.New("is loaded where the zone must be")
		}
	}
	return nil
}

// pages returns the range of addresses that the mapping of a segment takes, in
// whole pages of the largest size that a kernel of the machine may have. Of two
// segments with one page the later one gets it. Even one of no bytes counts.
func (l *layout) pages(s segment) (from, to uint64) {
	page := uint64(4 << 10)
	if l.machine == elfimage.ARM64 {
		page = 64 << 10
	}
	return s.addr &^ (page - 1), (max(s.addr+s.mem, s.addr+1) + page - 1) &^ (page - 1)
}

// stubbed returns why the program, or loader, does not begin with the stub: the
// bytes that the kernel maps at its entry are to be the stub and a jump into
// code of the file, from one executable segment that nothing changes or covers.
func (l *layout) stubbed() error {
	code := shim.Stub(l.machine.String())
	size := uint64(len(code) + jumpSize(l.machine))
	home := l.codeAt(l.entry, size)
	if home < 0 {
		return errors.New("begins outside of its own code")
	}
	s := l.loads[home]
	b := make([]byte, size)
	if err := readFull(l.file, b, int64(s.off+l.entry-s.addr)); err != nil {
		return err
	}
	if string(b[:len(code)]) != code {
		return errors.New("has no stub of this version")
	}
	if s.size != s.mem { // the kernel would write zeroes behind the file's bytes
		return errors.New("has its stub in a segment that is not all in the file")
	}
	from, to := l.pages(segment{addr: l.entry, mem: size})
	for i, other := range l.loads {
		a, z := l.pages(other)
		if i != home && a < to && z > from {
			return errors.New("has another segment over its stub")
		}
	}
	target, ok := jumpTarget(l.machine, l.entry+uint64(len(code)), b[len(code):])
	if !ok || l.codeAt(target, 1) < 0 || l.entry <= target && target < l.entry+size {
		return errors.New("has no jump to its own code behind the stub")
	}
	return nil
}

// codeAt returns the index of the segment whose file bytes hold n bytes at
// addr, which can be executed and not written; -1 where there is none.
func (l *layout) codeAt(addr, n uint64) int {
	for i, s := range l.loads {
		if addr >= s.addr && addr-s.addr <= s.size && n <= s.size-(addr-s.addr) {
			if s.flags&(elfimage.FlagExec|elfimage.FlagWrite) == elfimage.FlagExec {
				return i
			}
			return -1
		}
	}
	return -1
}

// jumpSize is the length of the jump behind the stub.
func jumpSize(m elfimage.Machine) int {
	if m == elfimage.ARM64 {
		return a64Size
	}
	return nearLen
}

// jumpTarget decodes the jump b at addr.
func jumpTarget(m elfimage.Machine, addr uint64, b []byte) (uint64, bool) {
	le := binary.LittleEndian
	if m == elfimage.ARM64 {
		w := le.Uint32(b)
		return addr + uint64(int64(int32(w<<6)>>6)*a64Size), w&^uint32(0x03ffffff) == branchOp
	}
	return addr + nearLen + uint64(int64(int32(le.Uint32(b[1:])))), b[0] == 0xe9
}

// maxShimSegment is more bytes than the segment has that Rewrite adds.
const maxShimSegment = 1 << 20

// ShimmedFile is Shimmed for a file, of which it reads headers and the segment
// of the shim only.
func ShimmedFile(f io.ReaderAt, size int64) bool {
	l, err := readLayout(f, size)
	if err != nil {
		return false
	}
	code := []byte(shim.Code(l.machine.String()))
	for _, s := range l.loads {
		if s.flags&(elfimage.FlagExec|elfimage.FlagWrite) != elfimage.FlagExec || s.size > maxShimSegment {
			continue
		}
		b := make([]byte, s.size)
		if readFull(f, b, int64(s.off)) != nil {
			return false
		}
		if at := ownSegment(b); at >= 0 && bytes.HasPrefix(b[at+shimOff:], code) {
			return true
		}
	}
	return false
}

// ownSegment returns where in a segment's bytes that begins which Rewrite or
// Stub has added, up to their end; -1 where it is another's. What made way for
// the program header may come first.
func ownSegment(b []byte) int {
	at := bytes.Index(b, []byte(segmentMagic))
	if at < 0 || len(b)-at < shimOff || uint64(binary.LittleEndian.Uint32(b[at+8:])) != uint64(len(b)-at) {
		return -1
	}
	return at
}
