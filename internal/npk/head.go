package npk

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"

	"nipcells/internal/cid"
)

// The fixed part of a head (FORMAT.md).
const (
	magic         = "\x89NPK\r\n\x1a\n"
	formatVersion = 1

	offVersion   = len(magic)
	offManifest  = offVersion + 4  // length of the manifest
	offTree      = offManifest + 4 // length of the tree
	offSigner    = offTree + 4
	offSignature = offSigner + ed25519.PublicKeySize
	fixedSize    = offSignature + ed25519.SignatureSize

	// signedPrefix keeps a signature from meaning anything but a package.
	signedPrefix = "nip package 1\n"
)

// Head is everything about a package but the bytes of its files, checked as the
// package comment says. It is immutable and safe for concurrent use.
type Head struct {
	Manifest Manifest
	// Entries are all names: those of a directory sorted by their bytes, what a
	// directory holds right after it. The root itself is not among them.
	Entries []Entry
	Signer  ed25519.PublicKey // its signature is valid; it need not be trusted
	Raw     []byte            // the exact bytes, which ParseHead reads

	index  tree
	chunks []Chunk // every distinct chunk, in order of first use
}

// Lookup returns the entry with that path. Symlinks are not followed.
func (h *Head) Lookup(path string) (*Entry, bool) {
	i, ok := h.index.byPath[path]
	if !ok {
		return nil, false
	}
	return &h.Entries[i], true
}

// Resolve follows path, a relative one, through the package's symlinks as the
// kernel would and returns the entry it leads to. A path that leaves the
// package, or leads to nothing, is an error.
func (h *Head) Resolve(path string) (*Entry, error) {
	t := tree{entries: h.Entries, byPath: h.index.byPath} // with its own count of work
	return t.follow(path)
}

// ParseHead reads the bytes of Head.Raw and checks them as Open does.
func ParseHead(raw []byte) (*Head, error) {
	r := bytes.NewReader(raw)
	h, err := readHead(r)
	if err != nil {
		return nil, err
	}
	if r.Len() > 0 {
		return nil, corrupt("%d bytes after the head", r.Len())
	}
	return h, nil
}

// readHead reads a head from the start of r and not a byte more.
func readHead(r io.Reader) (*Head, error) {
	fixed := make([]byte, fixedSize)
	n, err := io.ReadFull(r, fixed)
	if short := min(n, len(magic)); string(fixed[:short]) != magic[:short] || n == 0 {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return nil, fmt.Errorf("read package: %w", err)
		}
		return nil, ErrNotPackage
	}
	if err != nil {
		return nil, readError("head", err)
	}
	le := binary.LittleEndian
	if v := le.Uint32(fixed[offVersion:]); v != formatVersion {
		return nil, fmt.Errorf("%w: format %d, want %d", ErrVersion, v, formatVersion)
	}
	manifestLen, treeLen := le.Uint32(fixed[offManifest:]), le.Uint32(fixed[offTree:])
	if manifestLen > maxManifest || treeLen > maxTree {
		return nil, beyond("head of %d bytes", uint64(manifestLen)+uint64(treeLen))
	}
	// The manifest is small and signed: nothing beyond it is read, let alone
	// parsed, before the signature is known to be valid.
	raw, err := readMore(r, fixed, int(manifestLen))
	if err != nil {
		return nil, readError("manifest", err)
	}
	h := &Head{Signer: bytes.Clone(raw[offSigner:offSignature])}
	manifest := raw[fixedSize:]
	if !ed25519.Verify(h.Signer, signedMessage(manifest), raw[offSignature:fixedSize]) {
		return nil, ErrSignature
	}
	if err := h.Manifest.decode(bytes.Clone(manifest)); err != nil {
		return nil, err
	}
	if raw, err = readMore(r, raw, int(treeLen)); err != nil {
		return nil, readError("tree", err)
	}
	h.Raw = raw
	if h.Entries, err = decodeTree(raw[fixedSize+int(manifestLen):], h.Manifest.Tree, h.Manifest.Files); err != nil {
		return nil, err
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	return h, nil
}

// readMore appends n bytes of r to b. Its memory grows with what really comes.
func readMore(r io.Reader, b []byte, n int) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	buf.Grow(min(n, 1<<20))
	if _, err := io.CopyN(buf, r, int64(n)); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// readError says what was being read when r ended or failed.
