package programs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nipcells/test/rig"
)

// tight is what real programs are held to that do all their work once more: slower, not
// broken. Each is about as little as the program can live on.
var tight = map[string]string{
	"python3": "memory=48M,fibers=8,cpu=25%,disk=8M,io=4M/s",
	"git":     "memory=32M,fibers=6,cpu=25%,disk=8M",
	"sqlite3": "memory=24M,fibers=2,cpu=25%,disk=1M",
	"nodejs":  "memory=192M,fibers=24,cpu=40%,disk=8M",
	"bash":    "memory=48M,fibers=16,cpu=40%,disk=8M",
	"gcc":     "memory=96M,fibers=8,cpu=40%,disk=16M",
	"make":    "memory=128M,fibers=16,cpu=40%,disk=16M",
	"java":    "memory=384M,fibers=64,cpu=60%,disk=16M",
	"tmux":    "memory=64M,fibers=12,cpu=25%,disk=8M",
}

// underPressure does a program's jobs and pieces of work under its tight budget.
func (w *world) underPressure(t *testing.T) {
	budget, ok := tight[w.p.name]
	if !ok {
		return
	}
	if err := os.RemoveAll(w.home); err != nil { // as it was before the first time
		t.Fatal(err)
	}
	held := newWorldIn(t, w.root, w.p, filepath.Join(w.root.Base, "tight-"+w.p.name))
	held.flags = []string{"--budget", budget}
	for _, j := range w.p.jobs {
		t.Run(strings.ReplaceAll(j.name, " ", "-"), func(t *testing.T) { held.work(t, j) })
	}
	for _, m := range w.p.more {
		if m.held {
			t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) { m.run(t, held) })
		}
	}
}

// terminal is a new one, and what was written to it so far.
type terminal struct {
	master *os.File
	mutex  sync.Mutex
	text   bytes.Buffer
}

// onTerminal starts a command as the leader of a session that has a terminal of its own.
func onTerminal(t *testing.T, c *exec.Cmd) *terminal {
	t.Helper()
	master, slave := rig.Terminal(t)
	defer slave.Close()
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{master: master}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			if err != nil {
				return // EIO: all who had it are gone
			}
			term.mutex.Lock()
			term.text.Write(buffer[:n])
			term.mutex.Unlock()
		}
	}()
	return term
}

// typed sends keys.
func (term *terminal) typed(t *testing.T, keys string) {
	t.Helper()
	if _, err := term.master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// until waits for a text behind what it waited for before.
func (term *terminal) until(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !term.found(want); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the terminal does not show %q, but %q", want, term.shown())
		}
	}
}

// found takes what is there up to the text, if that is there.
func (term *terminal) found(want string) bool {
	term.mutex.Lock()
	defer term.mutex.Unlock()
	at := bytes.Index(term.text.Bytes(), []byte(want))
	if at >= 0 {
		term.text.Next(at + len(want))
	}
	return at >= 0
}

func (term *terminal) shown() string {
	term.mutex.Lock()
	defer term.mutex.Unlock()
	return term.text.String()
}

// jobControl talks to an interactive bash: keys stop and end what runs in the foreground,
// and jobs go on in the background and come back.
func jobControl(t *testing.T, w *world) {
	c := w.command([]string{"--env", "TERM=dumb", "--env", "PS1=ready> "}, []string{"--norc", "--noprofile", "-i"})
	term := onTerminal(t, c)
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	defer func() { _ = c.Process.Kill() }() // it has ended, if all went well
	const spin, prompt = `while :; do :; done`, "ready> "
	command := func(line, want string) {
		t.Helper()
		term.until(t, prompt)
		term.typed(t, line+"\n")
		term.until(t, want)
	}
	key := func(c, want string) {
		t.Helper()
		term.typed(t, c)
		term.until(t, want)
	}
	const suspend, interrupt = "\x1a", "\x03"
	command("echo $((6 * 7))", "42\r\n")
	command("sleep 60", "sleep 60\r\n")
	time.Sleep(time.Second / 5) // until it has the terminal
	key(suspend, "Stopped")
	command("jobs", "[1]+  Stopped")
	command("bg", "sleep 60 &")
	command("jobs", "[1]+  Running")
	command("fg", "sleep 60\r\n")
	time.Sleep(time.Second / 5)
	key(interrupt, "^C")
	// One that uses more than it gets, and is suspended again and again.
	command("("+spin+") & sleep 1; jobs", "[1]+  Running")
	command("kill %1; wait %1; echo ended $?", "ended 143")
	command("("+spin+")", "done)\r\n")
	time.Sleep(time.Second)
	key(suspend, "Stopped")
	command("kill -9 %1; sleep 0.3; jobs", "Killed")
	command("("+spin+")", "done)\r\n")
	time.Sleep(time.Second)
	key(interrupt, "^C")
	term.until(t, prompt)
	term.typed(t, "exit 7\n")
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatalf("it has not ended: %q", term.shown())
	}
	if code := c.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit status %d, want 7: %q", code, term.shown())
	}
}
