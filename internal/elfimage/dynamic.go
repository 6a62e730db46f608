package elfimage

import "bytes"

// Tags of the dynamic section that this package reads or writes (elf(5),
// glibc's elf.h).
const (
	dtNeeded  = 1
	dtHash    = 4
	dtStrtab  = 5
	dtSymtab  = 6
	dtRela    = 7
	dtRelaSz  = 8
	dtStrSz   = 10
	dtSoname  = 14
	dtRpath   = 15
	dtRunpath = 29
	dtFlags1  = 0x6ffffffb
	dtGNUHash = 0x6ffffef5

	flag1PIE = 0x08000000
)

type dynEntry struct{ tag, val uint64 }

func (m *Image) parseDynamic() error {
	if m.dynSeg < 0 {
		return nil
	}
	s := m.segs[m.dynSeg]
	if off, ok := m.offsetOf(s.addr, s.size); !ok || off != s.off {
		return malformed("dynamic section is not loaded where it says")
	}
	ended := false
	for b := m.data[s.off:s.offEnd()]; len(b) >= dynSize; b = b[dynSize:] {
		e := dynEntry{le.Uint64(b), le.Uint64(b[8:])}
		if e.tag == 0 {
			ended = true
			break
		}
		m.dyn = append(m.dyn, e)
	}
	if !ended {
		return malformed("dynamic section has no end")
	}
	addr, haveTab := m.dynValue(dtStrtab)
	size, haveSize := m.dynValue(dtStrSz)
	if !haveTab || !haveSize {
		for _, e := range m.dyn {
			if e.tag == dtNeeded || e.tag == dtRunpath || e.tag == dtRpath || e.tag == dtSoname {
				return malformed("dynamic section has names but no string table")
			}
		}
		return nil
	}
	off, ok := m.offsetOf(addr, size)
	if !ok {
		return malformed("dynamic string table is not loaded")
	}
	m.strOff, m.strLen, m.strAddr = off, size, addr
	for _, e := range m.dyn {
		switch e.tag {
		case dtNeeded, dtRunpath, dtRpath, dtSoname:
			if _, ok := m.dynString(e.val); !ok {
				return malformed("name outside the dynamic string table")
			}
		}
	}
	return nil
}

// dynValue returns the value of the first entry with tag.
func (m *Image) dynValue(tag uint64) (v uint64, ok bool) {
	for _, e := range m.dyn {
		if e.tag == tag {
			return e.val, true
		}
	}
	return 0, false
}

// dynString returns the NUL-terminated string at off of the string table.
func (m *Image) dynString(off uint64) (s string, ok bool) {
	if off >= m.strLen {
		return "", false
	}
	b := m.data[m.strOff+off : m.strOff+m.strLen]
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", false
	}
	return string(b[:i]), true
}

// Needed returns the names of the libraries that the image asks for
// (DT_NEEDED), in order.
func (m *Image) Needed() []string {
	var names []string
	for _, e := range m.dyn {
		if e.tag == dtNeeded {
			s, _ := m.dynString(e.val) // checked by parseDynamic
			names = append(names, s)
		}
	}
	return names
}

// Soname returns the image's DT_SONAME, or "".
func (m *Image) Soname() string {
	v, ok := m.dynValue(dtSoname)
	if !ok {
		return ""
	}
	s, _ := m.dynString(v)
	return s
}

// Runpath returns the library search path in the image: DT_RUNPATH, or DT_RPATH
// where there is none. Directories are separated by colons.
func (m *Image) Runpath() string {
	v, ok := m.dynValue(dtRunpath)
	if !ok {
		if v, ok = m.dynValue(dtRpath); !ok {
			return ""
		}
	}
	s, _ := m.dynString(v)
	return s
}

// StaticPIE reports whether the image is a position-independent executable
// that relocates itself: it has a dynamic section, but no loader reads it.
func (m *Image) StaticPIE() bool {
	flags, _ := m.dynValue(dtFlags1)
	return m.Dynamic() && !m.HasInterp() && flags&flag1PIE != 0
}

// Imports returns the names of the dynamic symbols that the image uses and
// does not define. It returns nil where the image does not say how many
// symbols it has.
func (m *Image) Imports() []string {
	addr, ok := m.dynValue(dtSymtab)
	n := m.symbolCount()
	if !ok || n == 0 {
		return nil
	}
	table := m.Bytes(addr, n*symSize)
	var names []string
	for ; len(table) >= symSize; table = table[symSize:] {
		if le.Uint16(table[6:]) != 0 {
			continue // defined here
		}
		if s, ok := m.dynString(uint64(le.Uint32(table))); ok && s != "" {
			names = append(names, s)
		}
	}
	return names
}

// symbolCount returns how many leading dynamic symbols there are that can be
// undefined: all of them by DT_HASH, those before the first hashed one by
// DT_GNU_HASH, which holds defined symbols only.
func (m *Image) symbolCount() uint64 {
	if addr, ok := m.dynValue(dtHash); ok {
		if b := m.Bytes(addr, 8); b != nil {
			return uint64(le.Uint32(b[4:]))
		}
	}
	if addr, ok := m.dynValue(dtGNUHash); ok {
		if b := m.Bytes(addr, 16); b != nil {
			return uint64(le.Uint32(b[4:]))
		}
	}
	return 0
}
