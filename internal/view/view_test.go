package view

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/npk"
)

// pack makes a package of files: path -> content; "x:" executable, "l:" symlink.
// It returns its head and a directory with its files.
func pack(t *testing.T, title string, files map[string]string) (Package, string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
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
	var b bytes.Buffer
	r := &npk.Recipe{Name: strings.ToLower(title), Version: "1", Title: title, Arch: "all", Summary: "test", Source: "dir:x"}
	if _, err := npk.Pack(&b, dir, r, npk.PackOptions{Key: ed25519.NewKeyFromSeed(make([]byte, 32))}); err != nil {
		t.Fatal(err)
	}
	in, err := npk.Open(&b)
	if err != nil {
		t.Fatal(err)
	}
	return Package{in.Head()}, dir
}

func closure(t *testing.T) (*View, []string) {
	t.Helper()
	var list []Package
	var dirs []string
	for _, p := range []struct {
		title string
		files map[string]string
	}{
		{"App", map[string]string{"x:bin/app": "app", "share/doc/app": "1", "share/icons/a/x": "app's x", "l:lib64": "lib", "lib/libapp.so": "app",
			"etc/conf": "app's", "l:bin/alias": "app", "l:share/up": "../bin", "Programs/hidden": "no", "usr/share/doc/extra": "usr", "usr/libexec/helper": "h",
			"tmp/stray": "where a cell has its own", "usr/dev/stray": "likewise", "var/tmp/stray": "likewise"}},
		{"Lib", map[string]string{"lib/liblib.so": "lib", "lib64/extra.so": "64", "share/doc/lib": "2", "share/icons/a/x": "lib's x", "share/icons/a/y": "y",
			"etc": "a file where App has a directory", "var/lib/data": "v", "share/up": "a file where App has a symlink", "l:bin": "lib"}},
		{"Third", map[string]string{"share/icons": "a file where others have directories", "var/lib/third": "3", "x:sbin/third": "3", "top": "top"}},
	} {
		pk, dir := pack(t, p.title, p.files)
		list, dirs = append(list, pk), append(dirs, dir)
	}
	v, err := New(list, "")
	if err != nil {
		t.Fatal(err)
	}
	return v, dirs
}

// what each path of the closure's view must lead to.
var wants = map[string]string{
	"bin/app": "app", "bin/alias": "app", "usr/bin/app": "app", "share/doc/app": "1", "share/doc/lib": "2", "share/doc/extra": "usr",
	"usr/share/doc/extra": "usr", "libexec/helper": "h", "usr/libexec/helper": "h", "share/icons/a/x": "app's x", "share/icons/a/y": "y",
	"lib/libapp.so": "app", "lib/liblib.so": "lib", "lib64/libapp.so": "app", "lib64/extra.so": "64", "bin/liblib.so": "lib",
	"etc/conf": "app's", "var/lib/data": "v", "var/lib/third": "3", "sbin/third": "3", "top": "top", "share/up/app": "app",
	"Programs/App/1/Programs/hidden": "no", "usr/usr/usr/top": "top", "lib64/../top": "top",
	"tmp/stray": "", "dev/stray": "", "usr/dev/stray": "", "var/tmp/stray": "", "Programs/App/1/tmp/stray": "where a cell has its own",
	"Programs/hidden": "", "nothing": "", "bin/app/x": "", "etc": "", "share": "", "": "", "..": "", "../../top": "top",
}

func TestResolve(t *testing.T) {
	v, dirs := closure(t)
	for path, want := range wants {
		got := ""
		if i, e, ok := v.Resolve("/" + path); ok && e.Kind == npk.File {
			b, err := os.ReadFile(filepath.Join(dirs[i], e.Path))
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			got = string(b)
		}
		if got != want {
			t.Errorf("%s leads to %q, want %q", path, got, want)
		}
	}
}

