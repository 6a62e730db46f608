package kinetic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDue(t *testing.T) {
	const now = time.Minute
	tests := []struct {
		name        string
		took, ago   time.Duration // the last look
		full        bool
		freed       int64
		grown, left int64
		want        bool
	}{
		{name: "never looked", left: 100, want: true},
		{name: "nothing new", took: 1, ago: 1000, left: 100},
		{name: "less than half", took: 1, ago: 1000, grown: 49, left: 100},
		{name: "half", took: 1, ago: 1000, grown: 50, left: 100, want: true},
		{name: "half, but just looked", took: 100, ago: 700, grown: 50, left: 100},
		{name: "all, and just looked", took: 100, ago: 1, grown: 100, left: 100, want: true},
		{name: "much removed", took: 1, ago: 1000, freed: 126, left: 100, want: true},
		{name: "a little removed", took: 1, ago: 1000, freed: 124, left: 100},
		{name: "full", took: 1, ago: 1000, full: true, left: -1},
		{name: "full, and something removed", took: 1, ago: 1000, full: true, freed: 1, want: true},
		{name: "full, something removed, just looked", took: 100, ago: 700, full: true, freed: 1},
	}
	for _, test := range tests {
		v := volume{limit: 1000, free: 5000, took: test.took, at: now - test.ago}
		v.full.Store(test.full)
		v.removes.Store(true)
		if got := v.due(5000+test.freed, test.grown, test.left, now); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestSurvey(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const size, slack = 4 << 20, 1 << 20
	look := func(want int64) survey {
		t.Helper()
		s := takeSurvey([]string{dir, dir + "/gone"}, nil)
		s.nameless(&process{pid: os.Getpid()})
		if s.bytes < want || s.bytes > want+slack {
			t.Errorf("%d bytes, want %d", s.bytes, want)
		}
		return s
	}
	look(0)
	path := write("a/b/file", size)
	if s := look(size); s.largest != size || s.hidden {
		t.Errorf("%+v", s)
	}
	if err := os.Link(path, dir+"/again"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr", dir+"/outside"); err != nil {
		t.Fatal(err)
	}
	look(size)
	if err := os.Truncate(path, 10*size); err != nil {
		t.Fatal(err)
	}
	if s := look(size); s.largest != 10*size {
		t.Errorf("the longest is %d", s.largest)
	}
	open, err := os.Open(write("nameless", size))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(open.Name()); err != nil {
		t.Fatal(err)
	}
	look(2 * size)
	open.Close()
	look(size)
	write(strings.Repeat("d/", deepest-2)+"file", size)
	if s := look(2 * size); s.hidden {
		t.Error("it did not look deep enough")
	}
	if err := os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", deepest+1)), 0o700); err != nil {
		t.Fatal(err)
	}
	if s := look(2 * size); !s.hidden {
		t.Error("it looked too deep, or did not say so")
	}
}

func TestFree(t *testing.T) {
	dir := t.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	// Directories on one file system are counted once, and what is gone not at all.
	v := volume{disks: onePerDisk([]string{dir, dir, t.TempDir(), dir + "/none"})}
	const slack = 256 << 20 // others write and remove
	free, want := v.freeNow(), int64(st.Bfree)*st.Bsize
	if len(v.disks) != 2 || max(free-want, want-free) > slack {
		t.Errorf("%d bytes free on %q, want %d", free, v.disks, want)
	}
}
