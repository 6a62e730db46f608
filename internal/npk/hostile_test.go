package npk

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"nipcells/internal/cid"
)

// small is a package of a few hundred bytes with two files and a symlink.
func small(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, "bin/a", []byte("#!/bin/sh\n"+strings.Repeat("echo hello, world\n", 20)), 0o755)
	put(t, dir, "data", noise(9, 100), 0o644)
	link(t, dir, "b", "bin/a")
	r := sampleRecipe()
	r.Commands = []Command{{Name: "a", Exec: "b"}}
	return pack(t, dir, r)
}

// explained reports whether err is one that callers can decide on.
func explained(err error) bool {
	for _, known := range []error{ErrNotPackage, ErrVersion, ErrCorrupt, ErrLimit, ErrSignature} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

func TestTruncated(t *testing.T) {
	raw := small(t)
	for n := range len(raw) {
		_, _, err := unpack(bytes.NewReader(raw[:n]))
		if n < len(magic) {
			if !errors.Is(err, ErrNotPackage) && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d of %d bytes: %v", n, len(raw), err)
			}
		} else if !errors.Is(err, ErrCorrupt) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v, want ErrCorrupt and ErrUnexpectedEOF", n, len(raw), err)
		}
	}
}

func TestFlippedBits(t *testing.T) {
	raw := small(t)
	_, want, err := unpack(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	head := len(p.Head().Raw)
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			_, files, err := unpack(bytes.NewReader(raw))
			raw[i] ^= 1 << bit
			switch {
			case err != nil && !explained(err):
				t.Errorf("byte %d, bit %d: %v", i, bit, err)
			case err == nil && i < head:
				t.Errorf("byte %d, bit %d: not noticed", i, bit)
			case err == nil:
				// A compressed stream has bits that mean nothing; the files must be right.
				for name := range want {
					if !bytes.Equal(files[name], want[name]) {
						t.Errorf("byte %d, bit %d: %s is another", i, bit, name)
					}
				}
			}
		}
	}
}

