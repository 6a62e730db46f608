package npk

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // the algorithm that newChunker names

	"nipcells/internal/cid"
	"nipcells/internal/elfimage"
)

// stage is a staging directory that is being packed.
type stage struct {
	root    *os.Root
	exclude []string
	entries []Entry // files without Chunks and CID until read
	facts   []fact  // of each entry
	put     *altered
	native  []Native

	done, total int64
	progress    func(done, total int64)
}

// fact is what packing has to know about a file besides its Entry.
type fact struct {
	field   int64  // offset of the interpreter field, -1: none
	loader  string // what the field holds
	machine uint16 // e_machine of an ELF program or library, else 0
	kind    uint16 // e_type of an ELF file, else 0
	interp  bool   // it has a PT_INTERP
	foreign bool   // it is an ELF file, but not a 64-bit little-endian one
}

// openStage lists a staging directory and checks its names, kinds and symlinks.
// The caller closes root.
func openStage(dir string, exclude []string) (_ *stage, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			root.Close() // was only read
		}
	}()
	s := &stage{root: root, exclude: exclude}
	if err := s.list("", 0); err != nil {
		return nil, err
	}
	links := newTree(s.entries)
	if err := links.checkLinks(); err != nil {
		return nil, err
	}
	s.facts = make([]fact, len(s.entries))
	for i := range s.facts {
		s.facts[i].field = -1
	}
	return s, nil
}

// list adds what directory dir holds.
func (s *stage) list(dir string, depth int) error {
	if depth > MaxDepth {
		return beyond("%s: directories nested more than %d deep", dir, MaxDepth)
	}
	names, err := s.names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		p := path.Join(dir, name)
		if s.excluded(p) {
			continue
		}
		if err := checkPath(p); err != nil {
			return err
		}
		if len(s.entries) >= MaxEntries {
			return beyond("more than %d names", MaxEntries)
		}
		if err := s.add(p); err != nil {
			return err
		}
		if s.entries[len(s.entries)-1].Kind == Dir {
			if err := s.list(p, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// names returns the names in a directory in the order of their bytes.
func (s *stage) names(dir string) ([]string, error) {
	d, err := s.root.Open(path.Join(".", dir))
	if err != nil {
		return nil, err
	}
	defer d.Close() // was only read
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path.Join(".", dir), err)
	}
	slices.Sort(names)
	return names, nil
}

// excluded reports whether a pattern fits p: one without slash fits its last
// name, another the whole path.
func (s *stage) excluded(p string) bool {
	for _, pattern := range s.exclude {
		name := p
		if !strings.Contains(pattern, "/") {
			name = path.Base(p)
		}
		if ok, err := path.Match(pattern, name); ok && err == nil { // Check has tried the pattern
			return true
		}
	}
	return false
}

// add adds the entry of one name.
func (s *stage) add(p string) error {
	info, err := s.root.Lstat(p)
	if err != nil {
		return err
	}
	e := Entry{Path: p}
	switch mode := info.Mode(); mode.Type() {
	case fs.ModeDir:
		e.Kind = Dir
	case fs.ModeSymlink:
		e.Kind = Symlink
		if e.Target, err = s.root.Readlink(p); err != nil {
			return err
		}
	case 0:
		if mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			return fmt.Errorf("%s: has the setuid or setgid bit, which a package cannot hold", p)
		}
		e.Kind, e.Exec, e.Size = File, mode&0o111 != 0, info.Size()
		if s.total += 2 * e.Size; e.Size > MaxSize || s.total > 2*MaxSize {
			return beyond("%s: more than %d bytes", p, int64(MaxSize))
		}
	default:
		return fmt.Errorf("%s: is %s: a package holds files, directories and symlinks only", p, kindName(mode))
	}
	s.entries = append(s.entries, e)
	return nil
}

func kindName(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeDevice != 0:
		return "a device node"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "no ordinary file"
}

func (s *stage) advance(n int64) {
	s.done += n
	if s.progress != nil {
		s.progress(s.done, s.total)
	}
}

// stagedFile is an open file of the staging directory, or what packing has made
// of it, in which the interpreter field reads as zeroes.
type stagedFile struct {
	io.ReaderAt
	close func() error
	entry int
	field int64
}

func (f *stagedFile) Close() { f.close() } // was only read

// open opens the file of entry i, which must still be the kind of file that was
// listed. Nothing that replaced it can make the open hang.
func (s *stage) open(i int) (*stagedFile, error) {
	if r := s.put.of(i); r != nil {
		return &stagedFile{r, func() error { return nil }, i, s.facts[i].field}, nil
	}
	e := &s.entries[i]
	f, err := s.root.OpenFile(e.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != e.Size) {
		err = fmt.Errorf("read %s: %w", e.Path, errChanged)
	}
	if err != nil {
		f.Close() // was only read
		return nil, err
	}
	return &stagedFile{f, f.Close, i, s.facts[i].field}, nil
}

