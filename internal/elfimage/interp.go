// Package elfimage reads, checks and edits ELF64 little-endian images: the
// files that a package brings and a cell runs. It never executes anything and
// treats every byte as hostile. Layouts are those of elf(5).
package elfimage

import "encoding/binary"

// InterpFieldSize is the size in bytes of the PT_INTERP field that graft leaves
// for the installer (SPEC section 10).
const InterpFieldSize = 256

// HeaderPeek is how many bytes from the start of a file InterpField needs at
// most to see the program headers of every image that elfimage writes.
const HeaderPeek = 64 << 10

const (
	ehdrSize = 64
	phdrSize = 56
	ptInterp = 3
)

// InterpField finds the 256-byte interpreter field of an ELF64 image whose
// first bytes are head and whose length is size. It reports the field's offset.
// ok is false for anything that is no ELF file, has no PT_INTERP of exactly
// InterpFieldSize bytes, or has one that lies outside the file or over the
// headers that were read to find it (filling it must not move it).
// Program headers beyond head are not seen: such a file has no field.
func InterpField(head []byte, size int64) (off int64, ok bool) {
	if len(head) < ehdrSize || string(head[:4]) != "\x7fELF" || head[4] != 2 || head[5] != 1 {
		return 0, false
	}
	le := binary.LittleEndian
	phoff, phentsize, phnum := le.Uint64(head[32:]), le.Uint16(head[54:]), int(le.Uint16(head[56:]))
	if phentsize != phdrSize || phoff < ehdrSize || phoff > uint64(len(head)) || phoff+uint64(phnum)*phdrSize > uint64(len(head)) {
		return 0, false
	}
	found := false
	for i := range phnum {
		p := head[phoff+uint64(i)*phdrSize:]
		if le.Uint32(p) != ptInterp {
			continue
		}
		o, n := le.Uint64(p[8:]), le.Uint64(p[32:])
		if found || n != InterpFieldSize || o < ehdrSize || o > uint64(size) || o+n > uint64(size) {
			return 0, false // two fields, or one that is not ours
		}
		if o < phoff+uint64(phnum)*phdrSize && phoff < o+n {
			return 0, false
		}
		off, found = int64(o), true
	}
	return off, found
}
