package elfimage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// ErrRefused reports an edit that Apply cannot prove to keep the program as it
// was.
var ErrRefused = errors.New("image cannot be edited")

// Edit says what to change in an image. Zero fields change nothing.
type Edit struct {
	// Runpath becomes DT_RUNPATH; every DT_RPATH goes.
	Runpath string

	// Interp is put into a PT_INTERP field of InterpFieldSize bytes and padded
	// with NULs: at most InterpFieldSize-1 bytes. The image must have a
	// PT_INTERP already.
	Interp string

	// Segments are added behind all others, each on pages of its own.
	Segments []Segment
}

// Segment is loadable memory that an Edit adds.
type Segment struct {
	Flags uint32 // FlagRead and so on
	Size  uint64 // bytes, not 0

	// Fill is told the segment's address and returns its Size bytes and the
	// patches that make the rest of the image use it.
	Fill func(addr uint64) ([]byte, []Patch, error)
}

// Patch replaces file bytes that are loaded at Addr. It applies only where they
// are Old; Old and New have the same length.
type Patch struct {
	Addr     uint64
	Old, New []byte
}

// Apply returns the file that m becomes by e. It is deterministic, and
// idempotent: applied to its own result it returns the same bytes (added
// Segments aside). Where the change needs room, one segment is appended that
// holds what grew: the dynamic string table, the interpreter field, the dynamic
// section if it has no spare entry, and whatever lay where the program headers
// grow. No loaded byte that code can name by address moves. The result is
// parsed again and compared with what was asked before it is returned.
//
// What Apply cannot prove to be right it refuses with ErrRefused: data behind
// the last segment and section (a payload that is found from the file's end),
// an executable whose program headers cannot stay within HeaderPeek, a
// statically linked image, patches of bytes that are not what they should be.
func (e Edit) Apply(m *Image) ([]byte, error) {
	if len(e.Interp) >= InterpFieldSize || bytes.IndexByte([]byte(e.Interp+e.Runpath), 0) >= 0 {
		return nil, fmt.Errorf("%w: name is too long or has a NUL in it", ErrRefused)
	}
	if e.Interp != "" && !m.HasInterp() {
		return nil, fmt.Errorf("%w: it has no interpreter", ErrRefused)
	}
	if e.Runpath != "" && (!m.Dynamic() || m.strLen == 0 || m.StaticPIE()) {
		return nil, fmt.Errorf("%w: it is not linked dynamically", ErrRefused)
	}
	w := &writer{m: m, edit: e, segs: append([]segment(nil), m.segs...), sections: append([]section(nil), m.sections...), phoff: m.phoff, shoff: m.shoff}
	w.out = append(make([]byte, 0, len(m.data)+1<<16), m.data...)
	w.planDynamic()
	w.planInterp()
	if w.grows() || len(e.Segments) > 0 {
		if err := w.refuseTrailing(); err != nil {
			return nil, err
		}
		if err := w.appendSegments(); err != nil {
			return nil, err
		}
	} else {
		w.writeDynamic()
	}
	if err := w.prove(); err != nil {
		return nil, err
	}
	return w.out, nil
}

// writer is an edit in progress.
type writer struct {
	m        *Image
	edit     Edit
	out      []byte
	segs     []segment
	sections []section
	phoff    uint64
	shoff    uint64

	dyn      []dynEntry // the new dynamic section, nil: as it was
	strings  []byte     // the new string table, nil: as it was
	moveDyn  bool       // dyn does not fit where it was
	newField bool       // PT_INTERP needs a new field
	patches  []Patch
}

// grows reports whether bytes are needed that the file has no place for.
func (w *writer) grows() bool { return w.strings != nil || w.moveDyn || w.newField }

