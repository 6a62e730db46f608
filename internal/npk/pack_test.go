package npk

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"nipcells/internal/capability"
	"nipcells/internal/cid"
)

// testKey is a key that depends on n only.
func testKey(n byte) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte{n})
	return ed25519.NewKeyFromSeed(seed[:])
}

// noise returns n bytes that do not compress and depend on seed only.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// put writes a file below dir, with its directories.
func put(t testing.TB, dir, name string, content []byte, mode os.FileMode) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, content, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

func link(t testing.TB, dir, name, target string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, p); err != nil {
		t.Fatal(err)
	}
}

// sampleTree makes a staging directory with everything a package can hold.
func sampleTree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	text := bytes.Repeat([]byte("all work and no play makes a dull package\n"), 30000)
	put(t, dir, "bin/hello", []byte("#!/bin/sh\necho hello\n"), 0o755)
	put(t, dir, "share/empty", nil, 0o644)
	put(t, dir, "share/text", text, 0o600)
	put(t, dir, "share/text-again", text, 0o755)
	put(t, dir, "share/text-longer", append(bytes.Clone(text), "the end"...), 0o644)
	put(t, dir, "share/noise", noise(1, 3<<20), 0o644)
	put(t, dir, "share/zeroes", make([]byte, 5<<20), 0o644)
	put(t, dir, "share-2/é ü/file", noise(2, 700<<10), 0o444)
	put(t, dir, "tiny", []byte{0}, 0o644)
	link(t, dir, "bin/hi", "hello")
	link(t, dir, "bin/up", "../share/../bin/./hello")
	link(t, dir, "here", ".")
	link(t, dir, "dangling", "share/nothing/here")
	if err := os.MkdirAll(filepath.Join(dir, "var/lib/empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func sampleRecipe() *Recipe {
	return &Recipe{
		Name: "hello", Version: "1.0", Title: "Hello", Summary: "Says hello",
		Commands: []Command{{Name: "hello", Exec: "bin/hello"}, {Name: "hi", Exec: "here/bin/hi", Args: []string{"-v"}}},
		Pledge:   capability.Stdio | capability.Rpath,
	}
}

// pack packs and fails the test if that fails.
func pack(t testing.TB, dir string, r *Recipe) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Pack(&b, dir, r, PackOptions{Key: testKey(1)}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpack reads a package to its end and returns the head and the content of
// each file, all of it checked against content ids.
func unpack(r io.Reader) (*Head, map[string][]byte, error) {
	p, err := Open(r)
	if err != nil {
		return nil, nil, err
	}
	chunks := map[cid.CID][]byte{}
	for {
		f, err := p.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		data, err := f.Decode(nil)
		if err != nil {
			return nil, nil, err
		}
		if err := f.Verify(data); err != nil {
			return nil, nil, err
		}
		for _, c := range f.Chunks {
			chunks[c.CID] = bytes.Clone(data[:c.Size])
			data = data[c.Size:]
		}
		f.Release()
	}
	files := map[string][]byte{}
	for _, e := range p.Head().Entries {
		if e.Kind != File {
			continue
		}
		content := []byte{}
		for _, c := range e.Chunks {
			content = append(content, chunks[c.CID]...)
		}
		if cid.Sum(content) != e.CID || int64(len(content)) != e.Size {
			return nil, nil, fmt.Errorf("%s: content is not the one of its entry", e.Path)
		}
		files[e.Path] = content
	}
	return p.Head(), files, nil
}

func TestPackAndRead(t *testing.T) {
	dir := sampleTree(t)
	raw := pack(t, dir, sampleRecipe())
	h, files, err := unpack(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		names++
		rel, _ := filepath.Rel(dir, p)
		e, ok := h.Lookup(rel)
		if !ok {
			t.Errorf("%s is not in the package", rel)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			if e.Kind != Dir {
				t.Errorf("%s: kind %d, want a directory", rel, e.Kind)
			}
		case info.Mode()&os.ModeSymlink != 0:
			if target, _ := os.Readlink(p); e.Kind != Symlink || e.Target != target {
				t.Errorf("%s: kind %d to %q, want a symlink to %q", rel, e.Kind, e.Target, target)
			}
		default:
			want, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if e.Kind != File || e.Exec != (info.Mode()&0o111 != 0) || !bytes.Equal(files[rel], want) {
				t.Errorf("%s: kind %d, exec %v, %d bytes; want a file of %d bytes, mode %v", rel, e.Kind, e.Exec, len(files[rel]), len(want), info.Mode())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if names != len(h.Entries) {
		t.Errorf("package has %d names, the directory %d", len(h.Entries), names)
	}
	if again, err := ParseHead(h.Raw); err != nil || again.Manifest.Tree != h.Manifest.Tree || !bytes.HasPrefix(raw, h.Raw) {
		t.Errorf("the head's bytes do not give the head: %v", err)
	}
	if m := h.Manifest; m.Title != "Hello" || m.Arch != "all" || m.Files != len(files) {
		t.Errorf("manifest %+v does not fit recipe and files", m)
	}
	if e, err := h.Resolve("here/here/bin/up"); err != nil || e.Path != "bin/hello" {
		t.Errorf("here/here/bin/up leads to %+v, %v", e, err)
	}
}

func TestPackIsDeterministic(t *testing.T) {
	dir := sampleTree(t)
	want := pack(t, dir, sampleRecipe())
	for _, procs := range []int{1, 2, 7} {
		old := runtime.GOMAXPROCS(procs)
		got := pack(t, dir, sampleRecipe())
		runtime.GOMAXPROCS(old)
		if !bytes.Equal(got, want) {
			t.Errorf("with %d processors the package is another", procs)
		}
	}
	// Times, owners and modes that do not matter change nothing.
	other := sampleTree(t)
	if err := os.Chmod(filepath.Join(other, "share/text"), 0o640); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pack(t, other, sampleRecipe()), want) {
		t.Error("an equal tree elsewhere gives another package")
	}
}

func TestPackRefuses(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, dir string, r *Recipe)
		want string
	}{
		{"setuid", func(t *testing.T, dir string, r *Recipe) {
			put(t, dir, "bin/su", []byte("x"), 0o755)
			if err := os.Chmod(filepath.Join(dir, "bin/su"), 0o755|os.ModeSetuid); err != nil {
				t.Fatal(err)
			}
		}, "bin/su: has the setuid or setgid bit"},
		{"setgid", func(t *testing.T, dir string, r *Recipe) {
			put(t, dir, "bin/wall", []byte("x"), 0o755)
			if err := os.Chmod(filepath.Join(dir, "bin/wall"), 0o755|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		}, "bin/wall: has the setuid or setgid bit"},
		{"fifo", func(t *testing.T, dir string, r *Recipe) {
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "pipe: is a named pipe"},
		{"socket", func(t *testing.T, dir string, r *Recipe) {
			if err := syscall.Mknod(filepath.Join(dir, "sock"), syscall.S_IFSOCK|0o644, 0); err != nil {
				t.Fatal(err)
			}
		}, "sock: is a socket"},
		{"absolute symlink", func(t *testing.T, dir string, r *Recipe) { link(t, dir, "etc/abs", "/etc/passwd") },
			`symlink etc/abs: target "/etc/passwd" is absolute`},
		{"symlink out", func(t *testing.T, dir string, r *Recipe) { link(t, dir, "a/out", "../../x") },
			`symlink a/out: "../../x" leads out of the package`},
		{"symlink out through a symlink", func(t *testing.T, dir string, r *Recipe) {
			link(t, dir, "a/b/root", "../..")
			link(t, dir, "sly", "a/b/root/../x")
		}, `symlink sly: "a/b/root/../x" leads out of the package`},
		{"symlink circle", func(t *testing.T, dir string, r *Recipe) {
			link(t, dir, "x", "y")
			link(t, dir, "y", "x")
		}, `circle`},
		{"control character", func(t *testing.T, dir string, r *Recipe) { put(t, dir, "a\x1b[2J", nil, 0o644) },
			`control character`},
		{"not UTF-8", func(t *testing.T, dir string, r *Recipe) { put(t, dir, "a\xff", nil, 0o644) }, `not UTF-8`},
		{"no program", func(t *testing.T, dir string, r *Recipe) {
			r.Commands = append(r.Commands, Command{Name: "x", Exec: "bin/x"})
		},
			`command x: "bin/x" is not in the package`},
		{"program without x", func(t *testing.T, dir string, r *Recipe) {
			r.Commands = append(r.Commands, Command{Name: "x", Exec: "share/text"})
		}, "command x: share/text is no executable file"},
		{"directory as program", func(t *testing.T, dir string, r *Recipe) {
			r.Commands = append(r.Commands, Command{Name: "x", Exec: "bin"})
		}, "command x: bin is no executable file"},
		{"too deep", func(t *testing.T, dir string, r *Recipe) {
			if err := os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", MaxDepth+1)), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "nested more than"},
		{"too big", func(t *testing.T, dir string, r *Recipe) {
			f, err := os.Create(filepath.Join(dir, "sparse"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(10 << 30); err != nil {
				t.Fatal(err)
			}
		}, "sparse: more than"},
		{"bad recipe", func(t *testing.T, dir string, r *Recipe) { r.Version = "../1" }, `"../1" is no version`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, r := t.TempDir(), sampleRecipe()
			r.Commands = nil
			put(t, dir, "share/text", []byte("text"), 0o644)
			put(t, dir, "bin/hello", []byte("#!/bin/sh\n"), 0o755)
			tt.make(t, dir, r)
			_, err := Pack(io.Discard, dir, r, PackOptions{Key: testKey(1)})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	if _, err := Pack(io.Discard, t.TempDir(), sampleRecipe(), PackOptions{}); err == nil {
		t.Error("packed without a key")
	}
}

func TestPackProgressAndErrors(t *testing.T) {
	dir := sampleTree(t)
	var done, total, calls int64
	_, err := Pack(io.Discard, dir, sampleRecipe(), PackOptions{Key: testKey(1), Progress: func(d, tot int64) {
		if d < done || d > tot || (calls > 0 && tot != total) {
			t.Errorf("progress went from %d/%d to %d/%d", done, total, d, tot)
		}
		done, total = d, tot
		calls++
	}})
	if err != nil {
		t.Fatal(err)
	}
	if done != total || calls < 10 {
		t.Errorf("progress ended with %d of %d in %d calls", done, total, calls)
	}
	full := errors.New("disk is full")
	for _, room := range []int{0, 10, 5000, 100000} {
		if _, err := Pack(&shortWriter{room, full}, dir, sampleRecipe(), PackOptions{Key: testKey(1)}); !errors.Is(err, full) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
}

// shortWriter fails with err once n bytes were written.
type shortWriter struct {
	n   int
	err error
}

func (w *shortWriter) Write(b []byte) (int, error) {
	if len(b) > w.n {
		return 0, w.err
	}
	w.n -= len(b)
	return len(b), nil
}
