package referee

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

// pledged is what steps say in a cell of a pledge: where faults kill, and where they
// are denied.
type pledged struct {
	name, pledge, steps string
	kills, denies       string // denies: as kills, if empty
}

var pledges = []pledged{
	{name: "STDIO", pledge: "STDIO", steps: "plain signal=self thread memoryexec read=/bin/try stat={w}/a read={w}/a", kills: "plain ok|signal ok|thread ok|memoryexec ok|read ok|stat ok|read EACCES"},
	{name: "a socket without INET", pledge: "STDIO,RPATH", steps: "plain sock=s read={w}/a", kills: "plain ok|fault", denies: "plain ok|sock EPERM|read ok"},
	{name: "INET", pledge: "STDIO,INET", steps: "plain sock=s bind=0 listen sock=d", kills: "plain ok|sock ok|bind ok|listen ok|sock EACCES"},
	{name: "UDP", pledge: "STDIO,UDP", steps: "plain sock=d bind=0 sock=s", kills: "plain ok|sock ok|bind ok|fault", denies: "plain ok|sock ok|bind ok|sock EPERM"},
	{name: "RPATH", pledge: "STDIO,RPATH", steps: "read=/dev/zero read={w}/a list={w} write={w}/a trunc={w}/a exclusive={w}/n truncate={w}/a",
		kills: "read ok|read ok|list ok|write EACCES|trunc EACCES|exclusive EACCES|fault", denies: "read ok|read ok|list ok|write EACCES|trunc EACCES|exclusive EACCES|truncate EPERM"},
	{name: "WPATH", pledge: "STDIO,WPATH", steps: "write={w}/a write=/dev/null truncate={w}/a exclusive={w}/n mkdir={w}/d chmod={w}/a read={w}/a list={w}",
		kills: "write ok|write ok|truncate ok|exclusive ok|mkdir ok|chmod ok|read EACCES|list EACCES"},
	{name: "CPATH", pledge: "STDIO,RPATH,CPATH", steps: "mkdir={w}/d rmdir={w}/d unlink={w}/a rename={w}/sub,{w}/s write={w}/s/b chmod={w}/s",
		kills: "mkdir ok|rmdir ok|unlink ok|rename ok|write EACCES|fault", denies: "mkdir ok|rmdir ok|unlink ok|rename ok|write EACCES|chmod EPERM"},
	{name: "making without CPATH", pledge: "STDIO,RPATH,WPATH,-CPATH", steps: "write={w}/a trunc={w}/a chmod={w}/a exclusive={w}/n mkdir={w}/d",
		kills: "write ok|trunc ok|chmod ok|exclusive EACCES|fault", denies: "write ok|trunc ok|chmod ok|exclusive EACCES|mkdir EPERM"},
	{name: "FATTR", pledge: "STDIO,RPATH,FATTR", steps: "chmod={w}/a utimes={w}/a write={w}/a", kills: "chmod ok|utimes ok|write EACCES"},
	{name: "forks without PROC", pledge: "STDIO,RPATH", steps: "thread fork read={w}/a", kills: "thread ok|fault", denies: "thread ok|fork EPERM|read ok"},
	{name: "PROC", pledge: "STDIO,RPATH,PROC", steps: "fork childsignal= exec", kills: "fork ok|childsignal ok|exec ok|fault", denies: "fork ok|childsignal ok|exec ok|exec EPERM"},
	{name: "EXEC, which the next program has, too", pledge: "STDIO,RPATH,EXEC", steps: "exec fork sock=s", kills: "exec ok|fork ok|fault", denies: "exec ok|fork ok|sock EPERM"},
}

// TestPledges: what cells of each pledge may do.
func TestPledges(t *testing.T) {
	s := newStage(t)
	for _, p := range pledges {
		s.set(t)
		s.say(t, p.name, s.InCell([]string{"--pledge", p.pledge}, "try", strings.Fields(s.expand(p.steps))...), p.kills)
		if p.denies == "" {
			p.denies = p.kills
		}
		s.set(t)
		s.say(t, p.name+", denied", s.InCell([]string{"--pledge", p.pledge, "--deny"}, "try-static", strings.Fields(s.expand(p.steps))...), p.denies)
	}
	// The control: with all promises.
	s.set(t)
	steps := strings.Fields(s.expand("plain sock=s bind=0 write={w}/a mkdir={w}/d chmod={w}/a fork exec read={w}/a"))
	s.say(t, "all promises", s.InCell(nil, "try", steps...), "plain ok|sock ok|bind ok|write ok|mkdir ok|chmod ok|fork ok|exec ok|read ok")
}

// TestWithoutStdio: a cell that could not even run its program is not started.
func TestWithoutStdio(t *testing.T) {
	s := newStage(t)
	for _, words := range []string{"NONE", "RPATH", "WPATH,INET,EXEC"} {
		if r := rig.Run(t, s.InCell([]string{"--pledge", words}, "try", "plain")); r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "add it: --pledge STDIO") {
			t.Errorf("--pledge %s: exit status %d: %s%s", words, r.Code, r.Stdout, r.Stderr)
		}
	}
	s.say(t, "the control", s.InCell([]string{"--pledge", "STDIO"}, "try", "plain"), "plain ok")
}

