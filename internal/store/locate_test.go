package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"nipcells/internal/elfimage"
	"nipcells/internal/hier"
)

// elfWith makes an ELF image with one PT_INTERP of n bytes at offset off.
func elfWith(off, n, size int) []byte {
	b := make([]byte, size)
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint32(b[64:], 3)
	le.PutUint64(b[64+8:], uint64(off))
	le.PutUint64(b[64+32:], uint64(n))
	for i := off + n; i < size; i++ {
		b[i] = byte(i)
	}
	return b
}

func testRoot(t testing.TB) *hier.Root {
	t.Helper()
	r, err := hier.Create(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// roundTrip locates content and checks that every way back gives it again.
func roundTrip(t *testing.T, root *hier.Root, content []byte, p Patch) {
	t.Helper()
	located, err := io.ReadAll(p.Located(bytes.NewReader(content), int64(len(content))))
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(located)) != int64(len(content))+p.Growth() {
		t.Fatalf("located form has %d bytes, content %d, growth %d", len(located), len(content), p.Growth())
	}
	found, err := FindPatch(bytes.NewReader(located), int64(len(located)), Variant(p.Text), root)
	if err != nil {
		t.Fatalf("located form of %q: %v", content[:min(len(content), 80)], err)
	}
	orig := found.Original(bytes.NewReader(located), int64(len(located)))
	back, err := io.ReadAll(orig)
	if err != nil || !bytes.Equal(back, content) {
		t.Fatalf("unlocate(locate(x)) != x: %v\n%q\n%q", err, back[:min(len(back), 300)], content[:min(len(content), 300)])
	}
	for _, at := range []int64{0, p.Off - 1, p.Off, p.Off + 1, p.Off + p.Cut - 1, p.Off + p.Cut, int64(len(content)) - 1} {
		if at < 0 || at >= int64(len(content)) {
			continue
		}
		b := make([]byte, min(3, int64(len(content))-at))
		if n, err := orig.ReadAt(b, at); n != len(b) || err != nil && err != io.EOF || !bytes.Equal(b, content[at:at+int64(n)]) {
			t.Fatalf("read at %d: %q, %v", at, b[:n], err)
		}
	}
}

func TestLocateExecutable(t *testing.T) {
	root := testRoot(t)
	loader := root.Loader(strings.Repeat("ab", 32))
	content := elfWith(200, elfimage.InterpFieldSize, 4000)
	p, err := LoaderPatch(bytes.NewReader(content), int64(len(content)), loader)
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, root, content, p)
	far := elfWith(70<<10, elfimage.InterpFieldSize, 80<<10) // the field lies beyond what is read of the head
	if p, err = LoaderPatch(bytes.NewReader(far), int64(len(far)), loader); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, root, far, p)

	full := elfWith(200, elfimage.InterpFieldSize, 4000)
	full[210] = 'x'
	for name, bad := range map[string][]byte{
		"field in use": full, "no field": elfWith(200, 28, 4000), "text": []byte("hello"), "nothing": nil,
		"field at the end": elfWith(3800, elfimage.InterpFieldSize, 4056)[:4000],
	} {
		if _, err := LoaderPatch(bytes.NewReader(bad), int64(len(bad)), loader); !errors.Is(err, ErrLocate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{"", "/a\x00b", "/" + strings.Repeat("x", hier.MaxInterp)} {
		if _, err := LoaderPatch(bytes.NewReader(content), int64(len(content)), path); !errors.Is(err, ErrLocate) {
			t.Errorf("loader %q: %v", path, err)
		}
	}
}

func TestCheckExec(t *testing.T) {
	plain := elfWith(200, 28, 4000)
	ours := elfWith(200, elfimage.InterpFieldSize, 4000)
	static := elfWith(200, 28, 4000)
	binary.LittleEndian.PutUint32(static[64:], 1)
	hidden := elfWith(200, 28, 4000) // program headers beyond what is read
	binary.LittleEndian.PutUint64(hidden[32:], elfimage.HeaderPeek+8)
	old := elfWith(200, 28, 4000)
	old[4] = 1
	for _, c := range []struct {
		name    string
		head    []byte
		located bool
		ok      bool
	}{
		{"foreign interpreter", plain, false, false}, {"foreign, declared", plain, true, false},
		{"our field", ours, true, true}, {"our field, undeclared", ours, false, false},
		{"static", static, false, true}, {"static, declared", static, true, false},
		{"headers out of sight", hidden, false, false}, {"32-bit", old, false, false},
		{"script", []byte("#!/bin/sh\n"), false, true}, {"script, declared", []byte("#!/bin/sh\n"), true, false},
		{"text", []byte("x"), false, true}, {"short", []byte("\x7fELF"), false, false},
	} {
		if err := CheckExec(c.head, int64(max(len(c.head), elfimage.HeaderPeek+4096)), c.located); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrLocate) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestLocateScript(t *testing.T) {
	root := testRoot(t)
	v := root.View("Tool", "1.0")
	for _, c := range []struct {
		head, want string
		ok         bool
	}{
		{"#!/bin/sh\necho", "#!" + v + "/bin/sh\necho", true},
		{"#! \t/usr/bin/perl -w\n", "#! \t" + v + "/usr/bin/perl -w\n", true},
		{"#!/bin/sh", "#!" + v + "/bin/sh", true},
		{"#!" + v + "/bin/sh\n", "#!" + v + v + "/bin/sh\n", true},
		{"#!sh\n", "", false}, {"#!\n", "", false}, {"#!", "", false}, {"#", "", false}, {"", "", false}, {"hello", "", false},
		{"#!/" + strings.Repeat("x", 255-len(v)-4) + "\n", "", true},
		{"#!/" + strings.Repeat("x", 255-len(v)-2) + "\n", "", false},
		{"#!/bin/sh " + strings.Repeat("x", 300), "", false},
	} {
		p, ok := ScriptPatch([]byte(c.head), v)
		if ok != c.ok {
			t.Errorf("%.60q: ok %v", c.head, ok)
		}
		if !ok {
			continue
		}
		roundTrip(t, root, []byte(c.head), p)
		got, err := io.ReadAll(p.Located(strings.NewReader(c.head), int64(len(c.head))))
		if err != nil || c.want != "" && string(got) != c.want {
			t.Errorf("%.60q became %.90q, %v", c.head, got, err)
		}
		if line, _, _ := strings.Cut(string(got), "\n"); len(line) >= maxLine {
			t.Errorf("%.60q: line of %d bytes", c.head, len(line))
		}
	}
}

func TestFindPatchRefuses(t *testing.T) {
	root := testRoot(t)
	loader := root.Loader(strings.Repeat("ab", 32))
	elf := elfWith(200, elfimage.InterpFieldSize, 4000)
	copy(elf[200:], loader)
	tail := bytes.Clone(elf)
	tail[200+255] = 1 // a byte hidden behind the path
	for name, c := range map[string]struct {
		b       string
		variant string
	}{
		"wrong variant":   {string(elf), Variant("/elsewhere")},
		"hidden byte":     {string(tail), Variant(loader)},
		"no script":       {"hello", Variant(loader)},
		"unlocated":       {"#!/bin/sh\n", Variant(root.View("a", "1"))},
		"another version": {"#!" + root.View("a", "2") + "/bin/sh\n", Variant(root.View("a", "1"))},
		"view alone":      {"#!" + root.View("a", "1") + "\n", Variant(root.View("a", "1"))},
		"empty":           {"", Variant(loader)},
	} {
		if _, err := FindPatch(strings.NewReader(c.b), int64(len(c.b)), c.variant, root); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzLocate(f *testing.F) {
	f.Add([]byte("#!/bin/sh -e\ntrue\n"))
	f.Add([]byte("#! /usr/bin/env python3"))
	f.Add(elfWith(200, elfimage.InterpFieldSize, 600))
	f.Add(elfWith(121, elfimage.InterpFieldSize, 377))
	root := testRoot(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		size := int64(len(content))
		if p, ok := ScriptPatch(content, root.View("T", "1")); ok {
			roundTrip(t, root, content, p)
		}
		if p, err := LoaderPatch(bytes.NewReader(content), size, root.Loader(strings.Repeat("0", 64))); err == nil {
			roundTrip(t, root, content, p)
		}
		head := content[:min(len(content), elfimage.HeaderPeek)]
		if CheckExec(head, size, false) == nil && CheckExec(head, size, true) == nil {
			t.Fatal("both located and not")
		}
	})
}
