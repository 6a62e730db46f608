package escape

import (
	"os"
	"strconv"
	"testing"

	"nipcells/test/rig"
)

func credentialRows() []attempt {
	rows := []attempt{
		{name: "become nobody", args: w("setuid 65534"), control: asked("setuid 65534", "done", "EPERM")},
		{name: "become nobody for good", args: w("setresuid 65534"), control: asked("setresuid 65534", "done", "EPERM")},
		{name: "open files as nobody", args: w("setfsuid 65534"), control: asked("setfsuid 65534", "done", "refused setfsuid")},
		{name: "join a group", args: w("setgid 65534"), control: asked("setgid 65534", "done", "EPERM")},
		{name: "join groups", args: w("setgroups 65534"), control: asked("setgroups 65534", "done", "EPERM")},
		{name: "hold capabilities", args: w("capabilities"), control: asked("capabilities", "done", "refused all sets")},
		{name: "raise CAP_SYS_ADMIN", args: w("capset 21"), control: asked("capset 21", "done", "EPERM")},
		{name: "raise CAP_DAC_OVERRIDE", args: w("capset 1"), control: asked("capset 1", "done", "EPERM")},
		{name: "raise an ambient capability", args: w("ambient 21"), control: asked("ambient 21", "done|EPERM", "EPERM")},
		{name: "set securebits", args: w("securebits"), control: asked("securebits", "done", "EPERM")},
		{name: "allow new privileges", args: w("new-privileges"), control: outside("new-privileges")},
	}
	if os.Getuid() == 0 { // an ordinary user cannot empty it, and has no way to use it
		rows = append(rows, attempt{name: "be bounded by something", args: w("bounding"), control: outside("bounding")})
	}
	return rows
}

func TestCredentials(t *testing.T) {
	try(t, credentialRows())
	// The in-cell control: what anybody may do goes through the same calls.
	s := newStage(t)
	for _, line := range []string{"setuid {uid}", "setgid {gid}", "prctl 38 1", "effective-uid {uid}"} {
		if res := rig.Run(t, s.inCell(t, grant, w(line))); res.Code != attackDone {
			t.Errorf("%s in a cell: %s", line, words(res))
		}
	}
}

// TestOthersFiles grants a file that its mode keeps from everybody but its
// owner: a cell of root has no capability to override that. An ordinary user's
// cell cannot either: the file is root's.
func TestOthersFiles(t *testing.T) {
	s := newStage(t)
	file := "/etc/shadow" // of root and group shadow, for nobody else
	if os.Getuid() == 0 {
		file = s.words["granted"] + "/secret"
		if err := os.Chown(file, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := attempt{args: []string{"open-read", file}}
	s.attempt(t, a, s.inCell(t, []string{"--unveil", file + ":r"}, a.args))
	if os.Getuid() == 0 {
		if res := rig.Run(t, s.outside(t, a.args)); res.Code != attackDone {
			t.Errorf("outside, root cannot read it either: %s", words(res))
		}
	}
}

// TestGroups sees that a cell started by root is in no group but its own.
func TestGroups(t *testing.T) {
	s := newStage(t)
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if g == os.Getgid() {
			continue
		}
		line := []string{"in-group", strconv.Itoa(g)}
		res := rig.Run(t, s.inCell(t, grant, line))
		if os.Getuid() == 0 && res.Code != attackRefused {
			t.Errorf("group %d: %s", g, words(res))
		}
	}
	// The control: outside, a group of ours is found.
	if len(groups) > 0 {
		if res := rig.Run(t, s.outside(t, []string{"in-group", strconv.Itoa(groups[0])})); res.Code != attackDone {
			t.Errorf("group %d outside: %s", groups[0], words(res))
		}
	}
}

// TestAnotherUser has root give a cell another uid: there is no way back.
func TestAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		// Only root may; nobody else can be given what is not his.
		s := newStage(t)
		if res := rig.Run(t, s.inCell(t, []string{"--user", "0"}, w("effective-uid 0"))); res.Code != 125 {
			t.Errorf("an ordinary user ran a cell as root: exit status %d, %s", res.Code, words(res))
		}
		return
	}
	s := newStage(t)
	if err := rig.RemoveAll(s.words["host"]); err != nil { // the HOME of the cells before is root's
		t.Fatal(err)
	}
	as := []string{"--user", "65534"}
	if res := rig.Run(t, s.inCell(t, as, w("effective-uid 65534"))); res.Code != attackDone {
		t.Fatalf("a cell with another uid: %d %s%s", res.Code, words(res), res.Stderr)
	}
	for _, line := range []string{"setuid 0", "setresuid 0", "setfsuid 0", "setgid 0", "setgroups 0", "capabilities", "bounding", "capset 7"} {
		s.attempt(t, attempt{args: w(line)}, s.inCell(t, as, w(line)))
	}
}
