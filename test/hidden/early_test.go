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
	r.InstallProgram("probe", "1.0", rig.Fixture(t, "probe"), `    pledge "STDIO" "RPATH" "WPATH" "INET" "EXEC"`)
	for _, call := range []string{
		"stat {work}/file", "stat {work}/none", "stat {work}", "stat {work}/", "stat {work}/.", "stat {work}/file/", "stat {work}/sub/..",
		"stat {work}/../work/file", "stat {work}/up", "stat {work}/loop", "lstat {work}/up", "lstat {work}", "stat {work}/up/", "stat {work}/view",
		"stat /dev/null", "stat /dev/null/", "stat /dev/null/x", "stat /dev", "stat /dev/stdin", "lstat /dev/fd", "lstat /dev/tty", "stat /dev/none",
		"stat /etc/nsswitch.conf", "stat /etc/nsswitch.conf/.", "stat /etc/passwd", "stat /etc", "stat /Data", "stat /Data/apps/probe", "stat /Data/apps/probe/x",
		"stat /tmp", "stat /tmp/x", "stat /var/tmp/x", "stat /dev/shm", "stat /Cell/self", "stat /Cell/self/tmp", "stat /usr/bin/probe", "stat /none", "stat /", "stat -",
		"stat x", "stat .", "stat ..", "stat ../..", "stat ../probe", "stat ./", "stat ../../apps", "lstat ../../../bin",
		"open {work}/file RDONLY", "open {work}/file RDWR|APPEND", "open {work} RDONLY", "open {work} WRONLY", "open {work} RDONLY|CREAT", "open {work} RDONLY|CREAT|EXCL",
		"open {work}/new WRONLY|CREAT|EXCL", "open {work}/file/x RDONLY", "open {work} PATH", "open {work}/file PATH", "open {work}/up RDONLY|NOFOLLOW", "open {work}/up RDONLY|CREAT",
		"open /dev/null RDWR", "open /dev/null RDONLY|NOFOLLOW|CLOEXEC", "open /dev/null RDONLY|CREAT", "open /dev/null WRONLY|CREAT|EXCL", "open /dev/null/ RDONLY",
		"open /dev/null PATH", "open /dev/null RDONLY|DIRECTORY", "open /etc/hosts RDONLY", "open /etc/hosts RDWR", "open /etc/hosts WRONLY|TRUNC", "open /tmp RDONLY", "open /tmp/a RDWR|CREAT", "open a RDWR|CREAT",
		"openat2 {work} file RDONLY BENEATH", "openat2 {work} ../work/file RDONLY BENEATH", "openat2 {work} /file RDONLY IN_ROOT", "openat {work} ../work/file RDONLY", "openat {work} . RDONLY",
		"access {work}/file 2", "access /dev/null 2", "access /dev/null 1", "access /etc/hosts 2", "access {work} 2", "access . 2", "access /bin/probe 2",
		"readlink - {work}/up", "readlink - {work}", "readlink - /dev/null", "readlink {work} up", "readlink {work} file", "statfs {work}", "statfs /dev/null",
		"mkdir {work}/d", "mkdir {work}", "mkdir {work}/sub", "mkdir d", "mkdir .", "mkdir /tmp/d", "mkdir /tmp", "mkdir /dev/null", "mkdir /dev/d", "mkdir /etc/hosts", "mkdirat {work} d",
		"rmdir {work}/sub", "rmdir {work}", "unlink {work}/file", "unlink {work}/up", "unlink {work}", "unlink /dev/null", "unlink /etc/hosts", "unlink {work}/sub", "unlinkat {work} file 0",
		"rename {work}/file {work}/sub/file", "rename {work}/file /tmp/file", "rename {work}/file /dev/null", "rename {work} /tmp/x", "rename /dev/null {work}/x", "rename2 {work}/file {work}/sub NOREPLACE",
		"link {work}/file {work}/hard", "link /dev/null {work}/hard", "link {work}/file /dev/null", "symlink x {work}/s", "symlink x /dev/null", "symlink x s",
		"truncate {work}/file", "truncate /etc/hosts", "truncate /dev/null", "chmod {work}/file", "chmod /dev/null", "chmod /etc/hosts", "chmod {work}/up",
		"chdir {work}", "chdir {work}/sub", "chdir /dev/null", "chdir {work}/up", "chdir ..", "getcwd",
	} {
		first := r.answer(t, call)
		later := r.answer(t, "open / RDONLY", call)
		if first != later {
			t.Errorf("%s: %s as the first call, %s after others", call, first, later)
		}
	}
}

// earlyRoot is a root with the probe in it.
type earlyRoot struct{ *rig.Root }

// answer has the probe make the calls in a new cell, with new files, and returns
// what the last of them gave.
func (r *earlyRoot) answer(t *testing.T, calls ...string) string {
	t.Helper()
	work := r.Base + "/work"
	if err := errors.Join(os.RemoveAll(work), os.RemoveAll(r.Path("Data/apps/probe"))); err != nil {
		t.Fatal(err)
	}
	r.Write(work+"/file", "contents\n", 0o644)
	r.Write(work+"/sub/below", "below\n", 0o600)
	for name, text := range map[string]string{"up": "sub/../../work/sub", "loop": "loop", "view": "/usr/bin/probe"} {
		if err := os.Symlink(text, work+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	c := r.Command("run", "--unveil", work+":rwc", "probe")
	c.Stdin = strings.NewReader(strings.ReplaceAll(strings.Join(calls, "\n"), "{work}", work) + "\n")
	res := rig.Run(t, c)
	out := strings.Split(strings.TrimSuffix(res.Stdout, "\n"), "\n")
	if res.Code != 0 || len(out) != len(calls) {
		t.Fatalf("%q: exit status %d\n%s%s", calls, res.Code, res.Stdout, res.Stderr)
	}
	return out[len(out)-1]
}
