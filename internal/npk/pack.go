package npk

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"nipcells/internal/cid"
)

// PackOptions says how a package is made. Key must be there.
type PackOptions struct {
	Key    ed25519.PrivateKey // signs the manifest
	Source cid.CID            // hash of the sources; zero: the files are the source
	Flags  []string           // build flags, in any order
	Deps   []cid.CID          // variants of the dependencies, in any order
	// Progress, if not nil, is told how much of the work is done, in bytes that
	// only have a meaning relative to total. It is called from Pack's goroutine.
	Progress func(done, total int64)
	// Note, if not nil, is told what a person should know, a sentence each, from
	// Pack's goroutine.
	Note func(string)
}

// Pack writes the package of the staging directory dir, described by r, to w and
// returns its manifest. The files are read twice and never held in memory.
//
// The directory may hold directories, regular files and relative symlinks that
// stay inside; anything else, and a file with the setuid or setgid bit, is an
// error that names the path. Of modes only whether a file is executable counts.
// An ELF file with an interpreter field (elfimage.InterpField) must have the path
// of its loader in the package there; it is packed with the field zeroed. An
// executable with any other PT_INTERP is refused. What r.Exclude fits is left out.
//
// Loaders, C libraries and static programs get what native views need
// (native.Equip), in the package, not in the directory; the manifest says which
// have what. Libraries and other ELF files that nothing can execute lose the
// execute bit.
//
// An error may leave part of a package written to w.
func Pack(w io.Writer, dir string, r *Recipe, opt PackOptions) (*Manifest, error) {
	m, err := newManifest(r)
	if err != nil {
		return nil, err
	}
	if len(opt.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("pack without a key to sign with")
	}
	s, err := openStage(dir, r.Exclude)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	defer s.close()
	s.progress = opt.Progress
	if err := s.read(); err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	var notes equipNotes
	if err := s.equip(&notes); err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	if err := s.settle(m); err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	s.dropForeign(m, &notes)
	notes.tell(opt.Note)
	h, err := sealHead(m, s.entries, opt)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	if _, err := w.Write(h.Raw); err != nil {
		return nil, fmt.Errorf("write package: %w", err)
	}
	if err := s.writeFrames(w, h); err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	return &h.Manifest, nil
}

// newManifest starts a manifest with the part of a recipe that goes into a
// package.
func newManifest(r *Recipe) (*Manifest, error) {
	m := &Manifest{Recipe: *r}
	if m.Title == "" {
		m.Title = m.Name
	}
	if err := m.Recipe.Check(); err != nil {
		return nil, err
	}
	if len(m.Native) > 0 {
		return nil, fmt.Errorf("recipe %q: native: packing finds out and says so by itself; take these lines out", m.Name)
	}
	m.Dir, m.Exclude = "", nil
	return m, nil
}

// sealHead completes the manifest, signs it and returns the head, having read it
// back: what Pack writes, Open accepts.
func sealHead(m *Manifest, entries []Entry, opt PackOptions) (*Head, error) {
	nodes, root := encodeTree(entries)
	c := newContents(len(entries))
	for i := range entries {
		if err := c.add(entries, i); err != nil {
			return nil, err
		}
	}
	m.Tree, m.Size, m.Files = root, c.size, c.count
	m.Variant = variant(opt, m)
	m.KDL = m.Recipe.KDL()
	manifest := m.encode()
	if len(manifest) > maxManifest || len(nodes) > maxTree {
		return nil, beyond("head of %d bytes", len(manifest)+len(nodes))
	}
	raw := make([]byte, 0, fixedSize+len(manifest)+len(nodes))
	raw = append(raw, magic...)
	raw = binary.LittleEndian.AppendUint32(raw, formatVersion)
	raw = binary.LittleEndian.AppendUint32(raw, uint32(len(manifest)))
	raw = binary.LittleEndian.AppendUint32(raw, uint32(len(nodes)))
	raw = append(raw, opt.Key.Public().(ed25519.PublicKey)...)
	raw = append(raw, ed25519.Sign(opt.Key, signedMessage(manifest))...)
	raw = append(append(raw, manifest...), nodes...)
	return ParseHead(raw)
}

// variant computes the Variant-CID: the hash over the source, the build flags,
// the architecture and the dependencies (FORMAT.md).
func variant(opt PackOptions, m *Manifest) cid.CID {
	source := opt.Source
	if source.IsZero() {
		source = m.Tree
	}
	flags, deps := slices.Clone(opt.Flags), slices.Clone(opt.Deps)
	slices.Sort(flags)
	slices.SortFunc(deps, func(a, b cid.CID) int { return bytes.Compare(a[:], b[:]) })
	b := append([]byte("nip variant 1\n"), source[:]...)
	b = binary.AppendUvarint(b, uint64(len(flags)))
	for _, f := range flags {
		b = appendText(b, f)
	}
	b = appendText(b, m.Arch)
	b = binary.AppendUvarint(b, uint64(len(deps)))
	for _, d := range deps {
		b = append(b, d[:]...)
	}
	return cid.Sum(b)
}

