package escape

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nipcells/internal/view/native/shim/build"
	"nipcells/test/rig"
)

// zoneAttack is the program that attacks the zone, its descriptors and the view
// from inside; package native runs the same in trees of its own.
const zoneAttack = "internal/view/native/testdata/attack.c"

// TestZone: in real cells, nothing that a program can do to its own memory and
// descriptors changes the zone, makes the filter take something else for a slot,
// or leads out of a root.
func TestZone(t *testing.T) {
	r := rig.NewRoot(t)
	header := t.TempDir()
	r.Write(header+"/zone.h", string(build.Header()), 0o644)
	work := r.Base + "/work"
	r.Write(r.Base+"/hidden", "hidden", 0o644)
	r.Write(r.Path("System/Views/hidden"), "hidden", 0o644)
	for _, kind := range []string{"dynamic", "static", "static-pie"} {
		t.Run(kind, func(t *testing.T) {
			name := "zone-" + kind
			tree := r.Base + "/" + name
			compileZoneAttack(t, tree, header, kind)
			r.Must("graft", "-q", "dir:"+tree, "--name", name, "--version", "1", "--pledge", "STDIO,RPATH,WPATH,EXEC", "-o", tree+".npk")
			r.Must("install", "-q", tree+".npk")
			if info := r.Must("info", name); !strings.Contains(info, "native views native\n") {
				t.Fatalf("no native views: %s", info)
			}
			for _, dir := range []string{work, r.Path("Data/apps", name)} {
				if err := rig.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			r.Write(work+"/inside", "inside", 0o644)
			for link, target := range map[string]string{"out": "..", "abs": r.Base + "/hidden", "chain": "out/../hidden"} {
				if err := os.Symlink(target, work+"/"+link); err != nil {
					t.Fatal(err)
				}
			}
			// What no promise permits is refused, so that the program goes on.
			res := rig.Run(t, r.Command("run", "--deny", "--unveil", work+":rw", name))
			attempts, controls := 0, 0
			for line := range strings.Lines(res.Stdout) {
				switch {
				case strings.HasSuffix(line, " refused\n"):
					attempts++
				case strings.HasSuffix(line, " works\n"):
					controls++
				default:
					t.Error(strings.TrimSpace(line))
				}
			}
			if res.Code != 0 || attempts < 126 || controls < 9 {
				t.Errorf("exit status %d, %d attempts, %d controls\n%s", res.Code, attempts, controls, res.Stderr)
			}
		})
	}
}

// compileZoneAttack makes a tree with the program, and what it is loaded with.
func compileZoneAttack(t *testing.T, tree, header, kind string) {
	t.Helper()
	for _, dir := range []string{"/bin", "/lib"} {
		if err := os.MkdirAll(tree+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(rig.Source(), zoneAttack)
	include := filepath.Join(filepath.Dir(filepath.Dir(source)), "shim/src")
	args := []string{"-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result", "-pthread", "-I" + header, "-I" + include, "-o", tree + "/bin/attack", source}
	if kind != "dynamic" {
		args = append(args, "-"+kind)
	}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	if kind != "dynamic" {
		return
	}
	libc, err := exec.Command("gcc", "-print-file-name=libc.so.6").Output()
	if err != nil {
		t.Fatal(err)
	}
	loaders, err := filepath.Glob(filepath.Join(filepath.Dir(strings.TrimSpace(string(libc))), "ld-linux*.so.*"))
	if err != nil || len(loaders) != 1 {
		t.Fatalf("the loaders are %q, %v", loaders, err)
	}
	for _, from := range []string{strings.TrimSpace(string(libc)), loaders[0]} {
		if err := copyFile(from, filepath.Join(tree, "lib", filepath.Base(from))); err != nil {
			t.Fatal(err)
		}
	}
}
