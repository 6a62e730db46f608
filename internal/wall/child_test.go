package wall

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

func executable(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

func itoa(n int) string { return strconv.Itoa(n) }

// sleeper is a program of the host's own that says when it runs, so that it can
// be looked at from outside, and waits.
func sleeper(t *testing.T) (*Child, map[string]string) {
	t.Helper()
	s := newStage(t)
	s.rules = append(s.rules, Rule{Path: "/", Access: Package})
	ready, end := s.scratch+"/ready", s.scratch+"/end"
	for _, p := range []string{ready, end} {
		if err := unix.Mkfifo(p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sp := s.spawner(everything, "/bin/sh", "-c", `echo > "$1"; read x < "$2"`, "sh", ready, end)
	mark := Mark(0x12345678)
	sp.Mark = &mark
	c, err := sp.Spawn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Kill(c.PID, unix.SIGKILL)
		wait(t, c)
		release(c)
	})
	if _, err := os.ReadFile(ready); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID))
	if err != nil {
		t.Fatal(err)
	}
	status := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.Join(strings.Fields(value), " ")
	}
	return c, status
}

// TestCredentials looks at a child from outside.
func TestCredentials(t *testing.T) {
	c, status := sleeper(t)
	uid, gid := itoa(os.Geteuid()), itoa(os.Getegid())
	none := "0000000000000000"
	want := map[string]string{
		"Uid": strings.Join([]string{uid, uid, uid, uid}, " "), "Gid": strings.Join([]string{gid, gid, gid, gid}, " "),
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapAmb": none, "NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "1",
		"SigBlk": none, "PPid": itoa(os.Getpid()),
	}
	if os.Geteuid() == 0 {
		want["CapBnd"], want["Groups"] = none, ""
	}
	for name, value := range want {
		if status[name] != value {
			t.Errorf("%s: %q, want %q", name, status[name], value)
		}
	}
	if fiber, ok := MarkOf(c.PID); !ok || fiber != 0x12345678 {
		t.Errorf("mark %08x, %t", fiber, ok)
	}
	if fiber, ok := OwnMark(); ok {
		t.Errorf("the parent carries mark %08x", fiber)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", c.PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(limits) {
		if f := strings.Fields(string(line)); strings.HasPrefix(string(line), "Max core file size") && (f[4] != "0" || f[5] != "0") {
			t.Errorf("%s", line)
		}
	}
}

// TestOpenFiles: the child has the caller's limit and none of our descriptors.
func TestOpenFiles(t *testing.T) {
	for range 20 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	// What the caller left open is package cell's to close.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	out := s.scratch + "/out"
	if ws := run(t, s.helper(everything, "descriptors", out)); ws.ExitStatus() != helperDone {
		t.Fatalf("%#x", ws)
	}
	if text, err := os.ReadFile(out); err != nil || len(text) != 0 {
		t.Errorf("the child has descriptors %q, %v", text, err)
	}
	// A Go program raises its own soft limit: look at one of the host's.
	c, _ := sleeper(t)
	var got unix.Rlimit
	if err := unix.Prlimit(c.PID, unix.RLIMIT_NOFILE, nil, &got); err != nil {
		t.Fatal(err)
	}
	own, err := exec.Command("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn").Output() // package os restores the limit, too
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.ReplaceAll(string(own), "unlimited", fmt.Sprint(uint64(unix.RLIM_INFINITY))); fmt.Sprintf("%d\n%d\n", got.Cur, got.Max) != want {
		t.Errorf("limit %v, the caller's is %q", got, own)
	}
}

// TestManySpawns starts programs from many threads while the collector runs and
// stacks move: the child uses the memory of its parent for a moment.
func TestManySpawns(t *testing.T) {
	s := newStage(t)
	end := make(chan struct{})
	var collector, starters sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				runtime.GC()
			}
		}
	})
	var spawners []*Spawner
	for range 8 {
		spawners = append(spawners, s.helper(everything, "write", s.scratch+"/file"))
	}
	for _, sp := range spawners {
		starters.Go(func() {
			for i := range 12 {
				if deep(i%5*40, sp) != helperDone {
					t.Error("a program did not do its work")
				}
			}
		})
	}
	starters.Wait()
	close(end)
	collector.Wait()
}

