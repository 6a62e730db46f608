package escape

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/view/zone"
	"nipcells/test/rig"
)

// leaveOpen starts nip with the directory outside/ as descriptor 5 and the file
// in it as descriptor 6.
func leaveOpen(t *testing.T, s *stage, c *exec.Cmd) {
	dir, err := os.Open(s.words["outside"])
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(s.words["outside"]+"/secret", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close(); file.Close() })
	c.ExtraFiles = []*os.File{file, dir, dir, file} // 3, 4, 5, 6
}

func TestInherited(t *testing.T) { try(t, inheritedRows()) }

func inheritedRows() []attempt {
	left := func(line string) control { return control{args: w(line), outside: true, prepare: leaveOpen} }
	return []attempt{
		{name: "use a directory left open", args: w("fd-openat 5 secret"), prepare: leaveOpen, control: left("fd-openat 5 secret")},
		{name: "leave a directory left open", args: w("fd-openat 5 ../granted/secret"), prepare: leaveOpen, control: left("fd-openat 5 ../granted/secret")},
		{name: "read a file left open", args: w("fd-read 6"), prepare: leaveOpen, control: left("fd-read 6")},
		{name: "find any descriptor", args: w("descriptors 3 40 55"), prepare: leaveOpen, control: left("descriptors 3 40 55")},
		// Every cell has a path descriptor of its package's directory at 40; the root's parent is eight above.
		{name: "leave the package by its descriptor", args: w("fd-openat 40 ../../../../../../../../outside/secret"),
			control: granted("fd-openat 40 bin/attack")},
		{name: "chmod below the package's descriptor", args: w(sys(unix.SYS_FCHMODAT, "40 text:bin/attack 0666")),
			control: granted(sys(unix.SYS_FCHMODAT, "-100 text:{granted}/program 0666"))},
		{name: "write below the package's descriptor", args: w(sys(unix.SYS_OPENAT, "40 text:bin/attack 2")),
			control: granted(sys(unix.SYS_OPENAT, "-100 text:{granted}/program 2"))},
		{name: "raise a limit", args: w("rlimit-raise 7"), control: asked("rlimit-raise 7", "done|EPERM", "EPERM|EINVAL")},
		{name: "raise the mark", args: w("rlimit-raise 12"), control: asked("rlimit-raise 12", "done|EPERM", "EPERM")},
		{name: "change the mark", args: w("rlimit-set 12"), control: granted("rlimit-set 7")},
	}
}

// TestRoots looks from outside what the descriptors are that every program of a
// cell has: its own places, by path only, and a zone that is read-only.
func TestRoots(t *testing.T) {
	s := newStage(t)
	for kind, flags := range map[string][]string{"native": grant, "asked": executable} {
		t.Run(kind, func(t *testing.T) {
			c, line := startHeld(t, s, flags, w("victim 23"))
			own := []string{s.words["view"], s.words["host"], s.words["granted"], s.Path("Cell")}
			pid := strings.TrimPrefix(line, "READY ")
			for fd := zone.PackageFD; fd <= zone.FD; fd++ {
				link, err := os.Readlink(fmt.Sprintf("/proc/%s/fd/%d", pid, fd))
				if err != nil {
					t.Fatal(err)
				}
				info, err := os.ReadFile(fmt.Sprintf("/proc/%s/fdinfo/%d", pid, fd))
				if err != nil {
					t.Fatal(err)
				}
				isOwn := slices.ContainsFunc(own, func(dir string) bool { return link == dir || strings.HasPrefix(link, dir+"/") })
				path := strings.Contains(string(info), "flags:\t010000000\n") || strings.Contains(string(info), "flags:\t012000000\n")
				if fd == zone.FD && !strings.HasPrefix(link, "/memfd:zone") || fd != zone.FD && (!isOwn || !path) {
					t.Errorf("descriptor %d is %s, %s", fd, link, info)
				}
			}
			c.Process.Kill()
			c.Wait() // killed
			s.Must("ps")
		})
	}
}

