package elfimage

import (
	"fmt"
	"slices"
)

// span is a range of file offsets.
type span struct{ from, to uint64 }

func (s span) holds(from, to uint64) bool { return s.from <= from && to <= s.to }
func (s span) meets(from, to uint64) bool { return from < s.to && s.from < to }

// roundUp returns the least multiple of align, a power of two, from n on.
func roundUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }

// pageSize is the largest page that a kernel uses for the machine, which
// keeps added code off the pages of other segments in the file, too.
func (m Machine) pageSize() uint64 {
	if m == ARM64 {
		return 64 << 10
	}
	return 4 << 10
}

// appendSegments lays out and writes everything that needs new room.
//
// The new segment's file offset is where the file ends, its address behind all
// others and congruent to the offset modulo the largest alignment, so that no
// padding is written. The program headers stay where they are if what follows
// them can move (notes, the old interpreter and hash tables, to which nothing
// but program headers and the dynamic section points); else they move into the
// new segment.
func (w *writer) appendSegments() error {
	loads := len(w.edit.Segments)
	if w.grows() {
		loads++
	}
	moved, inPlace := w.m.roomForHeaders(loads)
	if !inPlace && !w.grows() {
		if !w.m.HasInterp() && !w.m.StaticPIE() && len(w.m.Needed()) == 0 && (w.m.Dynamic() || !w.m.FixedAddress()) {
			return fmt.Errorf("%w: no room for the program headers of what may be a loader, which finds its own by their file offset", ErrRefused)
		}
		loads++ // the program headers move to a segment, which needs one
	}
	if len(w.segs)+loads >= 0xffff {
		return fmt.Errorf("%w: too many program headers", ErrRefused)
	}
	if loads > len(w.edit.Segments) {
		w.appendData(moved, inPlace, uint64(len(w.segs)+loads)*phdrSize)
		moved = nil
	} else {
		w.placeTable(true, 0, uint64(len(w.segs)+loads)*phdrSize)
	}
	for _, s := range w.edit.Segments {
		if err := w.appendExtra(s, moved); err != nil {
			return err
		}
		moved = nil
	}
	w.writeDynamic()
	w.writeHeaders()
	return w.applyPatches()
}

// nextLoad opens a loadable segment at the end of the file.
func (w *writer) nextLoad(flags uint32, offAlign uint64) segment {
	w.pad(offAlign)
	s := segment{typ: ptLoad, flags: flags, off: uint64(len(w.out)), align: w.m.machine.pageSize()}
	var end uint64
	for _, l := range w.segs {
		if l.typ == ptLoad {
			s.align, end = max(s.align, l.align), l.end()
		}
	}
	s.addr = roundUp(end, s.align) + s.off&(s.align-1)
	return s
}

// closeLoad ends s at the end of the file and adds it behind the last load.
func (w *writer) closeLoad(s segment) {
	s.size = uint64(len(w.out)) - s.off
	s.mem, s.paddr = s.size, s.addr
	last := 0
	for i, l := range w.segs {
		if l.typ == ptLoad {
			last = i
		}
	}
	w.segs = slices.Insert(w.segs, last+1, s)
}

func (w *writer) pad(align uint64) {
	for uint64(len(w.out))%align != 0 {
		w.out = append(w.out, 0)
	}
}

// appendData adds the segment of what grew and of what moved out of the
// program headers' way. tableSize is the size of the new program headers.
func (w *writer) appendData(moved []span, inPlace bool, tableSize uint64) {
	load := w.nextLoad(FlagRead, 16)
	if w.moveDyn {
		load.flags |= FlagWrite // the loader writes DT_DEBUG into it
	}
	addrOf := load.addrOf
	if !inPlace {
		w.phoff = uint64(len(w.out))
		w.out = append(w.out, make([]byte, tableSize)...)
	}
	w.placeTable(inPlace, addrOf(w.phoff), tableSize)
	w.appendMoved(load, moved)
	if w.newField {
		w.pad(16)
		w.moveSegment(w.m.interpSeg, uint64(len(w.out)), addrOf(uint64(len(w.out))), InterpFieldSize)
		w.out = append(w.out, interpField(w.edit.Interp)...)
	}
	if w.moveDyn {
		w.pad(16)
		const spare = 4 // entries that the next edit can use in place
		size := uint64(len(w.dyn)+1+spare) * dynSize
		w.moveSegment(w.m.dynSeg, uint64(len(w.out)), addrOf(uint64(len(w.out))), size)
		w.out = append(w.out, make([]byte, size)...)
	}
	if w.strings != nil {
		w.pad(16)
		w.moveStrings(uint64(len(w.out)), addrOf(uint64(len(w.out))))
		w.out = append(w.out, w.strings...)
	}
	w.closeLoad(load)
}

// appendMoved copies what made way for program headers into the segment load.
func (w *writer) appendMoved(load segment, moved []span) {
	for _, s := range moved {
		for uint64(len(w.out))%16 != s.from%16 {
			w.out = append(w.out, 0)
		}
		w.displace(s, uint64(len(w.out)), load.addrOf(uint64(len(w.out))))
		w.out = append(w.out, w.m.data[s.from:s.to]...)
	}
}

