package cell

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/plan"
	"nipcells/internal/wall"
)

// The test binary is supervisor, guard and program of the cells under test.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "supervise":
			os.Exit(supervise(os.Args[2]))
		case "supervisor-guard":
			os.Exit(guardMain(os.Args[2:]))
		case "in-cell":
			os.Exit(program(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// spec is what a test's supervisor is to do.
type spec struct {
	Root    string
	Path    string // of the program; empty: this test binary
	Args    []string
	Pledge  capability.Pledge
	Deny    bool
	Cwd     string
	Env     []string
	PlanEnv []string
	Given   []capability.Unveil // by the package
	Unveil  []capability.Unveil // by the person
	Input   string              // what standard input is; see place
}

// place makes standard input what the test wants.
func (s *spec) place() error {
	fd := -1
	var err error
	switch s.Input {
	case "":
		return nil
	case "closed":
		return unix.Close(0)
	case "directory":
		fd, err = unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	case "path":
		fd, err = unix.Open("/etc/hostname", unix.O_PATH, 0)
	case "datagram", "stream":
		kind := map[string]int{"datagram": unix.SOCK_DGRAM, "stream": unix.SOCK_STREAM}[s.Input]
		var pair [2]int
		pair, err = unix.Socketpair(unix.AF_UNIX, kind, 0)
		fd = pair[0]
	case "unconnected":
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	case "listening":
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err == nil {
			err = unix.Listen(fd, 1)
		}
	case "event":
		fd, err = unix.Eventfd(0, 0)
	case "many": // descriptors that a careless caller has left open, up to 60
		for fd = 0; fd < 60 && err == nil; {
			fd, err = unix.Open("/dev/null", unix.O_RDWR, 0)
		}
	default: // the same, up to a number
		last := 0
		if _, err = fmt.Sscanf(s.Input, "up to %d", &last); err == nil {
			for fd = 0; fd < last && err == nil; {
				fd, err = unix.Open("/dev/null", unix.O_RDWR, 0)
			}
		}
	}
	if err != nil {
		return err
	}
	return unix.Dup3(fd, 0, 0)
}

func supervise(text string) int {
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	o, err := s.options()
	if err == nil {
		err = s.place()
	}
	status := 0
	if err == nil {
		status, err = Run(*o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return ExitStatus(err)
	}
	return status
}

func (s *spec) options() (*Options, error) {
	root, err := hier.Open(s.Root)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path, argv := s.Path, []string{s.Path}
	if path == "" {
		path, argv = self, []string{"program", "in-cell"}
	}
	p := &plan.Plan{
		Package: "tool", Version: "1", Title: "Tool", Root: s.Root, View: s.Root, Prefix: s.Root, Data: root.AppData("tool"),
		Pledge: s.Pledge, Ceiling: capability.AllPledges, Unveil: s.Given, Filter: string(wall.Compile(wall.Host(), s.Pledge, wall.Bare).Bytes()),
		Env: s.PlanEnv, Commands: []plan.Command{{Name: "tool", Path: path, Args: argv}},
		Rules: []plan.Rule{{Path: self, Access: uint64(wall.Package)}, {Path: "/dev/null", Access: uint64(wall.Device)}},
	}
	return &Options{
		Root: root, Plan: p, Args: s.Args, Unveil: s.Unveil, Env: s.Env, Cwd: s.Cwd, Deny: s.Deny,
		Report:  func(line string) { fmt.Fprintln(os.Stderr, "report:", line) },
		Started: func(fiber string) { fmt.Fprintln(os.Stderr, "started:", fiber) },
		Guard:   []string{"nip", "supervisor-guard"},
	}, nil
}

func guardMain(args []string) int {
	root, err := hier.Open(args[0])
	if err != nil {
		return 1
	}
	supervisor, err := strconv.Atoi(args[2])
	if err != nil || Guard(root, args[1], supervisor, args[3:]...) != nil {
		return 1
	}
	return 0
}

// site is a root with cells in it.
type site struct {
	t    *testing.T
	base string // outside the root
	root *hier.Root
	name string // of the root, for the supervisor; empty: its own
}

func newSite(t *testing.T) *site {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := hier.Create(filepath.Join(base, "root"))
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, base: base, root: root}
}

// running is a cell under test.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	fiber  string
	stdin  io.WriteCloser
	stdout *bufio.Reader
	mu     sync.Mutex
	said   []string      // by the supervisor, on standard error
	silent chan struct{} // closed when standard error is
}

// start starts a cell and returns when its program has been executed.
func (s *site) start(sp spec) *running {
	s.t.Helper()
	r, started := s.launch(sp)
	select {
	case r.fiber = <-started:
	case <-time.After(time.Minute):
	}
	if r.fiber == "" {
		r.cmd.Process.Kill()
		r.cmd.Wait()
		s.t.Fatalf("the cell did not start: %q", r.lines())
	}
	return r
}

// launch starts a supervisor.
func (s *site) launch(sp spec) (*running, <-chan string) {
	s.t.Helper()
	if sp.Root = s.name; s.name == "" {
		sp.Root = s.root.Path()
	}
	if sp.Pledge == 0 {
		sp.Pledge = capability.AllPledges
	}
	text, err := json.Marshal(sp)
	if err != nil {
		s.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	r := &running{t: s.t, cmd: exec.Command(self, "supervise", string(text)), silent: make(chan struct{})}
	r.cmd.Dir = s.base
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	r.stdout = bufio.NewReader(stdout)
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { r.cmd.Process.Kill() })
	started := make(chan string, 1)
	go r.listen(stderr, started)
	return r, started
}

func (r *running) listen(stderr io.Reader, started chan<- string) {
	defer close(r.silent)
	defer close(started)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if fiber, ok := strings.CutPrefix(lines.Text(), "started: "); ok {
			started <- fiber
			continue
		}
		r.mu.Lock()
		r.said = append(r.said, lines.Text())
		r.mu.Unlock()
	}
}

