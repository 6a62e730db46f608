package native_test

import (
	"os"
	"path/filepath"
	"testing"

	"nipcells/internal/view/native"
	"nipcells/internal/view/native/shim/build"
	"nipcells/test/bench/view/scratch"
	"nipcells/test/rig"
)

// TestAttacks: nothing that a program can do to its own memory and descriptors
// changes the zone, makes the filter take something else for a slot, or leads
// out of a root. A dynamic program and a static one try.
func TestAttacks(t *testing.T) {
	header := t.TempDir()
	if err := os.WriteFile(filepath.Join(header, "zone.h"), build.Header(), 0o644); err != nil {
		t.Fatal(err)
	}
	include := []string{"-Wno-unused-result", "-I" + header, "-Ishim/src"}
	for _, kind := range []string{"dynamic", "static", "static-pie"} {
		t.Run(kind, func(t *testing.T) {
			flags := include
			if kind != "dynamic" {
				flags = append(flags, "-"+kind)
			}
			program := compile(t, "attack", flags...)
			if kind != "dynamic" {
				stub(t, program)
			}
			tr := tree(t, nil, nil, program)
			furnish(t, tr)
			out, r := run(t, tr, scratch.Native, "/usr/bin/attack")
			attempts, controls := rig.Told(t, out)
			if r.Exit != 0 || attempts < 126 || controls < 10 {
				t.Errorf("exit %d, %d attempts, %d controls", r.Exit, attempts, controls)
			}
		})
	}
}

// stub puts the stub into a program.
func stub(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := native.Stub(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out, 0o755); err != nil {
		t.Fatal(err)
	}
}

// furnish puts what is to be found, and what is not, in and beside the roots.
func furnish(t *testing.T, tr *scratch.Tree) {
	t.Helper()
	work := tr.Asked + scratch.Work
	hidden := filepath.Join(filepath.Dir(tr.View), "hidden") // beside the view
	for path, text := range map[string]string{hidden: "hidden", filepath.Join(tr.Asked, "hidden"): "hidden", filepath.Join(work, "inside"): "inside"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, root := range []string{tr.View, work} {
		for name, target := range map[string]string{"out": "..", "abs": hidden, "chain": "out/../hidden"} {
			if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
