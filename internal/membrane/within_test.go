package membrane

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWithin has names that look like one of the paths.
func TestWithin(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"app/deep", "apps", "app (deleted)"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	open := func(name string, flags int) int {
		t.Helper()
		fd, err := unix.Open(filepath.Join(base, name), flags|unix.O_CLOEXEC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	paths := []string{base + "/app"}
	for _, tt := range []struct {
		name  string
		flags int
		want  bool
	}{
		{"app", unix.O_PATH, true},
		{"app/deep", unix.O_RDONLY, true},
		{"app/deep/file", unix.O_CREAT | unix.O_RDWR, true},
		{"apps", unix.O_PATH, false},
		{"apps/file", unix.O_CREAT | unix.O_RDWR, false},
		{"app (deleted)", unix.O_PATH, false},
		{"app-memfd:", unix.O_CREAT | unix.O_RDWR, false},
		{".", unix.O_PATH, false},
	} {
		if got := within(open(tt.name, tt.flags), paths); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
	gone := open("app/deep/file", unix.O_RDWR)
	if err := os.Remove(base + "/app/deep/file"); err != nil {
		t.Fatal(err)
	}
	if !within(gone, paths) {
		t.Error("a removed file of the cell's own is not its own any more")
	}
	// Removed from elsewhere: the kernel's name is then that of another file.
	other := open("apps/file", unix.O_RDWR)
	if err := os.Remove(base + "/apps/file"); err != nil {
		t.Fatal(err)
	}
	if within(other, paths) {
		t.Error("a removed file of others passes for the cell's")
	}
	memory, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(memory)
	if !within(memory, nil) {
		t.Error("a memory file is not the cell's own")
	}
	if !within(open("apps", unix.O_PATH), []string{"/"}) {
		t.Error("not everything lies below /")
	}
	if within(-1, []string{"/"}) {
		t.Error("no file lies below /")
	}
}