func (r *running) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.said...)
}

// line returns the program's next line of output.
func (r *running) line() string {
	r.t.Helper()
	text, err := r.stdout.ReadString('\n')
	if err != nil {
		r.t.Fatalf("read the program's output: %q, %v; supervisor: %q", text, err, r.lines())
	}
	return strings.TrimSuffix(text, "\n")
}

// wait returns the supervisor's exit status; it fails the test if the
// supervisor takes longer than patience.
func (r *running) wait() int {
	r.t.Helper()
	const patience = 20 * time.Second
	watchdog := time.AfterFunc(patience, func() {
		r.cmd.Process.Kill()
		if id, err := strconv.ParseUint(r.fiber, 16, 32); err == nil {
			killEverything(uint32(id))
		}
	})
	defer watchdog.Stop()
	<-r.silent
	io.Copy(io.Discard, r.stdout)
	err := r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	if ws := r.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return -int(ws.Signal())
	}
	return r.cmd.ProcessState.ExitCode()
}

// run runs a cell to its end.
func (s *site) run(sp spec) (status int, r *running) {
	s.t.Helper()
	r, _ = s.launch(sp)
	return r.wait(), r
}

// marked counts the processes that carry a cell's mark and are not dead.
func marked(t *testing.T, fiber string) int {
	t.Helper()
	id, err := strconv.ParseUint(fiber, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f, ok := wall.MarkOf(pid); !ok || f != uint32(id) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if dead, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); dead == 0 {
			n++
		}
		unix.Close(fd)
	}
	return n
}

// clean fails the test if anything of a cell is left.
func (s *site) clean(fiber string) {
	s.t.Helper()
	if n := marked(s.t, fiber); n != 0 {
		id, _ := strconv.ParseUint(fiber, 16, 32)
		killEverything(uint32(id))
		s.t.Errorf("%d processes of cell %s are left", n, fiber)
	}
	entries, err := os.ReadDir(s.root.Cells())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".spare" {
			s.t.Errorf("Cell/%s is left", e.Name())
		}
	}
	for _, dir := range []string{"tmp", "run"} { // the next cell's must be as new
		if left, _ := os.ReadDir(s.root.Cells() + "/.spare/" + dir); len(left) != 0 {
			s.t.Errorf("%s is left for the next cell", left[0].Name())
		}
	}
}

// killEverything kills what carries a mark, whatever the code under test thinks.
func killEverything(id uint32) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if f, ok := wall.MarkOf(pid); ok && f == id {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// until waits for a condition that other processes bring about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