// planDynamic computes the dynamic section that has the wanted DT_RUNPATH.
func (w *writer) planDynamic() {
	m, path := w.m, w.edit.Runpath
	if path == "" {
		return
	}
	_, hasRpath := m.dynValue(dtRpath)
	if v, ok := m.dynValue(dtRunpath); ok && !hasRpath {
		if s, _ := m.dynString(v); s == path {
			return
		}
	}
	table := m.data[m.strOff : m.strOff+m.strLen]
	at := bytes.Index(table, append([]byte(path), 0))
	if at < 0 {
		w.strings = append([]byte(nil), table...)
		if n := len(table); table[n-1] != 0 {
			w.strings = append(w.strings, 0)
		}
		at = len(w.strings)
		w.strings = append(append(w.strings, path...), 0)
	}
	entry, placed := dynEntry{dtRunpath, uint64(at)}, false
	for _, d := range m.dyn {
		if d.tag == dtRpath || d.tag == dtRunpath {
			if placed {
				continue
			}
			d, placed = entry, true
		}
		w.dyn = append(w.dyn, d)
	}
	if !placed {
		w.dyn = append(w.dyn, entry)
	}
	w.moveDyn = uint64(len(w.dyn)+1)*dynSize > m.segs[m.dynSeg].size
}

// planInterp fills a field that is there, or says that one is needed.
func (w *writer) planInterp() {
	if w.edit.Interp == "" {
		return
	}
	s := w.m.segs[w.m.interpSeg]
	w.newField = s.size != InterpFieldSize
	if !w.newField {
		copy(w.out[s.off:s.offEnd()], interpField(w.edit.Interp))
	}
}

func interpField(path string) []byte {
	b := make([]byte, InterpFieldSize)
	copy(b, path)
	return b
}

// writeDynamic stores the new dynamic section where its segment now is.
func (w *writer) writeDynamic() {
	if w.dyn == nil {
		return
	}
	s := w.segs[slices.IndexFunc(w.segs, func(s segment) bool { return s.typ == ptDynamic })]
	b := w.out[s.off:s.offEnd()]
	clear(b)
	for i, d := range w.dyn {
		le.PutUint64(b[i*dynSize:], d.tag)
		le.PutUint64(b[i*dynSize+8:], d.val)
	}
}

// refuseTrailing finds data behind everything that the headers know: such
// programs look for it at the end of their own file.
func (w *writer) refuseTrailing() error {
	m := w.m
	end := max(m.phoff+uint64(len(m.segs))*phdrSize, m.shoff+uint64(len(m.sections))*shdrSize)
	for _, s := range m.segs {
		if m.inFile(s.off, s.size) {
			end = max(end, s.offEnd())
		}
	}
	for _, s := range m.sections {
		if s.fileSize > 0 {
			end = max(end, s.offEnd())
		}
	}
	for _, b := range m.data[end:] {
		if b != 0 {
			return fmt.Errorf("%w: it has %d bytes of its own data at the end", ErrRefused, uint64(len(m.data))-end)
		}
	}
	return nil
}

// prove parses the result and compares it with the image and the edit.
func (w *writer) prove() error {
	r, err := Parse(w.out)
	if err != nil {
		return fmt.Errorf("%w: result: %w", ErrRefused, err)
	}
	m, e := w.m, w.edit
	bad := func(what string) error { return fmt.Errorf("%w: result has another %s", ErrRefused, what) }
	switch {
	case r.entry != m.entry || r.typ != m.typ || r.machine != m.machine:
		return bad("header")
	case !slices.Equal(r.Needed(), m.Needed()) || r.Soname() != m.Soname():
		return bad("list of libraries")
	case e.Runpath != "" && r.Runpath() != e.Runpath, e.Runpath == "" && r.Runpath() != m.Runpath():
		return bad("library path")
	case e.Interp != "" && r.Interp() != e.Interp, e.Interp == "" && r.Interp() != m.Interp():
		return bad("interpreter")
	}
	if w.dyn != nil && !slices.Equal(r.dyn, w.dyn) {
		return bad("dynamic section") // something else lies over it
	}
	if e.Interp != "" {
		off, ok := InterpField(w.out[:min(len(w.out), HeaderPeek)], int64(len(w.out)))
		if !ok {
			return fmt.Errorf("%w: no room for its program headers", ErrRefused)
		}
		if !bytes.Equal(w.out[off:off+InterpFieldSize], interpField(e.Interp)) {
			return bad("interpreter field")
		}
	}
	loads := r.loads()
	for i, s := range m.loads() {
		if i >= len(loads) || loads[i] != s {
			return bad("memory layout")
		}
	}
	return nil
}

func (m *Image) loads() []segment {
	var l []segment
	for _, s := range m.segs {
		if s.typ == ptLoad {
			l = append(l, s)
		}
	}
	return l
}
