package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"nipcells/internal/hier"
)

// mistake is something that a person does wrong, and what nip says. In want,
// DIR stands for the desk, KEY for a key or a hash, ME for the caller's uid and
// FIBER for a fiber-id.
type mistake struct {
	name   string
	before func(*desk)
	args   []string
	status int
	want   string
}

func TestMistakes(t *testing.T) {
	var list []mistake
	for _, part := range [][]mistake{commandLineMistakes(), packageMistakes(), installedMistakes(), recipeMistakes(), rootMistakes(), runMistakes(), policyMistakes()} {
		list = append(list, part...)
	}
	for _, m := range list {
		t.Run(m.name, func(t *testing.T) {
			d := newDesk(t)
			if m.before != nil {
				m.before(d)
			}
			status, _, stderr := d.run(m.args)
			if got := d.masked(stderr); status != m.status || got != m.want {
				t.Errorf("nip %q: status %d, want %d\ngot:\n%s\nwant:\n%s", m.args, status, m.status, got, m.want)
			}
		})
	}
}

// desk is where one mistake is made: a directory of its own with a root in it.
type desk struct {
	t    *testing.T
	dir  string
	env  []string
	wrap []string // a command that runs nip
	uid  int      // of nip
}

func newDesk(t *testing.T) *desk {
	dir, err := os.MkdirTemp("", "desk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	d := &desk{t: t, dir: dir, uid: os.Geteuid()}
	for _, sub := range []string{"home", "tmp"} {
		d.must(os.Mkdir(d.path(sub), 0o700))
	}
	return d
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// path returns the path of a name on the desk.
func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

// ordinary makes the desk that of an ordinary user, whom nip then runs as.
func (d *desk) ordinary() {
	d.t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	d.uid = nobody
	d.wrap = []string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups"}
	for _, name := range []string{".", "home", "tmp"} {
		d.must(os.Chown(d.path(name), nobody, nobody))
	}
}

// run runs nip on the desk.
func (d *desk) run(args []string) (status int, stdout, stderr string) {
	d.t.Helper()
	c := d.command(args)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// command returns nip with arguments, to be run on the desk.
func (d *desk) command(args []string) *exec.Cmd {
	line := append(append(append([]string{}, d.wrap...), nip), args...)
	c := exec.Command(line[0], line[1:]...)
	c.Dir = d.dir
	c.Env = append([]string{"NIP_ROOT=" + d.path("root"), "HOME=" + d.path("home"), "TMPDIR=" + d.path("tmp"),
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, d.env...)
	return c
}

// nip runs nip, which must succeed.
func (d *desk) nip(args ...string) {
	d.t.Helper()
	if status, _, stderr := d.run(args); status != 0 {
		d.t.Fatalf("nip %q: status %d\n%s", args, status, stderr)
	}
}

func (d *desk) write(name, text string, mode os.FileMode) {
	d.t.Helper()
	d.must(os.MkdirAll(filepath.Dir(d.path(name)), 0o755))
	d.must(os.WriteFile(d.path(name), []byte(text), mode))
}

// change rewrites a file.
func (d *desk) change(name string, edit func([]byte) []byte) {
	d.t.Helper()
	b, err := os.ReadFile(d.path(name))
	d.must(err)
	d.must(os.WriteFile(d.path(name), edit(b), 0))
}

// pack makes NAME.npk from a recipe's inner lines, a script bin/NAME, and as
// many bytes that do not compress as ballast says.
func (d *desk) pack(name, inner string, ballast int) {
	d.t.Helper()
	d.write(name+"/recipe.kdl", fmt.Sprintf("package %q version=\"1\" {\n%s\n}\n", name, inner), 0o644)
	d.write(name+"/files/bin/"+name, "#!/bin/sh\necho "+name+"\n", 0o755)
	if ballast > 0 {
		d.write(name+"/files/ballast", noise(ballast), 0o644)
	}
	d.nip("-q", "pack", name+"/recipe.kdl", "-o", name+".npk")
}

// tool installs a package called tool with one command.
func (d *desk) tool() {
	d.t.Helper()
	d.pack("tool", command("tool"), 0)
	d.nip("-q", "install", "tool.npk")
}

// program installs a package called tool whose command is the program at path.
func (d *desk) program(path string) {
	d.t.Helper()
	b, err := os.ReadFile(path)
	d.must(err)
	d.write("tool/files/bin/tool", string(b), 0o755)
	d.write("tool/recipe.kdl", "package \"tool\" version=\"1\" {\n"+command("tool")+"\n}\n", 0o644)
	d.nip("-q", "pack", "tool/recipe.kdl", "-o", "tool.npk")
	d.nip("-q", "install", "tool.npk")
}

// running has a cell of the package tool run until the test ends.
func (d *desk) running() {
	d.t.Helper()
	d.program(waiter)
	c := d.command([]string{"run", "tool"})
	in, err := c.StdinPipe()
	d.must(err)
	out, err := c.StdoutPipe()
	d.must(err)
	d.must(c.Start())
	d.t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			d.t.Error(err)
		}
	})
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || said != "running\n" {
		d.t.Fatalf("the cell said %q, %v", said, err)
	}
}

// command is the inner part of a recipe with one command.
func command(name string) string {
	return fmt.Sprintf("    command %q exec=\"bin/%s\"\n    pledge \"STDIO\"", name, name)
}

// noise returns n bytes that do not compress, always the same.
func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return string(b)
}