func TestNotAPackage(t *testing.T) {
	raw := small(t)
	version := bytes.Clone(raw)
	version[offVersion] = 2
	signer := bytes.Clone(raw)
	copy(signer[offSigner:], testKey(2).Public().(ed25519.PublicKey))
	tests := []struct {
		name string
		raw  []byte
		want error
	}{
		{"nothing", nil, ErrNotPackage},
		{"text", []byte("hello"), ErrNotPackage},
		{"another file", bytes.Repeat([]byte("PK\x03\x04"), 1000), ErrNotPackage},
		{"line ends converted", bytes.Replace(raw, []byte("\r\n"), []byte("\n"), 1), ErrNotPackage},
		{"version", version, ErrVersion},
		{"other signer", signer, ErrSignature},
		{"more behind", append(bytes.Clone(raw), 0), ErrCorrupt},
		{"twice", append(bytes.Clone(raw), raw...), ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := unpack(bytes.NewReader(tt.raw)); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	h, err := ParseHead(raw)
	if err == nil || h != nil {
		t.Error("a whole package is taken for a head")
	}
	broken := errors.New("network is down")
	for _, n := range []int{0, 5, 50, 300, len(raw) - 1} {
		r := io.MultiReader(bytes.NewReader(raw[:n]), iotest.ErrReader(broken))
		if _, _, err := unpack(r); !errors.Is(err, broken) || explained(err) {
			t.Errorf("reader that fails after %d bytes: %v", n, err)
		}
	}
	if _, _, err := unpack(iotest.OneByteReader(bytes.NewReader(raw))); err != nil {
		t.Errorf("byte by byte: %v", err)
	}
}

// forged is a package as somebody would make it who has a key and bad manners.
type forged struct {
	entries  []Entry
	recipe   *Recipe
	tree     []byte            // instead of the entries' nodes
	manifest func(m *Manifest) // changes it before it is signed
	kdl      string            // instead of the recipe's
}

// seal builds the bytes; nothing is checked but that it could be signed.
func (f forged) seal() []byte {
	r := f.recipe
	if r == nil {
		r = &Recipe{Name: "a", Version: "1", Title: "a", Arch: "all"}
	}
	m := &Manifest{Recipe: *r}
	nodes, root := encodeTree(f.entries)
	m.Tree = root
	if f.tree != nil {
		w := wireReader{rest: f.tree}
		nodes, m.Tree = f.tree, cid.Sum(w.bytes(int(w.uint(maxTree))))
	}
	seen := map[cid.CID]bool{}
	for _, e := range f.entries {
		if e.Kind == File {
			m.Files++
			if !seen[e.CID] {
				m.Size += e.Size
			}
			seen[e.CID] = true
		}
	}
	m.KDL = m.Recipe.KDL()
	if f.kdl != "" {
		m.KDL = []byte(f.kdl)
	}
	if f.manifest != nil {
		f.manifest(m)
	}
	manifest := m.encode()
	raw := append([]byte{}, magic...)
	raw = binary.LittleEndian.AppendUint32(raw, formatVersion)
	raw = binary.LittleEndian.AppendUint32(raw, uint32(len(manifest)))
	raw = binary.LittleEndian.AppendUint32(raw, uint32(len(nodes)))
	raw = append(raw, testKey(3).Public().(ed25519.PublicKey)...)
	raw = append(raw, ed25519.Sign(testKey(3), signedMessage(manifest))...)
	return append(append(raw, manifest...), nodes...)
}

// blob is an entry for a file of one chunk.
func blob(path string, content []byte, exec bool) Entry {
	id := cid.Sum(content)
	e := Entry{Path: path, Kind: File, Exec: exec, Size: int64(len(content)), CID: id}
	if len(content) > 0 {
		e.Chunks = []Chunk{{id, uint32(len(content))}}
	}
	return e
}

// node is a directory node with its length, from the bytes of its items.
func node(count int, items ...[]byte) []byte {
	b := append(binary.AppendUvarint(nil, uint64(count)), bytes.Join(items, nil)...)
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
}

func item(name string, rest ...byte) []byte { return append(appendText(nil, name), rest...) }

func TestForged(t *testing.T) {
	file := blob("x", []byte("x"), false)
	zero := cid.Sum(nil)
	emptyFile := append([]byte{byte(File), 0}, zero[:]...)
	with := func(change func(e *Entry)) []Entry {
		e := blob("x", []byte("content"), true)
		change(&e)
		return []Entry{e}
	}
	sym := func(path, target string) Entry { return Entry{Path: path, Kind: Symlink, Target: target} }
	chunk := func(n byte, size uint32) Chunk { return Chunk{cid.Sum([]byte{n}), size} }
	tests := []struct {
		name string
		f    forged
		want error
		text string
	}{
		{"nothing in it", forged{}, nil, ""},
		{"well made", forged{entries: []Entry{file}}, nil, ""},
		{"native that is there", forged{entries: []Entry{file}, recipe: &Recipe{Name: "a", Version: "1", Title: "a", Arch: "all", Native: []Native{{"x", true, false}}}}, nil, ""},
		{"native that is not there", forged{entries: []Entry{file}, recipe: &Recipe{Name: "a", Version: "1", Title: "a", Arch: "all", Native: []Native{{"y", true, false}}}},
			ErrCorrupt, "native: y is no file of the package"},
		{"name ..", forged{tree: node(1, item("..", emptyFile...))}, ErrCorrupt, `".." is no file name`},
		{"name .", forged{tree: node(1, item(".", emptyFile...))}, ErrCorrupt, `"." is no file name`},
		{"no name", forged{tree: node(1, item("", emptyFile...))}, ErrCorrupt, `"" is no file name`},
		{"name with slash", forged{tree: node(1, item("a/b", emptyFile...))}, ErrCorrupt, "slash"},
		{"name that climbs", forged{tree: node(1, item("../../etc/passwd", emptyFile...))}, ErrCorrupt, "slash"},
		{"absolute name", forged{tree: node(1, item("/etc/passwd", emptyFile...))}, ErrCorrupt, "slash"},
		{"NUL in name", forged{tree: node(1, item("a\x00", emptyFile...))}, ErrCorrupt, "control"},
		{"escape in name", forged{tree: node(1, item("\x1b[1m", emptyFile...))}, ErrCorrupt, "control"},
		{"line end in name", forged{tree: node(1, item("a\nb", emptyFile...))}, ErrCorrupt, "control"},
		{"C1 control in name", forged{tree: node(1, item("a\u009b", emptyFile...))}, ErrCorrupt, "control"},
		{"name not UTF-8", forged{tree: node(1, item("a\xff", emptyFile...))}, ErrCorrupt, "UTF-8"},
		{"long name", forged{tree: node(1, item(strings.Repeat("a", 256), emptyFile...))}, ErrCorrupt, "cannot be read"},
		{"twice", forged{tree: node(2, item("a", emptyFile...), item("a", emptyFile...))}, ErrCorrupt, "twice"},
		{"out of order", forged{tree: node(2, item("b", emptyFile...), item("a", emptyFile...))}, ErrCorrupt, "order"},
		{"setuid", forged{tree: node(1, item("a", append([]byte{byte(File) | 0x40}, emptyFile[1:]...)...))}, ErrCorrupt, "unknown kind"},
		{"setgid", forged{tree: node(1, item("a", append([]byte{byte(File) | 0x80}, emptyFile[1:]...)...))}, ErrCorrupt, "unknown kind"},
		{"device node", forged{tree: node(1, item("a", 4, 1, 3))}, ErrCorrupt, "unknown kind of entry 0x4"},
		{"fifo", forged{tree: node(1, item("a", 5))}, ErrCorrupt, "unknown kind"},
		{"kind 0", forged{tree: node(1, item("a", 0))}, ErrCorrupt, "unknown kind"},
		{"executable symlink", forged{tree: node(1, item("a", byte(Symlink)|tagExec, 1, 'x'))}, ErrCorrupt, "unknown kind"},
		{"executable directory", forged{tree: node(1, item("a", byte(Dir)|tagExec))}, ErrCorrupt, "unknown kind"},
		{"absolute symlink", forged{entries: []Entry{sym("a", "/etc/passwd")}}, ErrCorrupt, "absolute"},
		{"symlink out", forged{entries: []Entry{sym("a", "../x")}}, ErrCorrupt, "leads out"},
		{"symlink out and in", forged{entries: []Entry{file, sym("z", "../a/x")}}, ErrCorrupt, "leads out"},
		{"symlink out of a directory", forged{entries: []Entry{{Path: "d", Kind: Dir}, sym("d/a", "../../x")}}, ErrCorrupt, "leads out"},
		{"symlink out by another", forged{entries: []Entry{sym("a", "d/.."), sym("d", ".")}}, ErrCorrupt, "leads out"},
		{"symlink out through nothing", forged{entries: []Entry{sym("a", "no/../../x")}}, ErrCorrupt, "leads out"},
		{"symlink to nothing", forged{entries: []Entry{sym("a", "")}}, ErrCorrupt, "target of 0 bytes"},
		{"symlink circle", forged{entries: []Entry{sym("a", "b"), sym("b", "a/x")}}, ErrCorrupt, "circle"},
		{"tangle of symlinks", forged{entries: tangle()}, ErrCorrupt, "too tangled"},
		{"control in symlink", forged{entries: []Entry{sym("a", "x\x1b")}}, ErrCorrupt, "control"},
		{"dangling symlink", forged{entries: []Entry{sym("a", "no/such/file")}}, nil, ""},
		{"symlink to the top", forged{entries: []Entry{{Path: "d", Kind: Dir}, sym("d/a", "..")}}, nil, ""},
		{"no loader", forged{entries: with(func(e *Entry) { e.Interp = cid.Sum([]byte("ld")) })}, ErrCorrupt, "its loader"},
		{"loader without x", forged{entries: append(with(func(e *Entry) { e.Path = "a"; e.Interp = file.CID }), file)}, ErrCorrupt, "its loader"},
		{"own loader", forged{entries: with(func(e *Entry) { e.Interp = e.CID })}, ErrCorrupt, "its loader"},
		{"loader without name", forged{tree: node(1, item("a", append(append([]byte{byte(File) | tagInterp, 0}, zero[:]...), make([]byte, 32)...)...))}, ErrCorrupt, "names no loader"},
		{"empty file with content", forged{entries: []Entry{{Path: "x", Kind: File, CID: file.CID}}}, ErrCorrupt, "is empty"},
		{"chunks do not add up", forged{entries: with(func(e *Entry) { e.Chunks = []Chunk{chunk(1, 3), chunk(2, 3)} })}, ErrCorrupt, "its chunks"},
		{"empty chunk", forged{entries: with(func(e *Entry) { e.Chunks = []Chunk{chunk(1, 7), chunk(2, 0)} })}, ErrCorrupt, "empty chunk"},
		{"large chunk", forged{entries: with(func(e *Entry) { e.Size = MaxChunk + 2; e.Chunks = []Chunk{chunk(1, MaxChunk+1), chunk(2, 1)} })}, ErrCorrupt, "cannot be read"},
		{"large only chunk", forged{entries: with(func(e *Entry) { e.Size = MaxChunk + 1; e.Chunks[0].Size = MaxChunk + 1 })}, ErrCorrupt, "chunk of"},
		{"no chunks", forged{entries: with(func(e *Entry) { e.Chunks = nil })}, ErrCorrupt, "chunks cannot be read"},
		{"chunk of two sizes", forged{entries: with(func(e *Entry) { e.Chunks = []Chunk{chunk(1, 3), chunk(1, 4)} })}, ErrCorrupt, "two sizes"},
		{"file cut in two ways", forged{entries: []Entry{
			{Path: "a", Kind: File, Size: 7, CID: file.CID, Chunks: []Chunk{chunk(1, 3), chunk(2, 4)}},
			{Path: "b", Kind: File, Size: 7, CID: file.CID, Chunks: []Chunk{chunk(3, 3), chunk(2, 4)}}}}, ErrCorrupt, "two ways"},
		{"10 GB", forged{entries: with(func(e *Entry) { e.Size = 10 << 30 })}, ErrLimit, "more than"},
		{"10 GB of zeroes", forged{entries: tenGigabytes()}, ErrLimit, "more than"},
		{"10 GB of zeroes, denied", forged{entries: tenGigabytes(), manifest: func(m *Manifest) { m.Size = 1 }}, ErrLimit, "zeroes: more than"},
		{"10 GB of copies", forged{entries: copies(10<<30, 1<<28)}, ErrLimit, "more than"},
		{"size beyond int64", forged{tree: node(1, item("a", append([]byte{byte(File), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, zero[:]...)...))}, ErrCorrupt, "cannot be read"},
		{"deep", forged{entries: deep(MaxDepth + 2)}, ErrLimit, "nested"},
		{"nearly too deep", forged{entries: deep(MaxDepth)}, nil, ""},
		{"long path", forged{entries: longPath()}, ErrLimit, "path of"},
		{"count too high", forged{tree: []byte{1, 5}}, ErrCorrupt, "cannot be read"},
		{"huge count", forged{tree: append([]byte{5}, 0xff, 0xff, 0xff, 0xff, 0x7f)}, ErrCorrupt, "cannot be read"},
		{"count not in its shortest form", forged{tree: []byte{2, 0x80, 0}}, ErrCorrupt, "cannot be read"},
		{"more in a node", forged{tree: []byte{2, 0, 0}}, ErrCorrupt, "cannot be read"},
		{"more behind the tree", forged{tree: append(node(0), 0)}, ErrCorrupt, "after the tree"},
		{"directory that is missing", forged{tree: node(1, item("d", append([]byte{byte(Dir)}, zero[:]...)...))}, ErrCorrupt, `ends in directory "d"`},
		{"directory that is another", forged{tree: append(node(1, item("d", append([]byte{byte(Dir)}, zero[:]...)...)), node(0)...)}, ErrCorrupt, "not the one that was signed"},
		{"another tree", forged{manifest: func(m *Manifest) { m.Tree[0]++ }}, ErrCorrupt, "not the one that was signed"},
		{"another size", forged{entries: []Entry{file}, manifest: func(m *Manifest) { m.Size++ }}, ErrCorrupt, "manifest says"},
		{"another number", forged{entries: []Entry{file}, manifest: func(m *Manifest) { m.Files++ }}, ErrCorrupt, "manifest says"},
		{"huge size", forged{manifest: func(m *Manifest) { m.Size = 1 << 50 }}, ErrLimit, ""},
		{"no recipe", forged{manifest: func(m *Manifest) { m.KDL = nil }}, ErrCorrupt, "no package node"},
		{"bad recipe", forged{kdl: `package "../x" version="1"`}, ErrCorrupt, "no package name"},
		{"recipe not canonical", forged{kdl: `package "a" version="1" { arch "all"; }`}, ErrCorrupt, "canonical"},
		{"no architecture", forged{recipe: &Recipe{Name: "a", Version: "1", Title: "a"}}, ErrCorrupt, "canonical"},
		{"recipe of a source", forged{recipe: &Recipe{Name: "a", Version: "1", Title: "a", Arch: "all", Dir: "x"}}, ErrCorrupt, "canonical"},
		{"command that is not there", forged{recipe: &Recipe{Name: "a", Version: "1", Title: "a", Arch: "all", Commands: []Command{{Name: "a", Exec: "bin/a"}}}}, ErrCorrupt, "not in the package"},
		{"command that is no program", forged{entries: []Entry{file}, recipe: &Recipe{Name: "a", Version: "1", Title: "a", Arch: "all", Commands: []Command{{Name: "a", Exec: "x"}}}}, ErrCorrupt, "no executable file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := tt.f.seal()
			_, err := ParseHead(raw)
			if tt.want == nil {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v\nwant %v with %q", err, tt.want, tt.text)
			}
			if _, oerr := Open(bytes.NewReader(raw)); oerr == nil || oerr.Error() != err.Error() {
				t.Errorf("Open says %v, ParseHead %v", oerr, err)
			}
		})
	}
}

// tenGigabytes is one file of 10 GB that consists of one chunk of zeroes, again
// and again.
func tenGigabytes() []Entry {
	c := Chunk{cid.Sum(make([]byte, MaxChunk)), MaxChunk}
	e := Entry{Path: "zeroes", Kind: File, CID: cid.Sum([]byte("whatever"))}
	for e.Size < 10<<30 {
		e.Chunks = append(e.Chunks, c)
		e.Size += MaxChunk
	}
	return []Entry{e}
}

// copies are files of one content that together have total bytes.
func copies(total, each int64) []Entry {
	c := Chunk{cid.Sum(make([]byte, MaxChunk)), MaxChunk}
	e := Entry{Kind: File, CID: cid.Sum([]byte("whatever")), Size: each}
	for n := int64(0); n < each; n += MaxChunk {
		e.Chunks = append(e.Chunks, c)
	}
	var out []Entry
	for i := range total / each {
		e.Path = string(rune('A' + i))
		out = append(out, e)
	}
	return out
}

// tangle is a chain of symlinks with long targets, walked again and again.
func tangle() []Entry {
	var out []Entry
	for i := range maxLinks {
		out = append(out, Entry{Path: fmt.Sprintf("l%02d", i), Kind: Symlink,
			Target: fmt.Sprintf("l%02d", i+1) + strings.Repeat("/.", 1000)})
	}
	for i := range 5000 {
		out = append(out, Entry{Path: fmt.Sprintf("m%04d", i), Kind: Symlink, Target: "l01"})
	}
	return out
}

func deep(n int) []Entry {
	var out []Entry
	for i := range n {
		out = append(out, Entry{Path: strings.Repeat("d/", i) + "d", Kind: Dir})
	}
	return out
}

func longPath() []Entry {
	var out []Entry
	path := ""
	for range 9 {
		path += strings.Repeat("n", 250)
		out = append(out, Entry{Path: path, Kind: Dir})
		path += "/"
	}
	return out
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestClaimsCostNothing declares much and sends little: memory must follow what
// was sent.
func TestClaimsCostNothing(t *testing.T) {
	long := forged{}.seal()[:fixedSize]
	binary.LittleEndian.PutUint32(long[offManifest:], maxManifest)
	tree := forged{}.seal()
	binary.LittleEndian.PutUint32(tree[offTree:], maxTree)
	huge := bytes.Clone(tree)
	binary.LittleEndian.PutUint32(huge[offTree:], 1<<32-1)
	frame := append(withChunks(16).seal(), tagZstd, 0xff, 0xff, 0xff, 0x7f)
	for name, raw := range map[string][]byte{"manifest": long, "tree": tree, "huge tree": huge, "frame": frame} {
		n := allocated(func() {
			if _, _, err := unpack(bytes.NewReader(raw)); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLimit) {
				t.Errorf("%s: %v", name, err)
			}
		})
		if n > FrameSize {
			t.Errorf("%s: %d bytes allocated for %d", name, n, len(raw))
		}
	}
}

// withChunks forges a package of n chunks of the largest size, without frames.
func withChunks(n int) forged {
	e := Entry{Path: "x", Kind: File, CID: cid.Sum([]byte("x"))}
	for i := range n {
		e.Chunks = append(e.Chunks, Chunk{cid.Sum([]byte{byte(i)}), MaxChunk})
		e.Size += MaxChunk
	}
	return forged{entries: []Entry{e}}
}

func TestForgedFrames(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("content "), 100)
	head := forged{entries: []Entry{blob("x", content, false)}}.seal()
	frame := func(tag byte, b []byte) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte{tag}, uint32(len(b))), b...)
	}
	good := frame(tagZstd, enc.EncodeAll(content, nil))
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	// The same without the size in its header: the decoder cannot know.
	var stream bytes.Buffer
	sw, err := zstd.NewWriter(&stream, zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := sw.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := sw.Close(); err != nil {
		t.Fatal(err)
	}
	big := withChunks(16).seal()
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tests := []struct {
		name string
		raw  []byte
		text string
	}{
		{"well made", join(head, good, []byte{tagEnd}), ""},
		{"not compressed", join(head, frame(tagRaw, content), []byte{tagEnd}), ""},
		{"no frame", join(head, []byte{tagEnd}), "wants a frame"},
		{"unknown tag", join(head, []byte{7}), "wants a frame, has tag 0x7"},
		{"a frame too many", join(head, good, good, []byte{tagEnd}), "wants its end"},
		{"no end", join(head, good), "ends in its contents"},
		{"more behind the end", join(head, good, []byte{tagEnd, tagEnd}), "bytes after its end"},
		{"other bytes", join(head, frame(tagRaw, bytes.Repeat([]byte("CONTENT "), 100)), []byte{tagEnd}), "has other bytes"},
		{"raw too short", join(head, frame(tagRaw, content[1:]), []byte{tagEnd}), "is stored in"},
		{"raw too long", join(head, frame(tagRaw, append(bytes.Clone(content), 0)), []byte{tagEnd}), "is stored in"},
		{"longer than its content", join(head, frame(tagZstd, make([]byte, 800)), []byte{tagEnd}), "is stored in"},
		{"no compressed stream", join(head, frame(tagZstd, []byte("garbage")), []byte{tagEnd}), "frame:"},
		{"nothing compressed", join(head, frame(tagZstd, nil), []byte{tagEnd}), "has 0 bytes"},
		{"too little", join(head, frame(tagZstd, enc.EncodeAll(content[8:], nil)), []byte{tagEnd}), "has 792 bytes"},
		{"too much", join(head, frame(tagZstd, enc.EncodeAll(append(bytes.Clone(content), 0), nil)), []byte{tagEnd}), "has 801 bytes"},
		{"two streams", join(head, frame(tagZstd, join(enc.EncodeAll(content, nil), enc.EncodeAll(content, nil))), []byte{tagEnd}), "frame:"},
		{"bomb", join(big, frame(tagZstd, bomb), []byte{tagEnd}), "frame:"},
		{"bomb that hides its size", join(big, frame(tagZstd, stream.Bytes()), []byte{tagEnd}), "frame:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			n := allocated(func() { _, _, err = unpack(bytes.NewReader(tt.raw)) })
			if tt.text == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want ErrCorrupt with %q", err, tt.text)
			}
			if n > 4*FrameSize {
				t.Errorf("%d bytes allocated", n)
			}
		})
	}
}

// TestOpenLeavesTheDiskAlone reads hostile packages in an empty directory.
func TestOpenLeavesTheDiskAlone(t *testing.T) {
	dir := t.TempDir()
	raw := small(t)
	t.Chdir(dir)
	for _, b := range [][]byte{raw, raw[:len(raw)-1], forged{tree: node(1, item("../x", 1))}.seal(), withChunks(3).seal()} {
		_, _, _ = unpack(bytes.NewReader(b)) // whether it fails is for other tests
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("reading left %v, %v", names, err)
	}
}
