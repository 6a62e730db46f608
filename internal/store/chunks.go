package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"nipcells/internal/cid"
)

// The chunk index of one installed package: which blobs it uses, and where in
// them its chunks are. All integers are little-endian.
//
//	offset  size  meaning
//	0       8     "NXCHUNK1"
//	8       4     number of blobs b
//	12      4     number of chunks c
//	16      48*b  blobs: CID 32, flags 8 (byte 0: bit 0 exec, bit 1 located; rest 0), variant 8
//	...     24*c  chunks, sorted: first 8 bytes of the CID, blob 4, size 4, offset 8 (before location)
//	...     32    CID of everything before
//
// Eight bytes of a chunk's CID suffice to find it, since whoever reads a chunk
// verifies all 32. The file is derived from the package's record and its trees
// and never the only copy of anything.
const (
	indexMagic    = "NXCHUNK1"
	indexHead     = 16
	indexBlobSize = 48
	indexSlotSize = 24
	keySize       = 8
)

// ErrIndex reports a chunk index that cannot be read.
var ErrIndex = errors.New("damaged chunk index")

// ChunkAt places a chunk in a blob.
type ChunkAt struct {
	CID    cid.CID
	Blob   int    // position in the index's list of blobs
	Size   uint32 // bytes
	Offset int64  // in the content before location
}

// EncodeIndex returns the index file of a package that uses blobs, in which its
// chunks are. The result depends on the order of blobs, not on that of chunks.
func EncodeIndex(blobs []Name, chunks []ChunkAt) []byte {
	b := make([]byte, 0, indexHead+len(blobs)*indexBlobSize+len(chunks)*indexSlotSize+cid.Size)
	le := binary.LittleEndian
	b = append(b, indexMagic...)
	b = le.AppendUint32(b, uint32(len(blobs)))
	b = le.AppendUint32(b, uint32(len(chunks)))
	for _, n := range blobs {
		var flags uint64
		if n.Exec {
			flags |= 1
		}
		var variant [variantDigits / 2]byte
		if n.Variant != "" {
			flags |= 2
			hex.Decode(variant[:], []byte(n.Variant)) // a Name's variant is hexadecimal
		}
		b = append(b, n.CID[:]...)
		b = le.AppendUint64(b, flags)
		b = append(b, variant[:]...)
	}
	start := len(b)
	for _, c := range chunks {
		b = append(b, c.CID[:keySize]...)
		b = le.AppendUint32(b, uint32(c.Blob))
		b = le.AppendUint32(b, c.Size)
		b = le.AppendUint64(b, uint64(c.Offset))
	}
	sort.Sort(slots(b[start:]))
	sum := cid.Sum(b)
	return append(b, sum[:]...)
}

// slots sorts encoded chunks as byte strings.
type slots []byte

func (s slots) Len() int           { return len(s) / indexSlotSize }
func (s slots) at(i int) []byte    { return s[i*indexSlotSize : (i+1)*indexSlotSize] }
func (s slots) Less(i, j int) bool { return bytes.Compare(s.at(i), s.at(j)) < 0 }
func (s slots) Swap(i, j int) {
	var t [indexSlotSize]byte
	copy(t[:], s.at(i))
	copy(s.at(i), s.at(j))
	copy(s.at(j), t[:])
}

// Index is a decoded chunk index. It is immutable.
type Index struct {
	Blobs []Name
	slots slots
}

// ParseIndex decodes an index file. The error wraps ErrIndex.
func ParseIndex(b []byte) (*Index, error) {
	if len(b) < indexHead+cid.Size || string(b[:len(indexMagic)]) != indexMagic {
		return nil, ErrIndex
	}
	body, sum := b[:len(b)-cid.Size], b[len(b)-cid.Size:]
	if want := cid.Sum(body); !bytes.Equal(want[:], sum) {
		return nil, fmt.Errorf("checksum: %w", ErrIndex)
	}
	le := binary.LittleEndian
	blobs, chunks := int64(le.Uint32(b[8:])), int64(le.Uint32(b[12:]))
	if int64(len(body)) != indexHead+blobs*indexBlobSize+chunks*indexSlotSize {
		return nil, fmt.Errorf("length: %w", ErrIndex)
	}
	ix := &Index{Blobs: make([]Name, blobs), slots: body[indexHead+blobs*indexBlobSize:]}
	for i := range ix.Blobs {
		p := body[indexHead+i*indexBlobSize:]
		flags := le.Uint64(p[cid.Size:])
		if flags > 3 {
			return nil, fmt.Errorf("flags: %w", ErrIndex)
		}
		n := Name{CID: cid.CID(p[:cid.Size]), Exec: flags&1 != 0}
		if flags&2 != 0 {
			n.Variant = hex.EncodeToString(p[40:48])
		}
		ix.Blobs[i] = n
	}
	for i := range ix.slots.Len() {
		if int64(le.Uint32(ix.slots.at(i)[8:])) >= blobs || i > 0 && ix.slots.Less(i, i-1) {
			return nil, fmt.Errorf("chunk %d: %w", i, ErrIndex)
		}
	}
	return ix, nil
}

