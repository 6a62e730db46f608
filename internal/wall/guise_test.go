package wall

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGuise looks at a private directory of root's as root, as root without
// capabilities, and as somebody else.
func TestGuise(t *testing.T) {
	if os.Getuid() != 0 {
		testOrdinaryGuise(t)
		return
	}
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} { // testing's own have mode 0700
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own, foreign := dir+"/own", dir+"/foreign"
	for path, uid := range map[string]int{own: 0, foreign: 12345} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name         string
		id           Identity
		own, foreign bool // what it can look into
	}{
		{"root", Identity{0, 0, true}, true, false},
		{"somebody", Identity{12345, 12345, true}, false, true},
		{"another", Identity{12346, 12346, true}, false, false},
	} {
		onThread(func() {
			g, err := NewGuise(c.id)
			if err != nil {
				t.Error(err)
				return
			}
			for range 2 {
				if errno := g.Wear(); errno != 0 {
					t.Errorf("%s: wear: %v", c.name, errno)
				}
				if canSearch(own) != c.own || canSearch(foreign) != c.foreign {
					t.Errorf("%s can search root's directory: %v, 12345's: %v", c.name, canSearch(own), canSearch(foreign))
				}
				if errno := g.Shed(); errno != 0 {
					t.Errorf("%s: shed: %v", c.name, errno)
				}
				if !canSearch(own) || !canSearch(foreign) {
					t.Errorf("%s: without the guise root cannot search its directory and 12345's", c.name)
				}
			}
		})
	}
	if !canSearch(own) {
		t.Error("another thread wears the guise")
	}
}

// testOrdinaryGuise: who cannot change his user stays what he is.
func testOrdinaryGuise(t *testing.T) {
	dir := t.TempDir()
	onThread(func() {
		g, err := NewGuise(Identity{os.Getuid(), os.Getgid(), false})
		if err != nil {
			t.Error(err)
			return
		}
		for _, step := range []func() unix.Errno{g.Wear, g.Shed} {
			if errno := step(); errno != 0 || !canSearch(dir) {
				t.Errorf("%v, or the own directory cannot be searched", errno)
			}
		}
	})
}

// canSearch looks with the calling thread's rights.
func canSearch(dir string) bool {
	fd, err := unix.Open(dir+"/.", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// onThread does f on a thread that ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}
