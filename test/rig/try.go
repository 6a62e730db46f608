package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// CellUser is whom the cells of TryStage run as when root starts them.
const CellUser = 61234

// TryStage is a root with the programs of test/ratchet installed, and a directory that
// cells are given: work/a and work/sub/b are files.
type TryStage struct {
	*Root
	Work     string
	programs string // where they are outside of any cell
}

// NewTryStage makes one, which is gone when t ends.
func NewTryStage(t *testing.T) *TryStage {
	t.Helper()
	s := &TryStage{Root: NewRoot(t), programs: Fixture(t, "ratchet/tree/bin")}
	base, err := filepath.EvalSymlinks(s.Base)
	if err != nil {
		t.Fatal(err)
	}
	s.Base, s.Work = base, base+"/work"
	npk, key := tryPackage(t)
	s.Must("install", "--trust", key, npk)
	s.Set(t)
	return s
}

var tryPacked struct {
	once     sync.Once
	npk, key string
	err      error
}

// tryPackage returns the package of the programs and who has signed it. Grafting takes
// longer than most tests: it is done once.
func tryPackage(t *testing.T) (npk, key string) {
	t.Helper()
	tryPacked.once.Do(func() {
		dir, err := sharedDir()
		if err != nil {
			tryPacked.err = err
			return
		}
		tryPacked.npk = filepath.Join(dir, "ratchet.npk")
		nip := func(args ...string) (string, error) {
			c := exec.Command(Nip(t), append(args, "--root", filepath.Join(dir, "maker"))...)
			out, err := c.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("nip %s: %w\n%s", strings.Join(args, " "), err, out)
			}
			return strings.TrimSpace(string(out)), err
		}
		if err := os.Mkdir(filepath.Join(dir, "maker"), 0o755); err != nil {
			tryPacked.err = err
			return
		}
		_, made := nip("graft", "-q", "dir:"+Fixture(t, "ratchet/tree"), "--name", "ratchet", "--version", "1.0", "--pledge", "STDIO,RPATH,WPATH,INET,UDP,EXEC",
			"--net", "any", "--net", "udp:any", "--net", "listen:any", "-o", tryPacked.npk)
		var known error
		tryPacked.key, known = nip("key", "show")
		tryPacked.err = errors.Join(made, known)
	})
	if tryPacked.err != nil {
		t.Fatal(tryPacked.err)
	}
	return tryPacked.npk, tryPacked.key
}

// Set lays out the directory as it is before an attempt.
func (s *TryStage) Set(t *testing.T) {
	t.Helper()
	if err := RemoveAll(s.Work); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	s.Write(s.Work+"/a", "contents\n", 0o644)
	s.Write(s.Work+"/sub/b", "contents\n", 0o644)
	s.Write(s.Base+"/executable/x", "", 0o755)
	s.Own(t, s.Work, s.Work+"/a", s.Work+"/sub", s.Work+"/sub/b")
}

// Own gives names to the user of the cells.
func (s *TryStage) Own(t *testing.T, names ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return // they are his already
	}
	for _, name := range names {
		if err := os.Lchown(name, CellUser, CellUser); err != nil {
			t.Fatal(err)
		}
	}
}

// InCell returns nip running a program of the package, given the work directory and
// what flags say.
func (s *TryStage) InCell(flags []string, program string, args ...string) *exec.Cmd {
	return s.InCellWith(append([]string{"--unveil", s.Work + ":rw"}, flags...), program, args...)
}

// InCellWith is InCell without the work directory. {base} in flags is the directory
// that holds it.
func (s *TryStage) InCellWith(flags []string, program string, args ...string) *exec.Cmd {
	line := []string{"run"}
	if os.Geteuid() == 0 {
		line = append(line, "--user", "61234:61234")
	}
	for _, f := range flags {
		line = append(line, strings.ReplaceAll(f, "{base}", s.Base))
	}
	return s.Command(append(append(line, "ratchet/"+program), args...)...)
}

// Outside returns the program in no cell at all.
func (s *TryStage) Outside(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.programs, program), args...)
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: CellUser, Gid: CellUser}}
	}
	return c
}

// Bin is the directory of the package's programs at a place, by a name that can be
// executed there.
func (s *TryStage) Bin(p TryPlace) string {
	if p.Name == "outside" {
		return s.programs
	}
	return s.Path("System/Views/ratchet/1.0/bin") // what PATH says
}

// Asked are the flags of a cell that asks about every path call: it may execute what has
// no stub.
var Asked = []string{"--unveil", "{base}/executable:x"}

// TryPlace is where a program runs.
type TryPlace struct {
	Name string
	Run  func(s *TryStage, program string, args ...string) *exec.Cmd
}

// TryPlaces are those in which the same must happen. Cells get flags, too.
func TryPlaces(flags ...string) []TryPlace {
	in := func(flags []string) func(*TryStage, string, ...string) *exec.Cmd {
		return func(s *TryStage, program string, args ...string) *exec.Cmd { return s.InCell(flags, program, args...) }
	}
	return []TryPlace{
		{"outside", (*TryStage).Outside},
		{"native", in(flags)},
		{"asked", in(slices.Concat(flags, Asked))},
	}
}

// Ends of a program beside its own exit status: a filter's, and a cell's after a fault.
const (
	sigsys  = 128 + int(syscall.SIGSYS)
	sigkill = 128 + int(syscall.SIGKILL)
)

// Try runs steps (see test/ratchet/try) and returns what each said, with "killed" at
// the end if the last was killed by a filter, and "fault" if by the cell.
func (s *TryStage) Try(t *testing.T, c *exec.Cmd) []string {
	t.Helper()
	r := Run(t, c)
	said := strings.FieldsFunc(r.Stdout, func(r rune) bool { return r == '\n' })
	killed := r.Code == sigsys
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		killed = ws.Signal() == syscall.SIGSYS
	}
	switch {
	case killed:
		said = append(said, "killed")
	case r.Code == sigkill:
		said = append(said, "fault")
	case r.Code != 0:
		t.Errorf("%s: exit status %d: %s", strings.Join(c.Args, " "), r.Code, r.Stderr)
	}
	return said
}
