package native

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"nipcells/internal/elfimage"
	"nipcells/internal/view/native/shim"
)

const entryOff = 24 // of e_entry (elf(5))

// Stub makes a loader or a static executable map and seal the zone before its
// own first instruction. The stub goes where Rewrite left room for it, or into
// a segment of its own. An image that has one is returned as it is. A program
// that is started through a loader needs none: it gives ErrUnproven.
func Stub(image []byte) ([]byte, error) {
	p, how, err := load(image)
	if err != nil {
		return nil, fmt.Errorf("put stub: %w", err)
	}
	if p.image.HasInterp() || p.image.Entry() == 0 {
		return nil, fmt.Errorf("put stub: %w: it does not start by itself", ErrUnproven)
	}
	if Stubbed(image) {
		return image, nil
	}
	if p.ours == 0 {
		edit := elfimage.Edit{Segments: []elfimage.Segment{{Flags: elfimage.FlagRead | elfimage.FlagExec, Size: shimOff,
			Fill: func(uint64) ([]byte, []elfimage.Patch, error) { return segmentHead(shimOff), nil, nil }}}}
		if image, err = edit.Apply(p.image); err != nil {
			return nil, fmt.Errorf("put stub: %w", err)
		}
		if p, how, err = load(image); err != nil {
			return nil, fmt.Errorf("put stub: %w", err)
		}
	}
	return p.putStub(how)
}

// putStub fills the room for the stub and makes it the entry.
func (p *program) putStub(how machine) ([]byte, error) {
	at := p.ours + headSize
	room := p.image.Bytes(at, stubRoom)
	if p.ours == 0 || string(room) != string(make([]byte, stubRoom)) {
		return nil, fmt.Errorf("put stub: %w: there is no room for it", elfimage.ErrRefused)
	}
	code := []byte(shim.Stub(how.arch()))
	jump, err := how.branch(at+uint64(len(code)), p.image.Entry())
	if err != nil {
		return nil, fmt.Errorf("put stub: %w", err)
	}
	code = append(code, jump...)
	if len(code) > stubRoom {
		return nil, fmt.Errorf("put stub: %w: it takes %d bytes", elfimage.ErrRefused, len(code))
	}
	out := append([]byte(nil), p.data...)
	for _, s := range p.file.Progs {
		if s.Vaddr <= at && at < s.Vaddr+s.Filesz {
			copy(out[s.Off+at-s.Vaddr:], code)
		}
	}
	binary.LittleEndian.PutUint64(out[entryOff:], at)
	if !Stubbed(out) {
		return nil, fmt.Errorf("put stub: %w: the result has none", elfimage.ErrRefused)
	}
	return out, nil
}

// Stubbed reports whether an image begins with the stub of this version, followed
// by a jump into its own code, as the kernel would map it. It is what an
// installer demands of every loader and every static executable before a cell
// with native views may run it.
func Stubbed(image []byte) bool {
	return StubbedFile(bytes.NewReader(image), int64(len(image)))
}
