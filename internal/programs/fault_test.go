package programs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"nipcells/internal/hier"
	"nipcells/internal/npk"
	"nipcells/internal/store"
)

// The fault tests run a change in a child process, the test binary itself, that
// kills itself with SIGKILL at the n-th step of the change, for every n.

// TestMain runs the child's part if the arguments say so.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "die-at-step" {
		dieAtStep(os.Args[2], os.Args[3], os.Args[4])
	}
	os.Exit(m.Run())
}

// dieAtStep does a change below the root at path and kills the process at a
// step. It exits with 0 if the change has fewer steps.
func dieAtStep(what, path, step string) {
	n, err := strconv.Atoi(step)
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	check(err)
	root, err := hier.Create(path)
	check(err)
	opt := Options{Trust: trustAll, step: func(string) {
		if n--; n < 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}}
	ctx := context.Background()
	switch verb, file, _ := strings.Cut(what, ":"); verb {
	case "install":
		f, err := os.Open(file)
		check(err)
		_, err = Install(ctx, root, f, opt)
		check(err)
	case "install-on-full-disk": // every file ends at 300 KB, as if the disk were full there
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 300 << 10, Max: 300 << 10}
		check(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
		f, err := os.Open(file)
		check(err)
		_, err = Install(ctx, root, f, opt)
		if !errors.Is(err, syscall.EFBIG) {
			check(fmt.Errorf("a full disk gives %v", err))
		}
	case "accept-install":
		opt.Accept = true
		f, err := os.Open(file)
		check(err)
		_, err = Install(ctx, root, f, opt)
		check(err)
	case "accept":
		_, err = Accept(ctx, root, "tool", "", opt)
		check(err)
	case "rollback":
		_, err = Rollback(ctx, root, "tool", "", opt)
		check(err)
	case "remove":
		_, err = Remove(ctx, root, "tool", RemoveOptions{Options: opt, Version: file, Purge: true})
		check(err)
	default:
		check(errors.New("no such change"))
	}
	os.Exit(0)
}

// runChild runs a change that dies at step n; died is false if it came to its end.
func runChild(t *testing.T, what string, root *hier.Root, n int) (died bool) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "die-at-step", what, root.Path(), strconv.Itoa(n))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%s at step %d: %v\n%s", what, n, err, out)
	}
	return true
}

// state is what a person sees of the package "tool": its versions, the active
// one, and that its files can be used.
func state(t *testing.T, root *hier.Root) string {
	t.Helper()
	versions, err := Versions(root, "tool")
	if err != nil {
		t.Fatal(err)
	}
	active, held := "", ""
	for _, v := range versions {
		p, err := Info(root, "tool", v)
		if err != nil {
			t.Fatal(err)
		}
		if p.Current {
			active = v
		}
		if p.Held {
			held += " held " + v
		}
		for _, dir := range []string{root.Program("Tool", v), root.View("Tool", v)} {
			if b, err := os.ReadFile(dir + "/share/v"); err != nil || string(b) != v {
				t.Errorf("%s/share/v of an installed version: %q, %v", dir, b, err)
			}
		}
	}
	return fmt.Sprintf("%v active %s%s", versions, active, held)
}

