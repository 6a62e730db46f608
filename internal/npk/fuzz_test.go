package npk

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"nipcells/internal/cid"
)

func FuzzOpen(f *testing.F) {
	f.Add(small(f))
	f.Add(forged{entries: deep(3)}.seal())
	f.Add(withChunks(2).seal())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, _, err := unpack(bytes.NewReader(raw)); err != nil && !explained(err) && !strings.Contains(err.Error(), "content is not the one") {
			t.Fatalf("error of no kind: %v", err)
		}
	})
}

// FuzzParseHead signs whatever it is given, since no fuzzer would find a valid
// signature: manifest and tree are an attacker's.
func FuzzParseHead(f *testing.F) {
	for _, s := range [][]byte{small(f), forged{entries: deep(3)}.seal(), withChunks(2).seal()} {
		n := fixedSize + int(binary.LittleEndian.Uint32(s[offManifest:]))
		f.Add(s[fixedSize:n], s[n:min(len(s), n+int(binary.LittleEndian.Uint32(s[offTree:])))])
	}
	f.Fuzz(func(t *testing.T, manifest, tree []byte) {
		if len(manifest) > cid.Size*2 && len(tree) > 0 {
			w := wireReader{rest: tree}
			root := cid.Sum(w.bytes(int(w.uint(maxTree))))
			copy(manifest[cid.Size:], root[:]) // or it would never get past the first node
		}
		raw := append([]byte{}, magic...)
		raw = binary.LittleEndian.AppendUint32(raw, formatVersion)
		raw = binary.LittleEndian.AppendUint32(raw, uint32(len(manifest)))
		raw = binary.LittleEndian.AppendUint32(raw, uint32(len(tree)))
		raw = append(raw, testKey(3).Public().(ed25519.PublicKey)...)
		raw = append(raw, ed25519.Sign(testKey(3), signedMessage(manifest))...)
		raw = append(append(raw, manifest...), tree...)
		h, err := ParseHead(raw)
		if err != nil {
			if !explained(err) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		nodes, root := encodeTree(h.Entries)
		if root != h.Manifest.Tree || !bytes.Equal(nodes, tree) {
			t.Fatal("the entries are not the tree that was read")
		}
		for _, e := range h.Entries {
			if err := checkPath(e.Path); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzFrame(f *testing.F) {
	content := bytes.Repeat([]byte("content "), 100)
	head := forged{entries: []Entry{blob("x", content, false), blob("y", noise(1, 1000), false)}}.seal()
	enc, err := newEncoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(packFrame(enc, append(bytes.Clone(content), noise(1, 1000)...)), tagEnd))
	f.Add([]byte{tagRaw, 0, 0, 0, 0, tagEnd})
	f.Fuzz(func(t *testing.T, frames []byte) {
		_, files, err := unpack(io.MultiReader(bytes.NewReader(head), bytes.NewReader(frames)))
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("error of no kind: %v", err)
		}
		if err == nil && !bytes.Equal(files["x"], content) {
			t.Fatal("other content was accepted")
		}
	})
}
