package graft

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// entry is a file of a tarball in a test.
type entry struct {
	name string
	typ  byte // 0: regular
	mode int64
	link string
	body string
}

func tarball(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.typ == 0 {
			e.typ = tar.TypeReg
		}
		h := &tar.Header{Name: e.name, Typeflag: e.typ, Mode: e.mode, Linkname: e.link, Size: int64(len(e.body))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func emptyTree(t testing.TB) *tree {
	t.Helper()
	tr, err := newTree(filepath.Join(t.TempDir(), "tree"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.close)
	return tr
}

func (t *tree) list(tb testing.TB) []string {
	tb.Helper()
	var names []string
	err := t.walk(func(name string, d fs.DirEntry) error {
		if d.Type() == fs.ModeSymlink {
			target, _ := t.root.Readlink(name)
			name += " -> " + target
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

func TestUnpackPlaces(t *testing.T) {
	tr := emptyTree(t)
	archive := tarball(t,
		entry{name: "./usr/", typ: tar.TypeDir},
		entry{name: "./usr/bin/tool", mode: 0o755, body: "x"},
		entry{name: "./bin/other", typ: tar.TypeLink, link: "./usr/bin/tool"},
		entry{name: "./usr/bin/absolute", typ: tar.TypeSymlink, link: "/usr/bin/tool"},
		entry{name: "./usr/bin/across", typ: tar.TypeSymlink, link: "../../etc/tool.conf"},
		entry{name: "./usr/bin/null", typ: tar.TypeSymlink, link: "/dev/null"},
		entry{name: "./lib64", typ: tar.TypeSymlink, link: "usr/lib64"},
		entry{name: "./etc/tool.conf", mode: 0o600, body: "y"},
		entry{name: "./usr/share/doc/tool/README", body: "z"},
		entry{name: "./dev/console", typ: tar.TypeReg},
		entry{name: "./usr/bin/su", mode: 0o4755, body: "s"},
	)
	if err := tr.unpack(context.Background(), tar.NewReader(bytes.NewReader(archive)), rootPlacing(), "tool"); err != nil {
		t.Fatal(err)
	}
	want := []string{"bin", "bin/absolute -> tool", "bin/across -> ../etc/tool.conf", "bin/other", "bin/su", "bin/tool", "etc", "etc/tool.conf"}
	if got := tr.list(t); !slices.Equal(got, want) {
		t.Errorf("tree holds %q, want %q", got, want)
	}
	fi, err := os.Stat(filepath.Join(tr.dir, "bin/su"))
	if err != nil || fi.Mode() != 0o755 {
		t.Errorf("bin/su has mode %v (%v), want 0755", fi.Mode(), err)
	}
	notes := strings.Join(tr.notes.sentences(), "\n")
	for _, want := range []string{"bin/su", "bin/null -> /dev/null"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note about %s in:\n%s", want, notes)
		}
	}
}

// TestUnpackHostile tries to get out of the tree.
func TestUnpackHostile(t *testing.T) {
	tests := []struct {
		name    string
		entries []entry
		refused bool
	}{
		{"dots", []entry{{name: "../outside", body: "x"}}, true},
		{"dots inside", []entry{{name: "usr/../../outside", body: "x"}}, true},
		{"absolute name stays inside", []entry{{name: "/outside", body: "x"}}, false},
		{"through a link", []entry{{name: "a", typ: tar.TypeSymlink, link: "../.."}, {name: "a/outside", body: "x"}}, false},
		{"through an absolute link", []entry{{name: "a", typ: tar.TypeSymlink, link: "/"}, {name: "a/outside", body: "x"}}, false},
		{"hard link out", []entry{{name: "a", typ: tar.TypeLink, link: "../../secret"}}, true},
		{"hard link to a missing file", []entry{{name: "a", typ: tar.TypeLink, link: "etc/shadow"}}, true},
		{"device", []entry{{name: "etc/disk", typ: tar.TypeBlock}}, true},
		{"character device", []entry{{name: "etc/tty", typ: tar.TypeChar}}, true},
		{"fifo", []entry{{name: "etc/pipe", typ: tar.TypeFifo}}, true},
		{"file over a full directory", []entry{{name: "a/b", body: "x"}, {name: "a", body: "y"}}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := emptyTree(t)
			secret := filepath.Join(filepath.Dir(tr.dir), "secret")
			if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := tr.unpack(context.Background(), tar.NewReader(bytes.NewReader(tarball(t, test.entries...))), rootPlacing(), "")
			if refused := err != nil; refused != test.refused {
				t.Errorf("unpack = %v, want refused: %v", err, test.refused)
			}
			outside, err := os.ReadDir(filepath.Dir(tr.dir))
			if err != nil || len(outside) != 2 {
				t.Errorf("beside the tree there is %v (%v)", outside, err)
			}
			if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
				t.Errorf("the secret is %q (%v)", b, err)
			}
		})
	}
}

func TestLinkTarget(t *testing.T) {
	tests := []struct{ original, name, target, want string }{
		{"usr/lib/x.so", "lib/x.so", "x.so.1", "x.so.1"},
		{"usr/lib/x.so", "lib/x.so", "/lib/x.so.1", "x.so.1"},
		{"usr/lib/a/x.so", "lib/a/x.so", "/usr/lib/b/x.so", "../b/x.so"},
		{"usr/share/x", "share/x", "../../etc/x", "../etc/x"},
		{"lib64/ld.so", "lib64/ld.so", "/lib/triplet/ld.so", "../lib/triplet/ld.so"},
		{"bin", "bin", "usr/bin", ""},
		{"usr/bin/X11", "bin/X11", ".", "."},
		{"a", "a", "../../../etc", "etc"},
	}
	for _, test := range tests {
		if got, ok := linkTarget(test.original, test.name, test.target, rootPlacing()); !ok || got != test.want {
			t.Errorf("linkTarget(%q, %q) = %q, %v, want %q", test.original, test.target, got, ok, test.want)
		}
	}
	if got, ok := linkTarget("usr/x", "x", "/dev/null", rootPlacing()); ok {
		t.Errorf("a link to a device became %q", got)
	}
}

func TestDecompress(t *testing.T) {
	plain := tarball(t, entry{name: "a", body: strings.Repeat("text ", 1000)})
	pack := map[string]func(b *bytes.Buffer){
		"plain": func(b *bytes.Buffer) { b.Write(plain) },
		"gzip":  func(b *bytes.Buffer) { w := gzip.NewWriter(b); w.Write(plain); w.Close() },
		"zstd": func(b *bytes.Buffer) {
			w, err := zstd.NewWriter(b)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(plain)
			w.Close()
		},
		"xz": func(b *bytes.Buffer) {
			w, err := xz.NewWriter(b)
			if err != nil {
				t.Fatal(err)
			}
			w.Write(plain)
			w.Close()
		},
		"bzip2": func(b *bytes.Buffer) { b.Write(bzip2Sample()) },
	}
	for name, f := range pack {
		t.Run(name, func(t *testing.T) {
			var b, out bytes.Buffer
			f(&b)
			r, err := decompress(&b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.ReadFrom(r); err != nil {
				t.Fatal(err)
			}
			want := plain
			if name == "bzip2" {
				want = []byte("hello\n")
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("got %d bytes, want %d", out.Len(), len(want))
			}
		})
	}
}

// bzip2Sample is "hello\n": the standard library cannot write bzip2.
func bzip2Sample() []byte {
	return []byte("BZh91AY&SY\xc1\xc0\x80\xe2\x00\x00\x01A\x00\x00\x10\x02D\xa0\x000\xcd\x00\xc3F)\x97\x17rE8P\x90\xc1\xc0\x80\xe2")
}

func TestArMembers(t *testing.T) {
	header := func(name, size string) string {
		h := bytes.Repeat([]byte(" "), 60)
		copy(h, name)
		copy(h[48:], size)
		copy(h[58:], "`\n")
		return string(h)
	}
	good := "!<arch>\n" + header("debian-binary", "4") + "2.0\n" + header("data.tar", "3") + "abc\n"
	m, err := arMembers(strings.NewReader(good), int64(len(good)))
	if err != nil || len(m) != 2 || m[1].name != "data.tar" || m[1].data.Size() != 3 {
		t.Fatalf("members are %v (%v)", m, err)
	}
	for name, bad := range map[string]string{
		"no magic":      "x" + good,
		"size beyond":   "!<arch>\n" + header("data.tar", "400") + "abc",
		"negative size": "!<arch>\n" + header("data.tar", "-4") + "abc",
		"no size":       "!<arch>\n" + header("data.tar", "") + "abc",
		"cut header":    good[:20],
		"no end mark":   strings.Replace(good, "`\n", "xx", 1),
	} {
		if _, err := arMembers(strings.NewReader(bad), int64(len(bad))); !errors.Is(err, ErrHostile) {
			t.Errorf("%s: %v, want %v", name, err, ErrHostile)
		}
	}
}

func FuzzArMembers(f *testing.F) {
	f.Add([]byte("!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		members, err := arMembers(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, m := range members {
			if _, err := m.data.Seek(0, 2); err != nil || m.data.Size() > int64(len(b)) {
				t.Errorf("member %q has %d bytes of %d", m.name, m.data.Size(), len(b))
			}
		}
	})
}

// FuzzUnpack unpacks whatever bytes as a tarball: nothing may appear beside
// the tree.
func FuzzUnpack(f *testing.F) {
	f.Add(tarball(f, entry{name: "usr/bin/x", mode: 0o755, body: "x"}, entry{name: "a", typ: tar.TypeSymlink, link: "../.."}, entry{name: "a/b", body: "y"}))
	f.Add(tarball(f, entry{name: "a", typ: tar.TypeLink, link: "../b"}, entry{name: "../c", typ: tar.TypeDir}))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := emptyTree(t)
		_ = tr.unpack(context.Background(), tar.NewReader(bytes.NewReader(b)), rootPlacing(), "") // most are refused
		if names, err := os.ReadDir(filepath.Dir(tr.dir)); err != nil || len(names) != 1 {
			t.Errorf("beside the tree there is %v (%v)", names, err)
		}
	})
}
