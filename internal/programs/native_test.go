package programs

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"nipcells/internal/cid"
	"nipcells/internal/elfimage"
	"nipcells/internal/npk"
)

func readHost(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shell is a package with a program of this machine, its loader and C library.
func shell(t *testing.T) pkg {
	t.Helper()
	m, err := elfimage.Parse([]byte(readHost(t, "/bin/sh")))
	if err != nil {
		t.Fatal(err)
	}
	sh, err := elfimage.Edit{Interp: "lib/loader"}.Apply(m)
	if err != nil {
		t.Fatal(err)
	}
	libc := "/lib/x86_64-linux-gnu/libc.so.6"
	if runtime.GOARCH == "arm64" {
		libc = "/lib/aarch64-linux-gnu/libc.so.6"
	}
	return pkg{name: "shell", version: "1", title: "shell", arch: runtime.GOARCH, files: map[string]string{
		"x:bin/sh": string(sh), "x:bin/script": "#!/bin/sh\n", "x:lib/loader": readHost(t, m.Interp()), "lib/libc-2.so": readHost(t, libc), "l:lib/libc.so.6": "libc-2.so"}}
}

// static compiles a static program.
func static(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("gcc", "-static", "-x", "c", "-o", out, "-")
	cmd.Stdin = strings.NewReader("#include <fcntl.h>\nint main(void) { return open(\"/x\", 0); }\n")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, msg)
	}
	return readHost(t, out)
}

// library compiles a library that makes no calls of its own, as glibc's
// libpthread is now.
func library(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command("gcc", "-shared", "-fPIC", "-Wl,-soname,libpthread.so.0", "-x", "c", "-o", out, "-")
	cmd.Stdin = strings.NewReader("int f(void) { return 0; }\n")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, msg)
	}
	return readHost(t, out)
}

// TestNative: what is said of packages comes from their bytes.
func TestNative(t *testing.T) {
	with := func(files ...string) pkg {
		p := shell(t)
		for i := 0; i < len(files); i += 2 {
			p.files[files[i]] = files[i+1]
		}
		return p
	}
	payload := static(t) + "a payload at the end"
	for name, c := range map[string]struct {
		p          pkg
		state, why string
	}{
		"a shell":               {with(), NativeYes, ""},
		"and a static program":  {with("x:bin/static", static(t)), NativeYes, ""},
		"and one of Go":         {with("x:bin/go", readHost(t, "/proc/self/exe")), NativePartly, "bin/go: without shim"},
		"and one that is left":  {with("x:bin/p", payload, "x:bin/go", readHost(t, "/proc/self/exe")), NativeNo, "bin/p has no stub of this version"},
		"an odd C library":      {with("lib/libpthread.so.0", "\x7fELF"), NativePartly, "lib/libpthread.so.0: without shim"},
		"one that is empty":     {with("lib/libpthread.so.0", library(t)), NativeYes, ""},
		"no executables at all": {pkg{name: "data", version: "1", title: "data", files: map[string]string{"share/x": "x"}}, NativeYes, ""},
	} {
		root := testRoot(t)
		state, why := install(t, root, c.p).Native()
		if state != c.state || why != c.why {
			t.Errorf("%s: %s (%s), want %s (%s)", name, state, why, c.state, c.why)
		}
		verifyClean(t, root)
	}
	root := testRoot(t)
	install(t, root, pkg{name: "payload", version: "1", title: "payload", arch: runtime.GOARCH, files: map[string]string{"x:bin/p": payload}})
	p := shell(t)
	p.depends = []string{"payload"}
	if state, why := install(t, root, p).Native(); state != NativeNo || !strings.Contains(why, "bin/p") {
		t.Errorf("with a dependency that is in the way: %s (%s)", state, why)
	}
}

// resign changes the recipe in a package and signs it again.
func resign(t *testing.T, data []byte, change func(string) string) []byte {
	t.Helper()
	const length, key, fixed = 12, 20, 116 // FORMAT.md
	n := binary.LittleEndian.Uint32(data[length:])
	kdl := fixed + bytes.Index(data[fixed:], []byte("package \""))
	manifest := append(bytes.Clone(data[fixed:kdl]), change(string(data[kdl:fixed+int(n)]))...)
	id := cid.Sum(manifest)
	out := bytes.Clone(data[:key])
	binary.LittleEndian.PutUint32(out[length:], uint32(len(manifest)))
	out = append(out, testKey().Public().(ed25519.PublicKey)...)
	out = append(out, ed25519.Sign(testKey(), append([]byte("nip package 1\n"), id[:]...))...)
	return append(append(out, manifest...), data[fixed+int(n):]...)
}

// TestNativeLies: an installer believes of the manifest what the bytes say.
func TestNativeLies(t *testing.T) {
	p := shell(t)
	p.files["x:bin/go"] = readHost(t, "/proc/self/exe")
	data := p.pack(t)
	loader, libc := `    native "lib/loader" "shim" "stub"`+"\n", `    native "lib/libc-2.so" "shim"`+"\n"
	replace := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				t.Fatalf("no %q in\n%s", old, s)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	for name, c := range map[string]struct {
		change func(string) string
		says   string
	}{
		"the truth":        {func(s string) string { return s }, ""},
		"less":             {replace(libc, ""), ""},
		"less of one":      {replace(loader, `    native "lib/loader" "shim"`+"\n"), ""},
		"shim where none":  {replace(`"bin/go" "stub"`, `"bin/go" "shim" "stub"`), "bin/go: the manifest says that it has the shim"},
		"stub where none":  {replace(libc, `    native "lib/libc-2.so" "shim" "stub"`+"\n"), "lib/libc-2.so: the manifest says that it has the stub"},
		"of a script":      {replace(`    native "bin/go"`, `    native "bin/script" "stub"`+"\n"+`    native "bin/go"`), "not sorted"},
		"of no executable": {replace(loader, loader+`    native "lib/none" "stub"`+"\n"), "lib/none is no file of the package"},
	} {
		root := testRoot(t)
		before := snapshot(t, root)
		in, err := Install(context.Background(), root, bytes.NewReader(resign(t, data, c.change)), Options{Trust: trustAll})
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if state, why := in.Native(); state != NativePartly {
				t.Errorf("%s: %s (%s)", name, state, why)
			}
			continue
		}
		if !errors.Is(err, npk.ErrCorrupt) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		sameNames(t, before, snapshot(t, root))
	}
}
