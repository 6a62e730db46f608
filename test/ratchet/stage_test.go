// Package ratchet has programs take rights away from themselves, in real cells and
// outside of any, and then try what is left: nexus.h, the Go package nexus and
// nip-pledge.
package ratchet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nipcells/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// sigsys is the status of what a refused call has ended.
const sigsys = 128 + int(syscall.SIGSYS)

// stage is a root with the programs installed, and a directory that cells are given.
type stage struct {
	*rig.Root
	work string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{Root: rig.NewRoot(t)}
	base, err := filepath.EvalSymlinks(s.Base)
	if err != nil {
		t.Fatal(err)
	}
	s.Base, s.work = base, base+"/work"
	npk := s.Base + "/ratchet.npk"
	s.Must("graft", "dir:"+rig.Fixture(t, "ratchet/tree"), "--name", "ratchet", "--version", "1.0", "--pledge", "STDIO,RPATH,WPATH,INET,EXEC", "-o", npk)
	s.Must("install", npk)
	s.set(t)
	return s
}

// set lays out the directory as it is before an attempt.
func (s *stage) set(t *testing.T) {
	t.Helper()
	if err := rig.RemoveAll(s.work); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	s.Write(s.work+"/a", "contents\n", 0o644)
	s.Write(s.work+"/sub/b", "contents\n", 0o644)
	s.Write(s.Base+"/executable/x", "", 0o755)
	if os.Geteuid() == 0 { // cells that root starts run as somebody else
		for _, name := range []string{"", "/a", "/sub", "/sub/b"} {
			if err := os.Chown(s.work+name, cellUser, cellUser); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// cellUser is whom the cells of root run as.
const cellUser = 61234

// place is where a program runs.
type place struct {
	name string
	run  func(s *stage, program string, args ...string) *exec.Cmd
}

func inCell(flags ...string) func(s *stage, program string, args ...string) *exec.Cmd {
	return func(s *stage, program string, args ...string) *exec.Cmd {
		line := []string{"run", "--unveil", s.work + ":rw"}
		if os.Geteuid() == 0 {
			line = append(line, "--user", "61234:61234")
		}
		for _, f := range flags {
			line = append(line, strings.ReplaceAll(f, "{base}", s.Base))
		}
		return s.Command(append(append(line, "ratchet/"+program), args...)...)
	}
}

func outside(s *stage, program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(fixtures, program), args...)
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: cellUser, Gid: cellUser}}
	}
	return c
}

// fixtures is set by the tests; see places.
var fixtures string

// asked are the flags of a cell that asks about every path call: it may execute what has
// no stub.
var asked = []string{"--unveil", "{base}/executable:x"}

// places are those in which the same must happen.
func places(t *testing.T) []place {
	t.Helper()
	fixtures = rig.Fixture(t, "ratchet/tree/bin")
	return []place{
		{"outside", outside},
		{"native", inCell()},
		{"asked", inCell(asked...)},
	}
}

// try runs steps (see try/try.c) and returns what each said, with "killed" at the end
// if the last was.
func (s *stage) try(t *testing.T, c *exec.Cmd) []string {
	t.Helper()
	r := rig.Run(t, c)
	said := strings.FieldsFunc(r.Stdout, func(r rune) bool { return r == '\n' })
	killed := r.Code == sigsys
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		killed = ws.Signal() == syscall.SIGSYS
	}
	switch {
	case killed:
		said = append(said, "killed")
	case r.Code != 0:
		t.Errorf("%s: exit status %d: %s", strings.Join(c.Args, " "), r.Code, r.Stderr)
	}
	return said
}
