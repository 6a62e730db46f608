package wall

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestSpawn(t *testing.T) {
	s := newStage(t)
	ws := run(t, s.helper(everything, "write", s.scratch+"/file"))
	if ws.ExitStatus() != helperDone {
		t.Errorf("the program ended with %#x", ws)
	}
}

func TestSpawnFails(t *testing.T) {
	s := newStage(t)
	if err := os.WriteFile(s.scratch+"/text", []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.rules = append(s.rules, Rule{Path: s.scratch, Access: Scratch | Package})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Spawner)
		exec   bool
		want   error
	}{
		{"no directory", func(sp *Spawner) { sp.Dir = s.scratch + "/none" }, false, unix.ENOENT},
		{"a file as directory", func(sp *Spawner) { sp.Dir = s.scratch + "/file" }, false, unix.ENOTDIR},
		{"no ruleset", func(sp *Spawner) { sp.Ruleset = -1 }, false, unix.EBADF},
		{"another descriptor as ruleset", func(sp *Spawner) { sp.Ruleset = 0 }, false, unix.EBADFD},
		{"no program", func(sp *Spawner) { sp.Path = s.scratch + "/none" }, true, unix.ENOENT},
		{"not executable", func(sp *Spawner) { sp.Path = s.scratch + "/file" }, true, unix.EACCES},
		{"a directory", func(sp *Spawner) { sp.Path = s.scratch }, true, unix.EACCES},
		{"no format", func(sp *Spawner) { sp.Path = s.scratch + "/text" }, true, unix.ENOEXEC},
		{"outside the rules", func(sp *Spawner) { sp.Path = "/bin/sh" }, true, unix.EACCES},
		{"filter jumps out of itself", func(sp *Spawner) { sp.Filter = Filter{{Code: opJeq, Jt: 9}, ret(Allow)}.Bytes() }, false, unix.EINVAL},
		{"filter without an end", func(sp *Spawner) { sp.Filter = Filter{{Code: opLoad}}.Bytes() }, false, unix.EINVAL},
	}
	if run(t, s.helper(everything, "write", s.scratch+"/file")).ExitStatus() != helperDone { // what the runtime opens once is open now
		t.Fatal("the control did not run")
	}
	sp := s.spawner(everything, self)
	before := openDescriptors(t)
	for _, tt := range tests {
		sp := *sp
		tt.change(&sp)
		c, err := sp.Spawn()
		var failed *SpawnError
		if !errors.As(err, &failed) || failed.Exec != tt.exec || !errors.Is(err, tt.want) {
			t.Errorf("%s: %v (%#v), want %v in exec=%v", tt.name, err, err, tt.want, tt.exec)
		}
		if c != nil {
			release(c)
			t.Errorf("%s: a child beside an error", tt.name)
		}
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	var ws unix.WaitStatus
	if pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}
}

// TestSpawnRefuses has mistakes that no child is made for.
func TestSpawnRefuses(t *testing.T) {
	s := newStage(t)
	for name, change := range map[string]func(*Spawner){
		"no filter":            func(sp *Spawner) { sp.Filter = nil },
		"half an instruction":  func(sp *Spawner) { sp.Filter = sp.Filter[:len(sp.Filter)-3] },
		"filter beyond 65,535": func(sp *Spawner) { sp.Filter = make([]byte, (1<<16+1)*InstructionSize) },
		"NUL in the path":      func(sp *Spawner) { sp.Path = "a\x00b" },
		"NUL in the directory": func(sp *Spawner) { sp.Dir = "a\x00b" },
		"NUL in an argument":   func(sp *Spawner) { sp.Args = []string{"a", "b\x00"} },
		"NUL in a variable":    func(sp *Spawner) { sp.Env = []string{"A=\x00"} },
	} {
		sp := s.spawner(everything, "/nothing")
		change(sp)
		var failed *SpawnError
		if c, err := sp.Spawn(); err == nil || errors.As(err, &failed) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

// TestChildEndsInBetween has the child end between fork and exec, as a SIGKILL
// would make it: the parent must notice, not go on with the child's steps.
func TestChildEndsInBetween(t *testing.T) {
	s := newStage(t)
	sp := s.spawner(everything, "/nothing")
	img, err := sp.image()
	if err != nil {
		t.Fatal(err)
	}
	// A parent that went on would make a directory.
	dir := s.scratch + "/made-by-the-parent"
	p, err := unix.BytePtrFromString(dir)
	if err != nil {
		t.Fatal(err)
	}
	for at := 1; at < img.exit-1; at++ {
		img, err := sp.image()
		if err != nil {
			t.Fatal(err)
		}
		img.steps[at] = step{what: "end", nr: unix.SYS_EXIT_GROUP, args: [6]uintptr{7}}
		img.steps[at+1] = step{what: "make a directory", nr: unix.SYS_MKDIRAT, args: [6]uintptr{^uintptr(99), uintptr(unsafe.Pointer(p)), 0o700}}
		img.exec, img.exit = -1, at+2
		img.steps[at+2] = step{what: "end", nr: unix.SYS_GETPID}
		syscall.ForkLock.Lock()
		pid, errno := spawn(img)
		syscall.ForkLock.Unlock()
		runtime.KeepAlive(img)
		if errno != 0 || pid == 0 {
			t.Fatalf("step %d: fork: %v", at, errno)
		}
		c := &Child{PID: int(pid), PIDFD: int(img.pidfd), Listener: -1}
		if ws := wait(t, c); ws.ExitStatus() != 7 {
			t.Fatalf("step %d: the child ended with %#x", at, ws)
		}
		unix.Close(c.PIDFD)
		if img.listener != 0 {
			unix.Close(int(img.listener))
		}
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("the child ended in step %d, and its parent made the next one", at)
		}
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
