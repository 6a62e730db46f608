package hidden

import (
	"errors"
	"os"
	"strings"
	"testing"

	"nipcells/test/rig"
)

// TestEarly: a call that is the first of its cell, when the supervisor has no table
// of names yet, gives what it gives after one that needed the table.
func TestEarly(t *testing.T) {
	r := &earlyRoot{rig.NewRoot(t)}
	if err := os.Mkdir(r.Path("../empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.InstallProgram("early", "1.0", rig.Fixture(t, "early"), `    pledge "STDIO" "RPATH" "WPATH" "INET" "EXEC"`)
	for _, call := range []string{
		"stat {work}/file", "stat {work}/none", "stat {work}", "stat {work}/", "stat {work}/.", "stat {work}/file/", "stat {work}/sub/..",
		"stat {work}/../work/file", "stat {work}/up", "stat {work}/loop", "lstat {work}/up", "lstat {work}", "stat {work}/up/", "stat {work}/view",
		"stat /dev/null", "stat /dev/null/", "stat /dev/null/x", "stat /dev", "stat /dev/stdin", "lstat /dev/fd", "lstat /dev/tty", "stat /dev/none",
		"stat /etc/nsswitch.conf", "stat /etc/nsswitch.conf/.", "stat /etc/passwd", "stat /etc", "stat /Data", "stat /Data/apps/early", "stat /Data/apps/early/x",
		"stat /tmp", "stat /tmp/x", "stat /var/tmp/x", "stat /dev/shm", "stat /Cell/self", "stat /Cell/self/tmp", "stat /usr/bin/early", "stat /none", "stat /", "stat -",
		"stat x", "stat .", "stat ..", "stat ../..", "stat ../early", "stat ./", "stat ../../apps", "lstat ../../../bin",
		"open {work}/file 0", "open {work}/file 2002", "open {work} 0", "open {work} 1", "open {work} 100", "open {work} 300",
		"open {work}/new 301", "open {work}/file/x 0", "open {work} 10000000", "open {work}/file 10000000", "open {work}/up 400000", "open {work}/up 100",
		"open /dev/null 2", "open /dev/null 2400000", "open /dev/null 100", "open /dev/null 301", "open /dev/null/ 0",
		"open /dev/null 10000000", "open /dev/null 200000", "open /etc/hosts 0", "open /etc/hosts 2", "open /etc/hosts 1001", "open /tmp 0", "open /tmp/a 102", "open a 102",
		"beneath {work} file", "beneath {work} ../work/file", "beneath {work} .", "beneath /tmp x",
		"access {work}/file 2", "access /dev/null 2", "access /dev/null 1", "access /etc/hosts 2", "access {work} 2", "access . 2", "access /bin/early 2",
		"readlink {work}/up", "readlink {work}", "readlink /dev/null", "readlink /dev/fd",
		"mkdir {work}/d", "mkdir {work}", "mkdir {work}/sub", "mkdir d", "mkdir .", "mkdir /tmp/d", "mkdir /tmp", "mkdir /dev/null", "mkdir /dev/d", "mkdir /etc/hosts",
		"rmdir {work}/sub", "rmdir {work}", "unlink {work}/file", "unlink {work}/up", "unlink {work}", "unlink /dev/null", "unlink /etc/hosts", "unlink {work}/sub",
		"rename {work}/file {work}/sub/file", "rename {work}/file /tmp/file", "rename {work}/file /dev/null", "rename {work} /tmp/x", "rename /dev/null {work}/x",
		"link {work}/file {work}/hard", "link /dev/null {work}/hard", "link {work}/file /dev/null", "symlink x {work}/s", "symlink x /dev/null", "symlink x s",
		"truncate {work}/file", "truncate /etc/hosts", "truncate /dev/null", "chmod {work}/file", "chmod /dev/null", "chmod /etc/hosts", "chmod {work}/up",
		"chdir {work}", "chdir {work}/sub", "chdir /dev/null", "chdir {work}/up", "chdir ..", "getcwd",
	} {
		first := r.answer(t, call)
		later := r.answer(t, "open / 0", call)
		if first != later {
			t.Errorf("%s: %s as the first call, %s after others", call, first, later)
		}
	}
}

// earlyRoot is a root with the program in it.
type earlyRoot struct{ *rig.Root }

// answer has a program make the calls in a new cell, with new files, and returns
// what the last of them gave.
func (r *earlyRoot) answer(t *testing.T, calls ...string) string {
	t.Helper()
	work := r.Base + "/work"
	if err := errors.Join(os.RemoveAll(work), os.RemoveAll(r.Path("Data/apps/early"))); err != nil {
		t.Fatal(err)
	}
	r.Write(work+"/file", "contents\n", 0o644)
	r.Write(work+"/sub/below", "below\n", 0o600)
	for name, text := range map[string]string{"up": "sub/../../work/sub", "loop": "loop", "view": "/usr/bin/early"} {
		if err := os.Symlink(text, work+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"run", "--unveil", work + ":rwc", "--unveil", r.Path("../empty") + ":rx", "early"} // x: all is asked
	for _, call := range calls {
		args = append(args, strings.ReplaceAll(call, "{work}", work))
	}
	res := rig.Run(t, r.Command(args...))
	out := strings.Split(strings.TrimSuffix(res.Stdout, "\n"), "\n")
	if res.Code != 0 || len(out) != len(calls) {
		t.Fatalf("%q: exit status %d\n%s%s", calls, res.Code, res.Stdout, res.Stderr)
	}
	return out[len(out)-1]
}
