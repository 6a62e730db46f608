package npk

import (
	"encoding/binary"
	"strings"

	"nipcells/internal/cid"
)

// Bits of an entry's tag byte: its Kind, and for a file what it has besides.
const (
	tagKind   = 0x0f
	tagExec   = 0x10
	tagInterp = 0x20
)

// maxFileSize bounds sizes before they are added up.
const maxFileSize = MaxSize

// encodeTree writes the directory nodes of sorted entries (see Head.Entries) in
// the order a reader meets them, and returns them with the root's content id.
func encodeTree(entries []Entry) ([]byte, cid.CID) {
	e := treeEncoder{entries: entries}
	root, nodes := e.dir("")
	return nodes, root
}

type treeEncoder struct {
	entries []Entry // not yet written
}

// dir takes the entries below path from the front and returns the node of that
// directory's content id and its nodes: its own, then those of its directories.
func (e *treeEncoder) dir(path string) (cid.CID, []byte) {
	var items, below []byte
	count := 0
	prefix := path + "/"
	if path == "" {
		prefix = ""
	}
	for len(e.entries) > 0 && strings.HasPrefix(e.entries[0].Path, prefix) {
		entry := &e.entries[0]
		e.entries = e.entries[1:]
		count++
		items = appendText(items, entry.Path[len(prefix):])
		switch entry.Kind {
		case Dir:
			id, nodes := e.dir(entry.Path)
			items = append(append(items, byte(Dir)), id[:]...)
			below = append(below, nodes...)
		case Symlink:
			items = appendText(append(items, byte(Symlink)), entry.Target)
		case File:
			items = appendFile(items, entry)
		}
	}
	node := append(binary.AppendUvarint(nil, uint64(count)), items...)
	nodes := binary.AppendUvarint(nil, uint64(len(node)))
	nodes = append(append(nodes, node...), below...)
	return cid.Sum(node), nodes
}

func appendFile(b []byte, e *Entry) []byte {
	tag := byte(File)
	if e.Exec {
		tag |= tagExec
	}
	if !e.Interp.IsZero() {
		tag |= tagInterp
	}
	b = binary.AppendUvarint(append(b, tag), uint64(e.Size))
	b = append(b, e.CID[:]...)
	if !e.Interp.IsZero() {
		b = append(b, e.Interp[:]...)
	}
	if e.Size == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(e.Chunks)))
	if len(e.Chunks) == 1 {
		return b // the chunk is the file
	}
	for _, c := range e.Chunks {
		b = append(binary.AppendUvarint(b, uint64(c.Size)), c.CID[:]...)
	}
	return b
}

// treeDecoder reads the nodes that encodeTree writes. Every node is hashed
// before it is looked at.
type treeDecoder struct {
	wire    wireReader
	entries []Entry
	chunks  []Chunk // room from which files' lists are cut
	total   int64   // bytes of all files
}

// minEntry is the fewest bytes that an entry of the kind that matters most takes
// in a node: a file with a name of one byte.
const minEntry = 4 + cid.Size

// decodeTree reads nodes. files is how many files there should be; it only saves
// copying.
func decodeTree(nodes []byte, root cid.CID, files int) ([]Entry, error) {
	d := treeDecoder{wire: wireReader{rest: nodes}}
	d.entries = make([]Entry, 0, min(files+files/8, len(nodes)/minEntry))
	if err := d.dir("", root, 0); err != nil {
		return nil, err
	}
	if len(d.wire.rest) > 0 {
		return nil, corrupt("%d bytes after the tree", len(d.wire.rest))
	}
	return d.entries, nil
}

// dir reads the next node, which must be the directory id, and all below it.
func (d *treeDecoder) dir(path string, id cid.CID, depth int) error {
	if depth > MaxDepth {
		return beyond("directories nested more than %d deep", MaxDepth)
	}
	node := d.wire.bytes(int(d.wire.uint(maxTree)))
	if d.wire.bad {
		return corrupt("tree ends in directory %q", path)
	}
	if cid.Sum(node) != id {
		return corrupt("directory %q is not the one that was signed", path)
	}
	w := wireReader{rest: node}
	count, last := w.uint(MaxEntries), ""
	for range count {
		b := w.bytes(int(w.uint(255)))
		if w.bad {
			return corrupt("directory %q cannot be read", path)
		}
		full := joinPath(path, b)
		name := full[len(full)-len(b):]
		if err := checkFileName(name); err != nil {
			return corrupt("directory %q: %w", path, err)
		}
		if name <= last {
			return corrupt("directory %q: %q is out of order or twice", path, name)
		}
		last = name
		if err := d.entry(&w, full, depth); err != nil {
			return err
		}
	}
	if w.bad || len(w.rest) > 0 {
		return corrupt("directory %q cannot be read", path)
	}
	return nil
}

