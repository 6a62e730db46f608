package kinetic

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
	"nipcells/test/rig"
)

// states are those of the processes of a cell.
func states(t *testing.T, fiber string) (list []byte) {
	t.Helper()
	id, err := strconv.ParseUint(fiber, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	err = wall.EachProcess(func(pid int) {
		if mark, ok := wall.MarkOf(pid); !ok || uint64(mark) != id {
			return
		}
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if f := wall.StatFields(text); err == nil && len(f) > 0 && f[0] != "Z" {
			list = append(list, f[0][0])
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// running starts a cell that uses all that it gets, and returns who it is.
func running(t *testing.T, r *rig.Root, flags ...string) (fiber string, supervisor int) {
	t.Helper()
	r.Must(append(append([]string{"run", "-d"}, flags...), "load", "procs", "2", "60")...)
	c := cells(t, r, 1)[0]
	rig.Until(t, 10*time.Second, "the program has forked", func() bool { return len(states(t, c.Fiber)) == 3 })
	time.Sleep(500 * time.Millisecond) // the guard is there
	return c.Fiber, c.Supervisor
}

// A cell whose supervisor is stopped stops with it, and goes on with it.
func TestStopped(t *testing.T) {
	r := stage(t)
	fiber, supervisor := running(t, r, "--budget", "cpu=50%")
	defer func() { r.Must("stop", "--time", "100ms", "load") }()
	all := func(stopped bool) func() bool {
		return func() bool {
			n := 0
			for _, s := range states(t, fiber) {
				if s == 'T' {
					n++
				}
			}
			return stopped && n == 3 || !stopped && n < 3
		}
	}
	began := time.Now()
	if err := unix.Kill(supervisor, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	rig.Until(t, 10*time.Second, "the cell stops", all(true))
	t.Logf("it stopped after %v", time.Since(began))
	for range 20 { // and stays so, and is not ended
		time.Sleep(100 * time.Millisecond)
		if !all(true)() {
			t.Fatalf("the cell of a stopped supervisor: %q", states(t, fiber))
		}
	}
	began = time.Now()
	if err := unix.Kill(supervisor, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	rig.Until(t, 10*time.Second, "the cell goes on", all(false))
	t.Logf("it went on after %v", time.Since(began))
	if n := len(states(t, fiber)); n != 3 {
		t.Errorf("%d processes are left", n)
	}
}

// A supervisor that hangs while a budget is to be held is ended, and its cell with it. (A
// debugger makes it hang here.)
func TestHung(t *testing.T) {
	r := stage(t)
	fiber, supervisor := running(t, r, "--budget", "cpu=50%")
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	if err := hang(supervisor); err != nil {
		r.Must("stop", "--time", "100ms", "load")
		if os.Getuid() == 0 || !errors.Is(err, unix.EPERM) {
			t.Fatal(err)
		}
		t.Log("this host lets ordinary users debug nobody but their children")
		return
	}
	began := time.Now()
	rig.Until(t, 10*time.Second, "the cell ends", func() bool { return len(states(t, fiber)) == 0 })
	t.Logf("it took %v", time.Since(began))
}

// hang has a debugger stop all threads of a process.
func hang(pid int) error {
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := unix.PtraceSeize(tid); err != nil {
			return err
		}
		if err := unix.PtraceInterrupt(tid); err != nil {
			return err
		}
	}
	return nil
}
