package npk

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"nipcells/internal/cid"
	"nipcells/internal/elfimage"
	"nipcells/internal/view/native"
)

// maxEquip is from how many bytes on a program stays as it is: it would have to
// be in memory.
const maxEquip = 256 << 20

// altered keeps the files that packing has made, in a file without a name.
type altered struct {
	file *os.File
	size int64
	at   map[int]*io.SectionReader // by entry
	seen map[source]*made          // by what it was made from
}

// source is what a file was: its content, and what its interpreter field held.
type source struct {
	content cid.CID
	loader  string
}

// made is one file that packing has made of another.
type made struct {
	kind      native.Kind
	equipment native.Equipment
	content   *io.SectionReader // nil: it is as it was
}

// of returns the new contents of an entry; nil if it has its own.
func (a *altered) of(i int) io.ReaderAt {
	if a == nil || a.at[i] == nil {
		return nil
	}
	return a.at[i]
}

func (s *stage) close() {
	s.root.Close() // was only read
	if s.put != nil && s.put.file != nil {
		s.put.file.Close() // nobody reads it any more
	}
}

// equip gives loaders, C libraries and static programs what native views need,
// and takes the execute bit from ELF files that only others load. All files have
// been read.
func (s *stage) equip(notes *equipNotes) error {
	s.put = &altered{at: map[int]*io.SectionReader{}, seen: map[source]*made{}}
	loaders := s.loaders()
	for i := range s.entries {
		if !s.mayNeed(i, loaders[i]) {
			continue
		}
		if err := s.equipFile(i, loaders[i], notes); err != nil {
			return fmt.Errorf("%s: %w", s.entries[i].Path, err)
		}
	}
	slices.SortFunc(s.native, func(a, b Native) int { return cmp.Compare(a.Path, b.Path) })
	if len(s.native) > maxNative {
		return beyond("more than %d loaders, C libraries and static programs", maxNative)
	}
	return nil
}

// dropForeign takes the execute bit from programs that no cell can execute: those
// of 32 bits, and those for another machine than the package's. They are test data
// and the like; what is a command of the package settle has refused.
func (s *stage) dropForeign(m *Manifest, notes *equipNotes) {
	for i := range s.entries {
		e, f := &s.entries[i], &s.facts[i]
		foreign := f.foreign || archName(f.machine) != m.Arch && m.Arch != "all"
		if e.Exec && f.machine != 0 && foreign {
			e.Exec = false
			notes.add("programs for other machines lose the execute bit", e.Path, nil)
		}
	}
}

// loaders returns the entries that executables name as their loaders. Names that
// lead nowhere settle reports.
func (s *stage) loaders() map[int]bool {
	t := newTree(s.entries)
	found := map[int]bool{}
	for i := range s.facts {
		if s.facts[i].loader == "" {
			continue
		}
		if l, err := t.follow(s.facts[i].loader); err == nil {
			found[int(t.byPath[l.Path])] = true
		}
	}
	return found
}

// mayNeed tells by what is known of a file already whether to look into it: of
// thousands of libraries few are C libraries.
func (s *stage) mayNeed(i int, loader bool) bool {
	e, f := &s.entries[i], &s.facts[i]
	if e.Kind != File || f.kind == 0 {
		return false
	}
	base := path.Base(e.Path)
	return loader || e.Exec && !f.interp || strings.HasPrefix(base, "libc.so") || strings.HasPrefix(base, "libc-") ||
		strings.HasPrefix(base, "ld") || strings.HasPrefix(base, "libpthread")
}

