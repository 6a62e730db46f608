// Package hidden tests cells for which nothing exists but their own names: that
// path calls answer as they do in a chroot of the same names, and that they tell
// nothing of the host.
package hidden

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nipcells/internal/view"
	"nipcells/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// cellUser is whom the cells of root run as, so that a chroot for the same user
// has the same rights: a cell has no capabilities.
const cellUser = 61234

// stage is a root with the probe in it, and a directory that cells may write.
type stage struct {
	*rig.Root
	work string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{Root: rig.NewRoot(t)}
	s.InstallProgram("probe", "1.0", rig.Fixture(t, "probe"), `    pledge "STDIO" "RPATH" "WPATH" "EXEC"`)
	base, err := filepath.EvalSymlinks(s.Base)
	if err != nil {
		t.Fatal(err)
	}
	s.work = base + "/work"
	s.fill(t, s.work)
	return s
}

// fill lays out what lies in the directory that is unveiled.
func (s *stage) fill(t *testing.T, dir string) {
	t.Helper()
	s.Write(dir+"/file", "contents\n", 0o644)
	s.Write(dir+"/sub/below", "below\n", 0o600)
	for name, text := range map[string]string{
		"relative": "sub/below", "up": strings.Repeat("../", 16) + "Programs", "absolute": "/Data/apps/probe", "loop": "loop", "dangling": "nothing",
		"view": "/usr/bin/probe", "out": "../outside", "slash": "sub/",
	} {
		if err := os.Symlink(text, dir+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	s.own(t, dir)
}

// own gives a tree to the user of the cells.
func (s *stage) own(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, cellUser, cellUser)
	}); err != nil {
		t.Fatal(err)
	}
}

// inCell has the probe make the calls in a cell and returns a line for each.
func (s *stage) inCell(t *testing.T, calls []string) []string {
	t.Helper()
	return s.output(t, s.cell("--unveil", s.work+":rw"), calls)
}

func (s *stage) cell(flags ...string) *exec.Cmd {
	line := append([]string{"run"}, flags...)
	if os.Geteuid() == 0 {
		line = append(line, "--user", fmt.Sprint(cellUser))
	}
	return s.Command(append(line, "probe")...)
}

func (s *stage) output(t *testing.T, c *exec.Cmd, calls []string) []string {
	t.Helper()
	text := strings.NewReplacer("{work}", s.work).Replace(strings.Join(calls, "\n"))
	c.Stdin = strings.NewReader(text + "\n")
	res := rig.Run(t, c)
	out := strings.Split(strings.TrimSuffix(res.Stdout, "\n"), "\n")
	if res.Code != 0 || len(out) != len(calls) {
		t.Fatalf("exit status %d, %d answers to %d calls\n%s%s", res.Code, len(out), len(calls), res.Stdout, res.Stderr)
	}
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], s.work, "{work}")
	}
	return out
}

