package referee

import (
	"bufio"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"nipcells/test/rig"
)

// Scopes in layers: S signals, A abstract names.
var processes = []row{
	{name: "signals upwards", steps: "inchild signal=parent signal=self layer=S signal=parent signal=self", want: "inchild ok|signal ok|signal ok|layer ok|signal EPERM|signal ok"},
	{name: "signals downwards", steps: "childsignal=S childsignal= layer=S childsignal= childsignal=S", want: "childsignal ok|childsignal ok|layer ok|childsignal ok|childsignal ok"},
	{name: "signals within", steps: "layer=S inchild signal=parent layer=r signal=parent layer=S signal=parent", want: "layer ok|inchild ok|signal ok|layer ok|signal ok|layer ok|signal EPERM"},
	{name: "signals of a program that unveiled", steps: "inchild unveil={1}:r commit signal=parent read={2}/f", want: "inchild ok|unveil ok|commit ok|signal ok|read EACCES"},
	{name: "signals between threads", steps: "threads=S threads=r signal=self", want: "threads ok|threads ok|signal ok"},
	{name: "signals by the kernel", steps: "owner=self inchild owner=parent layer=S owner=parent signal=parent", want: "owner ok|inchild ok|owner ok|layer ok|owner ok|signal EPERM"},
	{name: "tracing", steps: "inchild attach=parent signal=parent", want: "inchild ok|attach ok|signal ok", cell: "inchild ok|attach EPERM|signal ok"},
	{name: "being traced", steps: "inchild traceme", want: "inchild ok|traceme ok", cell: "inchild ok|traceme EPERM"},
	{name: "tracing out of a layer", steps: "inchild layer=r attach=parent signal=parent", want: "inchild ok|layer ok|attach EPERM|signal ok"},
	{name: "memory and descriptors out of a layer", steps: "inchild environ=parent layer=x environ=parent environ=self", want: "inchild ok|environ ok|layer ok|environ EACCES|environ ok"},
}

func TestProcesses(t *testing.T) { newStage(t).compare(t, processes) }

// held is a program that stays, in a group of its own, and its number.
type held struct {
	pid string
	cmd *exec.Cmd
}

// stay starts c and waits until its program, which makes the step stay, says its number.
func stay(t *testing.T, c *exec.Cmd) held {
	t.Helper()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setpgid = true
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		c.Wait() // it may have been killed
	})
	pid, err := bufio.NewReader(io.LimitReader(out, 64)).ReadString(' ')
	if err != nil {
		t.Fatal(err)
	}
	return held{strings.TrimSpace(pid), c}
}

// TestTwoCells: of two cells of one user neither reaches the other, but the host reaches both.
func TestTwoCells(t *testing.T) {
	s := newStage(t)
	s.set(t)
	other := stay(t, s.InCell(nil, "try", "stay"))
	host := stay(t, s.Outside("try", "stay"))
	for _, p := range rig.TryPlaces() {
		for name, target := range map[string]string{"another cell": other.pid, "the host": host.pid} {
			steps := strings.Fields(strings.ReplaceAll("signal=self signal=N signal=-N attach=N environ=N owner=N owner=-N environ=self", "N", target))
			want := "signal ok|signal ok|signal ok|attach ok|environ ok|owner ok|owner ok|environ ok"
			if p.Name != "outside" {
				want = "signal ok|signal EPERM|signal EPERM|attach EPERM|environ ENOENT|owner ok|owner EPERM|environ ok"
			}
			if name == "another cell" { // whose program leads no group
				parts := strings.Split(want, "|")
				parts[2] = "signal ESRCH"
				want = strings.Join(parts, "|")
			}
			s.say(t, p.Name+" and "+name, p.Run(s.TryStage, "try", steps...), want)
		}
	}
}

// TestOwnGroup: a cell in one group with a process outside cannot have the kernel
// signal the group for it.
func TestOwnGroup(t *testing.T) {
	s := newStage(t)
	s.set(t)
	for _, p := range rig.TryPlaces() {
		victim := stay(t, s.Outside("try", "stay"))
		n, err := strconv.Atoi(victim.pid)
		if err != nil {
			t.Fatal(err)
		}
		c := p.Run(s.TryStage, "try", "ownerkill=-"+victim.pid, "signal=self")
		if c.SysProcAttr == nil {
			c.SysProcAttr = &syscall.SysProcAttr{}
		}
		c.SysProcAttr.Setpgid, c.SysProcAttr.Pgid = true, n
		want := "ownerkill ok|signal ok"
		if p.Name != "outside" {
			want = "ownerkill EPERM|signal ok"
		}
		s.say(t, p.Name, c, want)
		v, there := rig.FindProcess(n)
		if p.Name != "outside" && !(there && v.Alive()) {
			t.Errorf("%s: the process outside was reached", p.Name)
		}
		if p.Name == "outside" {
			rig.Until(t, 10e9, "the signal reaches the group outside", func() bool {
				_, there := rig.FindProcess(n)
				return !there
			})
		}
	}
}
