package npk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"nipcells/internal/cid"
	"nipcells/internal/elfimage"
)

// elf makes an image with one program header, a PT_INTERP of field, or none if
// field is nil. It could not run; nobody here looks further.
func elf(machine, kind uint16, field []byte, tail string) []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], kind)
	le.PutUint16(b[18:], machine)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint32(b[64:], 1) // PT_LOAD
	if field != nil {
		le.PutUint32(b[64:], 3)
		le.PutUint64(b[64+8:], uint64(len(b)))
		le.PutUint64(b[64+32:], uint64(len(field)))
	}
	return append(append(b, field...), tail...)
}

// elf32 makes a 32-bit image, big-endian if asked, with a PT_INTERP.
func elf32(big bool) []byte {
	b := make([]byte, 128)
	copy(b, "\x7fELF\x01\x01\x01")
	var order binary.ByteOrder = binary.LittleEndian
	if big {
		b[5], order = 2, binary.BigEndian
	}
	order.PutUint16(b[16:], elfDyn)
	order.PutUint16(b[18:], 3)
	order.PutUint32(b[28:], 52)
	order.PutUint16(b[42:], 32)
	order.PutUint16(b[44:], 1)
	order.PutUint32(b[52:], 3)
	return b
}

func field(path string) []byte {
	b := make([]byte, elfimage.InterpFieldSize)
	copy(b, path)
	return b
}

func TestPackLoader(t *testing.T) {
	dir := t.TempDir()
	loader := elf(elfAMD64, elfDyn, nil, "I am the loader")
	program := elf(elfAMD64, elfDyn, field("lib64/ld.so.2"), strings.Repeat("program", 20000))
	blank := elf(elfAMD64, elfDyn, field(""), strings.Repeat("program", 20000))
	put(t, dir, "lib/x86/ld-1.so", loader, 0o755)
	link(t, dir, "lib/x86/ld.so.2", "ld-1.so")
	link(t, dir, "lib64", "lib/x86")
	put(t, dir, "bin/a", program, 0o755)
	put(t, dir, "lib/lib.so", program, 0o644)
	put(t, dir, "lib/blank.so", blank, 0o644)
	put(t, dir, "lib/odd.so", elf(elfAMD64, elfDyn, []byte("/lib64/ld-linux-x86-64.so.2\x00"), ""), 0o644)
	put(t, dir, "lib/object.o", elf(elfARM64, 1, nil, ""), 0o644)
	r := sampleRecipe()
	r.Commands = []Command{{Name: "a", Exec: "bin/a"}}
	h, files, err := unpack(bytes.NewReader(pack(t, dir, r)))
	if err != nil {
		t.Fatal(err)
	}
	if h.Manifest.Arch != "amd64" {
		t.Errorf("architecture is %q", h.Manifest.Arch)
	}
	for _, tt := range []struct {
		path    string
		interp  cid.CID
		content []byte
	}{
		{"bin/a", cid.Sum(loader), blank},
		{"lib/lib.so", cid.Sum(loader), blank},
		{"lib/blank.so", cid.CID{}, blank},
		{"lib/x86/ld-1.so", cid.CID{}, loader},
	} {
		e, ok := h.Lookup(tt.path)
		if !ok || e.Interp != tt.interp || e.CID != cid.Sum(tt.content) || !bytes.Equal(files[tt.path], tt.content) {
			t.Errorf("%s: %+v with %d bytes; want loader %s and the field zeroed", tt.path, e, len(files[tt.path]), tt.interp.Short())
		}
	}
	if h.Manifest.Files != 6 {
		t.Errorf("%d files", h.Manifest.Files)
	}
}

// TestFieldAcrossChunks puts the field over a cut of the chunker.
func TestFieldAcrossChunks(t *testing.T) {
	for _, off := range []int64{0, 1, 100, 1000, 5000} {
		content := noise(uint64(off), 8192)
		name := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		s := &stagedFile{f, f.Close, 0, off}
		want := bytes.Clone(content)
		clear(want[off:min(off+256, 8192)])
		for from := int64(0); from < 8192; from += 37 {
			got := make([]byte, min(37, 8192-from))
			if _, err := s.ReadAt(got, from); err != nil || !bytes.Equal(got, want[from:from+int64(len(got))]) {
				t.Fatalf("field at %d: bytes at %d are wrong (%v)", off, from, err)
			}
		}
		if _, err := s.ReadAt(make([]byte, 10), 8190); !errors.Is(err, errChanged) {
			t.Errorf("read beyond the end: %v", err)
		}
		f.Close()
	}
}

