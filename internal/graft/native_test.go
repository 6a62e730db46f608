package graft

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"nipcells/internal/cid"
	"nipcells/internal/elfimage"
	"nipcells/internal/npk"
	"nipcells/internal/view/native"
)

// errHead ends packing when the head is there: nobody here wants the rest.
var errHead = errors.New("enough")

type headOnly struct{ raw []byte }

func (h *headOnly) Write(b []byte) (int, error) {
	if h.raw == nil {
		h.raw = bytes.Clone(b)
		return len(b), nil
	}
	return 0, errHead
}

// packed grafts a source without running its chores and returns the head of its
// package, with what packing has to say.
func packed(t *testing.T, o Options) (*Result, *npk.Head, []string) {
	t.Helper()
	o.Work = t.TempDir()
	r, err := Graft(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var head headOnly
	var notes []string
	_, err = npk.Pack(&head, r.Dir, r.Recipe, npk.PackOptions{Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
		Note: func(s string) { notes = append(notes, s) }})
	if !errors.Is(err, errHead) {
		t.Fatal(err)
	}
	h, err := npk.ParseHead(head.raw)
	if err != nil {
		t.Fatal(err)
	}
	return r, h, notes
}

// TestNativeSoftware: in a package of much real software the loader has shim
// and stub, the C library the shim, and every executable may be in a cell that
// has a zone. Nothing is left as it was.
func TestNativeSoftware(t *testing.T) {
	t.Parallel()
	r, h, notes := packed(t, Options{Source: "debian:python3.11",
		With: []string{"git", "nodejs", "jq", "busybox-static", "vim-tiny", "perl", "gcc", "dash"}})
	for _, n := range notes {
		t.Error(n)
	}
	checkNative(t, r, h)
	for _, name := range []string{"bin/busybox", "lib/" + filepath.Base(triplet(hostMachine())) + "/libc.so.6"} {
		if !slices.ContainsFunc(h.Manifest.Native, func(n npk.Native) bool { return n.Path == name }) {
			t.Errorf("nothing was done to %s", name)
		}
	}
}

func hostMachine() elfimage.Machine {
	if runtime.GOARCH == "arm64" {
		return elfimage.ARM64
	}
	return elfimage.AMD64
}

// checkNative compares what a head says with the files that it was made from.
func checkNative(t *testing.T, r *Result, h *npk.Head) {
	t.Helper()
	has := map[string]npk.Native{}
	for _, n := range h.Manifest.Native {
		has[n.Path] = n
	}
	programs, libraries := 0, 0
	for i := range h.Entries {
		e := &h.Entries[i]
		if e.Kind != npk.File || !e.Exec && !native.IsCLibrary(e.Path) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(r.Dir, e.Path))
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := has[e.Path]; ok {
			b = equipped(t, b, e, n)
		}
		if native.IsCLibrary(e.Path) && native.Asks(b) {
			t.Errorf("%s has no shim", e.Path)
		}
		if native.IsCLibrary(e.Path) && has[e.Path].Shim {
			libraries++
		}
		if !e.Exec {
			continue
		}
		err = native.Executable(bytes.NewReader(b), int64(len(b)), func(name string) bool {
			l, err := h.Resolve(name)
			return err == nil && has[l.Path].Stub && l.CID == e.Interp
		})
		if err != nil {
			t.Errorf("%s %v", e.Path, err)
		}
		if l := e.Interp; !l.IsZero() {
			i := slices.IndexFunc(h.Entries, func(e npk.Entry) bool { return e.Kind == npk.File && e.CID == l })
			programs++
			if n := has[h.Entries[i].Path]; !n.Shim || !n.Stub {
				t.Errorf("the loader %s: %+v", h.Entries[i].Path, n)
			}
		}
	}
	if programs < 150 || libraries != 1 || len(has) < 3 {
		t.Errorf("%d programs with a loader, %d C libraries, %d files with anything", programs, libraries, len(has))
	}
}

// equipped makes of a staged file what packing has made of it, which must be
// what the package has.
func equipped(t *testing.T, b []byte, e *npk.Entry, n npk.Native) []byte {
	t.Helper()
	kinds := []native.Kind{native.Loader, native.CLibrary, native.Static}
	for _, k := range kinds {
		out, q := native.Equip(b, k)
		if cid.Sum(out) == e.CID && q.Shim == n.Shim && q.Stub == n.Stub {
			return out
		}
	}
	t.Errorf("%s has other bytes than shim %v and stub %v make of it", e.Path, n.Shim, n.Stub)
	return b
}

// TestGraftExecuteBits: what nobody executes loses the bit, what somebody does
// keeps it.
func TestGraftExecuteBits(t *testing.T) {
	t.Parallel()
	r := graftAll(t, Options{Source: "debian:jq", Keep: true})
	ld, err := filepath.EvalSymlinks(filepath.Join(r.Dir, "lib64/ld-linux-x86-64.so.2"))
	if err != nil {
		if ld, err = filepath.EvalSymlinks(filepath.Join(r.Dir, "lib/ld-linux-aarch64.so.1")); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(t.TempDir(), "tool")
	copyFile(t, ld, filepath.Join(source, filepath.Base(ld)))
	libs, err := filepath.Glob(filepath.Join(r.Dir, "lib/*/libjq.so.1.*"))
	if err != nil || len(libs) == 0 {
		t.Fatalf("no library: %v", err)
	}
	copyFile(t, libs[0], filepath.Join(source, "lib/libjq.so.1"))
	copyFile(t, staticProgram(t), filepath.Join(source, "bin/tool"))
	r = graftAll(t, Options{Source: "dir:" + source})
	for name, want := range map[string]bool{filepath.Base(ld): true, "lib/libjq.so.1": false, "bin/tool": true} {
		fi, err := os.Stat(filepath.Join(r.Dir, name))
		if err != nil || (fi.Mode()&0o111 != 0) != want {
			t.Errorf("%s: %v (%v)", name, fi.Mode(), err)
		}
	}
}
