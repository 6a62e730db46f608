package wall

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// The test binary is also the program behind the wall: helperVariable says what
// it does there. It tells the test through files in its scratch directory, as
// its standard output is the test's.
const helperVariable = "WALL_TEST_HELPER"

func TestMain(m *testing.M) {
	if line := os.Getenv(helperVariable); line != "" {
		words := strings.Split(line, "\n")
		os.Exit(helper(words[0], words[1:]))
	}
	os.Exit(m.Run())
}

// Exit statuses of the helper.
const (
	helperDone    = 40
	helperRefused = 41
	helperOther   = 42
)

// outcome says whether a deed was done or refused by the wall.
func outcome(err error) int {
	switch err {
	case nil:
		return helperDone
	case unix.EACCES, unix.EPERM:
		return helperRefused
	}
	return helperOther
}

func helper(what string, args []string) int {
	switch what {
	case "done":
		return helperDone
	case "read":
		fd, err := unix.Open(args[0], unix.O_RDONLY, 0)
		if err == nil {
			unix.Close(fd)
		}
		return outcome(err)
	case "write":
		fd, err := unix.Open(args[0], unix.O_WRONLY, 0)
		if err == nil {
			unix.Close(fd)
		}
		return outcome(err)
	case "create":
		fd, err := unix.Open(args[0], unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		return outcome(err)
	case "truncate":
		return outcome(unix.Truncate(args[0], 0))
	case "remove":
		return outcome(unix.Unlink(args[0]))
	case "rename":
		return outcome(unix.Rename(args[0], args[1]))
	case "link":
		return outcome(unix.Link(args[0], args[1]))
	case "execute":
		return outcome(unix.Exec(args[0], args, []string{helperVariable + "=done"}))
	case "kill":
		pid, err := strconv.Atoi(args[0])
		if err != nil {
			return helperOther
		}
		return outcome(unix.Kill(pid, 0))
	case "call": // call NUMBER: must return the errno that follows
		nr, _ := strconv.Atoi(args[0])
		var a [6]uintptr
		for i, s := range args[2:] {
			n, _ := strconv.ParseUint(s, 0, 64)
			a[i] = uintptr(n)
		}
		_, _, errno := unix.RawSyscall6(uintptr(nr), a[0], a[1], a[2], a[3], a[4], a[5])
		if strconv.Itoa(int(errno)) == args[1] {
			return helperDone
		}
		return 100 + int(errno)%100
	case "descriptors": // the numbers above 2 that are open
		var open []string
		for fd := 3; fd < 1024; fd++ {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				open = append(open, strconv.Itoa(fd))
			}
		}
		return tell(args[0], strings.Join(open, " "))
	}
	return helperOther
}

func tell(path, text string) int {
	if os.WriteFile(path, []byte(text), 0o600) != nil {
		return helperOther
	}
	return helperDone
}

// everything is a pledge with which the helper, a Go program, can live.
const everything = capability.AllPledges

// stage is a directory tree for one wall: scratch is the program's own.
type stage struct {
	t                *testing.T
	scratch, outside string
	rules            []Rule
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{t: t, scratch: filepath.Join(dir, "scratch"), outside: filepath.Join(dir, "outside")}
	for _, d := range []string{s.scratch, s.outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, "file"), []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.rules = []Rule{{Path: s.scratch, Access: Scratch}, {Path: self, Access: Package}}
	return s
}

// identity is the caller's, as package cell chooses it.
func identity() Identity {
	return Identity{UID: os.Geteuid(), GID: os.Getegid(), Change: os.Geteuid() == 0}
}

// spawner makes a Spawner for a program behind the stage's rules. The ruleset
// is closed when the test ends.
func (s *stage) spawner(pledge capability.Pledge, path string, args ...string) *Spawner {
	s.t.Helper()
	abi, err := LandlockABI()
	if err != nil {
		s.t.Fatal(err)
	}
	ruleset, err := NewRuleset(s.rules, Network{Open: pledge.Has(capability.Inet)}, abi)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { unix.Close(ruleset) })
	return &Spawner{
		Confinement: Confinement{Identity: identity(), Ruleset: ruleset}, Filter: Compile(Host(), pledge, Bare).Bytes(),
		Path: path, Args: append([]string{path}, args...), Dir: s.scratch,
	}
}

// helper is a spawner of the test binary that does one thing.
func (s *stage) helper(pledge capability.Pledge, words ...string) *Spawner {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	sp := s.spawner(pledge, self)
	sp.Env = []string{helperVariable + "=" + strings.Join(words, "\n")}
	return sp
}

// run starts the program and returns how it ended.
func run(t *testing.T, s *Spawner) unix.WaitStatus {
	t.Helper()
	c, err := s.Spawn()
	if err != nil {
		t.Fatal(err)
	}
	defer release(c)
	return wait(t, c)
}

func wait(t *testing.T, c *Child) unix.WaitStatus {
	t.Helper()
	var ws unix.WaitStatus
	for {
		pid, err := unix.Wait4(c.PID, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid != c.PID {
			t.Fatalf("wait for %d: %d, %v", c.PID, pid, err)
		}
		return ws
	}
}

func release(c *Child) {
	unix.Close(c.PIDFD)
	unix.Close(c.Listener)
}
