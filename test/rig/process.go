package rig

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Until asks done every few milliseconds for at most limit, and fails the test
// with what if it never says yes.
func Until(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(3 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s still not true: %s", limit, what)
		}
	}
}

// Process is a process as seen from outside. The zero Process is none.
type Process struct {
	PID   int
	start string // clock ticks after boot, field 22 of /proc/<pid>/stat: tells reused ids apart
}

// FindProcess returns the process pid, or false if there is none or only a zombie.
func FindProcess(pid int) (Process, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	// The second field is the name in parentheses, and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return Process{}, false
	}
	return Process{pid, fields[19]}, true
}

// Alive reports whether the process still runs.
func (p Process) Alive() bool {
	now, ok := FindProcess(p.PID)
	return ok && now == p
}

// Children returns the processes whose parent is pid.
func Children(pid int) []int {
	var ids []int
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		panic(err) // a bad pattern
	}
	for _, name := range names {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // ended meanwhile
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if parent, err := strconv.Atoi(fields[1]); err == nil && parent == pid {
			id, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			ids = append(ids, id)
		}
	}
	return ids
}

// Namespaces returns what /proc/<pid>/ns names, and the cgroup of pid.
func Namespaces(pid int) (map[string]string, error) {
	dir := fmt.Sprintf("/proc/%d/ns", pid)
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	found := make(map[string]string)
	for _, n := range names {
		if found[n.Name()], err = os.Readlink(filepath.Join(dir, n.Name())); err != nil {
			return nil, fmt.Errorf("read namespace: %w", err)
		}
	}
	cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read cgroup: %w", err)
	}
	found["cgroup membership"] = string(cgroup)
	return found, nil
}

// Talk starts a program that answers lines with lines. At the end of the test its input
// ends, and it is waited for.
func Talk(t testing.TB, c *exec.Cmd) (ask io.WriteCloser, answer *bufio.Scanner) {
	t.Helper()
	ask, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ask.Close()
		_ = c.Wait() // it may have been killed: the test says whether that is right
	})
	return ask, bufio.NewScanner(out)
}