// inChroot has the probe make the calls in a chroot of the same names.
func (s *stage) inChroot(t *testing.T, calls []string) []string {
	t.Helper()
	jail := s.Base + "/jail"
	if out, err := exec.Command("cp", "-a", s.Path("System/Views/probe/1.0"), jail).CombinedOutput(); err != nil {
		t.Fatalf("copy the view: %v %s", err, out)
	}
	for _, hole := range view.Holes() {
		if err := os.Chmod(jail+"/"+hole, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/tmp", "/Data/apps/probe"} {
		if err := os.MkdirAll(jail+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(jail+dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s.own(t, jail+dir)
	}
	s.fill(t, jail+s.work)
	c := exec.Command("/bin/probe")
	c.Dir = "/Data/apps/probe"
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: jail, Credential: &syscall.Credential{Uid: cellUser, Gid: cellUser}}
	return s.output(t, c, calls)
}

// TestCalls makes every path call with the table's arguments. As root the same
// is done in a chroot, which proves what the table says.
func TestCalls(t *testing.T) {
	calls, want := table(t)
	s := newStage(t)
	compare := func(where string, got []string) {
		t.Helper()
		for i := range calls {
			if got[i] != want[i] {
				t.Errorf("in %s: %s: %s, want %s", where, calls[i], got[i], want[i])
			}
		}
	}
	if os.Geteuid() == 0 {
		got := s.inChroot(t, calls)
		if os.Getenv("UPDATE") != "" {
			write(t, calls, got)
			want = got
		}
		compare("a chroot", got)
	}
	compare("the cell", s.inCell(t, calls))
}

const tableFile = "testdata/calls"

// table reads the calls and what each gives, with a tab between them.
func table(t *testing.T) (calls, want []string) {
	t.Helper()
	text, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		call, result, _ := strings.Cut(line, "\t")
		calls, want = append(calls, call), append(want, result)
	}
	if len(calls) < 150 {
		t.Fatalf("only %d calls in %s", len(calls), tableFile)
	}
	return calls, want
}

// write writes the table again, as the chroot answered.
func write(t *testing.T, calls, got []string) {
	t.Helper()
	text := "# What path calls give (hidden_test.go): CALL ARGUMENT…, a tab, the answer of a chroot.\n# Made by UPDATE=1 go test ./test/hidden, as root.\n"
	for i := range calls {
		text += calls[i] + "\t" + got[i] + "\n"
	}
	if err := os.WriteFile(tableFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// hostPaths are paths that exist on the host and that no cell has.
func hostPaths(t *testing.T, root string) []string {
	t.Helper()
	list := []string{"/etc", "/home", "/root", "/boot", "/usr/share", "/var/lib", "/sys", "/etc/passwd", "/proc/1", "/proc/1/status", "/proc/sys/net", "/dev/mem", "/dev/pts", root + "/Cas", root + "/Programs", root + "/System/Index"}
	for _, top := range []string{"/etc", "/usr/lib", "/usr/bin", "/var", "/sys/class", root + "/Nexus"} {
		n := 0
		_ = filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && !strings.ContainsAny(path, " \t\n") && path != "/usr/lib" && path != "/usr/bin" && path != "/var" && !strings.HasPrefix(path, "/var/tmp") {
				list = append(list, path)
				n++
			}
			if n > 40 {
				return fs.SkipAll
			}
			return nil // what cannot be listed is not in the list
		})
	}
	list = slices.DeleteFunc(list, func(p string) bool { _, err := os.Lstat(p); return err != nil })
	if len(list) < 200 {
		t.Fatalf("only %d paths of the host found", len(list))
	}
	return list
}

// TestNoOracle makes every call on paths that exist on the host and on paths
// beside them that do not. The answers must be the same.
func TestNoOracle(t *testing.T) {
	s := newStage(t)
	calls := []string{
		"open % RDONLY", "open % PATH", "open % WRONLY|CREAT", "open % RDONLY|DIRECTORY", "openat /tmp /.%  RDONLY", "openat2 - % RDONLY 0", "openat2 / .% PATH IN_ROOT",
		"stat %", "lstat %", "statx - % 0", "access % 0", "faccess2 % 0", "readlink - %", "chdir %", "statfs %", "truncate %",
		"getxattr % user.x", "listxattr %", "mkdir %", "mkfifo %", "rmdir %", "unlink %", "symlink x %", "link % /tmp/l", "link /tmp/f %",
		"rename % /tmp/r", "rename /tmp/f %", "chmod %", "chown %", "utime %", "setxattr % user.x", "watch %", "exec %", "handle %",
		"stat /tmp/../..%", "stat {work}/../../../..%", "open /proc/self/root% RDONLY", "open /proc/self/cwd/../../..% PATH",
	}
	paths := hostPaths(t, s.Dir)
	var lines []string
	// One that is not there beside each that is, and a link to each.
	missing := func(p string) string { return p[:len(p)-1] + "\x01" }
	lines = append(lines, "write /tmp/f x")
	for _, p := range paths {
		for _, name := range []string{p, missing(p)} {
			for _, c := range calls {
				lines = append(lines, strings.ReplaceAll(c, "%", name))
			}
			lines = append(lines, "symlink "+name+" /tmp/link", "stat /tmp/link", "open /tmp/link RDONLY", "open /tmp/link WRONLY|CREAT", "chdir /tmp/link", "unlink /tmp/link")
		}
	}
	got := s.inCell(t, lines)[1:]
	per := len(calls) + 6
	for i, p := range paths {
		there, not := got[2*i*per:(2*i+1)*per], got[(2*i+1)*per:(2*i+2)*per]
		for j := range per {
			if there[j] != not[j] {
				t.Errorf("%s: %s, but %s for a missing one", lines[1+2*i*per+j], there[j], not[j])
			}
		}
		if !strings.HasPrefix(there[7], "ENOENT") {
			t.Errorf("stat of %s: %s", p, there[7])
		}
	}
	// The control: what exists for the cell can be told from what does not.
	if got := s.inCell(t, []string{"stat {work}/file", "stat {work}/none"}); got[0] == got[1] {
		t.Errorf("a file that is there and one that is not both give %s", got[0])
	}
}

// TestListings lists what a cell can list above its names.
func TestListings(t *testing.T) {
	s := newStage(t)
	first := strings.Split(s.work, "/")[1]
	top := []string{"Cell", "Data", "Programs", "bin", "dev", "proc", "tmp", "usr", "var"}
	if !slices.Contains(top, first) {
		top = append(top, first)
	}
	slices.Sort(top)
	got := s.inCell(t, []string{"list /", "list /usr", "list /Data", "list /Data/apps", "list " + filepath.Dir(s.work), "list {work}", "list /dev", "list /proc/sys", "list /Programs"})
	root := []string{"root", "work"}
	for i, want := range []string{
		strings.Join(top, " "), strings.Join(top, " "), "apps", "probe", strings.Join(root, " "),
		"absolute dangling file loop out relative slash sub up view", "fd full null random shm stderr stdin stdout tty urandom zero", "kernel vm", "probe",
	} {
		if got[i] != want {
			t.Errorf("listing %d is %q, want %q", i, got[i], want)
		}
	}
}

// TestSwappedPath has other threads swap a path while calls are made with it.
func TestSwappedPath(t *testing.T) {
	s := newStage(t)
	secret := s.work[:len(s.work)-len("work")] + "hide/file"
	s.Write(secret, "SECRET\n", 0o644)
	c := s.cell("--unveil", s.work+":rw")
	c.Args = append(c.Args, "race", s.work+"/file", secret)
	out := rig.Run(t, c)
	if out.Code != 0 || strings.Contains(out.Stdout, "SECRET") || strings.Contains(out.Stdout, " 7\n") {
		t.Errorf("exit status %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	for _, want := range []string{`read "contents\n"`, "open ENOENT", "stat  9", "stat ENOENT 0", "chdir ENOTDIR", "chdir ENOENT"} {
		if !strings.Contains(out.Stdout, want+"\n") {
			t.Errorf("%q was never the answer:\n%s", want, out.Stdout)
		}
	}
	for line := range strings.Lines(out.Stdout) {
		if strings.HasPrefix(line, "open E") && line != "open ENOENT\n" || strings.HasPrefix(line, "chdir ") && line != "chdir ENOENT\n" && line != "chdir ENOTDIR\n" {
			t.Errorf("an answer that tells of the host: %s", line)
		}
	}
}
