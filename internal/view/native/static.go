package native

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// What must be known of an executable beyond what a shared object shows: who
// runs on which stack, what its code names by absolute addresses, and where its
// functions begin if it has no table of them.

// ordinary proves that the shim may run on the stacks of a program: they are
// those of C. A goroutine's has no room for it. Of an executable it must be
// known that its C library is glibc.
func (p *program) ordinary() error {
	for _, s := range p.file.Sections {
		switch s.Name {
		case ".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo", ".note.go.buildid":
			return fmt.Errorf("%w: Go's stacks are too small", ErrUnproven)
		case ".note.GNU-split-stack":
			return fmt.Errorf("%w: its stacks are split", ErrUnproven)
		}
	}
	if (p.image.FixedAddress() || p.image.StaticPIE()) && !p.gnu() {
		return fmt.Errorf("%w: it is no program of the GNU C library", ErrUnproven)
	}
	return nil
}

// gnu reports whether an image has the note that glibc's startup code leaves:
// name "GNU", type NT_GNU_ABI_TAG, system Linux.
func (p *program) gnu() bool {
	tag := []byte("\x04\x00\x00\x00\x10\x00\x00\x00\x01\x00\x00\x00GNU\x00\x00\x00\x00\x00")
	for _, s := range p.file.Progs {
		if s.Type == elf.PT_NOTE && bytes.Contains(p.image.Bytes(s.Vaddr, s.Filesz), tag) {
			return true
		}
	}
	return false
}

// framed returns where functions begin by .eh_frame itself, as static programs
// have no .eh_frame_hdr. Entries in another form than compilers write for small
// code (distances of 32 bits from where they stand) are left out.
func (p *program) framed() []uint64 {
	s := p.file.Section(".eh_frame")
	if s == nil || s.Flags&elf.SHF_ALLOC == 0 {
		return nil
	}
	b := p.image.Bytes(s.Addr, s.Size)
	var list []uint64
	relative := map[int]bool{} // offsets of CIEs whose functions are in that form
	for at := 0; at+8 <= len(b); {
		size := int(binary.LittleEndian.Uint32(b[at:]))
		if size < 4 || size > len(b)-at-4 {
			break // the end, or 64-bit entries
		}
		entry, id := b[at+4:at+4+size], int(binary.LittleEndian.Uint32(b[at+4:]))
		switch {
		case id == 0:
			relative[at] = pointerForm(entry[4:]) == relativeForm
		case relative[at+4-id] && size >= 8:
			list = append(list, s.Addr+uint64(at+8)+uint64(int64(int32(binary.LittleEndian.Uint32(entry[4:])))))
		}
		at += 4 + size
	}
	return list
}

const relativeForm = 0x1b // DW_EH_PE_pcrel | DW_EH_PE_sdata4

// pointerForm returns the form of addresses that a CIE, from its version on,
// gives those that belong to it, or 0.
func pointerForm(cie []byte) byte {
	if len(cie) < 2 {
		return 0
	}
	augmentation, rest, ok := bytes.Cut(cie[1:], []byte{0})
	if !ok || len(augmentation) == 0 || augmentation[0] != 'z' {
		return 0
	}
	for range 4 { // alignments, return register, length of what follows
		for len(rest) > 0 && rest[0]&0x80 != 0 {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return 0
		}
		rest = rest[1:]
	}
	for _, c := range augmentation[1:] {
		n := 0 // bytes that come before the form
		switch {
		case c == 'R' && len(rest) > 0:
			return rest[0]
		case c == 'L':
			n = 1
		case c == 'P' && len(rest) > 0 && rest[0]&0x07 == 3: // 4 bytes
			n = 5
		case c != 'S' && c != 'B':
			return 0
		}
		if len(rest) < n {
			return 0
		}
		rest = rest[n:]
	}
	return 0
}
