package graft

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"nipcells/internal/cell"
	"nipcells/internal/elfimage"
	"nipcells/internal/npk"
)

// copyFile puts a copy of a file of this machine into a directory.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, to, string(b))
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// staticProgram writes a static program that says PASS, for the machine that
// the test runs on, and returns its name.
func staticProgram(t *testing.T) string {
	t.Helper()
	le := binary.LittleEndian
	machine := elfimage.AMD64
	code := []byte("\xb8\x01\x00\x00\x00" + // mov eax, write
		"\xbf\x01\x00\x00\x00" + // mov edi, 1
		"\x48\x8d\x35\x10\x00\x00\x00" + // lea rsi, [rip+16]
		"\xba\x05\x00\x00\x00\x0f\x05" + // mov edx, 5; syscall
		"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05") // mov eax, exit; xor edi, edi; syscall
	if runtime.GOARCH == "arm64" {
		machine, code = elfimage.ARM64, nil
		// mov x8, write; mov x0, 1; adr x1, .+24; mov x2, 5; svc; mov x8, exit; mov x0, 0; svc
		for _, op := range []uint32{0xd2800808, 0xd2800020, 0x100000c1, 0xd28000a2, 0xd4000001, 0xd2800ba8, 0xd2800000, 0xd4000001} {
			code = le.AppendUint32(code, op)
		}
	}
	code = append(code, "PASS\n"...)
	const base, headers = 0x400000, 64 + 56
	b := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	b = le.AppendUint16(le.AppendUint16(b, 2), uint16(machine))
	b = le.AppendUint32(b, 1)
	for _, v := range []uint64{base + headers, 64, 0} { // entry, program headers, section headers
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(le.AppendUint32(b, 1), 5) // PT_LOAD, r-x
	size := uint64(headers + len(code))
	for _, v := range []uint64{0, base, base, size, size, 0x10000} {
		b = le.AppendUint64(b, v)
	}
	name := filepath.Join(t.TempDir(), "program")
	writeFile(t, name, string(append(b, code...)))
	return name
}

// TestMain lets the test program run a package's own programs in cells, as nip
// does.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "tool-cell" {
		status, err := cell.Tool(os.Args[2], os.Args[3:], func(line string) { fmt.Fprintln(os.Stderr, line) })
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = cell.ExitStatus(err)
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func graftAll(t *testing.T, o Options) *Result {
	t.Helper()
	o.Work, o.Tool = t.TempDir(), []string{os.Args[0], "tool-cell"}
	r, err := Graft(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// locate does to a staging directory what the installer does to a package:
// interpreter fields get the real path of the loader.
func locate(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		off, ok := elfimage.InterpField(b[:min(len(b), elfimage.HeaderPeek)], int64(len(b)))
		if !ok {
			return nil
		}
		field := b[off : off+elfimage.InterpFieldSize]
		inside, _, _ := bytes.Cut(field, []byte{0})
		real := filepath.Join(dir, string(inside))
		if _, err := os.Stat(real); err != nil || len(real) >= len(field) {
			t.Errorf("%s asks for the loader %q: %v", name, inside, err)
		}
		clear(field)
		copy(field, real)
		return os.WriteFile(name, b, 0o755)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a program of a located tree with the recipe's environment only, and
// fails if a library of the host was mapped.
func run(t *testing.T, r *Result, command string, args ...string) string {
	t.Helper()
	i := slices.IndexFunc(r.Recipe.Commands, func(c npk.Command) bool { return c.Name == command })
	if i < 0 {
		t.Fatalf("no command %s in %v", command, r.Recipe.Commands)
	}
	c := r.Recipe.Commands[i]
	cmd := exec.Command(filepath.Join(r.Dir, c.Exec), append(slices.Clone(c.Args), args...)...)
	cmd.Env = []string{"PATH=" + filepath.Join(r.Dir, "bin")}
	for _, e := range r.Recipe.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+strings.ReplaceAll(e.Value, "{prefix}", r.Dir))
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, errs.String())
	}
	return out.String()
}

func TestGraftDirStatic(t *testing.T) {
	source := filepath.Join(t.TempDir(), "Tool")
	self := staticProgram(t)
	copyFile(t, self, filepath.Join(source, "bin/tool"))
	writeFile(t, filepath.Join(source, "share/doc/README"), "read me")
	if err := os.Symlink(filepath.Join(source, "bin/tool"), filepath.Join(source, "bin/link")); err != nil {
		t.Fatal(err)
	}
	r := graftAll(t, Options{Source: "dir:" + source, Version: "1.2"})
	if r.Recipe.Name != "tool" || r.Recipe.Version != "1.2" || r.Recipe.Arch != runtime.GOARCH || r.Recipe.Source != "dir:Tool" {
		t.Errorf("recipe is %+v", r.Recipe)
	}
	if want := []npk.Command{{Name: "link", Exec: "bin/link"}, {Name: "tool", Exec: "bin/tool"}}; len(r.Recipe.Commands) != 2 ||
		r.Recipe.Commands[0].Name != want[0].Name || r.Recipe.Commands[1].Exec != want[1].Exec {
		t.Errorf("commands are %v", r.Recipe.Commands)
	}
	if target, err := os.Readlink(filepath.Join(r.Dir, "bin/link")); err != nil || target != "tool" {
		t.Errorf("the absolute link leads to %q (%v)", target, err)
	}
	before, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(r.Dir, "bin/tool"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the static program was changed (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "share/doc")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("documentation was kept")
	}
	if said := run(t, r, "tool"); !strings.Contains(said, "PASS") {
		t.Errorf("the tool said %q", said)
	}
	again := graftAll(t, Options{Source: "dir:" + source, Version: "1.2", Keep: true})
	if again.SourceCID != r.SourceCID {
		t.Error("the same source has two content ids")
	}
	if _, err := os.Stat(filepath.Join(again.Dir, "share/doc/README")); err != nil {
		t.Errorf("Keep did not keep documentation: %v", err)
	}
}

func TestGraftMistakes(t *testing.T) {
	dir := t.TempDir()
	dynamic, script, empty, library := filepath.Join(dir, "dynamic"), filepath.Join(dir, "script"), filepath.Join(dir, "empty"), filepath.Join(dir, "library")
	copyFile(t, "/usr/bin/env", filepath.Join(dynamic, "bin/env"))
	writeFile(t, filepath.Join(script, "bin/hello"), "#!/bin/sh\necho hello\n")
	writeFile(t, filepath.Join(library, "lib/x.txt"), "x")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		options Options
		want    error
		says    string
	}{
		{Options{Source: "dynamic"}, ErrSource, "debian:NAME"},
		{Options{Source: "snap:x"}, ErrSource, "debian:NAME"},
		{Options{Source: "dir:"}, ErrSource, "debian:NAME"},
		{Options{Source: "dir:" + dynamic}, ErrNoLoader, "--with libc6"},
		{Options{Source: "dir:" + script}, ErrNoShell, "--with dash"},
		{Options{Source: "dir:" + empty}, ErrEmpty, ""},
		{Options{Source: "dir:" + library}, ErrNoCommand, ""},
		{Options{Source: "dir:" + filepath.Join(dir, "missing")}, fs.ErrNotExist, "missing"},
		{Options{Source: "tar:" + filepath.Join(dir, "missing.tar")}, fs.ErrNotExist, "missing"},
		{Options{Source: "dir:" + script, Name: "Hello World"}, nil, "--name"},
		{Options{Source: "dir:" + filepath.Join(dir, "library"), Version: "1/2"}, nil, "--version"},
	}
	for _, test := range tests {
		t.Run(test.options.Source+test.options.Name, func(t *testing.T) {
			test.options.Work = t.TempDir()
			_, err := Graft(context.Background(), test.options)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Graft() = %v, want %v with %q", err, test.want, test.says)
			}
		})
	}
}

