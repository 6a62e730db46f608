package escape

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestExecution(t *testing.T) { try(t, executionRows(t)) }

func executionRows(t *testing.T) []attempt {
	sh := []string{"exec", "/bin/sh", "-c", "exit 10"}
	shFD := []string{"exec-fd", "/bin/sh", "-c", "exit 10"}
	forkSh := []string{"fork-exec", "/bin/sh", "-c", "exit 10"}
	noExec := w("--pledge STDIO,RPATH,WPATH --unveil {granted}:rwxc")
	return []attempt{
		{name: "run a program of the host", args: sh, control: control{args: sh, outside: true}},
		{name: "run a program of the host by descriptor", args: shFD, control: control{args: shFD, outside: true}},
		{name: "run a program of the host in a child", args: forkSh, control: control{args: forkSh, outside: true}},
		{name: "run a file outside", args: w("exec {outside}/program executed"), control: granted("exec {granted}/program executed", executable...)},
		{name: "run a file outside by descriptor", args: w("exec-fd {outside}/program executed"),
			control: granted("exec-fd {granted}/program executed", executable...)},
		{name: "run a file that may be read", args: w("exec {outside}/program executed"), flags: w("--unveil {outside}:r"),
			control: granted("exec {outside}/program executed", "--unveil", "{outside}:rx")},
		{name: "run another package's program", args: w("exec {other}"), control: granted("exec {self} executed")},
		{name: "run a memory file", args: w("exec-memfd"), control: outside("exec-memfd")},
		{name: "run a sealed memory file", args: w("exec-memfd 2"), control: outside("exec-memfd 2")},
		{name: "run a memory file that asks to be executable", args: w("exec-memfd 0x10"), control: outside("exec-memfd 0x10")},
		{name: "run what was written to HOME", args: w("exec-copy {self} {home}/copy"), control: granted("exec-copy {self} {granted}/copy", executable...)},
		{name: "run what was written to TMPDIR", args: w("exec-copy {self} $TMPDIR/copy"), control: granted("exec-copy {self} {granted}/copy", executable...)},
		{name: "run a script in HOME", args: w("exec-script {home}/script {self} executed"),
			control: granted("exec-script {granted}/script {self} executed", executable...)},
		{name: "run a script for the host's shell", args: w("exec-script {granted}/script /bin/sh"),
			control: granted("exec-script {granted}/script {granted}/program executed", executable...)},
		{name: "run an own file with a loader of the host", args: w("exec-interp {granted}/elf {outside}/ten"),
			control: granted("exec-interp {granted}/elf {granted}/ten", executable...)},
		{name: "run an own file in HOME", args: w("exec-interp {home}/elf {granted}/ten"),
			control: granted("exec-interp {granted}/elf {granted}/ten", executable...)},
		{name: "map a program outside", args: w("map-exec {outside}/program"), control: granted("map-exec {granted}/program", executable...)},
		{name: "exec without the promise", args: w("exec {self} executed"), flags: noExec, control: granted("exec {self} executed", executable...)},
		{name: "exec by descriptor without the promise", args: w("exec-fd {self} executed"), flags: noExec,
			control: granted("exec-fd {self} executed", executable...)},
		{name: "fork without the promise", args: w("fork"), flags: noExec, control: granted("fork", executable...)},
		{name: "run a set-user-id program of the host", args: w("exec " + setUserIDProgram(t)),
			control: asked("map-exec "+setUserIDProgram(t), "done", "done|EACCES")},
		{name: "run a program from a directory up", args: append(w("exec-at {home} ../../../../../../../../../bin/sh"), "-c", "exit 10"),
			control: control{args: append(w("exec-at {host} ../../../../../../../../../bin/sh"), "-c", "exit 10"), outside: true}},
		{name: "run a program by its link", args: append(w("exec-magic /bin/sh"), "-c", "exit 10"),
			control: control{args: append(w("exec-magic /bin/sh"), "-c", "exit 10"), outside: true}},
		{name: "run a script for a script for the host's shell", args: w("exec-chain {granted}/chain /bin/sh"), control: outside("exec-chain {granted}/chain /bin/sh")},
		{name: "run a memory file that must not be", args: w("exec-sealed"), control: outside("exec-sealed 0x10")},
		{name: "ask whether a program of the host can be run", args: w("exec-check /bin/sh"), control: outside("exec-check /bin/sh")},
		{name: "replace a program by a link to the host's", args: w("exec-replaced {granted}/program {outside}/program"),
			control: granted("exec-replaced {granted}/program {granted}/sub/../ten", executable...)},
	}
}

// setUserIDProgram returns a program of the host that runs as root for everybody.
func setUserIDProgram(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount", "/usr/bin/chsh"} {
		if info, err := os.Stat(name); err == nil && info.Mode()&os.ModeSetuid != 0 {
			return name
		}
	}
	t.Fatal("no set-user-id program in /usr/bin: install the package util-linux")
	return ""
}

// TestSetUserID runs a program that was granted and has the set-user-id bit: it
// must not change who it runs as. Root can aim at another uid; an ordinary user
// can only give its own file the bit of its own group, and sees that it stays there.
func TestSetUserID(t *testing.T) {
	s := newStage(t)
	program := s.words["granted"] + "/program"
	who := "65534"
	if os.Getuid() == 0 {
		if err := os.Chown(program, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(program, os.ModeSetuid|0o755); err != nil {
			t.Fatal(err)
		}
	} else {
		who = "0"
	}
	line := []string{"exec", program, "effective-uid", who}
	said := s.attempt(t, attempt{args: line}, s.inCell(t, executable, line))
	if !strings.Contains(said, "another effective uid") {
		t.Errorf("the set-user-id program said %q", said)
	}
	if os.Getuid() == 0 {
		// The control: outside, the bit does what it says.
		a := attempt{control: control{args: line, outside: true, prepare: func(t *testing.T, s *stage, _ *exec.Cmd) {
			if err := os.Chown(program, 65534, 65534); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(program, os.ModeSetuid|0o755); err != nil {
				t.Fatal(err)
			}
		}}}
		s.control(t, a)
	}
}