// equipFile does equip's work for one file.
func (s *stage) equipFile(i int, loader bool, notes *equipNotes) error {
	e := &s.entries[i]
	m, err := s.make(i, loader)
	switch {
	case errors.Is(err, elfimage.ErrUnsupported):
		return nil // dropForeign's
	case errors.Is(err, errLeft):
		notes.add("programs that nip cannot read, so that cells of the package have no native views", e.Path, err)
		return nil
	case err != nil:
		return err
	}
	if m.kind == native.Library && e.Exec {
		e.Exec = false
		notes.add("libraries lose the execute bit, as only programs load them", e.Path, nil)
	}
	if m.content != nil {
		if err := s.replace(i, m.content); err != nil {
			return err
		}
	}
	q := m.equipment
	if q.Shim || q.Stub {
		s.native = append(s.native, Native{Path: e.Path, Shim: q.Shim, Stub: q.Stub})
	}
	if q.Left > 0 {
		notes.add("files make some path calls by themselves", e.Path, fmt.Errorf("%d of %d", q.Left, q.Left+q.Taken))
	}
	switch {
	case errors.Is(q.NoShim, native.ErrGo):
		notes.add("Go programs make their path calls by themselves, which is slower in a cell", e.Path, nil)
	case q.NoShim != nil:
		notes.add("files make their path calls by themselves, which is slower in a cell", e.Path, q.NoShim)
	}
	if q.NoStub != nil {
		notes.add("programs cannot be made to begin with the stub, so that cells of the package have no native views", e.Path, q.NoStub)
	}
	return nil
}

// errLeft reports a file that stays as it is because it is not understood.
var errLeft = errors.New("left as it is")

// make makes what becomes of the file of entry i, once for each content.
func (s *stage) make(i int, loader bool) (*made, error) {
	e := &s.entries[i]
	if s.facts[i].machine == 0 { // of no kind that a kernel executes
		return &made{kind: native.Library}, nil
	}
	if e.Size > maxEquip {
		return nil, fmt.Errorf("%w: it has more than %d bytes", errLeft, maxEquip)
	}
	image, err := s.whole(i)
	if err != nil {
		return nil, err
	}
	m, err := elfimage.Parse(image)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLeft, err)
	}
	kind := native.Classify(e.Path, m, e.Exec, loader)
	from := source{e.CID, s.facts[i].loader}
	if old := s.put.seen[from]; old != nil && old.kind == kind {
		return old, nil
	}
	out, q := native.Equip(image, kind)
	made := &made{kind: kind, equipment: q}
	if string(out) != string(image) {
		if made.content, err = s.put.keep(out); err != nil {
			return nil, err
		}
	}
	s.put.seen[from] = made
	return made, nil
}

// whole reads the file of entry i as it is in the staging directory, with what
// its interpreter field holds.
func (s *stage) whole(i int) ([]byte, error) {
	f, err := s.open(i)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, s.entries[i].Size)
	if n, err := f.ReaderAt.ReadAt(b, 0); n < len(b) {
		if err == io.EOF {
			err = errChanged
		}
		return nil, err
	}
	return b, nil
}

// keep writes what packing has made of a file to where it is read from.
func (a *altered) keep(b []byte) (*io.SectionReader, error) {
	if a.file == nil {
		f, err := os.CreateTemp("", "nip-pack-")
		if err != nil {
			return nil, err
		}
		a.file = f
		if err := os.Remove(f.Name()); err != nil {
			return nil, err
		}
	}
	if _, err := a.file.WriteAt(b, a.size); err != nil {
		return nil, err
	}
	r := io.NewSectionReader(a.file, a.size, int64(len(b)))
	a.size += int64(len(b))
	return r, nil
}

// replace gives entry i other contents and reads them.
func (s *stage) replace(i int, content *io.SectionReader) error {
	e := &s.entries[i]
	s.put.at[i] = content
	s.total += 2*content.Size() - e.Size // it was read once, and will be twice
	e.Size = content.Size()
	h, err := s.hash(i, make([]byte, 2*MaxChunk))
	if err != nil {
		return err
	}
	s.take(i, h)
	return nil
}

// equipNotes collects what is to be said about files, by what it is.
type equipNotes struct {
	order []string
	about map[string][]string
}

func (n *equipNotes) add(text, file string, why error) {
	if n.about == nil {
		n.about = map[string][]string{}
	}
	if n.about[text] == nil {
		n.order = append(n.order, text)
	}
	if why != nil {
		file += " (" + why.Error() + ")"
	}
	n.about[text] = append(n.about[text], file)
}

// tell says one sentence for each thing, with the names of a few files.
func (n *equipNotes) tell(note func(string)) {
	if note == nil {
		return
	}
	const most = 4
	for _, text := range n.order {
		files := n.about[text]
		if more := len(files) - most; more > 0 {
			files = append(slices.Clone(files[:most]), fmt.Sprintf("%d more", more))
		}
		note(text + ": " + strings.Join(files, ", "))
	}
}
