package programs

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nipcells/internal/capability"
	"nipcells/internal/elfimage"
	"nipcells/internal/hier"
	"nipcells/internal/npk"
	"nipcells/internal/view"
)

// pkg describes a test package: path -> content. "x:" before a path makes the
// file executable, "l:" makes a symlink to the content.
type pkg struct {
	name, version, title string
	depends              []string
	commands             []npk.Command
	arch                 string
	asks                 capability.Set
	bus                  []string
	files                map[string]string
}

func testKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

func trustAll(ed25519.PublicKey) error { return nil }

func (p pkg) pack(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range p.files {
		kind, path, special := strings.Cut(name, ":")
		if !special {
			kind, path = "", name
		}
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch kind {
		case "l":
			err = os.Symlink(content, path)
		case "x":
			err = os.WriteFile(path, []byte(content), 0o700)
		default:
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r := &npk.Recipe{Name: p.name, Version: p.version, Title: p.title, Depends: p.depends, Commands: p.commands, Arch: p.arch, Summary: "test", Source: "dir:" + p.name,
		Pledge: p.asks.Pledge, Unveil: p.asks.Unveil, Budget: p.asks.Budget, Bus: p.bus}
	if r.Arch == "" {
		r.Arch = "all"
	}
	var b bytes.Buffer
	if _, err := npk.Pack(&b, dir, r, npk.PackOptions{Key: testKey()}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testRoot(t testing.TB) *hier.Root {
	t.Helper()
	r, err := hier.Create(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func install(t testing.TB, root *hier.Root, p pkg) *Installed {
	t.Helper()
	in, err := Install(context.Background(), root, bytes.NewReader(p.pack(t)), Options{Trust: trustAll})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func verifyClean(t testing.TB, root *hier.Root) {
	t.Helper()
	_, err := Verify(context.Background(), root, func(p Problem) { t.Errorf("verify: %s", p) })
	if err != nil {
		t.Error(err)
	}
}

// big is text that chunking cuts into several pieces.
func big(seed, size int) string {
	b := make([]byte, 0, size+32)
	for i := 0; len(b) < size; i++ {
		b = fmt.Appendf(b, "%d %x line\n", i, i*i*7919+seed)
	}
	return string(b[:size])
}

// elf makes an executable with an interpreter of n bytes.
func elf(n int, interp string) string {
	b := make([]byte, 4096)
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 3)
	le.PutUint16(b[18:], 62)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], 1024) // an entry: it is no library
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[58:], 64)
	num := 1
	load := b[64:]
	le.PutUint32(load, 1)
	le.PutUint32(load[4:], 4)
	le.PutUint64(load[32:], 4096)
	le.PutUint64(load[40:], 4096)
	le.PutUint64(load[48:], 4096)
	if n > 0 {
		num = 2
		p := b[64+56:]
		le.PutUint32(p, 3)
		le.PutUint64(p[8:], 512)
		le.PutUint64(p[16:], 512)
		le.PutUint64(p[24:], 512)
		le.PutUint64(p[32:], uint64(n))
		le.PutUint64(p[40:], uint64(n))
		le.PutUint64(p[48:], 1)
		copy(b[512:], interp)
	}
	le.PutUint16(b[56:], uint16(num))
	return string(b)
}

func tool(version string) pkg {
	return pkg{name: "tool", version: version, title: "Tool", commands: []npk.Command{{Name: "tool", Exec: "bin/tool"}},
		files: map[string]string{
			"x:bin/tool":       "#!/usr/bin/sh -e\necho " + version + "\n",
			"x:bin/sh":         elf(elfimage.InterpFieldSize, "lib/ld.so"),
			"x:bin/other":      "#!/usr/bin/nothere\n",
			"x:lib/ld.so":      elf(0, "") + "loader",
			"share/big":        big(1, 700<<10),
			"share/same":       big(1, 700<<10),
			"share/v":          version,
			"share/empty":      "",
			"l:lib64":          "lib",
			"l:share/link":     "big",
			"x:libexec/copy":   elf(elfimage.InterpFieldSize, "lib/ld.so"),
			"share/deep/a/b/c": "deep",
		}}
}

// isHole reports whether d is a directory that nobody but root can look into.
func isHole(d fs.DirEntry) bool {
	fi, err := d.Info()
	return err == nil && fi.Mode() == fs.ModeDir|view.HoleMode
}

// snapshot lists everything below a root but lock files and the ledger.
func snapshot(t testing.TB, root *hier.Root) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root.Path(), func(path string, d fs.DirEntry, err error) error {
		if err != nil && !isHole(d) {
			return err
		}
		if err != nil {
			return nil // it was listed before it was looked into
		}
		rel, _ := filepath.Rel(root.Path(), path)
		if strings.HasPrefix(rel, "Nexus/lock") || strings.HasPrefix(rel, "Nexus/ledger") {
			return nil
		}
		line := rel + " " + d.Type().String()
		if d.Type() == fs.ModeSymlink {
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		names = append(names, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// sameNames compares two snapshots, but for directories that stay empty.
func sameNames(t *testing.T, before, after []string) {
	t.Helper()
	for _, n := range after {
		if !slices.Contains(before, n) && !slices.Contains([]string{"Cas/chunk d---------"}, n) {
			t.Errorf("left: %s", n)
		}
	}
	for _, n := range before {
		if !slices.Contains(after, n) {
			t.Errorf("gone: %s", n)
		}
	}
}
