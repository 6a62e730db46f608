package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"nipcells/internal/cid"
	"nipcells/internal/elfimage"
	"nipcells/internal/hier"
)

// ErrLocate reports a file that cannot be located: an executable that asks for
// an interpreter in any other way than by our field.
var ErrLocate = errors.New("not an executable that can be installed")

// maxLine is what execve(2) reads of a script: the first line must end before.
const maxLine = 256

// Patch is the difference between a content as its package has it and the same
// content located below a root: at Off, Cut zero bytes of the former are the
// bytes Put of the latter. The zero Patch changes nothing. Text is what was put
// in, without padding: it decides the variant.
type Patch struct {
	Off  int64
	Cut  int64
	Put  []byte
	Text string
}

// Variant returns the part of a blob's name that stands for the string text put
// into it: the first 16 hexadecimal digits of its BLAKE3 hash. The variant of
// no text is empty.
func Variant(text string) string {
	if text == "" {
		return ""
	}
	sum := cid.Sum([]byte(text))
	return hex.EncodeToString(sum[:variantDigits/2])
}

// LoaderPatch locates an executable of size bytes: it puts the path loader into
// the interpreter field, which must exist and be all zeroes. The error wraps
// ErrLocate.
func LoaderPatch(r io.ReaderAt, size int64, loader string) (Patch, error) {
	if loader == "" || len(loader) > hier.MaxInterp || strings.IndexByte(loader, 0) >= 0 {
		return Patch{}, fmt.Errorf("loader path %q: %w", loader, ErrLocate)
	}
	off, field, err := interpField(r, size)
	if err != nil {
		return Patch{}, err
	}
	if !allZero(field) {
		return Patch{}, fmt.Errorf("interpreter field is not empty: %w", ErrLocate)
	}
	put := make([]byte, elfimage.InterpFieldSize)
	copy(put, loader)
	return Patch{Off: off, Cut: elfimage.InterpFieldSize, Put: put, Text: loader}, nil
}

func interpField(r io.ReaderAt, size int64) (off int64, field []byte, err error) {
	head, err := readHead(r, size, elfimage.HeaderPeek)
	if err != nil {
		return 0, nil, err
	}
	off, ok := elfimage.InterpField(head, size)
	if !ok {
		return 0, nil, fmt.Errorf("no interpreter field of %d bytes: %w", elfimage.InterpFieldSize, ErrLocate)
	}
	field = make([]byte, elfimage.InterpFieldSize)
	if _, err := r.ReadAt(field, off); err != nil {
		return 0, nil, fmt.Errorf("read interpreter field: %w", err)
	}
	return off, field, nil
}

func readHead(r io.ReaderAt, size, most int64) ([]byte, error) {
	head := make([]byte, min(size, most))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("read head: %w", err)
	}
	return head, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// CheckExec refuses an executable that the kernel would start with an
// interpreter of the package's choosing. head is its first HeaderPeek bytes
// (all of it if it is smaller), size its length; located says that the package
// declares our interpreter field. Files that are not ELF pass. The error wraps
// ErrLocate.
func CheckExec(head []byte, size int64, located bool) error {
	if len(head) < 4 || string(head[:4]) != "\x7fELF" {
		if located {
			return fmt.Errorf("declares a loader, but is no ELF file: %w", ErrLocate)
		}
		return nil
	}
	_, ours := elfimage.InterpField(head, size)
	switch asks, err := asksForInterp(head); {
	case err != nil:
		return err
	case ours && !located:
		return fmt.Errorf("has an interpreter field, but declares no loader: %w", ErrLocate)
	case !ours && located:
		return fmt.Errorf("declares a loader, but has no interpreter field of %d bytes: %w", elfimage.InterpFieldSize, ErrLocate)
	case asks && !ours:
		return fmt.Errorf("has an interpreter of its own, not a field of %d bytes: %w", elfimage.InterpFieldSize, ErrLocate)
	}
	return nil
}

// asksForInterp reports whether an ELF image has a PT_INTERP header. An image
// whose headers the kernel could read, but we cannot see, is an error.
func asksForInterp(head []byte) (bool, error) {
	const ehdrSize, phdrSize, ptInterp = 64, 56, 3
	if len(head) < ehdrSize || head[4] != 2 || head[5] != 1 {
		return false, fmt.Errorf("ELF file is not 64-bit little-endian: %w", ErrLocate)
	}
	le := binary.LittleEndian
	phoff, size, num := le.Uint64(head[32:]), le.Uint16(head[54:]), uint64(le.Uint16(head[56:]))
	if num == 0 || size != phdrSize { // execve(2) refuses such a file
		return false, nil
	}
	if phoff > uint64(len(head)) || phoff+num*phdrSize > uint64(len(head)) {
		return false, fmt.Errorf("program headers lie beyond the first %d bytes: %w", len(head), ErrLocate)
	}
	for i := range num {
		if le.Uint32(head[phoff+i*phdrSize:]) == ptInterp {
			return true, nil
		}
	}
	return false, nil
}