// find returns where chunks that may be c are.
func (ix *Index) find(c cid.CID) (at []ChunkAt) {
	le := binary.LittleEndian
	i := sort.Search(ix.slots.Len(), func(i int) bool { return bytes.Compare(ix.slots.at(i)[:keySize], c[:keySize]) >= 0 })
	for ; i < ix.slots.Len() && bytes.Equal(ix.slots.at(i)[:keySize], c[:keySize]); i++ {
		p := ix.slots.at(i)
		at = append(at, ChunkAt{CID: c, Blob: int(le.Uint32(p[8:])), Size: le.Uint32(p[12:]), Offset: int64(le.Uint64(p[16:]))})
	}
	return at
}

// IndexRel is where the chunk index of an installed package lives, relative to
// the root. name and version have passed hier.Component.
func IndexRel(name, version string) string { return "Cas/chunk/" + name + "/" + version }

// Index reads the chunk index of an installed package. A missing index is an
// error that wraps ErrNotFound.
func (s *Store) Index(name, version string) (*Index, error) {
	path := s.root.Join(IndexRel(name, version))
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("chunk index %s: %w", path, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read chunk index: %w", err)
	}
	ix, err := ParseIndex(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ix, nil
}

// Chunks finds chunks in the blobs of all installed packages. It is safe for
// concurrent use.
type Chunks struct {
	s       *Store
	indexes []*Index
}

// Chunks reads every chunk index. A damaged one is left out: its chunks are not
// found, and are fetched as if they were new.
func (s *Store) Chunks() (*Chunks, error) {
	paths, err := filepath.Glob(filepath.Join(globEscape(s.root.Join("Cas/chunk")), "*", "*"))
	if err != nil {
		return nil, fmt.Errorf("list chunk indexes: %w", err)
	}
	slices.Sort(paths)
	c := &Chunks{s: s}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("read chunk index: %w", err)
		}
		if ix, err := ParseIndex(b); err == nil {
			c.indexes = append(c.indexes, ix)
		}
	}
	return c, nil
}

// globEscape quotes what filepath.Glob would take for a pattern.
func globEscape(path string) string {
	var b []byte
	for i := range len(path) {
		if bytes.IndexByte([]byte(`*?[\`), path[i]) >= 0 {
			b = append(b, '\\')
		}
		b = append(b, path[i])
	}
	return string(b)
}

// Read appends the chunk c to dst, verified. A chunk that no blob holds, or
// holds undamaged, is an error that wraps ErrNotFound.
func (c *Chunks) Read(id cid.CID, dst []byte) ([]byte, error) {
	for _, ix := range c.indexes {
		for _, at := range ix.find(id) {
			if b, err := c.s.readChunk(ix.Blobs[at.Blob], at, dst); err == nil {
				return b, nil // a blob that is damaged or gone is not the only place to look
			}
		}
	}
	return dst, fmt.Errorf("chunk %s: %w", id.Short(), ErrNotFound)
}

func (s *Store) readChunk(n Name, at ChunkAt, dst []byte) ([]byte, error) {
	f, err := openFile(s.Path(n))
	if err != nil {
		return dst, err
	}
	defer f.Close() // only read
	r, err := s.original(f, n)
	if err != nil {
		return dst, err
	}
	if at.Offset < 0 || at.Offset > r.Size() || int64(at.Size) > r.Size()-at.Offset {
		return dst, ErrCorrupt
	}
	b := slices.Grow(dst, int(at.Size))[:len(dst)+int(at.Size)]
	if _, err := r.ReadAt(b[len(dst):], at.Offset); err != nil {
		return dst, err
	}
	if cid.Sum(b[len(dst):]) != at.CID {
		return dst, ErrCorrupt
	}
	return b, nil
}