// TestStandardDirectories: a directory as standard input, output or error would
// be a root of its own; nip refuses to start.
func TestStandardDirectories(t *testing.T) {
	s := newStage(t)
	for flags, what := range map[int]string{os.O_RDONLY: "directory", unix.O_PATH: "path descriptor"} {
		dir, err := os.OpenFile(s.words["outside"], flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		c := s.inCell(t, grant, w("fd-openat 0 secret"))
		c.Stdin = dir
		if res := rig.Run(t, c); res.Code != 125 || !strings.Contains(res.Stderr, what) {
			t.Errorf("a directory as standard input, flags %#x: exit status %d, %q", flags, res.Code, res.Stderr)
		}
	}
	file, err := os.Open(s.words["outside"] + "/secret")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := s.inCell(t, grant, w("fd-read 0"))
	c.Stdin = file
	if res := rig.Run(t, c); res.Code != attackDone {
		t.Errorf("the control, a file as standard input: exit status %d, %s%s", res.Code, res.Stdout, res.Stderr)
	}
}

// pids reads the process ids that a process left behind wrote to a file.
func pids(t *testing.T, name string) []int {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int
	lines := strings.Split(string(data), "\n")
	for _, line := range lines[:len(lines)-1] { // the last may be half written
		id, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// ended fails the test unless whatever writes to the file of beats has stopped:
// it must not grow any more, and no process that wrote there may live.
func ended(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range pids(t, file) {
		if exe, err := os.Readlink("/proc/" + strconv.Itoa(id) + "/exe"); err == nil && strings.Contains(exe, "/attack/") {
			t.Errorf("process %d lives on after its cell", id)
			syscall.Kill(id, syscall.SIGKILL)
		}
	}
	// What lived on would write within 5 ms; a loaded machine gets a hundred times that.
	end := time.Now().Add(500 * time.Millisecond)
	for time.Now().Before(end) {
		now, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if now.Size() != info.Size() {
			t.Fatalf("something lives on after its cell: it wrote %d more bytes", now.Size()-info.Size())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestOutliving leaves processes behind that do all they can to be forgotten.
// Counts bound what they do where nothing stops them: a minute, far longer than the test looks.
func TestOutliving(t *testing.T) {
	s := newStage(t)
	for kind, count := range map[string]string{"daemonize": "12000", "runaway": "200000"} {
		beats := filepath.Join(s.words["granted"], kind)
		t.Run(kind+"/the cell ends", func(t *testing.T) {
			res := rig.Run(t, s.inCell(t, grant, []string{kind, beats, "leave", count}))
			if res.Code != attackDone {
				t.Fatalf("nothing was left behind: %d %s%s", res.Code, res.Stdout, res.Stderr)
			}
			ended(t, beats)
		})
		t.Run(kind+"/the supervisor is killed", func(t *testing.T) {
			c, _ := startHeld(t, s, grant, []string{kind, beats, "stay", count})
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			c.Wait() // killed
			// Before the guard is there, the next nip command cleans up.
			s.Must("ps")
			ended(t, beats)
			if left := s.cellsLeft(t); len(left) > 0 {
				t.Errorf("left in /Cell: %v", left)
			}
		})
		t.Run(kind+"/control", func(t *testing.T) {
			// Outside, it lives on until it has counted.
			res := rig.Run(t, s.outside(t, []string{kind, beats, "leave", "640"}))
			if res.Code != attackDone {
				t.Fatal(res.Stdout, res.Stderr)
			}
			rig.Until(t, time.Minute, "what was left behind outside lives on to its end", func() bool {
				ids := pids(t, beats)
				return len(ids) > 0 && ids[len(ids)-1] == 0
			})
		})
	}
}

// startHeld starts a cell whose program says READY and stays, and returns nip
// and the line.
func startHeld(t *testing.T, s *stage, flags, args []string) (*exec.Cmd, string) {
	t.Helper()
	c := s.inCell(t, flags, args)
	if _, err := c.StdinPipe(); err != nil { // open until it is killed
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// A file: what a killed supervisor leaves behind would hold a pipe open.
	stderr, err := os.Create(filepath.Join(s.Base, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	c.Stderr = stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "READY") {
		said, _ := os.ReadFile(stderr.Name())
		t.Fatalf("the program said %q: %v %s", line[:n], err, said)
	}
	return c, strings.TrimSpace(string(line[:n]))
}
