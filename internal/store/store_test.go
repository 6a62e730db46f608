package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/cid"
	"nipcells/internal/elfimage"
)

func put(t *testing.T, s *Store, content string, exec bool) Name {
	t.Helper()
	n := Name{CID: cid.Sum([]byte(content)), Exec: exec}
	if err := s.Put(n, strings.NewReader(content), nil); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestName(t *testing.T) {
	c := cid.Sum(nil)
	for _, n := range []Name{{CID: c}, {CID: c, Exec: true}, {CID: c, Exec: true, Variant: Variant("/x")}} {
		if got, err := ParseName(n.String()); err != nil || got != n {
			t.Errorf("%s: %+v, %v", n, got, err)
		}
	}
	for _, s := range []string{"", "x", c.String(), c.String() + ".w", c.String() + ".r.", c.String() + ".r.00", c.String() + ".x.ABCDEFABCDEFABCD",
		c.String() + ".x.0123456789abcdef.1", strings.ToUpper(c.String()) + ".r"} {
		if n, err := ParseName(s); !errors.Is(err, ErrName) {
			t.Errorf("%q: %+v, %v", s, n, err)
		}
	}
}

func TestPut(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	s := Open(testRoot(t))
	n := put(t, s, "hello", true)
	fi, err := os.Lstat(s.Path(n))
	if err != nil || fi.Mode() != 0o555 || !fi.ModTime().Equal(time.Unix(Epoch, 0)) {
		t.Fatalf("blob: %v %v, %v", fi.Mode(), fi.ModTime(), err)
	}
	if err := s.Put(n, io.MultiReader(), nil); err != nil {
		t.Errorf("put of what is there read its input: %v", err)
	}
	b, err := s.Open(n)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	lie := Name{CID: cid.Sum([]byte("truth"))}
	if err := s.Put(lie, strings.NewReader("lie"), nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a lie: %v", err)
	}
	if err := s.Put(lie, io.MultiReader(strings.NewReader("tr"), errReader{}), nil); !errors.Is(err, errTest) {
		t.Errorf("a broken reader: %v", err)
	}
	if s.Has(lie, -1) || len(mustDir(t, s.root.Join("Cas/tmp"))) > 0 {
		t.Error("refused blobs left something")
	}
	if _, err := s.Open(lie); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing blob: %v", err)
	}
}

func TestPutLocated(t *testing.T) {
	s := Open(testRoot(t))
	loader := s.root.Loader(strings.Repeat("12", 32))
	content := elfWith(200, elfimage.InterpFieldSize, 9000)
	n := Name{CID: cid.Sum(content), Exec: true, Variant: Variant(loader)}
	err := s.Put(n, bytes.NewReader(content), func(r io.ReaderAt, size int64) (Patch, error) { return LoaderPatch(r, size, loader) })
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(s.Path(n))
	if err != nil || !bytes.Contains(raw, []byte(loader+"\x00")) {
		t.Fatalf("the loader is not in the blob: %v", err)
	}
	if err := s.Verify(n); err != nil {
		t.Error(err)
	}
	b, err := s.Open(n)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read back: %v", err)
	}
}

var errTest = errors.New("test")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errTest }

func mustDir(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// rewrite changes a read-only file in place.
func rewrite(t *testing.T, path string, fn func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // no truncation: on ext4 that makes the next close wait for the disk
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(fn(b), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, fi.Mode()); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	s := Open(testRoot(t))
	loader := s.root.Loader(strings.Repeat("12", 32))
	content := elfWith(150, elfimage.InterpFieldSize, 500)
	n := Name{CID: cid.Sum(content), Exec: true, Variant: Variant(loader)}
	if err := s.Put(n, bytes.NewReader(content), func(r io.ReaderAt, size int64) (Patch, error) { return LoaderPatch(r, size, loader) }); err != nil {
		t.Fatal(err)
	}
	for i := range len(content) * 8 {
		flip := func(b []byte) []byte { b[i/8] ^= 1 << (i % 8); return b }
		rewrite(t, s.Path(n), flip)
		if err := s.Verify(n); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d of byte %d: %v", i%8, i/8, err)
		}
		rewrite(t, s.Path(n), flip)
	}
	if err := s.Verify(n); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.Path(n), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(n); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong mode: %v", err)
	}
	os.Remove(s.Path(n))
	if err := s.Verify(n); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if err := unix.Mkfifo(s.Path(n), 0o555); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(n); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a fifo: %v", err)
	}
}