// place says where in the staging directory a chunk is.
type place struct {
	entry int
	off   int64
}

// writeFrames writes all frames and the end mark.
func (s *stage) writeFrames(w io.Writer, h *Head) error {
	places := firstPlaces(h.Entries)
	type span struct{ from, to, size int }
	var frames []span
	for from := 0; from < len(h.chunks); {
		n, size := frameSpan(h.chunks[from:])
		frames = append(frames, span{from, from + n, size})
		from += n
	}
	var encoders sync.Pool
	pack := func(i int) ([]byte, error) {
		f := frames[i]
		raw, err := s.readChunks(h.chunks[f.from:f.to], places[f.from:f.to], f.size)
		if err != nil {
			return nil, err
		}
		e, ok := encoders.Get().(*zstd.Encoder)
		if !ok {
			if e, err = newEncoder(); err != nil {
				return nil, err
			}
		}
		defer encoders.Put(e)
		return packFrame(e, raw), nil
	}
	err := inOrder(len(frames), pack, func(i int, packed []byte) error {
		if _, err := w.Write(packed); err != nil {
			return fmt.Errorf("write package: %w", err)
		}
		s.advance(int64(frames[i].size))
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte{tagEnd}); err != nil {
		return fmt.Errorf("write package: %w", err)
	}
	s.advance(s.total - s.done) // what was there twice
	return nil
}

// firstPlaces returns where each distinct chunk is used first, in that order.
func firstPlaces(entries []Entry) []place {
	var out []place
	seen := map[cid.CID]bool{}
	for i := range entries {
		var off int64
		for _, c := range entries[i].Chunks {
			if !seen[c.CID] {
				seen[c.CID] = true
				out = append(out, place{i, off})
			}
			off += int64(c.Size)
		}
	}
	return out
}

// newEncoder returns the compressor of frames. Its output depends on nothing but
// the frame: one goroutine, fixed settings.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(FrameSize))
}

const frameHead = 5 // tag and length

// packFrame returns a frame as it is in the file. Compression that saves less
// than a sixteenth is not worth the reader's time.
func packFrame(e *zstd.Encoder, raw []byte) []byte {
	tag := byte(tagZstd)
	out := e.EncodeAll(raw, make([]byte, frameHead, frameHead+len(raw)/2))
	if len(out)-frameHead > len(raw)-len(raw)/16 {
		tag, out = tagRaw, append(out[:frameHead], raw...)
	}
	out[0] = tag
	binary.LittleEndian.PutUint32(out[1:], uint32(len(out)-frameHead))
	return out
}

// readChunks reads chunks from the staging directory, size bytes in all, and
// checks that they are still what they were.
func (s *stage) readChunks(chunks []Chunk, places []place, size int) ([]byte, error) {
	out := make([]byte, 0, size)
	var f *stagedFile
	var err error
	for i, c := range chunks {
		at := places[i]
		if f == nil || f.entry != at.entry {
			if f != nil {
				f.Close() // was only read
			}
			if f, err = s.open(at.entry); err != nil {
				return nil, err
			}
		}
		piece := out[len(out) : len(out)+int(c.Size)]
		if _, err = f.ReadAt(piece, at.off); err != nil {
			break
		}
		if cid.Sum(piece) != c.CID {
			err = errChanged
			break
		}
		out = out[:len(out)+len(piece)]
	}
	if err != nil {
		err = fmt.Errorf("read %s: %w", s.entries[f.entry].Path, err)
	}
	f.Close() // was only read
	return out, err
}

var errChanged = errors.New("file changed while it was packed")

// inOrder calls work for 0 to n-1, several at a time, and emit for each result
// in order, in the caller's goroutine. It stops at the first error and waits for
// what it has started. Few results are ever waiting.
func inOrder[T any](n int, work func(int) (T, error), emit func(int, T) error) error {
	type result struct {
		value T
		err   error
	}
	type job struct {
		i   int
		out chan result
	}
	workers := max(1, min(runtime.GOMAXPROCS(0), 8, n))
	jobs, order := make(chan job), make(chan job, 2*workers)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		defer close(order)
		defer close(jobs)
		for i := range n {
			j := job{i, make(chan result, 1)}
			select {
			case order <- j:
			case <-stop:
				return
			}
			select {
			case jobs <- j:
			case <-stop:
				return
			}
		}
	})
	for range workers {
		wg.Go(func() {
			for j := range jobs {
				value, err := work(j.i)
				j.out <- result{value, err}
			}
		})
	}
	for j := range order {
		r := <-j.out
		if r.err != nil {
			return r.err
		}
		if err := emit(j.i, r.value); err != nil {
			return err
		}
	}
	return nil
}