// TestFaultTold: a fault is told to the person and recorded, with the call and what
// would permit it, and leaves no core file.
func TestFaultTold(t *testing.T) {
	s := newStage(t)
	c := s.InCell([]string{"--pledge", "STDIO,RPATH,PROC"}, "try", "core", "sock=s")
	r := rig.Run(t, c)
	if r.Code != 137 || r.Stdout != "core ENODATA\n" || !strings.Contains(r.Stderr, "called socket, which needs INET: killed") {
		t.Errorf("exit status %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if text := s.Must("ledger", "--json"); !strings.Contains(text, `"kind": "fault"`) || !strings.Contains(text, `"call": "socket"`) {
		t.Errorf("the ledger says nothing of it:\n%s", text)
	}
	// The control: outside, a core file is written where the host lets that be.
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &l); err != nil {
		t.Fatal(err)
	}
	if l.Max == 0 {
		return
	}
	s.set(t)
	s.Own(t, s.Base)
	c = s.Outside("try", "core")
	c.Dir = s.Work
	if r := rig.Run(t, c); r.Stdout != "core ok\n" {
		t.Errorf("outside: %s", r.Stdout)
	}
}

// TestPledgeWords: promises that there are none of start nothing.
func TestPledgeWords(t *testing.T) {
	s := newStage(t)
	for _, words := range []string{"STDIO,EVERYTHING", "STDIO,VMINFO", "NONE,STDIO", "-NONE", "STDIO RPATH,WATH"} {
		if r := rig.Run(t, s.InCell([]string{"--pledge", words}, "try", "plain")); r.Code == 0 || r.Stdout != "" {
			t.Errorf("--pledge %q: exit status %d: %s%s", words, r.Code, r.Stdout, r.Stderr)
		}
	}
	s.say(t, "the control", s.InCell([]string{"--pledge", "stdio,RPATH"}, "try", "plain"), "plain ok")
}

// What is open stays when promises are gone.
var open = []row{
	{name: "what is open stays", steps: "deny hold={w}/a,rw pledge=stdio heldread heldtruncate heldioctl=0x541b read={w}/a write={w}/a plain", want: "deny ok|hold ok|pledge ok|heldread ok|heldtruncate ok|heldioctl ok|read EPERM|write EPERM|plain ok"},
	{name: "a directory that is open leads nowhere", steps: "deny hold={1},r pledge=stdio,wpath heldat=f heldcreate=n write={1}/f", want: "deny ok|hold ok|pledge ok|heldat EPERM|heldcreate ok|write ok"},
	{name: "a socket that is open is not connected", steps: "deny sock=s pledge=stdio connect=1 bind=0 listen plain", want: "deny ok|sock ok|pledge ok|connect EPERM|bind EPERM|listen EPERM|plain ok"},
	{name: "nor by its first message", steps: "deny sock=s pledge=stdio fastopen=1 plain", want: "deny ok|sock ok|pledge ok|fastopen EOPNOTSUPP|plain ok"},
}

func TestOpenBefore(t *testing.T) { newStage(t).compare(t, open) }

// TestTerminal: with a terminal as standard input a program may ask and set it, but not
// type into it.
func TestTerminal(t *testing.T) {
	s := newStage(t)
	for _, p := range rig.TryPlaces("--pledge", "STDIO,RPATH") {
		master, slave := rig.Terminal(t)
		steps, want := "terminal=0x5401 terminal=0x5413 terminal=0x5402 terminal=0x5409 terminal=0x541b", "terminal ok|terminal ok|terminal ok|terminal ok|terminal ok"
		if p.Name != "outside" { // TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD; TIOCSBRK; TIOCEXCL
			steps += " terminal=0x5412 terminal=0x541c terminal=0x541d terminal=0x5423 terminal=0x5427 terminal=0x540c terminal=0x5413"
			want += "|terminal EPERM|terminal EPERM|terminal EPERM|terminal EPERM|terminal ENOTTY|terminal EPERM|terminal ok"
		}
		c := p.Run(s.TryStage, "try", strings.Fields(steps)...)
		c.Stdin = slave
		// A session of its own, whose terminal it is.
		if c.SysProcAttr == nil {
			c.SysProcAttr = &syscall.SysProcAttr{}
		}
		c.SysProcAttr.Setsid, c.SysProcAttr.Setctty, c.SysProcAttr.Ctty = true, true, 0
		s.say(t, p.Name, c, want)
		slave.Close()
		master.Close()
	}
	// The control: TIOCSBRK of the terminal works outside.
	master, slave := rig.Terminal(t)
	defer master.Close()
	c := s.Outside("try", "terminal=0x5427")
	c.Stdin = slave
	s.say(t, "the control", c, "terminal ok")
	slave.Close()
}