func TestPackRefusesELF(t *testing.T) {
	ld := elf(elfAMD64, elfDyn, nil, "loader")
	tests := []struct {
		name  string
		files map[string][]byte
		arch  string
		want  string // empty: is packed
	}{
		{"loader of the host", map[string][]byte{"bin/hello": elf(elfAMD64, elfDyn, []byte("/lib64/ld-linux-x86-64.so.2\x00"), "")}, "",
			"bin/hello: is an executable that wants a loader of the host"},
		{"32-bit loader of the host", map[string][]byte{"bin/hello": elf32(false)}, "", "wants a loader of the host"},
		{"big-endian loader of the host", map[string][]byte{"bin/hello": elf32(true)}, "", "wants a loader of the host"},
		{"empty field", map[string][]byte{"bin/hello": elf(elfAMD64, elfDyn, field(""), "")}, "", "has an empty interpreter field"},
		{"absolute loader", map[string][]byte{"bin/hello": elf(elfAMD64, elfDyn, field("/lib64/ld.so"), "")}, "", `"/lib64/ld.so" is absolute`},
		{"loader outside", map[string][]byte{"bin/hello": elf(elfAMD64, elfDyn, field("../ld.so"), "")}, "", `"../ld.so" leads out`},
		{"no loader", map[string][]byte{"bin/hello": elf(elfAMD64, elfDyn, field("lib/ld.so"), "")}, "", `"lib/ld.so" is not in the package`},
		{"loader is a directory", map[string][]byte{"bin/hello": elf(elfAMD64, elfDyn, field("bin"), "")}, "", "its loader bin is no executable file"},
		{"loader is itself", map[string][]byte{"bin/hello": elf(elfAMD64, elfDyn, field("bin/hello"), "")}, "", "wants a loader itself"},
		{"junk in the field", map[string][]byte{"bin/hello": elf(elfAMD64, elfDyn, append(field("bin/ld")[:255], 'x'), "")}, "", "bytes behind the path"},
		{"field is full", map[string][]byte{"bin/hello": elf(elfAMD64, elfDyn, bytes.Repeat([]byte("x"), 256), "")}, "", "is not in the package"},
		{"two architectures", map[string][]byte{"bin/hello": ld, "lib/other": elf(elfARM64, elfDyn, nil, "")}, "", "the recipe must say which with arch"},
		{"two architectures, said", map[string][]byte{"bin/hello": ld, "lib/other": elf(elfARM64, elfDyn, nil, "")}, "amd64", ""},
		{"other architecture", map[string][]byte{"bin/hello": ld}, "arm64", "bin/hello is a program for amd64, the package for arm64"},
		{"program in a package for all", map[string][]byte{"bin/hello": ld}, "all", "is a program for amd64, the package for all"},
		{"unknown machine", map[string][]byte{"bin/hello": elf(8, elfExec, nil, "")}, "amd64", "is a program for ELF machine 8"},
		{"static", map[string][]byte{"bin/hello": ld}, "amd64", ""},
		{"short ELF", map[string][]byte{"bin/hello": []byte("\x7fELF\x02\x01")}, "", ""},
		{"headers beyond the end", map[string][]byte{"bin/hello": ld[:64]}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, r := t.TempDir(), sampleRecipe()
			r.Arch, r.Commands = tt.arch, []Command{{Name: "hello", Exec: "bin/hello"}}
			for name, content := range tt.files {
				put(t, dir, name, content, 0o755)
			}
			_, err := Pack(io.Discard, dir, r, PackOptions{Key: testKey(1)})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if err != nil && errors.Is(err, ErrCorrupt) {
				t.Errorf("a mistake of the packer is called damage: %v", err)
			}
		})
	}
}

// TestPackRefusesDevices packs the directory of devices, which everybody may list.
func TestPackRefusesDevices(t *testing.T) {
	r := sampleRecipe()
	r.Commands = nil
	if _, err := Pack(io.Discard, "/dev", r, PackOptions{Key: testKey(1)}); err == nil || !strings.Contains(err.Error(), "is a device node") {
		t.Errorf("error %v", err)
	}
}

