package hier

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCheckPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"/": true, "/srv/nexus": true, "/home/a/.local/share/nexus": true,
		"": false, "srv": false, "/srv/": false, "/srv/../x": false, "/srv//x": false,
		"/my files": false, "/a\tb": false, "/a\x00b": false, "/a\nb": false,
		"/" + strings.Repeat("x", 182): true, "/" + strings.Repeat("x", 183): false,
	} {
		err := CheckPath(path)
		if (err == nil) != ok || (err != nil && !errors.Is(err, ErrPath)) {
			t.Errorf("CheckPath(%q) = %v, want ok %v", path, err, ok)
		}
		if ok {
			r := &Root{path: path}
			if n := len(r.Loader(strings.Repeat("a", 64))); n > MaxInterp {
				t.Errorf("%q: loader path has %d bytes", path, n)
			}
		}
	}
}

func TestDefault(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flag, env, xdg, home string
		uid                  int
		want                 string
	}{
		{flag: "/f", env: "/e", want: "/f"},
		{env: "/e", want: "/e"},
		{flag: "rel", want: wd + "/rel"},
		{uid: 0, home: "/root", want: "/"},
		{uid: 1000, xdg: "/x", home: "/h", want: "/x/nexus"},
		{uid: 1000, xdg: "rel", home: "/h", want: "/h/.local/share/nexus"},
		{uid: 1000, home: "/h", want: "/h/.local/share/nexus"},
		{uid: 1000},
		{uid: 1000, home: "/with blank"},
	} {
		t.Setenv("XDG_DATA_HOME", c.xdg)
		t.Setenv("HOME", c.home)
		got, err := Default(c.flag, c.env, c.uid)
		if c.want == "" && !errors.Is(err, ErrPath) || c.want != "" && (err != nil || got != c.want) {
			t.Errorf("%+v: got %q, %v", c, got, err)
		}
	}
}

func TestCreateModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	path := filepath.Join(t.TempDir(), "deep", "root")
	if _, err := Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open of a missing root: %v", err)
	}
	r, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Make("Cell/00c0ffee/tmp"); err != nil {
		t.Fatal(err)
	}
	for rel, want := range map[string]fs.FileMode{
		".": 0o755, "Programs": 0o755, "System/Index/bin": 0o755, "Cas/blob": 0o755, "Cas/ld": 0o755, "Nexus": 0o755,
		"Nexus/packages": 0o755, "Nexus/keys": 0o700, "Nexus/lock": 0o700, "Cell": 0o700, "Data": 0o700, "Data/apps": 0o700,
		"Cas/tmp": 0o700, "Cell/00c0ffee/tmp": 0o700,
	} {
		fi, err := os.Lstat(filepath.Join(path, rel))
		if err != nil || fi.Mode() != want|fs.ModeDir {
			t.Errorf("%s: %v, %v, want %v", rel, fi.Mode(), err, want)
		}
	}
	if again, err := Create(path); err != nil || again.Path() != path || !again.Own() {
		t.Errorf("create of what exists: %v", err)
	}
}

func TestMakeRefusesPlants(t *testing.T) {
	r, err := Create(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), r.Join("Cas/planted")); err != nil {
		t.Fatal(err)
	}
	if err := r.Make("Cas/planted"); !errors.Is(err, ErrNotDir) {
		t.Errorf("symlink taken for a directory: %v", err)
	}
	if err := os.WriteFile(r.Join("Cas/file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Make("Cas/file"); !errors.Is(err, ErrNotDir) {
		t.Errorf("file taken for a directory: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); !errors.Is(err, ErrPath) {
		t.Errorf("a file as root: %v", err)
	}
	for _, mode := range []fs.FileMode{0o777, 0o775} {
		loose := filepath.Join(dir, mode.String())
		if err := os.Mkdir(loose, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(loose, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(loose); !errors.Is(err, ErrForeign) {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrForeign) {
			t.Errorf("root of another user: %v", err)
		}
		return
	}
	sys, err := Open("/") // root's, and readable for us
	if err != nil || sys.Own() || !sys.System() {
		t.Errorf("the system's root: %+v, %v", sys, err)
	}
}

func TestNames(t *testing.T) {
	sys, own := &Root{path: "/"}, &Root{path: "/r"}
	for _, c := range []struct{ got, want string }{
		{sys.Program("Git", "1"), "/Programs/Git/1"},
		{own.Program("Git", "1"), "/r/Programs/Git/1"},
		{own.Current("Git"), "/r/Programs/Git/Current"},
		{own.View("Git", "1"), "/r/System/Views/Git/1"},
		{own.Record("git", "1"), "/r/Nexus/packages/git/1"},
		{own.Launcher("git"), "/r/System/Index/bin/git"},
		{own.Cell("00c0ffee"), "/r/Cell/00c0ffee"},
		{own.AppData("git"), "/r/Data/apps/git"},
		{own.AppData("../../etc"), "/r/Data/apps/\x00"},
		{own.Record("..", "1"), "/r/Nexus/packages/\x00/1"},
		{own.Plans(""), "/r/Nexus/plans/\x00"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	for _, c := range []struct {
		r        *Root
		in, want string
		ok       bool
	}{{sys, "/a/b", "a/b", true}, {own, "/r/a", "a", true}, {own, "/rr/a", "", false}, {own, "/r", "", false}, {own, "/x", "", false}} {
		if got, ok := c.r.Rel(c.in); got != c.want || ok != c.ok {
			t.Errorf("Rel(%q) below %q = %q, %v", c.in, c.r.path, got, ok)
		}
	}
}

func TestOpenBeneath(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{"in": "d/file", "out": "/etc/passwd", "up": "../..", "magic": "/proc/self/root"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	top, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(top)
	fd, err := OpenBeneath(top, "d/file", unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	for rel, want := range map[string]error{
		"d/file": nil, "in": nil, "d/../d/file": nil,
		"out": ErrEscape, "up": ErrEscape, "magic": ErrEscape, "..": ErrEscape, "d/../..": ErrEscape, "/etc/passwd": ErrEscape,
		"none": fs.ErrNotExist,
	} {
		fd, err := OpenBeneath(top, rel, unix.O_RDONLY, 0)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", rel, err, want)
		}
		if err == nil {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: stays open over exec", rel)
			}
			unix.Close(fd)
		}
	}
}

func TestLock(t *testing.T) {
	r, err := Create(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	a, err := r.Lock(ctx, LockPackages, false)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.TryLock(LockPackages, false)
	if err != nil {
		t.Fatalf("two readers: %v", err)
	}
	if _, err := r.TryLock(LockPackages, true); !errors.Is(err, ErrLocked) {
		t.Errorf("writer beside readers: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
	defer cancel()
	if _, err := r.Lock(short, LockPackages, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting writer: %v", err)
	}
	got := make(chan error)
	go func() {
		w, err := r.Lock(ctx, LockPackages, true)
		if err == nil {
			w.Unlock()
		}
		got <- err
	}()
	a.Unlock()
	b.Unlock()
	if err := <-got; err != nil {
		t.Errorf("writer after readers: %v", err)
	}
	if _, err := r.Lock(ctx, "../keys/x", true); err == nil {
		t.Error("a lock outside Nexus/lock was taken")
	}
	if err := os.Symlink("/etc/passwd", r.Join("Nexus/lock/planted")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.TryLock("planted", true); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a symlink was followed: %v", err)
	}
}
