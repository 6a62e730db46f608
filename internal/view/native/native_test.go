package native_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/test/bench/view/scratch"
)

func TestMain(m *testing.M) {
	scratch.Main()
	os.Exit(m.Run())
}

// compile builds a program of testdata.
func compile(t testing.TB, name string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	args := append([]string{"-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", out, "testdata/" + name + ".c"}, flags...)
	if text, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, text)
	}
	return out
}

// tree makes a tree with programs of the host and, below /usr/bin, compiled ones.
func tree(t testing.TB, programs, directories []string, own ...string) *scratch.Tree {
	t.Helper()
	base := t.TempDir()
	tr, err := scratch.New(base, append(programs, "/usr/bin/echo"), directories)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range own {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, root := range []string{tr.Native, tr.Asked, tr.View} {
			if err := os.WriteFile(filepath.Join(root, "usr/bin", filepath.Base(p)), data, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() { exec.Command("chmod", "-R", "u+rwx", base).Run() }) // a file of mode 0 is in the way of nobody else
	return tr
}

// run runs a program and returns what it printed.
func run(t testing.TB, tr *scratch.Tree, how scratch.How, args ...string) (string, *scratch.Result) {
	t.Helper()
	var out, errs bytes.Buffer
	r, err := tr.Run(how, scratch.Command{Args: args, Env: []string{"LC_ALL=C", "HOME=" + scratch.Home, "PATH=/usr/bin"}, Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, errs.String())
	}
	return out.String() + errs.String(), r
}

// TestEveryPathCall: each path call, on names of every kind, has the result by
// way of the shim that it has in a chroot of the same tree.
func TestEveryPathCall(t *testing.T) {
	tr := tree(t, nil, nil, compile(t, "paths"))
	want, r := run(t, tr, scratch.AsIs, "/usr/bin/paths")
	if r.Exit != 0 || strings.Count(want, "\n") < 1000 {
		t.Fatalf("exit %d: %s", r.Exit, want)
	}
	got, r := run(t, tr, scratch.Counted, "/usr/bin/paths")
	if r.Exit != 0 {
		t.Errorf("exit %d", r.Exit)
	}
	sameLines(t, want, got)
	t.Logf("%d lines, %d openat2 calls native, %d calls asked: %s", strings.Count(want, "\n"), r.Native, r.AskedTotal(), counts(r))
	if r.Native < 1000 {
		t.Errorf("only %d native calls", r.Native)
	}
	// The shim says what each is made for; going somewhere is not left to the
	// supervisor but where a directory cannot be read.
	total := 0
	for nr, n := range r.By {
		if total += n; pathCall(nr) == "" {
			t.Errorf("%d openat2 calls are made for call %d", n, nr)
		}
	}
	for _, nr := range []uint32{unix.SYS_OPENAT, sysNewfstatat, unix.SYS_STATX, unix.SYS_FACCESSAT2, unix.SYS_CHDIR, unix.SYS_STATFS, unix.SYS_EXECVE} {
		if r.By[nr] == 0 {
			t.Errorf("no openat2 call is made for %s", pathCall(nr))
		}
	}
	if total != r.Native || r.Asked[unix.SYS_FCHDIR] != 0 || r.Asked[unix.SYS_CHDIR] > 4 {
		t.Errorf("%d openat2 calls say for what, of %d; fchdir is asked %d times, chdir %d", total, r.Native, r.Asked[unix.SYS_FCHDIR], r.Asked[unix.SYS_CHDIR])
	}
}

// sameLines compares what a program has printed in a chroot and by way of the shim.
func sameLines(t *testing.T, want, got string) {
	t.Helper()
	wants, gots := strings.Split(want, "\n"), strings.Split(got, "\n")
	bad := 0
	for i := range max(len(wants), len(gots)) {
		a, b := "", ""
		if i < len(wants) {
			a = wants[i]
		}
		if i < len(gots) {
			b = gots[i]
		}
		if a != b {
			t.Errorf("line %d:\nchroot %s\nshim   %s", i, a, b)
			if bad++; bad > 40 {
				t.FailNow()
			}
		}
	}
}

// TestAnyCall: what syscall(2) is given is a path call by way of the shim if it is
// one, and else reaches the kernel as it is.
func TestAnyCall(t *testing.T) {
	tr := tree(t, nil, nil, compile(t, "anycall"))
	want, r := run(t, tr, scratch.AsIs, "/usr/bin/anycall")
	if r.Exit != 0 || !strings.Contains(want, "registers 1 1 1\n") || !strings.Contains(want, "mmap second") {
		t.Fatalf("exit %d: %s", r.Exit, want)
	}
	got, r := run(t, tr, scratch.Counted, "/usr/bin/anycall")
	if r.Exit != 0 || got != want {
		t.Errorf("exit %d:\n%s\nas it is:\n%s", r.Exit, got, want)
	}
	for _, nr := range []uint32{unix.SYS_OPENAT, unix.SYS_STATX, sysNewfstatat, unix.SYS_FACCESSAT2, unix.SYS_READLINKAT, unix.SYS_CHDIR} {
		if r.By[nr] < 4 {
			t.Errorf("%s is native %d times", pathCall(nr), r.By[nr])
		}
	}
}

// pathCall returns the name of a path call.
func pathCall(nr uint32) string {
	names := map[uint32]string{unix.SYS_GETCWD: "getcwd", unix.SYS_OPENAT: "openat", unix.SYS_OPENAT2: "openat2", unix.SYS_EXECVE: "execve",
		unix.SYS_CHDIR: "chdir", unix.SYS_FCHDIR: "fchdir", unix.SYS_STATFS: "statfs", unix.SYS_STATX: "statx", unix.SYS_FACCESSAT: "faccessat", unix.SYS_FACCESSAT2: "faccessat2",
		unix.SYS_READLINKAT: "readlinkat", unix.SYS_EXECVEAT: "execveat", sysNewfstatat: "newfstatat"}
	maps.Copy(names, oldNames())
	return names[nr]
}

// counts prints which calls were asked.
func counts(r *scratch.Result) string {
	var list []string
	for nr, n := range r.Asked {
		name := pathCall(nr)
		if name == "" {
			name = "call " + itoa(int(nr))
		}
		list = append(list, name+" "+itoa(n))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func itoa(n int) string { return strconv.Itoa(n) }

// TestPrograms: real programs do by way of the shim what they do without.
func TestPrograms(t *testing.T) {
	tr := tree(t, []string{"/usr/bin/python3.11", "/usr/bin/git", "/usr/bin/ls", "/usr/bin/find", "/usr/bin/dash", "/usr/bin/env"},
		[]string{"/usr/lib/python3.11"})
	for _, root := range []string{tr.Native, tr.Asked} {
		for i := range 200 {
			dir := filepath.Join(root, scratch.Home, "sub", itoa(i%20))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, itoa(i)), []byte(itoa(i)), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Join(dir, itoa(i)), time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}
		repository(t, root+scratch.Home)
		for i := range 20 { // directories last: making files in them has changed them
			if err := os.Chtimes(filepath.Join(root, scratch.Home, "sub", itoa(i)), time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}
		script := "#!/usr/bin/env dash\necho \"$0\" \"$@\"; cd sub/3 && pwd && cd / && pwd && ls\n"
		if err := os.WriteFile(filepath.Join(root, scratch.Home, "script"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	subprocess := "import subprocess,sys,os; print(os.listdir('sub/4')==None, subprocess.run(['/usr/bin/echo','hi'],close_fds=True,capture_output=True).stdout," +
		" sorted(os.listdir('/usr')), os.path.realpath('/bin/../lib'), os.getcwd())"
	for _, c := range []struct {
		args  []string
		asked int // at most
	}{
		{[]string{"/usr/bin/python3.11", "-c", "import ssl,json; print(ssl.OPENSSL_VERSION, json.dumps([1]))"}, 5},
		{[]string{"/usr/bin/python3.11", "-c", subprocess}, 12},
		{[]string{"/usr/bin/git", "status", "--porcelain"}, 30},
		{[]string{"/usr/bin/ls", "-lR", "--time-style=+%s", "sub"}, 5},
		{[]string{"/usr/bin/find", "sub", "-type", "f", "-size", "-2", "-newermt", "2000-01-01"}, 30},
		{[]string{"/usr/bin/dash", "-c", "./script a 'b c'; exec ./script x"}, 60},
	} {
		name := strings.Join(c.args, " ")
		want, r := run(t, tr, scratch.AsIs, c.args...)
		if r.Exit != 0 {
			t.Fatalf("%s ends with %d as it is: %s", name, r.Exit, want)
		}
		got, r := run(t, tr, scratch.Counted, c.args...)
		if r.Exit != 0 || normal(got) != normal(want) {
			t.Errorf("%s ends with %d and prints\n%s\nnot\n%s", name, r.Exit, got, want)
		}
		t.Logf("%.60s: %d native, %d asked: %s", name, r.Native, r.AskedTotal(), counts(r))
		if r.Native == 0 || r.AskedTotal() > c.asked {
			t.Errorf("%s: %d calls were asked", name, r.AskedTotal())
		}
	}
}

// repository makes a directory a git repository with all its files in the index.
func repository(t testing.TB, dir string) {
	t.Helper()
	for _, args := range [][]string{{"init", "-q", "."}, {"add", "."}} {
		cmd := exec.Command("/usr/bin/git", args...)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + t.TempDir()}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git: %v: %s", err, out)
		}
	}
}

// normal takes away what differs between two trees: the order of directories
// and the blocks that they take.
func normal(s string) string {
	lines := strings.Split(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestThreads: cancellation, signals, threads and every way to start a program.
func TestThreads(t *testing.T) {
	tr := tree(t, []string{"/lib/" + multiarch + "/libgcc_s.so.1"}, nil, compile(t, "cancel"))
	want, r := run(t, tr, scratch.AsIs, "/usr/bin/cancel")
	if r.Exit != 0 || !strings.Contains(want, "cancelled: 1") {
		t.Fatalf("exit %d: %s", r.Exit, want)
	}
	got, r := run(t, tr, scratch.Native, "/usr/bin/cancel")
	if r.Exit != 0 || got != want {
		t.Errorf("exit %d:\n%s\nas it is:\n%s", r.Exit, got, want)
	}
}