// ReadAt reads len(p) bytes, all of them or an error.
func (f *stagedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.ReaderAt.ReadAt(p, off)
	if n == len(p) {
		err = nil
	}
	if f.field >= 0 {
		from := min(max(f.field-off, 0), int64(n))
		to := min(max(f.field+elfimage.InterpFieldSize-off, 0), int64(n))
		clear(p[from:to])
	}
	if err == io.EOF {
		err = errChanged // it has become shorter
	}
	return n, err
}

// hashed is what reading a file gives.
type hashed struct {
	fact   fact
	cid    cid.CID
	chunks []Chunk
}

// read reads all files: content ids, chunks and facts.
func (s *stage) read() error {
	var files []int
	for i := range s.entries {
		if s.entries[i].Kind == File {
			files = append(files, i)
		}
	}
	var buffers sync.Pool
	hash := func(n int) (hashed, error) {
		buf, ok := buffers.Get().(*[]byte)
		if !ok {
			b := make([]byte, 2*MaxChunk)
			buf = &b
		}
		defer buffers.Put(buf)
		return s.hash(files[n], *buf)
	}
	return inOrder(len(files), hash, func(n int, h hashed) error {
		i := files[n]
		s.take(i, h)
		return nil
	})
}

// take notes what reading the file of entry i gave.
func (s *stage) take(i int, h hashed) {
	s.facts[i] = h.fact
	s.entries[i].CID, s.entries[i].Chunks = h.cid, h.chunks
	s.advance(s.entries[i].Size)
}

// hash reads the file of entry i. buf holds two chunks.
func (s *stage) hash(i int, buf []byte) (hashed, error) {
	h := hashed{fact: fact{field: -1}}
	e := &s.entries[i]
	if e.Size == 0 {
		h.cid = cid.Sum(nil)
		return h, nil
	}
	f, err := s.open(i)
	if err != nil {
		return h, err
	}
	defer f.Close() // was only read
	if h.fact, err = inspect(f.ReaderAt, e, buf); err != nil {
		return h, fmt.Errorf("%s: %w", e.Path, err)
	}
	f.field = h.fact.field
	if h.cid, h.chunks, err = cut(f, e.Size, buf); err != nil {
		return h, fmt.Errorf("read %s: %w", e.Path, err)
	}
	return h, nil
}

// cut cuts a file of size bytes, not zero, into chunks.
func cut(r io.ReaderAt, size int64, buf []byte) (cid.CID, []Chunk, error) {
	if size <= minChunk {
		b := buf[:size]
		if _, err := r.ReadAt(b, 0); err != nil {
			return cid.CID{}, nil, err
		}
		id := cid.Sum(b)
		return id, []Chunk{{id, uint32(size)}}, nil
	}
	c, err := chunkers.NewChunkerBuffer("fastcdc-v1.0.0", io.NewSectionReader(r, 0, size), &chunkers.ChunkerOpts{
		MinSize: minChunk, NormalSize: normalChunk, MaxSize: MaxChunk,
	}, buf)
	if err != nil {
		return cid.CID{}, nil, err
	}
	whole := cid.NewHasher()
	var list []Chunk
	for left := size; left > 0; {
		b, err := c.Next()
		if err != nil && err != io.EOF {
			return cid.CID{}, nil, err
		}
		if len(b) == 0 {
			return cid.CID{}, nil, errChanged
		}
		whole.Write(b)
		list = append(list, Chunk{cid.Sum(b), uint32(len(b))})
		left -= int64(len(b))
	}
	return whole.CID(), list, nil
}

// settle does what needs all files: loaders, commands and the architecture.
func (s *stage) settle(m *Manifest) error {
	m.Native = s.native
	t := newTree(s.entries)
	for i := range s.entries {
		e, name := &s.entries[i], s.facts[i].loader
		if name == "" {
			continue
		}
		l, err := t.follow(name)
		if err != nil {
			return fmt.Errorf("%s: its loader: %w", e.Path, err)
		}
		if l.Kind != File || !l.Exec {
			return fmt.Errorf("%s: its loader %s is no executable file", e.Path, name)
		}
		if s.facts[t.byPath[l.Path]].loader != "" {
			return fmt.Errorf("%s: its loader %s wants a loader itself", e.Path, name)
		}
		e.Interp = l.CID
	}
	if err := t.checkCommands(m.Commands); err != nil {
		return err
	}
	return s.settleArch(&t, m)
}

// settleArch derives the architecture from the files where the recipe leaves it
// open, and makes sure that the commands fit it.
func (s *stage) settleArch(t *tree, m *Manifest) error {
	if m.Arch == "" {
		m.Arch = "all"
		for i := range s.facts {
			arch := archName(s.facts[i].machine)
			if arch == "" || arch == m.Arch {
				continue
			}
			if m.Arch != "all" {
				return fmt.Errorf("%s is for %s, others for %s: the recipe must say which with arch", s.entries[i].Path, arch, m.Arch)
			}
			m.Arch = arch
		}
	}
	for _, c := range m.Commands {
		e, err := t.follow(c.Exec)
		if err != nil {
			return err
		}
		machine := s.facts[t.byPath[e.Path]].machine
		if machine != 0 && archName(machine) != m.Arch {
			return fmt.Errorf("command %s: %s is a program for %s, the package for %s", c.Name, e.Path, machineName(machine), m.Arch)
		}
	}
	return nil
}
