package native_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"nipcells/internal/elfimage"
	"nipcells/internal/view/native"
)

// cc compiles a program or library of C and returns its bytes.
func cc(t *testing.T, flags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	source, out := filepath.Join(dir, "s.c"), filepath.Join(dir, "out")
	text := "#include <fcntl.h>\nint f(void) { return open(\"/x\", 0); }\nint main(void) { return f(); }\n"
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command("gcc", append(flags, "-o", out, source)...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestClassify: programs and libraries as compilers make them, and the C
// library and loader of this machine.
func TestClassify(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	libc, loader := "/lib/"+multiarch+"/libc.so.6", glibc()[1].path
	if elfMachine(t) != 62 {
		loader = "/lib/ld-linux-aarch64.so.1"
	}
	library := cc(t, "-shared", "-fPIC", "-Wl,-soname,libx.so.1")
	for name, c := range map[string]struct {
		path        string
		image       []byte
		exec, named bool
		want        native.Kind
	}{
		"program":               {"bin/x", cc(t), true, false, native.Plain},
		"static":                {"bin/x", cc(t, "-static"), true, false, native.Static},
		"static, no bit":        {"bin/x", cc(t, "-static"), false, false, native.Plain},
		"static-pie":            {"bin/x", cc(t, "-static-pie"), true, false, native.Static},
		"library":               {"lib/libx.so.1", library, true, false, native.Library},
		"library, no bit":       {"lib/libx.so.1", library, false, false, native.Plain},
		"plugin":                {"lib/x.so", cc(t, "-shared", "-fPIC"), true, false, native.Library},
		"plugin without libc":   {"lib/x.so", cc(t, "-shared", "-fPIC", "-nostdlib", "-Wl,-e,0"), true, false, native.Library},
		"C library":             {"lib/libc-2.36.so", read(libc), false, false, native.CLibrary},
		"loader":                {"lib/ld-2.36.so", read(loader), true, false, native.Loader},
		"loader of a rare name": {"lib/loader", cc(t, "-shared", "-fPIC", "-nostdlib", "-Wl,-e,f"), true, true, native.Loader},
	} {
		m, err := elfimage.Parse(c.image)
		if err != nil {
			t.Fatal(err)
		}
		if k := native.Classify(c.path, m, c.exec, c.named); k != c.want {
			t.Errorf("%s is of kind %d, want %d", name, k, c.want)
		}
	}
}

// TestEquip: each kind gets what it is to have, twice the same, and what has
// it passes the check.
func TestEquip(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	static := cc(t, "-static")
	for name, c := range map[string]struct {
		image      []byte
		kind       native.Kind
		shim, stub bool
		noShim     error
	}{
		"static C":                    {static, native.Static, true, true, nil},
		"static C, position-indep.":   {cc(t, "-static-pie"), native.Static, true, true, nil},
		"static C without sections":   {noSections(static), native.Static, false, true, native.ErrUnproven},
		"Go":                          {self, native.Static, false, true, native.ErrGo},
		"Go without sections":         {noSections(self), native.Static, false, true, native.ErrGo},
		"library":                     {cc(t, "-shared", "-fPIC"), native.Library, false, false, nil},
		"a program that has a loader": {cc(t), native.Plain, false, false, nil},
	} {
		out, e := native.Equip(c.image, c.kind)
		again, e2 := native.Equip(out, c.kind)
		if e.Shim != c.shim || e.Stub != c.stub || !errors.Is(e.NoShim, c.noShim) {
			t.Errorf("%s: %+v", name, e)
		}
		if !bytes.Equal(again, out) || e2.Shim != e.Shim || e2.Stub != e.Stub {
			t.Errorf("%s: not the same twice: %+v, %+v", name, e, e2)
		}
		if (c.shim || c.stub) == bytes.Equal(out, c.image) {
			t.Errorf("%s: changed: %v", name, !bytes.Equal(out, c.image))
		}
		if err := judge(out); (err == nil) != c.stub {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// noSections takes the section headers, and what only they describe, away from
// an image.
func noSections(image []byte) []byte {
	b := bytes.Clone(image)
	shoff, end := le.Uint64(b[40:]), uint64(0)
	clear(b[shoff : shoff+64*uint64(le.Uint16(b[60:]))])
	le.PutUint64(b[40:], 0)
	le.PutUint16(b[60:], 0)
	le.PutUint16(b[62:], 0)
	for i := range uint64(le.Uint16(b[56:])) {
		p := b[le.Uint64(b[32:])+i*56:]
		end = max(end, le.Uint64(p[8:])+le.Uint64(p[32:]))
	}
	return b[:end]
}