func readError(what string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return corrupt("ends in its %s: %w", what, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("read %s of package: %w", what, err)
}

func signedMessage(manifest []byte) []byte {
	id := cid.Sum(manifest)
	return append([]byte(signedPrefix), id[:]...)
}

// encode writes the manifest; its KDL is already there.
func (m *Manifest) encode() []byte {
	b := append(append([]byte{}, m.Variant[:]...), m.Tree[:]...)
	b = binary.AppendUvarint(b, uint64(m.Size))
	b = binary.AppendUvarint(b, uint64(m.Files))
	return append(b, m.KDL...)
}

// decode reads what encode writes and keeps b.
func (m *Manifest) decode(b []byte) error {
	w := wireReader{rest: b}
	m.Variant, m.Tree = w.cid(), w.cid()
	size, files := w.uint(1<<62), w.uint(1<<62)
	if w.bad {
		return corrupt("manifest cannot be read")
	}
	if size > MaxSize || files > MaxEntries {
		return beyond("%d files of %d bytes, more than %d files or %d bytes", files, size, MaxEntries, int64(MaxSize))
	}
	m.Size, m.Files, m.KDL = int64(size), int(files), w.rest
	r, err := ParseRecipe("recipe in package", m.KDL)
	if err != nil {
		return corrupt("%w", err)
	}
	if r.Arch == "" || r.Dir != "" || r.Exclude != nil || !bytes.Equal(r.KDL(), m.KDL) {
		return corrupt("recipe of %s %s is not in its canonical form", r.Name, r.Version)
	}
	m.Recipe = *r
	return nil
}

// check makes sure that the parts of a head fit together and fills index and
// chunks.
func (h *Head) check() error {
	c := newContents(len(h.Entries))
	for i := range h.Entries {
		if err := c.add(h.Entries, i); err != nil {
			return err
		}
	}
	h.chunks = c.order
	if m := &h.Manifest; c.size != m.Size || c.count != m.Files {
		return corrupt("manifest says %d files of %d bytes, tree %d of %d", m.Files, m.Size, c.count, c.size)
	}
	if err := c.checkLoaders(h.Entries); err != nil {
		return err
	}
	h.index = newTree(h.Entries)
	if err := h.index.checkLinks(); err != nil {
		return corrupt("%w", err)
	}
	if err := h.index.checkCommands(h.Manifest.Commands); err != nil {
		return corrupt("%w", err)
	}
	if err := h.index.checkNative(h.Manifest.Native); err != nil {
		return corrupt("%w", err)
	}
	return nil
}

// contents collects what the files of a package consist of.
type contents struct {
	files  map[cid.CID]int    // content -> first entry that has it
	chunks map[cid.CID]uint32 // chunk -> size
	order  []Chunk            // chunks as they were met first
	size   int64              // bytes, each content once
	count  int                // files
}

func newContents(n int) *contents {
	return &contents{files: make(map[cid.CID]int, n), chunks: make(map[cid.CID]uint32, n), order: make([]Chunk, 0, n)}
}

// add takes entry i, all before it having been added.
func (c *contents) add(entries []Entry, i int) error {
	e := &entries[i]
	if e.Kind != File {
		return nil
	}
	c.count++
	if first, ok := c.files[e.CID]; ok {
		if !sameChunks(entries[first].Chunks, e.Chunks) {
			return corrupt("%s and %s are one content cut in two ways", entries[first].Path, e.Path)
		}
		return nil
	}
	c.files[e.CID] = i
	c.size += e.Size
	for _, k := range e.Chunks {
		size, ok := c.chunks[k.CID]
		if ok && size != k.Size {
			return corrupt("%s: chunk %s has two sizes", e.Path, k.CID.Short())
		}
		if !ok {
			c.chunks[k.CID] = k.Size
			c.order = append(c.order, k)
		}
	}
	return nil
}

func sameChunks(a, b []Chunk) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// checkLoaders makes sure that every loader that a file names is an executable
// of the package, and none that needs a loader itself.
func (c *contents) checkLoaders(entries []Entry) error {
	for i := range entries {
		e := &entries[i]
		if e.Interp.IsZero() {
			continue
		}
		l, ok := c.files[e.Interp]
		if !ok || !entries[l].Exec || !entries[l].Interp.IsZero() {
			return corrupt("%s: its loader %s is no executable of the package", e.Path, e.Interp.Short())
		}
	}
	return nil
}
