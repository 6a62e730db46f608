package escape

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"testing"

	"nipcells/internal/cid"
	"nipcells/internal/keys"
	"nipcells/internal/npk"
	"nipcells/test/rig"
)

// forgedFile is an executable file in bin/ of a forged package. loader is the name
// of the one that is its loader, "" if it has none; then its content has a field of
// zeroes for it (internal/npk/FORMAT.md).
type forgedFile struct {
	name    string
	content []byte
	loader  string
}

// forge has a package installed as somebody makes it who has a key and a tool of
// his own, by the letter of the format: nothing is put into the files, and nothing
// of them is looked at. Its command, which has the package's name, is bin/<name>.
func forge(t *testing.T, r *rig.Root, name string, files ...forgedFile) rig.Result {
	t.Helper()
	slices.SortFunc(files, func(a, b forgedFile) int { return strings.Compare(a.name, b.name) })
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tree, root, frame, size := forgedTree(files)
	recipe, err := npk.ParseRecipe(name, []byte("package \""+name+"\" version=\"1\" {\n arch \""+runtime.GOARCH+"\"\n command \""+name+"\" exec=\"bin/"+name+
		"\"\n pledge \""+strings.ReplaceAll(pledged, ",", "\" \"")+"\"\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if recipe.Title == "" {
		recipe.Title = recipe.Name
	}
	manifest := append(append([]byte{}, root[:]...), root[:]...) // the build has the tree's name
	manifest = binary.AppendUvarint(manifest, uint64(size))
	manifest = binary.AppendUvarint(manifest, uint64(len(files)))
	manifest = append(manifest, recipe.KDL()...)
	id := cid.Sum(manifest)

	b := []byte("\x89NPK\r\n\x1a\n")
	for _, n := range []int{1, len(manifest), len(tree)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	b = append(append(b, public...), ed25519.Sign(private, append([]byte("nip package 1\n"), id[:]...))...)
	b = append(append(b, manifest...), tree...)
	b = binary.LittleEndian.AppendUint32(append(b, 1), uint32(len(frame)))
	b = append(append(b, frame...), 0)
	file := r.Base + "/" + name + ".npk"
	r.Write(file, string(b), 0o644)
	return r.Run("install", "-q", "--trust", keys.Key{Public: public}.String(), file)
}

// forgedTree encodes files that are all different, in bin, and returns the tree, its root, and
// one frame with all contents.
func forgedTree(files []forgedFile) (tree []byte, root cid.CID, frame []byte, size int) {
	node := func(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
	ids := map[string]cid.CID{}
	for _, f := range files {
		ids[f.name] = cid.Sum(f.content)
	}
	bin := binary.AppendUvarint(nil, uint64(len(files)))
	for _, f := range files {
		kind := byte(0x12) // an executable file
		if f.loader != "" {
			kind |= 0x20
		}
		bin = append(append(bin, node([]byte(f.name))...), kind)
		bin = binary.AppendUvarint(bin, uint64(len(f.content)))
		id := ids[f.name]
		bin = append(bin, id[:]...)
		if f.loader != "" {
			loader := ids[f.loader]
			bin = append(bin, loader[:]...)
		}
		chunks := slices.Collect(slices.Chunk(f.content, 256<<10))
		bin = binary.AppendUvarint(bin, uint64(len(chunks)))
		for _, c := range chunks {
			if len(chunks) > 1 {
				chunk := cid.Sum(c)
				bin = append(binary.AppendUvarint(bin, uint64(len(c))), chunk[:]...)
			}
		}
		frame = append(frame, f.content...)
		size += len(f.content)
	}
	binID := cid.Sum(bin)
	top := append(append(append([]byte{1}, node([]byte("bin"))...), 1), binID[:]...)
	return append(node(top), node(bin)...), cid.Sum(top), frame, size
}