// deep starts sp from a stack of some depth and returns its exit status.
func deep(depth int, sp *Spawner) int {
	var b [512]byte
	if depth > 0 {
		b[depth] = 1
		return deep(depth-1, sp) + int(b[0])
	}
	c, err := sp.Spawn()
	if err != nil {
		return -1
	}
	defer release(c)
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(c.PID, &ws, 0, nil); err != unix.EINTR {
			return ws.ExitStatus()
		}
	}
}

// TestFilterForReal makes a few calls behind filters that the kernel runs.
func TestFilterForReal(t *testing.T) {
	none := capability.Stdio | capability.Rpath | capability.Wpath | capability.Exec
	for _, tt := range []struct {
		call  string
		errno unix.Errno
		args  []string
	}{
		{"clone3", unix.ENOSYS, nil},
		{"unshare", unix.EPERM, []string{"0x10000000"}},
		{"socket", unix.EAFNOSUPPORT, []string{"1", "1", "0"}},
		{"ioctl", unix.EPERM, []string{"0", "0xdead00005412", "0"}},
		{"prctl", 0, []string{"4", "0"}},
		{"ptrace", unix.EPERM, []string{"0"}},
		{"io_uring_setup", unix.ENOSYS, []string{"1", "0"}},
		{"prlimit64", unix.EPERM, []string{"0", "12", "1"}},
		{"personality", unix.EPERM, []string{"0x40000"}},
		{"personality", 0, []string{"0xffffffff"}},
	} {
		s := newStage(t)
		nr, ok := Host().Number(tt.call)
		if !ok {
			t.Fatalf("no call %s", tt.call)
		}
		words := append([]string{"call", itoa(int(nr)), itoa(int(tt.errno))}, tt.args...)
		if got := run(t, s.helper(none, words...)).ExitStatus(); got != helperDone {
			t.Errorf("%s %v: %d, want errno %d", tt.call, tt.args, got, tt.errno)
		}
	}
}

// TestWithoutListener: when nobody listens any more, what is asked is refused as
// if there were no such call, and nothing more is allowed.
func TestWithoutListener(t *testing.T) {
	for _, call := range []string{"flock", "mount", "reboot", "inotify_add_watch"} {
		s := newStage(t)
		nr, ok := Host().Number(call)
		if !ok {
			t.Fatalf("no call %s", call)
		}
		c, err := s.helper(everything, "call", itoa(int(nr)), itoa(int(unix.ENOSYS))).Spawn()
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(c.Listener)
		if got := wait(t, c).ExitStatus(); got != helperDone {
			t.Errorf("%s: %d, want ENOSYS", call, got)
		}
		unix.Close(c.PIDFD)
	}
}

func TestMarkRoundTrip(t *testing.T) {
	for _, fiber := range []uint32{0, 1, 0xffff, 0x10000, 0xffff0000, 0x80000000, 0xffffffff, 0x12345678} {
		l := Mark(fiber)
		if got, ok := FiberOf(l); !ok || got != fiber {
			t.Errorf("%08x comes back as %08x, %t", fiber, got, ok)
		}
		if l.Cur > l.Max || l.Max > 819200 {
			t.Errorf("%08x: limits %v cannot be set", fiber, l)
		}
	}
	for _, l := range []unix.Rlimit{
		{}, {Cur: 819200, Max: 819200}, {Cur: markSoft - 1, Max: markHard}, {Cur: markSoft, Max: markHard - 1},
		{Cur: markSoft + 1<<16, Max: markHard}, {Cur: markSoft, Max: markHard + 1<<16}, {Cur: ^uint64(0), Max: ^uint64(0)}, {Max: markHard},
	} {
		if fiber, ok := FiberOf(l); ok {
			t.Errorf("%v passes for the mark of %08x", l, fiber)
		}
	}
}