// A file that a crash left short under a blob's name is not trusted.
func TestAdoptReplacesLeftovers(t *testing.T) {
	s := Open(testRoot(t))
	n := Name{CID: cid.Sum([]byte("whole"))}
	if err := os.MkdirAll(filepath.Dir(s.Path(n)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path(n), []byte("who"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.Has(n, -1) {
		t.Fatal("a file with the wrong mode passes as a blob")
	}
	put(t, s, "whole", false)
	if err := s.Verify(n); err != nil {
		t.Error(err)
	}
	if !s.Has(n, 5) || s.Has(n, 6) {
		t.Error("size is not compared")
	}
}

func TestLinkFallsBack(t *testing.T) {
	s := Open(testRoot(t))
	n := put(t, s, strings.Repeat("bytes ", 5000), true)
	dst := filepath.Join(t.TempDir(), "hard")
	if how, err := Link(unix.AT_FDCWD, s.Path(n), unix.AT_FDCWD, dst, true); err != nil || how != Hard {
		t.Fatalf("%v, %v", how, err)
	}
	shm, err := os.MkdirTemp("/dev/shm", "store")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(shm)
	other := filepath.Join(shm, "copy") // another file system: neither link nor reflink
	how, err := Link(unix.AT_FDCWD, s.Path(n), unix.AT_FDCWD, other, true)
	if err != nil || how != Copy {
		t.Fatalf("%v, %v", how, err)
	}
	if err := s.VerifyFile(other, n); err != nil {
		t.Error(err)
	}
	if fi, err := os.Lstat(other); err != nil || !fi.ModTime().Equal(time.Unix(Epoch, 0)) {
		t.Errorf("times of the copy: %v", err)
	}
	if _, err := Link(unix.AT_FDCWD, s.Path(n), unix.AT_FDCWD, other, true); err == nil {
		t.Error("linked over what exists")
	}
	sym := filepath.Join(t.TempDir(), "sym")
	if err := os.Symlink(s.Path(n), sym); err != nil {
		t.Fatal(err)
	}
	if _, err := Link(unix.AT_FDCWD, sym, unix.AT_FDCWD, filepath.Join(shm, "followed"), true); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a symlink was followed: %v", err)
	}
}

// On ext4 a file has at most 65000 names; one more must still install.
func TestLinkBeyondTheLimit(t *testing.T) {
	s := Open(testRoot(t))
	n := put(t, s, "popular", false)
	dir := t.TempDir()
	for i := range 65100 {
		how, err := Link(unix.AT_FDCWD, s.Path(n), unix.AT_FDCWD, filepath.Join(dir, "f"+itoa(i)), false)
		if err != nil {
			t.Fatalf("link %d: %v", i, err)
		}
		if how != Hard {
			if err := s.VerifyFile(filepath.Join(dir, "f"+itoa(i)), n); err != nil {
				t.Error(err)
			}
			return
		}
	}
}

func itoa(i int) string { return strings.Repeat("0", i%3) + string(rune('a'+i%26)) + hexOf(i) }

func hexOf(i int) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[i>>16&15], digits[i>>12&15], digits[i>>8&15], digits[i>>4&15], digits[i&15]})
}

