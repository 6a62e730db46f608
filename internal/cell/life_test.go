package cell

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/ledger"
	"nipcells/internal/view/zone"
)

func TestExitStatus(t *testing.T) {
	s := newSite(t)
	text := filepath.Join(s.mkdir("x"), "text")
	if err := os.WriteFile(text, []byte("no program\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	see := []capability.Unveil{{Path: s.base + "/x", Rights: capability.Read | capability.Execute}}
	for _, tt := range []struct {
		name string
		spec spec
		want int
	}{
		{"0", spec{Args: []string{"exit", "0"}}, 0},
		{"its own", spec{Args: []string{"exit", "3"}}, 3},
		{"its own, above 127", spec{Args: []string{"exit", "255"}}, 255},
		{"SIGKILL", spec{Args: []string{"die", "9"}}, 137},
		{"SIGTERM", spec{Args: []string{"die", "15"}}, 143},
		{"a fault", spec{Args: []string{"fault"}}, 137},
		{"a fault, denied", spec{Args: []string{"fault"}, Deny: true}, 0},
		{"no program", spec{Path: s.base + "/x/none", Unveil: see}, 127},
		{"not executable", spec{Path: text, Unveil: see}, 126},
		{"not visible", spec{Path: text}, 126},
		{"no STDIO", spec{Args: []string{"exit", "0"}, Pledge: capability.Rpath}, 125},
		{"no directory", spec{Args: []string{"exit", "0"}, Cwd: s.base + "/none"}, 125},
		{"unseen directory", spec{Args: []string{"exit", "0"}, Cwd: s.base}, 125},
		{"no promise to execute", spec{Args: []string{"exit", "4"}, Pledge: capability.Stdio | capability.Rpath}, 4},
	} {
		status, r := s.run(tt.spec)
		if status != tt.want {
			t.Errorf("%s: status %d, want %d: %q", tt.name, status, tt.want, r.lines())
		}
	}
	s.clean("00000000")
}

// TestInput has somebody else's descriptors at standard input.
func TestInput(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct {
		input string
		want  int
		says  string
	}{
		{"directory", 125, "it is a directory"},
		{"path", 125, "it is a path descriptor"},
		{"datagram", 125, "it is a socket that can be aimed elsewhere"},
		{"unconnected", 125, "it is a socket that can be aimed elsewhere"},
		{"event", 125, "it is no file, pipe, device or socket"},
		{"stream", 0, ""},
		{"listening", 0, ""},
		{"closed", 0, ""},
		{"many", 0, ""},
	} {
		r, _ := s.launch(spec{Args: []string{"descriptors"}, Input: tt.input})
		open := ""
		if tt.want == 0 {
			open = r.line()
		}
		if status := r.wait(); status != tt.want || !strings.Contains(strings.Join(r.lines(), "\n"), tt.says) {
			t.Errorf("%s: status %d, want %d: %q", tt.input, status, tt.want, r.lines())
		}
		// The runtime of the program may have some of its own, but opens them closed on exec.
		want := "0 1 2"
		for fd := zone.PackageFD; fd <= zone.FD; fd++ {
			want += " " + strconv.Itoa(fd)
		}
		if tt.want == 0 && strings.TrimSpace(open) != want {
			t.Errorf("%s: the program has descriptors %s, want %s", tt.input, open, want)
		}
	}
}

// TestList looks at a running cell and at what is none.
func TestList(t *testing.T) {
	s := newSite(t)
	before := time.Now().Add(-time.Second)
	r := s.start(spec{Args: []string{"stay"}})
	r.line()
	id, err := strconv.ParseUint(r.fiber, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	// Not cells, and not to be taken for cells, least of all for this one.
	for _, name := range []string{"1234567", "123456789", "+1234567", "0x123456", "notahexn", "-0000001", strings.ToUpper(r.fiber), "ABCDEF12"} {
		if name != r.fiber {
			s.mkdir("root/Cell", name)
		}
	}
	if err := os.WriteFile(s.root.Cell("0000000f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := List(s.root)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	c := list[0]
	if c.Fiber != r.fiber || c.Package != "tool" || c.Version != "1" || c.Command != "tool" || c.Supervisor != r.cmd.Process.Pid || c.Dead || c.Started.Before(before) {
		t.Errorf("%+v", c)
	}
	until(t, "the program's number", func() bool {
		c, err := Find(s.root, "tool")
		return err == nil && c.First != 0
	})
	if c, err = Find(s.root, r.fiber); err != nil {
		t.Fatal(err)
	}
	if f, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.First)); err != nil || c.First == c.Supervisor {
		t.Errorf("first process %d: %s, %v", c.First, f, err)
	}
	if _, err := Find(s.root, "nonesuch"); !errors.Is(err, ErrNoCell) {
		t.Errorf("find nonesuch: %v", err)
	}
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{strings.ToUpper(r.fiber), "ABCDEF12"} {
		os.Chtimes(s.root.Cell(name), old, old)
	}
	if ended, err := Recover(s.root); err != nil || len(ended) != 0 {
		t.Errorf("recovered %v, %v", ended, err)
	}
	if marked(t, r.fiber) != 1 {
		t.Errorf("cell %08x was ended for another's name", id)
	}
	second := s.start(spec{Args: []string{"stay"}})
	if _, err := Find(s.root, "tool"); !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), second.fiber) {
		t.Errorf("find one of two: %v", err)
	}
	for _, r := range []*running{r, second} {
		c, err := Find(s.root, r.fiber)
		if err != nil {
			t.Fatal(err)
		}
		if killed, err := Stop(s.root, c, 10*time.Second); err != nil || killed {
			t.Errorf("stop: killed %t, %v", killed, err)
		}
		if status := r.wait(); status != 143 && status != -15 {
			t.Errorf("status %d", status)
		}
	}
	if list, err := List(s.root); err != nil || len(list) != 0 {
		t.Errorf("at the end: %v, %v", list, err)
	}
}

// TestGarbage has state files that no supervisor wrote.
func TestGarbage(t *testing.T) {
	s := newSite(t)
	for fiber, content := range map[string]string{
		"00000001": "", "00000002": "\x00\xff\n=\n==\nsupervisor=\n", "00000003": "supervisor=-1\nfirst=x\nstarted=never\n",
		"00000004": "supervisor=99999999999999999999\n", "00000005": "supervisor=" + strconv.Itoa(os.Getpid()) + "\npackage=tool\n",
	} {
		s.mkdir("root/Cell", fiber, "tmp")
		if err := os.WriteFile(s.root.Cell(fiber)+"/state", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A cell that has just begun has no state yet and is left alone; one that has
	// none for long is dead.
	s.mkdir("root/Cell/00000006")
	s.mkdir("root/Cell/00000007")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(s.root.Cell("00000007"), old, old); err != nil {
		t.Fatal(err)
	}
	list, err := List(s.root)
	if err != nil || len(list) != 6 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, c := range list {
		if !c.Dead {
			t.Errorf("%+v passes for alive", c)
		}
		// Stop must not signal whom a dead cell's state names: it may be us.
		if killed, err := Stop(s.root, c, time.Second); killed || err != nil && c.Supervisor > 0 && c.Fiber != "00000004" {
			t.Errorf("stop %s: %t, %v", c.Fiber, killed, err)
		}
	}
	if _, err := Recover(s.root); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(s.root.Cells())
	if err != nil || len(entries) != 1 || entries[0].Name() != "00000006" {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// TestFailedStartIsRecorded tries a program that is not there: the ledger says
// that it was tried and that it failed.
func TestFailedStartIsRecorded(t *testing.T) {
	s := newSite(t)
	if status, _ := s.run(spec{Path: s.base + "/none"}); status != 127 {
		t.Fatalf("status %d, want 127", status)
	}
	if got := kinds(t, s); !slices.Equal(got, []string{"start", "failed"}) {
		t.Errorf("records %v", got)
	}
}

// TestSupervisorKilled kills it while the cell is young and when it has a guard.
func TestSupervisorKilled(t *testing.T) {
	for name, words := range orphans {
		for _, grown := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, grown %t", name, grown), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				r := s.leave(words)
				if grown {
					until(t, "the guard", func() bool { return guards(t, r) == 1 })
				}
				r.cmd.Process.Kill()
				r.cmd.Wait()
				if !grown {
					// The next command cleans up, if there was no guard yet.
					until(t, "recovery", func() bool {
						if _, err := Recover(s.root); err != nil {
							t.Fatal(err)
						}
						list, err := List(s.root)
						return err == nil && len(list) == 0
					})
				}
				until(t, "the end of the cell", func() bool {
					_, err := os.Stat(s.root.Cell(r.fiber))
					return marked(t, r.fiber) == 0 && errors.Is(err, os.ErrNotExist)
				})
				until(t, "the record", func() bool { return slices.Contains(kinds(t, s), "orphan") })
				// One may have been started just before the kill, and writes its record, too.
				until(t, "the guard's end", func() bool { return guards(t, r) == 0 })
				s.clean(r.fiber)
			})
		}
	}
}

// guards counts the supervisor's guards.
func guards(t *testing.T, r *running) int {
	t.Helper()
	n := 0
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && strings.HasPrefix(string(line), "nip\x00supervisor-guard\x00") && strings.Contains(string(line), r.fiber) {
			n++
		}
	}
	return n
}

func kinds(t *testing.T, s *site) (list []string) {
	t.Helper()
	err := ledger.Open(s.root.Ledger()).Read(func(r ledger.Record) error {
		list = append(list, r.Kind)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestGuardIsKilled has the guard die, then the cell end: nobody else may be
// killed in its place, and the cell ends as ever.
func TestGuardIsKilled(t *testing.T) {
	s := newSite(t)
	r := s.leave([]string{"stay"})
	until(t, "the guard", func() bool { return guards(t, r) == 1 })
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && strings.HasPrefix(string(line), "nip\x00supervisor-guard\x00") && strings.Contains(string(line), r.fiber) {
			pid, _ := strconv.Atoi(e.Name())
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	until(t, "the end of the guard", func() bool { return guards(t, r) == 0 })
	r.stdin.Close()
	if status := r.wait(); status != 7 {
		t.Errorf("status %d: %q", status, r.lines())
	}
	s.clean(r.fiber)
	if got := kinds(t, s); !slices.Equal(got, []string{"start", "exit"}) {
		t.Errorf("ledger: %q", got)
	}
}

// TestStopHanging stops a cell whose supervisor does not answer.
func TestStopHanging(t *testing.T) {
	s := newSite(t)
	r := s.leave([]string{"stay"})
	r.cmd.Process.Signal(unix.SIGSTOP)
	c, err := Find(s.root, r.fiber)
	if err != nil {
		t.Fatal(err)
	}
	killed, err := Stop(s.root, c, 50*time.Millisecond)
	if err != nil || !killed {
		t.Errorf("killed %t, %v", killed, err)
	}
	r.cmd.Wait()
	s.clean(r.fiber)
}

// TestSignals forwards what the supervisor gets.
func TestSignals(t *testing.T) {
	s := newSite(t)
	r := s.start(spec{Args: []string{"stay"}})
	r.line()
	until(t, "the guard", func() bool { return guards(t, r) == 1 }) // signals are forwarded by then
	r.cmd.Process.Signal(unix.SIGTERM)
	if status := r.wait(); status != 143 {
		t.Errorf("status %d, want 143", status)
	}
	s.clean(r.fiber)
}

// TestLeftBehindInTmp: what a program leaves in its private directory goes,
// whatever its modes, and symlinks are not followed.
func TestRemoveCell(t *testing.T) {
	s := newSite(t)
	keep := s.mkdir("keep")
	if err := os.WriteFile(keep+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := s.mkdir("root/Cell/0000000a")
	s.mkdir("root/Cell/0000000a/tmp/closed/deep")
	s.symlink(keep, "root/Cell/0000000a/tmp/link")
	s.symlink(keep, "root/Cell/0000000a/run")
	if err := os.Chmod(dir+"/tmp/closed", 0); err != nil {
		t.Fatal(err)
	}
	if err := removeCell(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cell's directory: %v", err)
	}
	if _, err := os.Stat(keep + "/file"); err != nil {
		t.Error(err)
	}
	if err := removeCell(dir); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

// TestFaultFlood has a cell do nothing but what it may not.
func TestFaultFlood(t *testing.T) {
	s := newSite(t)
	const n = 2000
	status, r := s.run(spec{Args: []string{"faults", strconv.Itoa(n)}, Deny: true})
	if status != 0 {
		t.Fatalf("status %d: %q", status, r.lines())
	}
	if got := len(r.lines()); got < faultBurst || got > faultBurst+5 {
		t.Errorf("%d faults gave %d lines", n, got)
	}
	got := slices.Sorted(slices.Values(kinds(t, s)))
	if at := slices.Index(got, "fault"); len(got) > faultBurst+7 || at < 0 {
		t.Errorf("%d faults gave %d records", n, len(got))
	}
}

func TestFaultsTold(t *testing.T) {
	var f faults
	now := time.Now()
	for i := range faultBurst {
		if untold, ok := f.tell(now); !ok || untold != 0 {
			t.Fatalf("fault %d: told %t, %d before it were not", i, ok, untold)
		}
	}
	for range 7 {
		if _, ok := f.tell(now.Add(faultPause - 1)); ok {
			t.Fatal("told beyond the burst")
		}
	}
	if untold, ok := f.tell(now.Add(faultPause)); !ok || untold != 7 {
		t.Errorf("after a pause: told %t, %d before it were not, want 7", ok, untold)
	}
}

// TestManyDescriptors has the caller leave so many open that the next number is
// the package's: nothing of the supervisor's may be there.
func TestManyDescriptors(t *testing.T) {
	s := newSite(t)
	for _, input := range []string{"up to 37", "up to 38", "up to 39", "up to 40"} {
		r := s.start(spec{Args: []string{"stay"}, Input: input})
		r.line()
		c, err := Find(s.root, r.fiber)
		if err != nil {
			t.Errorf("%s: %v", input, err)
		}
		c.Fiber, c.Supervisor = r.fiber, r.cmd.Process.Pid
		r.cmd.Process.Signal(unix.SIGSTOP)
		if _, err := Stop(s.root, c, 10*time.Millisecond); err != nil {
			t.Errorf("%s: %v", input, err)
		}
		r.cmd.Process.Kill()
		r.wait()
		s.clean(r.fiber)
	}
}
