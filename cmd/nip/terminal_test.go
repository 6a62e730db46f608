package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a new pseudo-terminal of 80 columns. What is
// typed is not echoed.
func terminal(t *testing.T) (person, nip *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if nip, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	mode, err := unix.IoctlGetTermios(int(nip.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	mode.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(nip.Fd()), unix.TCSETS, mode); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return person, nip
}

// typed runs nip on a terminal on which somebody types, and returns what the
// terminal shows.
func (d *desk) typed(keys string, args ...string) (status int, screen string) {
	d.t.Helper()
	person, tty := terminal(d.t)
	c := d.command(args)
	c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
	d.must(c.Start())
	d.must(tty.Close())
	_, err := io.WriteString(person, keys)
	d.must(err)
	shown, _ := io.ReadAll(person) // ends with EIO when nip has closed the terminal
	c.Wait()                       // the status says it
	return c.ProcessState.ExitCode(), strings.ReplaceAll(string(shown), "\r\n", "\n")
}

func TestTrustIsAskedOnATerminal(t *testing.T) {
	d := newDesk(t)
	d.pack("tool", command("tool"), 0)
	d.must(os.RemoveAll(d.path("root")))
	const question = "Trust packages signed with it from now on? [y/N] "

	for _, no := range []string{"n\n", "\n", "yess\n", "\x04"} {
		status, screen := d.typed(no, "install", "tool.npk")
		if status != exitError || !strings.Contains(screen, question) || !strings.Contains(screen, "which is not trusted") {
			t.Fatalf("answer %q: status %d\n%s", no, status, screen)
		}
	}
	status, screen := d.typed("y\n", "install", "tool.npk")
	if status != exitOK || !strings.Contains(screen, question) || !strings.Contains(screen, "installed tool 1\n") {
		t.Fatalf("answer yes: status %d\n%s", status, screen)
	}
	d.nip("install", "tool.npk") // trusted from now on, and nothing is asked without a terminal
}

func TestDataIsAskedForOnATerminal(t *testing.T) {
	d := newDesk(t)
	d.tool()
	d.write("root/Data/apps/tool/notes", "mine", 0o600)
	status, screen := d.typed("n\n", "remove", "tool")
	if want := "Remove the data of tool in " + d.path("root/Data/apps/tool") + " too? [y/N] "; status != exitOK || !strings.Contains(screen, want) {
		t.Fatalf("status %d\n%s", status, screen)
	}
	if _, err := os.Stat(d.path("root/Data/apps/tool/notes")); err != nil {
		t.Fatalf("no was answered: %v", err)
	}
	d.nip("-q", "install", "tool.npk")
	if status, screen := d.typed("yes\n", "remove", "tool"); status != exitOK || !strings.Contains(screen, "removed its data, ") {
		t.Fatalf("status %d\n%s", status, screen)
	}
	if _, err := os.Stat(d.path("root/Data/apps/tool")); !os.IsNotExist(err) {
		t.Fatalf("yes was answered: %v", err)
	}
}

func TestBarOnATerminal(t *testing.T) {
	d := newDesk(t)
	d.pack("tool", command("tool"), 1<<20)
	status, screen := d.typed("", "install", "tool.npk")
	if status != exitOK || !regexp.MustCompile(`\r\x1b\[Kinstall tool \[[= ]{40}\] +\d+ %`).MatchString(screen) {
		t.Fatalf("status %d\n%q", status, screen)
	}
	if !strings.Contains(screen, "\r\x1b[Kinstalled tool 1\n") {
		t.Errorf("the bar is not taken away:\n%q", screen)
	}
	d.nip("-q", "remove", "tool")
	if status, screen := d.typed("", "-q", "install", "tool.npk"); status != exitOK || screen != "" {
		t.Errorf("with -q: status %d\n%q", status, screen)
	}
}