func TestPackExcludes(t *testing.T) {
	dir := sampleTree(t)
	r := sampleRecipe()
	r.Exclude = []string{"text*", "share-2", "var/lib/*", "share/zero?s", "share/*/x"}
	h, _, err := unpack(bytes.NewReader(pack(t, dir, r)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range h.Entries {
		names = append(names, e.Path)
	}
	want := "bin bin/hello bin/hi bin/up dangling here share share/empty share/noise tiny var var/lib"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("packed %s\nwant   %s", got, want)
	}
	if h.Manifest.Exclude != nil || bytes.Contains(h.Manifest.KDL, []byte("exclude")) {
		t.Error("the patterns are in the package")
	}
}

// TestChangeWhilePacking changes files after they were read the first time.
func TestChangeWhilePacking(t *testing.T) {
	changes := map[string]func(name string) error{
		"shorter": func(name string) error { return os.Truncate(name, 100) },
		"other":   func(name string) error { return os.WriteFile(name, noise(5, 3<<20), 0o644) },
		"gone":    os.Remove,
		"directory": func(name string) error {
			return errors.Join(os.Remove(name), os.Mkdir(name, 0o755))
		},
		"symlink": func(name string) error {
			return errors.Join(os.Remove(name), os.Symlink("/etc/passwd", name))
		},
	}
	for what, change := range changes {
		t.Run(what, func(t *testing.T) {
			dir, changed := sampleTree(t), false
			_, err := Pack(io.Discard, dir, sampleRecipe(), PackOptions{Key: testKey(1), Progress: func(done, total int64) {
				if !changed && done >= total/2 {
					changed = true
					if err := change(filepath.Join(dir, "share/noise")); err != nil {
						t.Error(err)
					}
				}
			}})
			if err == nil || !strings.Contains(err.Error(), "share/noise") {
				t.Errorf("error %v does not name the file", err)
			}
		})
	}
}

func TestVariant(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a", []byte("a"), 0o644)
	of := func(arch string, opt PackOptions) cid.CID {
		t.Helper()
		opt.Key = testKey(1)
		m, err := Pack(io.Discard, dir, &Recipe{Name: "a", Version: "1", Arch: arch}, opt)
		if err != nil {
			t.Fatal(err)
		}
		return m.Variant
	}
	a, b := cid.Sum([]byte("a")), cid.Sum([]byte("b"))
	base := of("amd64", PackOptions{Source: a, Flags: []string{"-O2", "-g"}, Deps: []cid.CID{a, b}})
	if of("amd64", PackOptions{Source: a, Flags: []string{"-g", "-O2"}, Deps: []cid.CID{b, a}}) != base {
		t.Error("order matters")
	}
	for name, other := range map[string]cid.CID{
		"source": of("amd64", PackOptions{Source: b, Flags: []string{"-O2", "-g"}, Deps: []cid.CID{a, b}}),
		"none":   of("amd64", PackOptions{Flags: []string{"-O2", "-g"}, Deps: []cid.CID{a, b}}),
		"flags":  of("amd64", PackOptions{Source: a, Flags: []string{"-O2-g"}, Deps: []cid.CID{a, b}}),
		"arch":   of("arm64", PackOptions{Source: a, Flags: []string{"-O2", "-g"}, Deps: []cid.CID{a, b}}),
		"deps":   of("amd64", PackOptions{Source: a, Flags: []string{"-O2", "-g"}, Deps: []cid.CID{a}}),
	} {
		if other == base {
			t.Errorf("%s does not matter", name)
		}
	}
}

// TestDecodeAtOnce decodes frames in several goroutines, as an installer does.
func TestDecodeAtOnce(t *testing.T) {
	raw := pack(t, sampleTree(t), sampleRecipe())
	p, err := Open(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	frames := make(chan *Frame)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			buf := make([]byte, FrameBuffer)
			for f := range frames {
				data, err := f.Decode(buf)
				if err == nil {
					err = f.Verify(data)
				}
				if err != nil {
					t.Error(err)
				}
				f.Release()
			}
		})
	}
	n := 0
	for {
		f, err := p.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Error(err)
			break
		}
		n++
		frames <- f
	}
	close(frames)
	wg.Wait()
	if n < 2 {
		t.Errorf("only %d frames: the test tests little", n)
	}
	if _, err := p.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}
