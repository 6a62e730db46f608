package escape

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nipcells/internal/view/native/shim/build"
	"nipcells/test/rig"
)

// hiddenText is in every hidden file; see testdata/reach.h.
const hiddenText = "HIDDEN of the host\n"

// atLength returns how long a test that runs against time does so: long under
// `make soak`, short otherwise.
func atLength(short, long time.Duration) time.Duration {
	if os.Getenv("NIP_SOAK") != "" {
		return long
	}
	return short
}

// hideAbove hides files in the directories above all that a cell is given.
func hideAbove(t *testing.T, r *rig.Root) (above, ids []string) {
	t.Helper()
	above = []string{r.Base, r.Dir, r.Path("Data"), r.Path("Data/apps"), r.Path("System"), r.Path("System/Views")}
	for _, dir := range above {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return above, hide(t, r, above...)
}

// hide puts files that no cell may learn of into each of dirs, and returns device
// and inode of them and of all directories on the way there, as the programs that
// look for them want to be told.
func hide(t *testing.T, r *rig.Root, dirs ...string) (ids []string) {
	t.Helper()
	told := map[string]bool{}
	add := func(path string) {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if id := fmt.Sprintf("%d:%d", st.Dev, st.Ino); !told[id] {
			told[id] = true
			ids = append(ids, id)
		}
	}
	for _, dir := range dirs {
		r.Write(dir+"/hidden", hiddenText, 0o644)
		r.Write(dir+"/hidden.d/hidden", hiddenText, 0o644)
		if err := os.Symlink(hiddenText, dir+"/hidden.l"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"/hidden", "/hidden.d", "/hidden.d/hidden", "/hidden.l"} {
			add(dir + name)
		}
		for ; dir != "/"; dir = filepath.Dir(dir) {
			add(dir)
		}
	}
	for _, path := range []string{"/", "/etc", "/etc/passwd", "/usr", "/var", "/home"} {
		add(path)
	}
	return ids
}

// hiddenNow describes what hide has put into dirs, with all that could change.
func hiddenNow(t *testing.T, dirs ...string) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range dirs {
		b.WriteString(look([]string{dir + "/hidden", dir + "/hidden.d", dir + "/hidden.d/hidden", dir + "/hidden.l"}))
		for _, name := range []string{"/hidden", "/hidden.d/hidden"} {
			data, err := os.ReadFile(dir + name)
			fmt.Fprintf(&b, "%s: %q %v\n", name, data, err)
		}
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "absent") || strings.HasPrefix(e.Name(), "hidden") {
				b.WriteString(dir + "/" + e.Name() + "\n")
			}
		}
		fmt.Fprintln(&b, err)
	}
	return b.String()
}

// pledged is what programs of installC may do: all but the network.
const pledged = "STDIO,RPATH,WPATH,CPATH,FATTR,EXEC"

// installC compiles a C program and installs it as a package of the given name:
// dynamic, with its own C library and loader, static or static-pie. Its cells have
// native views.
func installC(t *testing.T, r *rig.Root, name, source, kind string) {
	t.Helper()
	tree := r.Base + "/" + name
	compileC(t, tree, source, kind)
	r.Must("graft", "-q", "dir:"+tree, "--name", name, "--version", "1", "--pledge", pledged, "-o", tree+".npk")
	r.Must("install", "-q", tree+".npk")
	if info := r.Must("info", name); !strings.Contains(info, "native views native\n") {
		t.Fatalf("no native views: %s", info)
	}
}

// compileC makes a tree with a program, and what it is loaded with.
func compileC(t *testing.T, tree, source, kind string) {
	t.Helper()
	for _, dir := range []string{"/bin", "/lib"} {
		if err := os.MkdirAll(tree+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	gcc(t, source, tree+"/bin/"+strings.TrimSuffix(filepath.Base(source), ".c"), kind)
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

// gcc compiles the program at source, a path in the repository, to out. Flags of
// its own follow the kind.
func gcc(t *testing.T, source, out, kind string, flags ...string) {
	t.Helper()
	header := t.TempDir()
	if err := os.WriteFile(header+"/zone.h", build.Header(), 0o644); err != nil {
		t.Fatal(err)
	}
	native := filepath.Join(rig.Source(), "internal/view/native")
	args := []string{"-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result", "-pthread", "-I" + header, "-I" + native + "/shim/src",
		"-I" + native + "/testdata", "-o", out, filepath.Join(rig.Source(), source)}
	if kind != "dynamic" {
		args = append(args, "-"+kind)
	}
	if text, err := exec.Command("gcc", append(args, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, text)
	}
}

// counts reads a program's line "COUNTS name number name number …".
func counts(t *testing.T, res rig.Result) map[string]int {
	t.Helper()
	for line := range strings.Lines(res.Stdout) {
		if text, ok := strings.CutPrefix(line, "COUNTS "); ok {
			m := map[string]int{}
			f := strings.Fields(text)
			for i := 0; i+1 < len(f); i += 2 {
				var n int
				if _, err := fmt.Sscan(f[i+1], &n); err != nil {
					t.Fatal(err)
				}
				m[f[i]] = n
			}
			return m
		}
	}
	t.Fatalf("there are no counts: exit status %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	return nil
}