// Shebang finds the interpreter of a script whose first bytes are head: its
// absolute path, and the offset of it. ok is false for everything else.
func Shebang(head []byte) (interp string, off int, ok bool) {
	line, ok := firstLine(head)
	if !ok {
		return "", 0, false
	}
	off = 2 + len(line[2:]) - len(strings.TrimLeft(line[2:], " \t"))
	interp = line[off:]
	if end := strings.IndexAny(interp, " \t\x00"); end >= 0 {
		interp = interp[:end]
	}
	return interp, off, strings.HasPrefix(interp, "/")
}

// firstLine returns a script's first line without its end, "#!" included.
func firstLine(head []byte) (string, bool) {
	if len(head) < 2 || head[0] != '#' || head[1] != '!' {
		return "", false
	}
	if len(head) > maxLine {
		head = head[:maxLine]
	}
	end := bytes.IndexByte(head, '\n')
	if end < 0 {
		if len(head) == maxLine {
			return "", false
		}
		end = len(head)
	}
	return string(head[:end]), true
}

// ScriptPatch locates a script whose first bytes are head (256 or all of it):
// it puts the path of the view before the interpreter's. ok is false, and the
// script stays as it is, if it has no absolute interpreter or the line would
// reach 256 bytes. Whether the view has the interpreter is the caller's to ask.
func ScriptPatch(head []byte, view string) (p Patch, ok bool) {
	_, off, ok := Shebang(head)
	line, _ := firstLine(head)
	if !ok || len(line)+len(view) >= maxLine {
		return Patch{}, false
	}
	return Patch{Off: int64(off), Put: []byte(view), Text: view}, true
}

// FindPatch finds what was put into a located file with the given variant, from
// the file itself. root is the root it is located below. A file that is not
// located is an error that wraps ErrCorrupt.
func FindPatch(r io.ReaderAt, size int64, variant string, root *hier.Root) (Patch, error) {
	if variant == "" {
		return Patch{}, nil
	}
	head, err := readHead(r, size, maxLine)
	if err != nil {
		return Patch{}, err
	}
	var p Patch
	if interp, off, ok := Shebang(head); ok {
		p = viewPatch(root, interp, off)
	} else {
		off, field, err := interpField(r, size)
		if err != nil {
			return Patch{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		text, rest, _ := bytes.Cut(field, []byte{0})
		if !allZero(rest) {
			return Patch{}, fmt.Errorf("interpreter field: %w", ErrCorrupt)
		}
		p = Patch{Off: off, Cut: elfimage.InterpFieldSize, Put: field, Text: string(text)}
	}
	if p.Text == "" || Variant(p.Text) != variant {
		return Patch{}, fmt.Errorf("located for another place: %w", ErrCorrupt)
	}
	return p, nil
}

// viewPatch takes <root>/System/Views/<Title>/<Version> off an interpreter's path.
func viewPatch(root *hier.Root, interp string, off int) Patch {
	views := root.Views() + "/"
	rest, ok := strings.CutPrefix(interp, views)
	if !ok {
		return Patch{}
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) < 3 {
		return Patch{}
	}
	view := views + parts[0] + "/" + parts[1]
	return Patch{Off: int64(off), Put: []byte(view), Text: view}
}

// Located returns the located form of the content orig of size bytes.
func (p Patch) Located(orig io.ReaderAt, size int64) io.Reader {
	return io.MultiReader(
		io.NewSectionReader(orig, 0, p.Off),
		bytes.NewReader(p.Put),
		io.NewSectionReader(orig, p.Off+p.Cut, size-p.Off-p.Cut))
}

// Growth is by how many bytes location lengthens the content.
func (p Patch) Growth() int64 { return int64(len(p.Put)) - p.Cut }

// Original returns the content from before location of a located file of size
// bytes.
func (p Patch) Original(located io.ReaderAt, size int64) *io.SectionReader {
	if len(p.Put) == 0 {
		return io.NewSectionReader(located, 0, size)
	}
	return io.NewSectionReader(&original{located, p}, 0, size-p.Growth())
}

// original reads a located file as it was before.
type original struct {
	r io.ReaderAt
	p Patch
}

func (o *original) ReadAt(b []byte, off int64) (int, error) {
	total := 0
	for len(b) > 0 {
		var n int
		var err error
		switch end := o.p.Off + o.p.Cut; {
		case off < o.p.Off:
			n, err = o.r.ReadAt(b[:min(int64(len(b)), o.p.Off-off)], off)
		case off < end:
			n = int(min(int64(len(b)), end-off))
			clear(b[:n])
		default:
			n, err = o.r.ReadAt(b, off+o.p.Growth())
		}
		total, off, b = total+n, off+int64(n), b[n:]
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
