package npk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"nipcells/internal/elfimage"
	"nipcells/internal/view/native"
)

// host reads a file of this machine.
func host(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hostLoader is the loader that this machine's programs name.
func hostLoader(t *testing.T) string {
	t.Helper()
	m, err := elfimage.Parse(host(t, "/bin/sh"))
	if err != nil {
		t.Fatal(err)
	}
	return m.Interp()
}

// compiled compiles a program or library of C.
func compiled(t *testing.T, flags ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("gcc", append(flags, "-x", "c", "-o", out, "-")...)
	cmd.Stdin = strings.NewReader("#include <fcntl.h>\nint f(void) { return open(\"/x\", 0); }\nint main(void) { return f(); }\n")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, msg)
	}
	return host(t, out)
}

// nativeTree makes a staging directory of real loaders, libraries and programs.
func nativeTree(t *testing.T) string {
	t.Helper()
	dir, loader := t.TempDir(), hostLoader(t)
	m, err := elfimage.Parse(host(t, "/bin/sh"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := elfimage.Edit{Interp: "lib64/ld.so"}.Apply(m)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "bin/sh", program, 0o755)
	put(t, dir, "bin/go", host(t, "/proc/self/exe"), 0o755)
	put(t, dir, "bin/static", compiled(t, "-static"), 0o755)
	put(t, dir, "bin/static-too", compiled(t, "-static"), 0o755)
	put(t, dir, "bin/script", []byte("#!/bin/sh\n"), 0o755)
	put(t, dir, "lib/loader", host(t, loader), 0o755)
	link(t, dir, "lib64/ld.so", "../lib/loader")
	put(t, dir, "lib/libc.so.6", host(t, "/lib/"+multiarch()+"/libc.so.6"), 0o644)
	put(t, dir, "lib/libx.so.1", compiled(t, "-shared", "-fPIC", "-Wl,-soname,libx.so.1"), 0o755)
	put(t, dir, "lib/x.o", compiled(t, "-c"), 0o755)
	put(t, dir, "share/static", compiled(t, "-static"), 0o644)
	return dir
}

func multiarch() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64-linux-gnu"
	}
	return "x86_64-linux-gnu"
}

// TestPackNative: the package has shim and stub where they belong, the staging
// directory is as it was, and the manifest says what is so.
func TestPackNative(t *testing.T) {
	dir := nativeTree(t)
	r := sampleRecipe()
	r.Commands = []Command{{Name: "sh", Exec: "bin/sh"}}
	var notes []string
	var packed, again bytes.Buffer
	if _, err := Pack(&packed, dir, r, PackOptions{Key: testKey(1), Note: func(s string) { notes = append(notes, s) }}); err != nil {
		t.Fatal(err)
	}
	if _, err := Pack(&again, dir, r, PackOptions{Key: testKey(1)}); err != nil || !bytes.Equal(packed.Bytes(), again.Bytes()) {
		t.Errorf("not the same twice (%v)", err)
	}
	h, files, err := unpack(&packed)
	if err != nil {
		t.Fatal(err)
	}
	want := []Native{{"bin/go", false, true}, {"bin/static", true, true}, {"bin/static-too", true, true}, {"lib/libc.so.6", true, false}, {"lib/loader", true, true}}
	if !reflect.DeepEqual(h.Manifest.Native, want) {
		t.Errorf("the manifest says %+v", h.Manifest.Native)
	}
	loader, _ := h.Lookup("lib/loader")
	if e, _ := h.Lookup("bin/sh"); e.Interp != loader.CID {
		t.Error("the program names another loader than the one in the package")
	}
	for path, b := range files {
		before, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		e, _ := h.Lookup(path)
		i := slices.IndexFunc(want, func(n Native) bool { return n.Path == path })
		changed := path != "bin/sh" && !bytes.Equal(before, b) // its field is zeroed, as ever
		if changed != (i >= 0) || e.Size != int64(len(b)) {
			t.Errorf("%s: changed %v, %d bytes in an entry of %d", path, changed, len(b), e.Size)
		}
		stubbed, shimmed := native.Stubbed(b), native.ShimmedFile(bytes.NewReader(b), int64(len(b)))
		if stubbed != (i >= 0 && want[i].Stub) || shimmed != (i >= 0 && want[i].Shim) {
			t.Errorf("%s: stub %v, shim %v", path, stubbed, shimmed)
		}
		if e.Exec == slices.Contains([]string{"lib/libc.so.6", "lib/libx.so.1", "lib/x.o", "share/static"}, path) {
			t.Errorf("%s has the execute bit: %v", path, e.Exec)
		}
		if !e.Exec {
			continue
		}
		if err := native.Executable(bytes.NewReader(b), int64(len(b)), func(string) bool { return true }); err != nil {
			t.Errorf("%s %v", path, err)
		}
	}
	said := strings.Join(notes, "\n")
	if len(notes) != 2 || !strings.Contains(said, "libraries lose the execute bit, as only programs load them: lib/libx.so.1, lib/x.o") ||
		!strings.Contains(said, "Go programs make their path calls by themselves, which is slower in a cell: bin/go") {
		t.Errorf("it said:\n%s", said)
	}
}

