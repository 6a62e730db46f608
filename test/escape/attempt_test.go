package escape

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/test/rig"
)

// attempt is one row: what is tried in a cell, and its control.
type attempt struct {
	name  string
	args  []string // of the attack program
	flags []string // of nip run; where nil, grant and then executable
	// silent says that the attacker cannot know whether it reached anything: only
	// the look from outside decides.
	silent bool
	// prepare may change the command and what lies outside before the attempt.
	prepare func(t *testing.T, s *stage, c *exec.Cmd)
	// hands opens what is sent to the attempt, and to its control, through standard input.
	hands func(t *testing.T, s *stage) *os.File
	// refusedBy says that the cell must not begin at all, with this in the reason.
	refusedBy string
	// unless is the promise with which cells may do it; it is refused without.
	unless capability.Pledge
	// untouched are names outside that must be afterwards what they were before.
	untouched []string
	control   control
}

// control is the same attempt where it must succeed.
type control struct {
	args    []string
	flags   []string // of nip run; the attempt's where nil
	outside bool     // in no cell
	want    string   // regular expression of what the attacker says; done where empty
	user    string   // the same for an ordinary user; want where empty
	prepare func(t *testing.T, s *stage, c *exec.Cmd)
}

// What cells of this battery get unless a row says otherwise. With grant, path
// calls are native; with executable the cell may execute what no stub stands in
// front of, so that all are asked.
var (
	grant      = []string{"--unveil", "{granted}:rwc"}
	executable = []string{"--unveil", "{granted}:rwxc"}
)

// w splits a line into words.
func w(line string) []string { return strings.Fields(line) }

// granted is a control in a cell; outside one in none.
func granted(line string, flags ...string) control { return control{args: w(line), flags: flags} }
func outside(line string) control                  { return control{args: w(line), outside: true} }

// outsideIn is outside with what is outside open.
func outsideIn(line string) control { return control{args: w(line), outside: true, prepare: leaveOpen} }

// asked is a control outside that must reach the kernel: root gets the answer
// want, an ordinary user the answer user (want where empty).
func asked(line, want, user string) control {
	return control{args: w(line), outside: true, want: want, user: user}
}

// try makes the attempts, each with its control.
func try(t *testing.T, attempts []attempt) {
	t.Helper()
	s := newStage(t)
	installed := s.snapshot(t, s.Path("Cas")) + s.snapshot(t, s.Path("Programs")) + s.snapshot(t, s.Path("System"))
	for _, a := range attempts {
		name := strings.ReplaceAll(a.name, " ", "-")
		if a.flags != nil {
			t.Run(name, func(t *testing.T) { s.row(t, a) })
			continue
		}
		a.flags = grant
		t.Run(name, func(t *testing.T) { s.row(t, a) })
		a.flags = executable
		t.Run(name+"/asked", func(t *testing.T) { s.row(t, a) })
	}
	if now := s.snapshot(t, s.Path("Cas")) + s.snapshot(t, s.Path("Programs")) + s.snapshot(t, s.Path("System")); now != installed {
		t.Errorf("the installed files are not what they were:\n%s", difference(installed, now))
	}
	if left := s.cellsLeft(t); len(left) > 0 {
		t.Errorf("left in /Cell after all cells have ended: %v", left)
	}
}

// row makes one attempt, looks from outside whether it changed anything, and
// makes the control.
func (s *stage) row(t *testing.T, a attempt) {
	s.set(t)
	var v *victim
	var listeners []*listener
	looks := ""
	if a.names("{victim}") {
		v = s.startVictim(t)
		s.words["victim"] = strconv.Itoa(v.PID)
		looks = v.describe(t)
	}
	if a.names("{outside}/stream", "{outside}/dgram", "{abstract}", "{tcpport}", "{udpport}") {
		listeners = s.listen(t)
	}
	c := s.inCell(t, a.flags, a.args)
	s.ready(t, c, a.prepare, a.hands)
	untouched := look(s.expand(t, a.untouched))
	before := s.snapshot(t, s.words["outside"]) + s.snapshot(t, s.Path("Data/apps/other"))
	said := s.attempt(t, a, c)
	if after := s.snapshot(t, s.words["outside"]) + s.snapshot(t, s.Path("Data/apps/other")); after != before {
		t.Errorf("files outside were changed:\n%s", difference(before, after))
	}
	if now := look(s.expand(t, a.untouched)); now != untouched {
		t.Errorf("outside was changed:\n%s", difference(untouched, now))
	}
	if v != nil {
		if n := v.signals(); n != 0 || !v.Alive() {
			t.Errorf("the process outside was reached: alive %v, %d signals", v.Alive(), n)
		} else if now := v.describe(t); now != looks {
			t.Errorf("the process outside was changed:\n%s", difference(looks, now))
		}
	}
	for _, l := range listeners {
		if got := l.since(t); len(got) > 0 {
			t.Errorf("the listener %s outside was reached: %q", l.name, got)
		}
	}
	t.Logf("%-60s %-40s control: %s", strings.Join(a.args, " "), said, s.control(t, a))
}

