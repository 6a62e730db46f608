package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// nobody is the ordinary user that root runs the tests as a second time.
const nobody = 65534

// binaryVariable names, for a run as another user, the nip that was built.
const binaryVariable = "NIP_TEST_BINARY"

// nip is the program under test, built as it is shipped; waiter, beside it, is
// a program to run in cells.
var nip, waiter string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	syscall.Umask(0o022) // of a person's shell
	if nip = os.Getenv(binaryVariable); nip == "" {
		dir, err := os.MkdirTemp("", "nip-test-")
		if err == nil {
			defer os.RemoveAll(dir)
			nip = filepath.Join(dir, "nip")
			err = errors.Join(os.Chmod(dir, 0o755), buildNip(dir), build(filepath.Join(dir, "waiter"), "./testdata/waiter"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	waiter = filepath.Join(filepath.Dir(nip), "waiter")
	if err := os.Setenv("PATH", filepath.Dir(nip)+":"+os.Getenv("PATH")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// buildNip builds the front with the whole nip in it, as make build does. The
// whole nip is put in its place by an overlay, so that the source tree stays as
// it is.
func buildNip(dir string) error {
	whole := filepath.Join(dir, "whole")
	if err := build(whole, "."); err != nil {
		return err
	}
	place, err := filepath.Abs("front/whole/nip")
	if err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{place: whole}})
	if err != nil {
		return err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return err
	}
	return build(nip, "./front", "-overlay", list)
}

func build(program, dir string, flags ...string) error {
	args := append([]string{"build", "-o", program}, flags...)
	c := exec.Command("go", append(args, dir)...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", dir, err, out)
	}
	return nil
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("NIP_ROOT", filepath.Join(e.WorkDir, "root"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("XDG_DATA_HOME", "")
			e.Setenv("NIP", nip)
			e.Setenv("PATH", os.Getenv("PATH"))
			return os.Mkdir(filepath.Join(e.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"flip": flip,
			"cut":  cut,
		},
	})
}

// flip changes one bit: flip FILE OFFSET, where a negative offset counts from
// the end.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	edit(ts, args, func(b []byte, at int) []byte {
		b[at] ^= 1
		return b
	})
}

// cut cuts a file off: cut FILE OFFSET.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	edit(ts, args, func(b []byte, at int) []byte { return b[:at] })
}

func edit(ts *testscript.TestScript, args []string, change func([]byte, int) []byte) {
	if len(args) != 2 {
		ts.Fatalf("want FILE OFFSET")
	}
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	fi, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Chmod(path, fi.Mode()|0o200))
	ts.Check(os.WriteFile(path, change(b, at), 0))
	ts.Check(os.Chmod(path, fi.Mode()))
}

// TestAsOrdinaryUser runs the tests of the command line once more as a user who
// owns nothing. Everybody but root has run them as one already.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	dir, err := os.MkdirTemp("", "nip-test-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for src, dst := range map[string]string{os.Args[0]: "nip.test", nip: "nip", waiter: "waiter"} {
		b, err := os.ReadFile(src)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, dst), b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(filepath.Join(dir, "nip.test"), "-test.run", "^(TestScripts|TestMistakes|TestInterrupted)$", "-test.v")
	c.Dir = dir
	c.Env = []string{"HOME=" + home, "TMPDIR=" + home, "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
		binaryVariable + "=" + filepath.Join(dir, "nip")}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("as an ordinary user: %v\n%s", err, out)
	}
}
