package elfimage

import (
	"cmp"
	"slices"
)

// movable reports whether a segment of type typ is found through its program
// header only, so that its bytes may lie anywhere.
func movable(typ uint32) bool { return typ == ptInterp || typ == ptNote || typ == ptGNUProperty }

// pointerTags are the dynamic entries whose values are addresses.
var pointerTags = [...]uint64{3, dtHash, dtStrtab, dtSymtab, dtRela, 12, 13, 17, 23, 25, 26, 32, 36,
	dtGNUHash, 0x6ffffff0 /* VERSYM */, 0x6ffffffc /* VERDEF */, 0x6ffffffe /* VERNEED */}

// roomForHeaders finds room for extra program headers right behind those that
// are there. moved are the ranges that must make way, in order; each holds
// whole notes, the interpreter, hash tables or the section headers. ok is false where
// something lies there that cannot be proved to be movable.
func (m *Image) roomForHeaders(extra int) (moved []span, ok bool) {
	from := m.phoff + uint64(len(m.segs))*phdrSize
	to := from + uint64(extra)*phdrSize
	home := m.headerLoad(to)
	if home < 0 {
		return nil, false
	}
	spans := m.movableSpans(from)
	for at := from; at < to; {
		i := slices.IndexFunc(spans, func(s span) bool { return s.from <= at && at < s.to })
		if i >= 0 {
			moved = append(moved, spans[i])
			at = spans[i].to
			continue
		}
		if m.data[at] != 0 || m.occupied(at) {
			return nil, false
		}
		at++
	}
	delta := m.segs[home].addr - m.segs[home].off
	for _, s := range moved {
		if m.partly(s) || m.pointedTo(s.from+delta, s.to+delta) {
			return nil, false
		}
	}
	return moved, true
}

// headerLoad returns the index of the loadable, not writable segment that holds
// the ELF header and the program headers up to offset to, or -1. PT_PHDR, where
// there is one, must agree.
func (m *Image) headerLoad(to uint64) int {
	home := slices.IndexFunc(m.segs, func(s segment) bool {
		return s.typ == ptLoad && s.flags&FlagWrite == 0 && s.off <= m.phoff && to <= s.offEnd()
	})
	for _, s := range m.segs {
		if s.typ == ptPhdr && (home < 0 || s.off != m.phoff || s.addr != m.segs[home].addr+s.off-m.segs[home].off) {
			return -1
		}
	}
	return home
}

// movableSpans returns the ranges from offset from on that may move, merged
// where they overlap, in order.
func (m *Image) movableSpans(from uint64) []span {
	var all []span
	for _, s := range m.segs {
		if movable(s.typ) && s.size > 0 && s.off >= from {
			all = append(all, span{s.off, s.offEnd()})
		}
	}
	for _, c := range m.hashTables() {
		if c.off >= from {
			all = append(all, span{c.off, c.offEnd()})
		}
	}
	if n := uint64(len(m.sections)) * shdrSize; n > 0 && m.shoff >= from {
		all = append(all, span{m.shoff, m.shoff + n})
	}
	slices.SortFunc(all, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	var merged []span
	for _, s := range all {
		if n := len(merged); n > 0 && s.from < merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, s.to)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// hashTables returns the sections of the dynamic symbols' hash tables, which
// only the dynamic section points to, so that they can move as well.
func (m *Image) hashTables() []section {
	var tables []section
	for _, tag := range []uint64{dtHash, dtGNUHash} {
		addr, ok := m.dynValue(tag)
		if !ok {
			continue
		}
		for _, c := range m.sections {
			if off, ok := m.offsetOf(addr, c.fileSize); ok && c.allocated && c.fileSize > 0 && c.addr == addr && c.off == off {
				tables = append(tables, c)
				break
			}
		}
	}
	return tables
}

// maxPadding is how many zero bytes without an owner are taken for padding in
// an image that has no section headers: no linker aligns notes to more.
const maxPadding = 16

// occupied reports whether the zero byte at off may mean something.
func (m *Image) occupied(off uint64) bool {
	for _, s := range m.sections {
		if s.fileSize > 0 && s.off <= off && off < s.offEnd() {
			return true
		}
	}
	for _, s := range m.segs {
		if s.typ != ptLoad && s.size > 0 && s.off <= off && off-s.off < s.size {
			return true
		}
	}
	if len(m.sections) > 0 {
		return false
	}
	for end := off; end < uint64(len(m.data)) && end < off+maxPadding; end++ {
		if m.data[end] != 0 {
			return false
		}
	}
	return true // a run of zeroes too long for padding
}

// partly reports whether a section, or a segment of another kind, lies partly
// in s, or one lies in it that does not move.
func (m *Image) partly(s span) bool {
	for _, c := range m.sections {
		if c.fileSize > 0 && s.meets(c.off, c.offEnd()) && !s.holds(c.off, c.offEnd()) {
			return true
		}
	}
	for _, g := range m.segs {
		if g.typ == ptLoad || g.size == 0 || !s.meets(g.off, g.off+min(g.size, maxAddr)) {
			continue
		}
		if !movable(g.typ) || !s.holds(g.off, g.offEnd()) {
			return true
		}
	}
	return false
}

// pointedTo reports whether the dynamic section or a relative relocation names
// an address in [from, to), hash tables aside, whose entries Apply changes.
func (m *Image) pointedTo(from, to uint64) bool {
	for _, d := range m.dyn {
		if d.val < from || d.val >= to || !slices.Contains(pointerTags[:], d.tag) {
			continue
		}
		hash := d.tag == dtHash || d.tag == dtGNUHash
		if !hash || !slices.ContainsFunc(m.hashTables(), func(c section) bool { return c.addr == d.val }) {
			return true
		}
	}
	addr, ok := m.dynValue(dtRela)
	size, _ := m.dynValue(dtRelaSz)
	if !ok || size > uint64(len(m.data)) {
		return ok
	}
	const addend = 16
	for b := m.Bytes(addr, size); len(b) >= relaSize; b = b[relaSize:] {
		if v := le.Uint64(b[addend:]); v >= from && v < to && m.relative(le.Uint32(b[8:])) {
			return true
		}
	}
	return false
}

// relative reports whether a relocation's type makes its addend an address.
func (m *Image) relative(typ uint32) bool {
	const amd64Relative, amd64IRelative, arm64Relative, arm64IRelative = 8, 37, 1027, 1032
	if m.machine == ARM64 {
		return typ == arm64Relative || typ == arm64IRelative
	}
	return typ == amd64Relative || typ == amd64IRelative
}
