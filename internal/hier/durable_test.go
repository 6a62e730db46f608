package hier

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWriteFile: the mode is the caller's whatever the umask is, and what is there
// already stays.
func TestWriteFile(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	path := t.TempDir() + "/f"
	if err := WriteFile(path, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v, want %v", err, fs.ErrExist)
	}
	b, err := os.ReadFile(path)
	info, statErr := os.Stat(path)
	if err != nil || statErr != nil || string(b) != "one" || info.Mode() != 0o644 {
		t.Errorf("%q, %v; %v, %v", b, info, err, statErr)
	}
	if err := SyncDir(path + "/.."); err == nil {
		t.Error("what is no directory was synced")
	}
}
