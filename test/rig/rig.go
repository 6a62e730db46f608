// Package rig is what the end-to-end tests stand on: the nip under test, the
// static programs that go into packages, roots of their own, and looks at
// processes from outside. Nothing in it knows how nip works inside.
package rig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Environment of a run that test/run.sh prepares; without it everything is made on first use.
const (
	nipVar      = "NIP"               // the nip to test
	fixturesVar = "NIP_TEST_FIXTURES" // directory of test/fixtures.sh
)

var shared struct {
	once     sync.Once
	dir      string // removed by Main
	nip      string
	fixtures string
	err      error
}

// Main runs the tests of a package and removes what the rig made for them.
func Main(m *testing.M) {
	code := m.Run()
	if shared.dir != "" {
		if err := RemoveAll(shared.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Source returns the directory of the sources that the test runs in.
func Source() string {
	wd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for dir := wd; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	panic("no go.mod above " + wd)
}

// sharedDir returns the directory that Main removes.
func sharedDir() (string, error) {
	if shared.dir != "" {
		return shared.dir, nil
	}
	dir, err := os.MkdirTemp("", "nip-rig-")
	if err != nil {
		return "", err
	}
	shared.dir = dir
	return dir, os.Chmod(dir, 0o755)
}

func prepare() {
	shared.nip, shared.fixtures = os.Getenv(nipVar), os.Getenv(fixturesVar)
	if shared.nip != "" && shared.fixtures != "" {
		return
	}
	if _, shared.err = sharedDir(); shared.err != nil {
		return
	}
	source := Source()
	if shared.nip == "" {
		shared.nip = filepath.Join(shared.dir, "nip")
		build := exec.Command("./build.sh", shared.nip)
		build.Dir = source
		if out, err := build.CombinedOutput(); err != nil {
			shared.err = fmt.Errorf("build nip: %w\n%s", err, out)
			return
		}
	}
	if shared.fixtures == "" {
		shared.fixtures = filepath.Join(shared.dir, "fixtures")
		if out, err := exec.Command(filepath.Join(source, "test/fixtures.sh"), shared.fixtures).CombinedOutput(); err != nil {
			shared.err = fmt.Errorf("build the programs of the tests: %w\n%s", err, out)
		}
	}
}

// Nip returns the path of the nip under test.
func Nip(t testing.TB) string {
	t.Helper()
	shared.once.Do(prepare)
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.nip
}

// Fixture returns the path of a program of test/fixtures.sh.
func Fixture(t testing.TB, name string) string {
	t.Helper()
	Nip(t)
	return filepath.Join(shared.fixtures, name)
}

// Root is a root of nip's own for a test. Base is a directory beside it for
// what lies outside.
type Root struct {
	t    testing.TB
	Base string
	Dir  string
	Env  []string // added to the environment of nip
}

// NewRoot makes an empty root. It is gone when t ends, and t fails if
// something in it cannot be removed.
func NewRoot(t testing.TB) *Root {
	t.Helper()
	base, err := os.MkdirTemp("", "nip-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	// Cells that run as somebody else must be able to reach the root.
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &Root{t: t, Base: base, Dir: filepath.Join(base, "root")}
	if err := os.Mkdir(r.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

// Path joins names below the root.
func (r *Root) Path(names ...string) string {
	return filepath.Join(append([]string{r.Dir}, names...)...)
}

// Command returns nip with args, working on this root, in the base directory.
func (r *Root) Command(args ...string) *exec.Cmd {
	c := exec.Command(Nip(r.t), args...)
	c.Dir = r.Base
	c.Env = append(os.Environ(), "NIP_ROOT="+r.Dir)
	c.Env = append(c.Env, r.Env...)
	return c
}

// Result is how a command ended. Code is -1 if a signal ended it.
type Result struct {
	Stdout, Stderr string
	Code           int
	Took           time.Duration
}

// Run runs c to its end. A command that cannot be started fails the test, as
// does one that has not ended after two minutes: it is killed.
func Run(t testing.TB, c *exec.Cmd) Result {
	t.Helper()
	return RunFor(t, c, 2*time.Minute)
}

// RunFor is Run with another limit.
func RunFor(t testing.TB, c *exec.Cmd, limit time.Duration) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if c.Stdout == nil {
		c.Stdout = &stdout
	}
	if c.Stderr == nil {
		c.Stderr = &stderr
	}
	// What a cell left behind must not keep the test waiting for its output.
	c.WaitDelay = 5 * time.Second
	begin := time.Now()
	if err := c.Start(); err != nil {
		t.Fatalf("start %s: %v", strings.Join(c.Args, " "), err)
	}
	watchdog := time.AfterFunc(limit, func() { c.Process.Kill() })
	err := c.Wait()
	if !watchdog.Stop() {
		t.Fatalf("%s did not end: %s%s", strings.Join(c.Args, " "), stdout.String(), stderr.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", strings.Join(c.Args, " "), err)
	}
	return Result{stdout.String(), stderr.String(), c.ProcessState.ExitCode(), time.Since(begin)}
}

// Run runs nip with args and returns how it ended.
func (r *Root) Run(args ...string) Result {
	r.t.Helper()
	return Run(r.t, r.Command(args...))
}

// Must runs nip with args, fails the test unless it ends with 0, and returns
// what it printed.
func (r *Root) Must(args ...string) string {
	r.t.Helper()
	res := r.Run(args...)
	if res.Code != 0 {
		r.t.Fatalf("nip %s: exit status %d\n%s%s", strings.Join(args, " "), res.Code, res.Stdout, res.Stderr)
	}
	return res.Stdout
}

// InstallProgram packs the file program as the only command of a package and
// installs it. recipe is added to the package node: pledges, unveils.
func (r *Root) InstallProgram(name, version, program, recipe string) {
	r.t.Helper()
	dir, err := os.MkdirTemp(r.Base, "pack-")
	if err != nil {
		r.t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	r.copyFile(program, filepath.Join(dir, "files", "bin", name), 0o755)
	text := fmt.Sprintf("package %q version=%q {\n    summary \"a program of the tests\"\n    command %q exec=\"bin/%s\"\n%s\n}\n",
		name, version, name, name, recipe)
	r.Write(filepath.Join(dir, "recipe.kdl"), text, 0o644)
	npk := filepath.Join(dir, name+".npk")
	r.Must("pack", filepath.Join(dir, "recipe.kdl"), "-o", npk)
	r.Must("install", npk)
}

func (r *Root) copyFile(from, to string, mode os.FileMode) {
	r.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Write(to, string(data), mode)
}

// Write makes the file name with text in it, and the directories above it.
func (r *Root) Write(name, text string, mode os.FileMode) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask is
		r.t.Fatal(err)
	}
}

// RemoveAll removes a tree that may hold read-only directories.
func RemoveAll(dir string) error {
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil // what cannot be read now may be after the chmod of its parent
	}); err != nil {
		return fmt.Errorf("open up %s: %w", dir, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}
