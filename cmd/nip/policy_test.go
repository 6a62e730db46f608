package main

import (
	"os"
	"strings"
	"testing"
)

// TestMoreIsAskedOnATerminal: an update that asks for more says exactly what, and
// waits for a yes.
func TestMoreIsAskedOnATerminal(t *testing.T) {
	const question = "tool 2 asks for more than the active version was given:\n" +
		"  pledge INET\n" +
		"  unveil /opt:r\n" +
		"  unveil /srv:w\n" +
		"  budget memory 64M -> 1G\n" +
		"  bus open-file\n" +
		"Give it that and make tool 2 active? [y/N] "
	d := newDesk(t)
	d.update()
	current := func() string {
		target, err := os.Readlink(d.path("root/Programs/tool/Current"))
		d.must(err)
		return target
	}
	for _, no := range []string{"n\n", "\n", "\x04"} {
		status, screen := d.typed(no, "install", "tool-2.npk")
		if status != exitError || !strings.Contains(screen, question) || !strings.HasSuffix(screen, heldMessage+heldAdvice) || current() != "1" {
			t.Fatalf("answer %q: status %d, active %s\n%s", no, status, current(), screen)
		}
	}
	status, screen := d.typed("y\n", "install", "tool-2.npk")
	if status != exitOK || !strings.Contains(screen, question) || !strings.HasSuffix(screen, "tool 2 is active now\n") || current() != "2" {
		t.Fatalf("answer yes: status %d, active %s\n%s", status, current(), screen)
	}
	// Asking for less is no question.
	if status, screen := d.typed("", "install", "tool-1.npk"); status != exitOK || strings.Contains(screen, "[y/N]") || current() != "1" {
		t.Fatalf("back: status %d, active %s\n%s", status, current(), screen)
	}
}

// TestOverridesHoldAtTheNextStart: without a new plan being asked for.
func TestOverridesHoldAtTheNextStart(t *testing.T) {
	d := newDesk(t)
	d.program(waiter) // asks for STDIO
	for _, step := range []struct {
		args   []string
		status int // of a run that makes a socket
	}{
		{nil, 128 + 9},
		{[]string{"set", "tool", "--pledge", "INET"}, 0},
		{[]string{"set", "--all", "--pledge", "-INET"}, 0}, // the one package is an exception
		{[]string{"clear", "tool"}, 128 + 9},
		{[]string{"clear", "--all"}, 128 + 9},
		{[]string{"set", "--all", "--pledge", "INET"}, 0},
		{[]string{"set", "tool", "--pledge", "-INET"}, 128 + 9},
	} {
		if step.args != nil {
			d.nip(append([]string{"-q", "policy"}, step.args...)...)
		}
		if status, _, stderr := d.run([]string{"run", "tool", "socket"}); status != step.status {
			t.Errorf("after %q: status %d, want %d\n%s", step.args, status, step.status, stderr)
		}
	}
	if status, _, stderr := d.run([]string{"run", "--pledge", "STDIO,INET", "tool", "socket"}); status != 0 {
		t.Errorf("a flag for one start: status %d\n%s", status, stderr)
	}
	d.write("root/Nexus/policy.kdl", "pledge \"STDIO\"\n", 0o644)
	d.nip("-q", "policy", "set", "tool", "--pledge", "INET")
	if status, _, stderr := d.run([]string{"run", "tool", "socket"}); status != 128+9 {
		t.Errorf("beyond the host's policy: status %d\n%s", status, stderr)
	}
}