func TestBuild(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	v, dirs := closure(t)
	dst := t.TempDir()
	fd := func(path string) int {
		n, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(n) })
		return n
	}
	var sources []int
	for _, d := range dirs {
		sources = append(sources, fd(d))
	}
	if err := v.Build(fd(dst), sources); err != nil {
		t.Fatal(err)
	}
	top := fd(dst)
	for path, want := range wants {
		// RESOLVE_IN_ROOT walks as a process does whose root the view is.
		n, err := -1, error(unix.EAGAIN)
		for err == unix.EAGAIN { // anybody's rename beside a ".."
			n, err = unix.Openat2(top, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		}
		got := ""
		if err == nil {
			b := make([]byte, 100)
			if k, err := unix.Read(n, b); err == nil {
				got = string(b[:k])
			}
			unix.Close(n)
		}
		if got != want {
			t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
		}
	}
	links := 0
	err := filepath.WalkDir(dst, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dst, path)
		if slices.Contains(Holes(), rel) {
			if fi, err := d.Info(); err != nil || fi.Mode() != fs.ModeDir || unix.Rmdir(path) != nil {
				t.Errorf("%s has mode %v or something in it, %v", rel, fi.Mode(), err)
			}
			return fs.SkipDir
		}
		switch d.Type() {
		case fs.ModeSymlink:
			links++
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			// By the letter, and by the kernel: no link leaves the view.
			if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(rel), target)) {
				t.Errorf("%s leads out: %s", rel, target)
			}
			n, err := unix.Openat2(top, rel, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH})
			if err != nil {
				t.Errorf("%s -> %s: %v", rel, target, err)
			}
			unix.Close(n)
		case fs.ModeDir:
			if fi, err := d.Info(); err != nil || path != dst && fi.Mode().Perm() != DirMode {
				t.Errorf("%s has mode %v, %v", rel, fi.Mode(), err)
			}
		}
		return nil
	})
	if err != nil || links < 20 {
		t.Errorf("%d links, %v", links, err)
	}
	src, _ := os.Stat(dirs[0] + "/bin/app")
	got, err := os.Stat(dst + "/bin/app")
	if err != nil || !os.SameFile(src, got) {
		t.Errorf("bin/app of the view has bytes of its own: %v", err)
	}
}

// A package alone gets one symlink for each top-level name, and the holes.
func TestAlone(t *testing.T) {
	p, _ := pack(t, "One", map[string]string{"x:bin/one": "1", "lib/x": "x", "l:lib64": "lib"})
	v, err := New([]Package{p}, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range v.Nodes() {
		got = append(got, n.Path+" "+n.Target)
	}
	want := []string{"Programs ", "Programs/One ", "Programs/One/1 ", "usr .", "bin Programs/One/1/bin", "lib Programs/One/1/lib", "lib64 Programs/One/1/lib64",
		"Cell ", "Data ", "dev ", "proc ", "tmp ", "var ", "var/tmp "}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestOwnName: the way to the view's own place on the host is in it, and a hole
// at the end, unless a hole is there before.
func TestOwnName(t *testing.T) {
	p, _ := pack(t, "One", map[string]string{"x:bin/one": "1", "opt/tool": "x"})
	for at, want := range map[string][]string{
		"/home/me/root/View/1": {"home", "home/me", "home/me/root", "home/me/root/View", "home/me/root/View/1!"},
		"/opt/root/1":          {"opt", "opt/tool Programs", "opt/root", "opt/root/1!"},
		"/usr/local/1":         {"local", "local/1!"},
		"/var/lib/1":           {"var/lib", "var/lib/1!"},
		"/tmp/root/1":          {},
		"":                     {},
	} {
		v, err := New([]Package{p}, at)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range v.Nodes() {
			text := n.Path
			if n.Hole {
				text += "!"
			}
			if n.Target != "" {
				text += " Programs"
			}
			got = append(got, text)
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no %q among %q", at, w, got)
			}
		}
		if len(want) == 0 && len(got) != 13 {
			t.Errorf("%q: %d names: %q", at, len(got), got)
		}
	}
}

func TestTitleConflict(t *testing.T) {
	a, _ := pack(t, "Same", map[string]string{"f": "x"})
	b, _ := pack(t, "Same", map[string]string{"f": "y"})
	if _, err := New([]Package{a, b}, ""); err == nil || !strings.Contains(err.Error(), `"Same"`) {
		t.Errorf("two packages with one title: %v", err)
	}
}

// Directories that many top-level symlinks lead to must not multiply without
// end.
func TestHostileMerge(t *testing.T) {
	files := map[string]string{}
	for i := range 60 {
		files["l:link"+strings.Repeat("x", i)] = "real"
		for j := range 20 {
			files["real/"+strings.Repeat("d", i+1)+"/"+strings.Repeat("f", j+1)] = "x"
		}
	}
	files["l:loop"] = "loop2"
	files["l:loop2"] = "usr"
	files["usr/f"] = "x"
	a, _ := pack(t, "A", files)
	b, _ := pack(t, "B", files)
	v, err := New([]Package{a, b}, "")
	if err != nil && !errors.Is(err, ErrLimit) {
		t.Fatal(err)
	}
	if len(v.Nodes()) > maxNodes {
		t.Errorf("%d nodes", len(v.Nodes()))
	}
}