func TestCollect(t *testing.T) {
	s := Open(testRoot(t))
	kept, dropped := put(t, s, "kept", true), put(t, s, "dropped", true)
	for _, n := range []Name{kept, dropped} {
		if err := s.AddLoader(n.CID); err != nil {
			t.Fatal(err)
		}
		if err := s.AddLoader(n.CID); err != nil {
			t.Fatalf("a second time: %v", err)
		}
	}
	junk := filepath.Join(filepath.Dir(s.Path(kept)), "junk")
	tmp := s.root.Join("Cas/tmp/left")
	for _, p := range []string{junk, tmp} {
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	freed, err := s.Collect(func(n Name) bool { return n == kept })
	if err != nil || freed.Blobs < 3 || freed.Bytes == 0 {
		t.Errorf("freed %+v, %v", freed, err)
	}
	for _, p := range []string{junk, tmp, s.Path(dropped), s.root.Loader(dropped.CID.String())} {
		if _, err := os.Lstat(p); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", p)
		}
	}
	if err := s.Verify(kept); err != nil {
		t.Error(err)
	}
	if err := s.VerifyFile(s.root.Loader(kept.CID.String()), kept); err != nil {
		t.Error(err)
	}
}

func TestChunks(t *testing.T) {
	s := Open(testRoot(t))
	loader := s.root.Loader(strings.Repeat("12", 32))
	content := elfWith(150, elfimage.InterpFieldSize, 900)
	located := Name{CID: cid.Sum(content), Exec: true, Variant: Variant(loader)}
	if err := s.Put(located, bytes.NewReader(content), func(r io.ReaderAt, size int64) (Patch, error) { return LoaderPatch(r, size, loader) }); err != nil {
		t.Fatal(err)
	}
	plain := put(t, s, "one two three", false)
	pieces := [][]byte{content[:160], content[160:500], content[500:], []byte("one "), []byte("two "), []byte("three")}
	var chunks []ChunkAt
	for i, at := range []struct{ blob, off int }{{0, 0}, {0, 160}, {0, 500}, {1, 0}, {1, 4}, {1, 8}} {
		chunks = append(chunks, ChunkAt{cid.Sum(pieces[i]), at.blob, uint32(len(pieces[i])), int64(at.off)})
	}
	data := EncodeIndex([]Name{located, plain}, chunks)
	slices.Reverse(chunks)
	if !bytes.Equal(data, EncodeIndex([]Name{located, plain}, chunks)) {
		t.Error("the index depends on the order of chunks")
	}
	if err := s.root.Make("Cas/chunk/pkg"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.root.Join(IndexRel("pkg", "1")), data, 0o600); err != nil {
		t.Fatal(err)
	}
	ix, err := s.Index("pkg", "1")
	if err != nil || !slices.Equal(ix.Blobs, []Name{located, plain}) {
		t.Fatalf("%+v, %v", ix, err)
	}
	all, err := s.Chunks()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if got, err := all.Read(cid.Sum(p), []byte("before ")); err != nil || string(got) != "before "+string(p) {
			t.Errorf("chunk %q: %q, %v", p, got, err)
		}
	}
	if _, err := all.Read(cid.Sum([]byte("none")), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a chunk that nobody has: %v", err)
	}
	rewrite(t, s.Path(plain), func(b []byte) []byte { b[0] ^= 1; return b })
	if _, err := all.Read(cid.Sum(pieces[3]), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a damaged chunk: %v", err)
	}
	if got, err := all.Read(cid.Sum(pieces[4]), nil); err != nil || string(got) != "two " {
		t.Errorf("an intact chunk of a damaged blob: %q, %v", got, err)
	}
}

func FuzzParseIndex(f *testing.F) {
	n := Name{CID: cid.Sum([]byte("x")), Exec: true, Variant: Variant("/v")}
	f.Add(EncodeIndex([]Name{n}, []ChunkAt{{n.CID, 0, 1, 0}}))
	f.Add(EncodeIndex(nil, nil))
	f.Add([]byte(indexMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Mutations rarely have a right checksum: try the body with one, too.
		sum := cid.Sum(b)
		for _, in := range [][]byte{b, append(bytes.Clone(b), sum[:]...)} {
			ix, err := ParseIndex(in)
			if err != nil {
				if !errors.Is(err, ErrIndex) {
					t.Fatal(err)
				}
				continue
			}
			for _, at := range ix.find(n.CID) {
				if at.Blob >= len(ix.Blobs) {
					t.Fatal("chunk in no blob")
				}
			}
		}
	})
}