// TestPackNativeRuns: what packing has made runs: outside of a cell as far as
// the stub, which ends it.
func TestPackNativeRuns(t *testing.T) {
	r := sampleRecipe()
	r.Commands = []Command{{Name: "sh", Exec: "bin/sh"}}
	_, files, err := unpack(bytes.NewReader(pack(t, nativeTree(t), r)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin/go", "bin/static", "lib/loader"} {
		program := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(program, files[name], 0o755); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := exec.Command(program, "-test.run=XXX").Run(); !errors.As(err, &exit) || exit.ExitCode() != 125 {
			t.Errorf("%s ends with %v, not with 125", name, err)
		}
	}
}

// TestPackNativeLeaves: what cannot be taken stays and is told, and nobody
// claims by hand what packing finds out.
func TestPackNativeLeaves(t *testing.T) {
	dir := t.TempDir()
	trailing := append(compiled(t, "-static"), "a payload at the end"...)
	put(t, dir, "bin/payload", trailing, 0o755)
	put(t, dir, "bin/odd", elf(elfAMD64, elfExec, nil, ""), 0o755)
	for name, big := range map[string]bool{"share/32": false, "share/big": true} {
		b := elf32(big)
		clear(b[52:56]) // no PT_INTERP
		put(t, dir, name, b, 0o755)
	}
	put(t, dir, "share/other", elf(243, elfExec, nil, ""), 0o755)
	r := sampleRecipe()
	r.Commands, r.Arch = nil, runtime.GOARCH
	var notes []string
	var packed bytes.Buffer
	if _, err := Pack(&packed, dir, r, PackOptions{Key: testKey(1), Note: func(s string) { notes = append(notes, s) }}); err != nil {
		t.Fatal(err)
	}
	h, files, err := unpack(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(files["bin/payload"], trailing) || len(h.Manifest.Native) > 0 {
		t.Errorf("changed, or %+v", h.Manifest.Native)
	}
	said := strings.Join(notes, "\n")
	if !strings.Contains(said, "begin with the stub, so that cells of the package have no native views: bin/payload") || !strings.Contains(said, "programs that nip cannot read") ||
		!strings.Contains(said, "programs for other machines lose the execute bit: share/32, share/big, share/other") {
		t.Errorf("it said:\n%s", said)
	}
	r.Native = []Native{{"bin/payload", false, true}}
	if _, err := Pack(io.Discard, dir, r, PackOptions{Key: testKey(1)}); err == nil || !strings.Contains(err.Error(), "take these lines out") {
		t.Errorf("a claim in a recipe: %v", err)
	}
}