func packFile(t *testing.T, p pkg) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), p.version+".npk")
	if err := os.WriteFile(path, p.pack(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKilledAtEveryStep(t *testing.T) {
	one, two := packFile(t, tool("1.0")), packFile(t, tool("2.0"))
	greedy := packFile(t, greedyTool("3.0"))
	prepare := func(files ...string) func(*testing.T, *hier.Root) {
		return func(t *testing.T, root *hier.Root) {
			for _, name := range files {
				f, err := os.Open(name)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := Install(context.Background(), root, f, Options{Trust: trustAll}); err != nil {
					t.Fatal(err)
				}
			}
			if err := root.Make("Data/apps/tool/home"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name, what string
		before     func(*testing.T, *hier.Root)
		states     []string // that anybody may see, also before Recover
		leastSteps int
	}{
		{"first install", "install:" + one, prepare(), []string{"[] active ", "[1.0] active ", "[1.0] active 1.0"}, 15},
		{"update", "install:" + two, prepare(one), []string{"[1.0] active 1.0", "[1.0 2.0] active 1.0", "[1.0 2.0] active 2.0"}, 15},
		{"rollback", "rollback", prepare(one, two), []string{"[1.0 2.0] active 2.0", "[1.0 2.0] active 1.0"}, 4},
		{"held", "install:" + greedy, prepare(one), []string{"[1.0] active 1.0", "[1.0 3.0] active 1.0 held 3.0"}, 15},
		{"accept", "accept", prepare(one, greedy), []string{"[1.0 3.0] active 1.0 held 3.0", "[1.0 3.0] active 1.0", "[1.0 3.0] active 3.0"}, 5},
		{"accept at once", "accept-install:" + greedy, prepare(one),
			[]string{"[1.0] active 1.0", "[1.0 3.0] active 1.0 held 3.0", "[1.0 3.0] active 1.0", "[1.0 3.0] active 3.0"}, 15},
		{"remove held", "remove:3.0", prepare(one, greedy), []string{"[1.0 3.0] active 1.0 held 3.0", "[1.0] active 1.0"}, 8},
		{"remove one", "remove:2.0", prepare(one, two), []string{"[1.0 2.0] active 2.0", "[1.0] active ", "[1.0] active 1.0"}, 8},
		{"remove all", "remove:", prepare(one, two), []string{"[1.0 2.0] active 2.0", "[] active "}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			steps := 0
			for n := 0; ; n++ {
				root := testRoot(t)
				c.before(t, root)
				died := runChild(t, c.what, root, n)
				checkAfterDeath(t, root, c.states, fmt.Sprintf("%s, step %d", c.name, n))
				if t.Failed() {
					t.FailNow()
				}
				if !died {
					break
				}
				steps++
			}
			if steps < c.leastSteps {
				t.Errorf("only %d steps", steps)
			}
		})
	}
}

// checkAfterDeath looks at a root as the next person would: at once, after
// Recover, and through verify; then it removes everything.
func checkAfterDeath(t *testing.T, root *hier.Root, states []string, where string) {
	t.Helper()
	if now := state(t, root); !slices.Contains(states, now) {
		t.Errorf("%s: %s, want one of %q", where, now, states)
	}
	if err := Recover(root); err != nil {
		t.Errorf("%s: recover: %v", where, err)
	}
	settled := []string{states[0], states[len(states)-1]}
	if now := state(t, root); !slices.Contains(settled, now) {
		t.Errorf("%s: after recover %s, want one of %q", where, now, settled)
	}
	if _, err := Verify(context.Background(), root, func(p Problem) { t.Errorf("%s: verify: %s", where, p) }); err != nil {
		t.Errorf("%s: verify: %v", where, err)
	}
	if left := mustList(t, root.Staging()); len(left) > 0 {
		t.Errorf("%s: staging holds %v", where, left)
	}
	used, err := usedBlobs(root, "")
	if err != nil {
		t.Fatal(err)
	}
	err = store.Open(root).Each(func(path string, n store.Name) error {
		if !used[n] {
			t.Errorf("%s: blob %s is of no use", where, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Remove(context.Background(), root, "tool", RemoveOptions{Purge: true}); err != nil && !errors.Is(err, ErrNotInstalled) {
		t.Errorf("%s: remove afterwards: %v", where, err)
	}
}

func mustList(t *testing.T, dir string) []string {
	t.Helper()
	names, err := dirNames(dir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A disk that is full in the middle of a file leaves the old state, at once.
func TestFullDisk(t *testing.T) {
	root := testRoot(t)
	install(t, root, tool("1.0"))
	before := snapshot(t, root)
	two := tool("2.0")
	two.files["share/more"] = big(7, 500<<10)
	if runChild(t, "install-on-full-disk:"+packFile(t, two), root, 1<<30) {
		t.Fatal("died")
	}
	sameNames(t, before, snapshot(t, root))
	verifyClean(t, root)
}

// A package that cannot fit is refused before anything is written.
func TestNoSpace(t *testing.T) {
	root := testRoot(t)
	r, err := npk.Open(bytes.NewReader(tool("1.0").pack(t)))
	if err != nil {
		t.Fatal(err)
	}
	v, err := planView(root, r.Head(), nil)
	if err != nil {
		t.Fatal(err)
	}
	u := newUnpacker(root, r.Head(), v)
	if err := u.checkSpace(); err != nil {
		t.Errorf("a small package: %v", err)
	}
	u.contents[0].size = 1 << 60
	if err := u.checkSpace(); !errors.Is(err, ErrSpace) || !strings.Contains(err.Error(), root.Path()+" has ") {
		t.Errorf("an exabyte: %v", err)
	}
}

// A change that is running is no crashed one.
func TestRecoverLeavesRunningChangesAlone(t *testing.T) {
	root := testRoot(t)
	data := tool("1.0").pack(t)
	_, err := Install(context.Background(), root, bytes.NewReader(data), Options{Trust: trustAll, step: func(s string) {
		if s == "commit" || s == "view" {
			if err := Recover(root); err != nil {
				t.Errorf("recover at %s: %v", s, err)
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	verifyClean(t, root)
}