// ready makes c what the attempt or its control wants it to be.
func (s *stage) ready(t *testing.T, c *exec.Cmd, prepare func(*testing.T, *stage, *exec.Cmd), hands func(*testing.T, *stage) *os.File) {
	t.Helper()
	if prepare != nil {
		prepare(t, s, c)
	}
	if hands != nil {
		send(t, c, hands(t, s))
	}
}

// attempt runs c and says how it was refused; it fails the test if it was not.
func (s *stage) attempt(t *testing.T, a attempt, c *exec.Cmd) string {
	t.Helper()
	res := rig.Run(t, c)
	said := words(res)
	switch {
	case a.refusedBy != "" && res.Code == 125 && strings.Contains(res.Stderr, a.refusedBy):
		return a.refusedBy
	case res.Code == killed:
		return "killed"
	case res.Code == attackRefused, a.silent && res.Code == attackDone:
	case res.Code == attackDone:
		t.Errorf("the attempt succeeded: %s", said)
	default:
		t.Fatalf("no attempt was made: exit status %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	return said
}

// control makes the positive control and says how it ended; it fails the test
// if that is not what shows that the attempt would work.
func (s *stage) control(t *testing.T, a attempt) string {
	t.Helper()
	ctl := a.control
	if ctl.args == nil {
		t.Fatal("the row has no control")
	}
	s.set(t)
	var c *exec.Cmd
	if ctl.outside {
		c = s.outside(t, ctl.args)
	} else if ctl.flags != nil {
		c = s.inCell(t, ctl.flags, ctl.args)
	} else {
		c = s.inCell(t, a.flags, ctl.args)
	}
	s.ready(t, c, ctl.prepare, a.hands)
	res := rig.Run(t, c)
	want := ctl.want
	if ctl.user != "" && os.Getuid() != 0 {
		want = ctl.user
	}
	said := words(res)
	if want == "" && res.Code != attackDone || want != "" && !regexp.MustCompile(want).MatchString(said) {
		t.Errorf("the control %s ended with %d and said %q, want %q\n%s", strings.Join(c.Args, " "), res.Code, said, want, res.Stderr)
	}
	return said
}

// words is what the attacker said about its attempt, or how it was ended.
func words(res rig.Result) string {
	for line := range strings.Lines(res.Stdout) {
		if text, ok := strings.CutPrefix(line, "RESULT "); ok {
			return strings.TrimSpace(text)
		}
	}
	return "exit status " + strconv.Itoa(res.Code)
}

// look says of each name whether it is there, and as what.
func look(names []string) string {
	var b strings.Builder
	for _, name := range names {
		var st unix.Stat_t
		err := unix.Lstat(name, &st)
		fmt.Fprintf(&b, "%s: %v inode %d mode %o size %d ctime %v\n", name, err, st.Ino, st.Mode, st.Size, st.Ctim)
	}
	return b.String()
}

// names reports whether the row speaks of one of these words.
func (a attempt) names(words ...string) bool {
	text := strings.Join(a.args, " ") + " " + strings.Join(a.control.args, " ")
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// difference returns the lines of after that before has not, and the other way round.
func difference(before, after string) string {
	var b strings.Builder
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) {
			b.WriteString("- " + line)
		}
	}
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) {
			b.WriteString("+ " + line)
		}
	}
	return b.String()
}

// cellsLeft lists what is in /Cell and should not be when no cell runs: all but
// one empty directory that was made for the next cell.
func (s *stage) cellsLeft(t *testing.T) (left []string) {
	t.Helper()
	err := filepath.WalkDir(s.Path("Cell"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch rel, _ := filepath.Rel(s.Path("Cell"), path); rel {
		case ".", ".spare", ".spare/state", ".spare/tmp", ".spare/run", ".spare/names":
		default:
			left = append(left, rel)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return left
}