func TestGraftTarRelease(t *testing.T) {
	program, err := os.ReadFile(staticProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(tarball(t,
		entry{name: "tool-1.0/", typ: tar.TypeDir, mode: 0o755},
		entry{name: "tool-1.0/tool", mode: 0o755, body: string(program)},
		entry{name: "tool-1.0/data/x", body: "x"},
	))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "tool.tar.gz")
	writeFile(t, name, b.String())
	r := graftAll(t, Options{Source: "tar:" + name})
	if c := r.Recipe.Commands; r.Recipe.Name != "tool" || r.Recipe.Version != "0" || len(c) != 1 || c[0].Exec != "tool" {
		t.Errorf("recipe is %+v", r.Recipe)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "data/x")); err != nil {
		t.Error(err)
	}
}

// layout writes an OCI layout with the layers and returns its directory.
func layout(t *testing.T, config any, layers ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	put := func(b []byte) map[string]any {
		sum := sha256.Sum256(b)
		digest := hex.EncodeToString(sum[:])
		writeFile(t, filepath.Join(dir, "blobs/sha256", digest), string(b))
		return map[string]any{"digest": "sha256:" + digest, "size": len(b)}
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var list []any
	for _, l := range layers {
		list = append(list, put(l))
	}
	manifest := put(encode(map[string]any{"config": put(encode(config)), "layers": list}))
	manifest["platform"] = map[string]string{"os": "linux", "architecture": runtime.GOARCH}
	other := map[string]any{"digest": manifest["digest"], "platform": map[string]string{"os": "linux", "architecture": "riscv64"}}
	writeFile(t, filepath.Join(dir, "index.json"), string(encode(map[string]any{"manifests": []any{other, manifest}})))
	writeFile(t, filepath.Join(dir, "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`)
	return dir
}

func TestGraftOCI(t *testing.T) {
	program, err := os.ReadFile(staticProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{"architecture": runtime.GOARCH, "config": map[string]any{
		"Entrypoint": []string{"tool", "--flag"}, "Env": []string{"PATH=/bin", "DATA=/usr/share/tool", "MODE=fast"}}}
	base := tarball(t, entry{name: "bin", typ: tar.TypeSymlink, link: "usr/bin"}, entry{name: "usr/bin/tool", mode: 0o755, body: string(program)},
		entry{name: "usr/share/tool/a", body: "a"}, entry{name: "usr/share/tool/b", body: "b"}, entry{name: "etc/old/x", body: "x"})
	top := tarball(t, entry{name: "usr/share/tool/.wh.a"}, entry{name: "etc/old/new", body: "new"}, entry{name: "etc/old/.wh..wh..opq"})
	dir := layout(t, config, base, top)
	check := func(r *Result) {
		t.Helper()
		for name, want := range map[string]bool{"bin/tool": true, "share/tool/a": false, "share/tool/b": true, "etc/old/x": false, "etc/old/new": true} {
			if _, err := os.Stat(filepath.Join(r.Dir, name)); (err == nil) != want {
				t.Errorf("%s: %v, want it: %v", name, err, want)
			}
		}
		if want := []npk.EnvVar{{Name: "DATA", Value: "{prefix}/share/tool"}, {Name: "MODE", Value: "fast"}}; !slices.Equal(r.Recipe.Env, want) {
			t.Errorf("environment is %v, want %v", r.Recipe.Env, want)
		}
		if said := run(t, r, "image"); !strings.Contains(said, "PASS") {
			t.Errorf("the entry point said %q", said)
		}
	}
	check(graftAll(t, Options{Source: "oci:" + dir, Name: "image"}))

	archive := filepath.Join(t.TempDir(), "image.tar.gz")
	if out, err := exec.Command("tar", "-C", dir, "-czf", archive, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	check(graftAll(t, Options{Source: "oci:" + archive, Name: "image"}))

	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range blobs { // one byte of each blob in turn
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(good)
		bad[len(bad)/2] ^= 1
		writeFile(t, name, string(bad))
		if _, err := Graft(context.Background(), Options{Source: "oci:" + dir, Name: "image", Work: t.TempDir()}); err == nil {
			t.Errorf("a flipped bit in %s was not noticed", filepath.Base(name))
		}
		writeFile(t, name, string(good))
	}
}