// placeTable updates PT_PHDR. addr is the address of a table that moved.
func (w *writer) placeTable(inPlace bool, addr, size uint64) {
	for i, s := range w.segs {
		if s.typ != ptPhdr {
			continue
		}
		if !inPlace {
			s.off, s.addr, s.paddr = w.phoff, addr, addr
		}
		s.size, s.mem = size, size
		w.segs[i] = s
	}
}

// moveSegment gives a program header, and the section that describes the same
// bytes, a new place and size.
func (w *writer) moveSegment(i int, off, addr, size uint64) {
	old := w.m.segs[i]
	for j, s := range w.m.sections {
		if s.allocated && s.off == old.off && s.addr == old.addr && s.size == old.size && s.fileSize > 0 {
			w.sections[j].off, w.sections[j].addr, w.sections[j].size = off, addr, size
		}
	}
	s := &w.segs[i]
	s.off, s.addr, s.paddr, s.size, s.mem = off, addr, addr, size, size
}

// moveStrings points the dynamic section at the new string table.
func (w *writer) moveStrings(off, addr uint64) {
	for j, s := range w.m.sections {
		if s.typ == shtStrtab && s.allocated && s.addr == w.m.strAddr {
			w.sections[j].off, w.sections[j].addr, w.sections[j].size = off, addr, uint64(len(w.strings))
		}
	}
	for i, d := range w.dyn {
		switch d.tag {
		case dtStrtab:
			w.dyn[i].val = addr
		case dtStrSz:
			w.dyn[i].val = uint64(len(w.strings))
		}
	}
}

// displace records that the bytes of s now lie at off, loaded at addr.
func (w *writer) displace(s span, off, addr uint64) {
	for i, g := range w.m.segs {
		if movable(g.typ) && s.holds(g.off, g.offEnd()) {
			w.segs[i].off, w.segs[i].addr = off+g.off-s.from, addr+g.off-s.from
			w.segs[i].paddr = w.segs[i].addr
		}
	}
	for i, c := range w.m.sections {
		if c.fileSize > 0 && s.holds(c.off, c.offEnd()) {
			w.sections[i].off, w.sections[i].addr = off+c.off-s.from, addr+c.off-s.from
		}
	}
	for _, c := range w.m.hashTables() {
		if s.holds(c.off, c.offEnd()) {
			w.repoint(c.addr, addr+c.off-s.from)
		}
	}
	if len(w.m.sections) > 0 && s.holds(w.m.shoff, w.m.shoff+uint64(len(w.m.sections))*shdrSize) {
		w.shoff = off + w.m.shoff - s.from
	}
}

// repoint makes the dynamic section name a hash table at its new address.
func (w *writer) repoint(from, to uint64) {
	if w.dyn == nil {
		w.dyn = slices.Clone(w.m.dyn)
	}
	for i, d := range w.dyn {
		if (d.tag == dtHash || d.tag == dtGNUHash) && d.val == from {
			w.dyn[i].val = to
		}
	}
}

// appendExtra adds a segment of the caller's, on pages of its own in the file,
// lest other bytes become executable with it. What made way for its program
// header goes before it: a segment for that alone would need one more header.
func (w *writer) appendExtra(s Segment, moved []span) error {
	if s.Size == 0 || s.Size > 1<<30 {
		return fmt.Errorf("%w: segment of %d bytes", ErrRefused, s.Size)
	}
	load := w.nextLoad(s.Flags, w.m.machine.pageSize())
	w.appendMoved(load, moved)
	w.pad(16)
	b, patches, err := s.Fill(load.addrOf(uint64(len(w.out))))
	if err != nil {
		return fmt.Errorf("fill segment: %w", err)
	}
	if uint64(len(b)) != s.Size {
		return fmt.Errorf("%w: segment of %d bytes was filled with %d", ErrRefused, s.Size, len(b))
	}
	w.out = append(w.out, b...)
	w.patches = append(w.patches, patches...)
	w.closeLoad(load)
	return nil
}

// writeHeaders stores the program headers, the section headers and where they
// are.
func (w *writer) writeHeaders() {
	le.PutUint64(w.out[32:], w.phoff)
	le.PutUint64(w.out[40:], w.shoff)
	le.PutUint16(w.out[56:], uint16(len(w.segs)))
	for i, s := range w.segs {
		p := w.out[w.phoff+uint64(i)*phdrSize:]
		le.PutUint32(p, s.typ)
		le.PutUint32(p[4:], s.flags)
		for j, v := range []uint64{s.off, s.addr, s.paddr, s.size, s.mem, s.align} {
			le.PutUint64(p[8+8*j:], v)
		}
	}
	for i, s := range w.sections {
		if s == w.m.sections[i] {
			continue
		}
		p := w.out[w.shoff+uint64(i)*shdrSize:]
		le.PutUint64(p[16:], s.addr)
		le.PutUint64(p[24:], s.off)
		le.PutUint64(p[32:], s.size)
	}
}

// applyPatches changes bytes of the original's own segments.
func (w *writer) applyPatches() error {
	for _, p := range w.patches {
		off, ok := w.m.offsetOf(p.Addr, uint64(len(p.Old)))
		if !ok || len(p.Old) != len(p.New) || string(w.out[off:off+uint64(len(p.Old))]) != string(p.Old) {
			return fmt.Errorf("%w: bytes at %#x are not what the patch replaces", ErrRefused, p.Addr)
		}
		copy(w.out[off:], p.New)
	}
	return nil
}
