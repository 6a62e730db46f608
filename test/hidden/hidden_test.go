// Package hidden tests cells for which nothing exists but their own names: that
// path calls answer as they do in a chroot of the same names, and that they tell
// nothing of the host.
package hidden

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nipcells/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// programs are the two probes: what each call of the one is asked, and of the
// other is native where it can be.
var programs = []string{"probe", "native"}

// hostPaths are paths that exist on the host and that the cell of p does not have.
func hostPaths(t *testing.T, root string, p *place) []string {
	t.Helper()
	list := []string{"/home", "/root", "/boot", "/usr/share", "/var/lib", "/sys", "/etc/passwd", "/proc/1", "/proc/1/status", "/proc/sys/net", "/dev/mem", "/dev/pts", root + "/Cas", root + "/Programs", root + "/System/Index", p.far + "/u/hidden", p.far + "/u/hidden/secret"}
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
	list = slices.DeleteFunc(list, func(path string) bool {
		_, err := os.Lstat(path)
		own := path == "/etc" || path == "/etc/nsswitch.conf" // of every package with a C library
		return err != nil || own || strings.HasPrefix(p.far, path+"/")
	})
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
		"stat %", "lstat %", "statx - % 0", "access % 0", "faccess2 % 0", "readlink - %", "chdir %", "rawchdir %", "realpath %", "list %", "fopen %", "statfs %", "truncate %",
		"getxattr % user.x", "listxattr %", "mkdir %", "mkfifo %", "rmdir %", "unlink %", "symlink x %", "link % /tmp/l", "link /tmp/f %",
		"rename % /tmp/r", "rename /tmp/f %", "chmod %", "chown %", "utime %", "setxattr % user.x", "watch %", "exec %", "spawn %", "handle %",
		"stat /tmp/../..%", "stat {work}/../../../..%", "stat {far}/u/x/../../../..%", "stat /usr/..%", "stat /usr/bin/../../../../..%", "stat {far}/u/..%",
		"open /proc/self/root% RDONLY", "open /proc/self/cwd/../../..% PATH", "openat / .% RDONLY", "openat {far}/u/x ../../../..% RDONLY",
		"chdir /", "stat .%", "open .% RDONLY", "chdir {far}/u", "stat ../../..%", "chdir /Data/apps/probe", "stat ../../..%",
		"symlink % /tmp/link", "stat /tmp/link", "open /tmp/link RDONLY", "open /tmp/link WRONLY|CREAT", "chdir /tmp/link", "spawn /tmp/link", "unlink /tmp/link",
	}
	for _, program := range programs {
		t.Run(program, func(t *testing.T) { s.oracle(t, program, calls) })
	}
}

func (s *stage) oracle(t *testing.T, program string, calls []string) {
	p := s.place()
	s.fill(t, p, "")
	// A root of nip's that is not below /tmp: there the directories on the way to
	// what is unveiled are in the cell's own, and the calls make files in them.
	root := p.far + "/root"
	for _, name := range []string{"Cas/blob", "Programs/other", "System/Index/bin", "Nexus/keys/own", "Nexus/ledger", "Nexus/plans/other"} {
		s.Write(root+"/"+name, "x", 0o644)
	}
	paths := hostPaths(t, root, p)
	missing := func(p string) string { return p[:len(p)-1] + "\x01" }
	lines := []string{"write /tmp/f x"}
	for _, path := range paths {
		for _, name := range []string{path, missing(path)} {
			for _, c := range calls {
				lines = append(lines, strings.ReplaceAll(c, "%", name))
			}
		}
	}
	lines = append(lines, "stat {work}/file", "stat {work}/none")
	got := s.answers(t, p, s.cell(p, program, "rw"), lines)
	// The control: what exists for the cell can be told from what does not.
	if last := got[len(got)-2:]; last[0] == last[1] {
		t.Errorf("a file that is there and one that is not both give %s", last[0])
	}
	got = got[1:]
	stat := slices.Index(calls, "stat %")
	for i, path := range paths {
		there, not := got[2*i*len(calls):(2*i+1)*len(calls)], got[(2*i+1)*len(calls):(2*i+2)*len(calls)]
		for j := range calls {
			if there[j] != not[j] {
				t.Errorf("%s: %s, but %s for a missing one", lines[1+2*i*len(calls)+j], there[j], not[j])
			}
		}
		if !strings.HasPrefix(there[stat], "ENOENT") {
			t.Errorf("stat of %s: %s", path, there[stat])
		}
	}
}

// TestSwappedPath has other threads swap a path while calls are made with it.
func TestSwappedPath(t *testing.T) {
	s := newStage(t)
	for _, program := range programs {
		t.Run(program, func(t *testing.T) { s.swapped(t, program) })
	}
}

func (s *stage) swapped(t *testing.T, program string) {
	p := s.place()
	s.fill(t, p, "")
	secret := filepath.Dir(p.work) + "/hide/file"
	s.Write(secret, "SECRET\n", 0o644)
	c := s.cell(p, program, "rw")
	c.Args = append(c.Args, "race", p.work+"/file", secret)
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

// TestListings lists what a cell can list above its names.
func TestListings(t *testing.T) {
	s := newStage(t)
	for _, program := range programs {
		t.Run(program, func(t *testing.T) { s.listings(t, program) })
	}
}

func (s *stage) listings(t *testing.T, program string) {
	top := []string{"Cell", "Data", "Programs", "bin", "dev", "etc", "lib", "proc", "tmp", "usr", "var", strings.Split(s.far, "/")[1], strings.Split(s.Base, "/")[1]}
	slices.Sort(top)
	root := strings.Join(slices.Compact(top), " ")
	for call, want := range map[string]string{
		"list /": root, "list /usr": root, "list /etc": "nsswitch.conf", "list /Data": "apps", "list /Data/apps": "probe", "list /Programs": "probe",
		"list {far}": "many u", "list {far}/u": "file r x", "list {far}/u/r": "across in inside plain",
		"list {work}": "absolute dangling file loop out relative slash sub up view",
		"list /dev":   "fd full null random shm stderr stdin stdout tty urandom zero", "list /proc/sys": "kernel vm",
	} {
		if got := s.inCell(t, program, "rw", []string{call}); got[0] != want {
			t.Errorf("%s: %q, want %q", call, got[0], want)
		}
	}
}