// smallFiles makes the kernel refuse nip files above 24 MiB (the front needs to
// put the whole nip into one).
func (d *desk) smallFiles() {
	d.wrap = append([]string{"sh", "-c", `ulimit -f 49152; exec "$0" "$@"`}, d.wrap...)
}

// fullDisk gives the desk's root a file system with less room than a package
// needs: a small tmpfs for root. An ordinary user cannot mount one and meets the
// same end at the size of a file.
func (d *desk) fullDisk() {
	d.t.Helper()
	if os.Geteuid() != 0 {
		d.smallFiles()
		return
	}
	key, err := os.ReadFile(d.path("root/Nexus/keys/own"))
	d.must(err)
	d.must(removeTree(d.path("root")))
	d.must(os.Mkdir(d.path("root"), 0o755))
	d.must(syscall.Mount("tmpfs", d.path("root"), "tmpfs", 0, "size=2m,mode=755"))
	d.t.Cleanup(func() {
		if err := syscall.Unmount(d.path("root"), 0); err != nil {
			d.t.Error(err)
		}
	})
	d.nip("key", "show")
	d.must(os.WriteFile(d.path("root/Nexus/keys/own"), key, 0o600))
}

// TestInterrupted interrupts a change that waits for another one.
func TestInterrupted(t *testing.T) {
	d := newDesk(t)
	d.tool()
	r, err := hier.Open(d.path("root"))
	d.must(err)
	l, err := r.Lock(t.Context(), hier.LockPackages, true)
	d.must(err)
	defer l.Unlock()
	c := d.command([]string{"gc"})
	errs, err := c.StderrPipe()
	d.must(err)
	d.must(c.Start())
	lines := bufio.NewReader(errs)
	said, err := lines.ReadString('\n')
	d.must(err)
	if got, want := d.masked(said), "another nip is changing DIR/root; waiting until it is done\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	d.must(c.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(lines)
	d.must(err)
	if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != exitError {
		t.Errorf("ended with %v", err)
	}
	const want = "nip: wait for lock DIR/root/Nexus/lock/packages: context canceled\n     nothing was changed; try again when it suits\n"
	if got := d.masked(string(rest)); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// masked puts fixed words for what differs from run to run.
func (d *desk) masked(s string) string {
	s = strings.ReplaceAll(s, d.dir, "DIR")
	s = regexp.MustCompile(fmt.Sprintf(`\b(uid|user) %d\b`, d.uid)).ReplaceAllString(s, "$1 ME")
	s = regexp.MustCompile(`nip-ed25519 [A-Za-z0-9+/]{43}=`).ReplaceAllString(s, "nip-ed25519 KEY")
	s = regexp.MustCompile(`\b([0-9a-f]{64}|[0-9a-f]{16})\b`).ReplaceAllString(s, "KEY")
	s = regexp.MustCompile(`\(process \d+\)`).ReplaceAllString(s, "(process PID)")
	return regexp.MustCompile(`\bcell [0-9a-f]{8}\b`).ReplaceAllString(s, "cell FIBER")
}
