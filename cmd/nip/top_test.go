package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"nipcells/internal/cell"
)

// screen reads what a terminal shows until it has seen something.
type screen struct {
	t      *testing.T
	person *os.File
	text   string
}

func (s *screen) until(want string) {
	s.t.Helper()
	b := make([]byte, 4096)
	for end := time.Now().Add(20 * time.Second); !strings.Contains(s.text, want); {
		if time.Now().After(end) {
			s.t.Fatalf("no %q on\n%q", want, s.text)
		}
		if err := s.person.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			s.t.Fatal(err)
		}
		n, err := s.person.Read(b)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			s.t.Fatalf("%v before %q on\n%q", err, want, s.text)
		}
		s.text += string(b[:n])
	}
	s.text = ""
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.person, keys); err != nil {
		s.t.Fatal(err)
	}
}

func TestTopOnATerminal(t *testing.T) {
	d := newDesk(t)
	d.program(waiter)
	busy := d.command([]string{"run", "--budget", "cpu=50%", "tool"})
	in, err := busy.StdinPipe()
	d.must(err)
	out, err := busy.StdoutPipe()
	d.must(err)
	d.must(busy.Start())
	defer busy.Wait() // how it is stopped is the test
	defer in.Close()
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	person, tty := terminal(t)
	c := d.command([]string{"top", "--every", "100ms"})
	c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
	d.must(c.Start())
	d.must(tty.Close())
	defer c.Process.Kill() // it has ended, if all goes well
	s := &screen{t: t, person: person}
	s.until("1 cell")
	s.until("tool")
	s.press("c")
	s.until("budget of ")
	s.press("cpu=1x\x7f0%\r")
	s.until("is held to cpu=10%")
	s.press("d")
	s.until("is held to cpu=10%,spectrum=gravity")
	s.press("s")
	s.until("stopped ")
	s.press("q")
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

func TestTopKeys(t *testing.T) {
	v := &topView{history: map[string][]float64{}}
	use := func(fibers ...string) (list []cellUsage) {
		for _, f := range fibers {
			list = append(list, cellUsage{Info: cell.Info{Fiber: f, Package: "p\x1b[2J"}, CPU: 50})
		}
		return list
	}
	press := func(keys ...string) {
		for _, k := range keys {
			v.key(k)
		}
	}
	press("s", "d", "c", "up", "down") // of nobody
	if v.asking || v.at() >= 0 {
		t.Error("something was done without a cell")
	}
	v.Update(looked{list: use("a", "b", "c")})
	press("down", "down", "down", "up")
	if v.chosen != "b" {
		t.Errorf("%q is chosen, want b", v.chosen)
	}
	v.Update(looked{list: use("c")})
	if v.chosen != "c" || len(v.history) != 1 || len(v.history["c"]) != 2 {
		t.Errorf("%q is chosen, history %v", v.chosen, v.history)
	}
	if text := v.View(); strings.Contains(text, "\x1b[2J") || !strings.Contains(text, "▅▅") {
		t.Errorf("%q", text)
	}
	v.Update(looked{err: errors.New("gone")})
	if !strings.Contains(v.View(), "gone") || v.chosen != "c" {
		t.Errorf("%q", v.View())
	}
	press("c")
	v.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("x")})
	v.Update(tea.KeyMsg{Type: tea.KeyEsc})
	if v.asking {
		t.Error("it still asks")
	}
}

func TestSparkline(t *testing.T) {
	for _, test := range []struct {
		figures []float64
		want    string
	}{
		{nil, "    "},
		{[]float64{0, 100}, "  ▁█"},
		{[]float64{9, 0, 50, 100, 200}, "▁▃▅█"},
		{[]float64{-1, 1e9, 0, 0}, "▁█▁▁"},
	} {
		if got := sparkline(test.figures, 4); got != test.want {
			t.Errorf("%v: %q, want %q", test.figures, got, test.want)
		}
	}
}