// joinPath returns dir/name in one piece of memory.
func joinPath(dir string, name []byte) string {
	if dir == "" {
		return string(name)
	}
	var b strings.Builder
	b.Grow(len(dir) + 1 + len(name))
	b.WriteString(dir)
	b.WriteByte('/')
	b.Write(name)
	return b.String()
}

func (d *treeDecoder) entry(w *wireReader, path string, depth int) error {
	e := Entry{Path: path}
	if len(e.Path) > maxPathLen {
		return beyond("path of %d bytes, more than %d", len(e.Path), maxPathLen)
	}
	if len(d.entries) >= MaxEntries {
		return beyond("more than %d names", MaxEntries)
	}
	tag := w.byte()
	e.Kind = Kind(tag & tagKind)
	if e.Kind != File && tag != byte(e.Kind) {
		return corrupt("%s: unknown kind of entry %#x", e.Path, tag)
	}
	switch e.Kind {
	case Dir:
		id := w.cid()
		if w.bad {
			return corrupt("%s: cannot be read", e.Path)
		}
		d.entries = append(d.entries, e)
		return d.dir(e.Path, id, depth+1)
	case Symlink:
		e.Target = w.text(maxPathLen)
	case File:
		if err := d.file(w, &e, tag); err != nil {
			return err
		}
	default:
		return corrupt("%s: unknown kind of entry %#x", e.Path, tag)
	}
	if w.bad {
		return corrupt("%s: cannot be read", e.Path)
	}
	d.entries = append(d.entries, e)
	return nil
}

func (d *treeDecoder) file(w *wireReader, e *Entry, tag byte) error {
	if tag&^(tagKind|tagExec|tagInterp) != 0 {
		return corrupt("%s: unknown kind of entry %#x", e.Path, tag)
	}
	size := w.uint(1 << 62)
	e.Exec = tag&tagExec != 0
	e.CID = w.cid()
	if tag&tagInterp != 0 {
		e.Interp = w.cid()
		if e.Interp.IsZero() && !w.bad {
			return corrupt("%s: names no loader", e.Path)
		}
	}
	d.total += int64(min(size, maxFileSize))
	if size > maxFileSize || d.total > MaxSize {
		return beyond("%s: more than %d bytes", e.Path, int64(MaxSize))
	}
	e.Size = int64(size)
	if e.Size == 0 {
		if e.CID != cid.Sum(nil) && !w.bad {
			return corrupt("%s: is empty, but its content id says otherwise", e.Path)
		}
		return nil
	}
	return d.chunkList(w, e)
}

// chunkList reads the chunks of a file that is not empty.
func (d *treeDecoder) chunkList(w *wireReader, e *Entry) error {
	n := int(w.uint(MaxSize))
	if n == 1 {
		if e.Size > MaxChunk {
			return corrupt("%s: chunk of %d bytes", e.Path, e.Size)
		}
		e.Chunks = d.room(1)
		e.Chunks[0] = Chunk{e.CID, uint32(e.Size)}
		return nil
	}
	if w.bad || n == 0 || n > len(w.rest)/(cid.Size+1) {
		return corrupt("%s: chunks cannot be read", e.Path)
	}
	e.Chunks = d.room(n)
	var sum int64
	for i := range e.Chunks {
		c := &e.Chunks[i]
		c.Size = uint32(w.uint(MaxChunk))
		c.CID = w.cid()
		if c.Size == 0 && !w.bad {
			return corrupt("%s: empty chunk", e.Path)
		}
		sum += int64(c.Size)
	}
	if sum != e.Size && !w.bad {
		return corrupt("%s: has %d bytes, its chunks %d", e.Path, e.Size, sum)
	}
	return nil
}

// room returns a list of n chunks. Most files have one: they share an array.
func (d *treeDecoder) room(n int) []Chunk {
	if n > len(d.chunks) {
		if n > 64 {
			return make([]Chunk, n)
		}
		d.chunks = make([]Chunk, 1024)
	}
	list := d.chunks[:n:n]
	d.chunks = d.chunks[n:]
	return list
}
