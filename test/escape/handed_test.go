package escape

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

const handedSource = "test/escape/testdata/handed.c"

// TestHanded: a descriptor of a cell is good for no more elsewhere than where it
// was: sent to itself, as the working directory, opened again by its link in /proc,
// or of a directory that was moved, by the cell or by somebody outside. So are hidden
// names, and programs that no package has. As root there is also something else mounted below
// what is unveiled. Outside, each attempt of the same program succeeds.
func TestHanded(t *testing.T) {
	r := rig.NewRoot(t)
	above, ids := hideAbove(t, r)

	s := layOut(t, r, "outside")
	gcc(t, handedSource, r.Base+"/handed", "static")
	for _, d := range []string{"/home", "/tmp"} {
		if err := os.Mkdir(s.dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := r.Command(s.args(s.dir+"/home", s.dir+"/tmp", ids)...)
	c.Path = r.Base + "/handed"
	open := map[string]bool{} // attempts that succeed outside
	for _, line := range s.converse(t, c) {
		if what, ok := strings.CutSuffix(line, "OPEN"); ok {
			open[attemptName(what)] = true
		}
	}

	for _, kind := range []string{"dynamic", "static", "static-pie"} {
		t.Run(kind, func(t *testing.T) {
			name, rights := "handed-"+kind, "r"
			if kind == "static-pie" {
				rights = "rx" // all is asked
			}
			installC(t, r, name, handedSource, kind)
			s := layOut(t, r, kind)
			hidden := append(s.hidden(), above...)
			before := hiddenNow(t, hidden...) + look(s.read())
			line := []string{"run", "--deny", "--unveil", s.dir + "/work:rwc", "--unveil", s.dir + "/read:" + rights, name, "--"}
			attempts, controls := 0, 0
			for _, line := range s.converse(t, r.Command(append(line, s.args("/Data/apps/"+name, "/tmp", ids)...)...)) {
				what, refused := strings.CutSuffix(line, "refused")
				switch {
				case refused:
					attempts++
					if !open[attemptName(what)] && !inCellOnly.MatchString(what) {
						t.Errorf("%q is refused outside, too", strings.TrimSpace(what))
					}
				case strings.HasSuffix(line, " works"):
					controls++
				default:
					t.Error(line)
				}
			}
			if attempts < 90 || controls < 6 {
				t.Errorf("%d attempts, %d controls", attempts, controls)
			}
			if after := hiddenNow(t, hidden...) + look(s.read()); after != before {
				t.Errorf("what is hidden, or may only be read, was changed:\n%s", difference(before, after))
			}
			t.Logf("%d attempts, %d controls", attempts, controls)
		})
	}
}

// attemptName is the name of an attempt; which number a descriptor has does not matter.
func attemptName(what string) string {
	return regexp.MustCompile(`descriptor [0-9]+`).ReplaceAllString(strings.TrimSpace(what), "descriptor")
}

// inCellOnly are attempts for which there is nothing outside: the kernel itself has
// no name for what is out of its mount.
var inCellOnly = regexp.MustCompile(`^files by handle|^a directory moved out of what is mounted: the host's name`)

// place is where the program finds what it is told of.
type place struct {
	dir     string
	mounted bool // source/sub is mounted at work/mnt, for the program only
	ids     []string
}

func layOut(t *testing.T, r *rig.Root, name string) *place {
	t.Helper()
	s := &place{dir: r.Base + "/" + name, mounted: os.Getuid() == 0}
	r.Write(s.dir+"/work/inside", "inside", 0o644)
	r.Write(s.dir+"/work/mnt/nothing", "", 0o644)
	r.Write(s.dir+"/source/sub/held/inside", "inside", 0o644)
	for _, file := range s.read() {
		r.Write(file, "inside", 0o644)
	}
	s.ids = hide(t, r, s.hidden()...)
	return s
}

// hidden are the directories where hidden files are.
func (s *place) hidden() []string { return []string{s.dir, s.dir + "/place", s.dir + "/source"} }

// read are the files that may only be read.
func (s *place) read() []string {
	return []string{s.dir + "/read/inside", s.dir + "/read/inside2", s.dir + "/read/inside3", s.dir + "/read/kept", s.dir + "/read/x/y"}
}

// args are the program's arguments.
func (s *place) args(home, tmp string, ids []string) []string {
	args := []string{"alone", s.dir, s.dir + "/work", s.dir + "/read", home, tmp}
	if s.mounted {
		args = append(args, s.dir+"/work/mnt")
	}
	return slices.Concat(args, s.ids, ids)
}

// converse runs the program, moves directories away when it asks for that, and
// returns its lines.
func (s *place) converse(t *testing.T, c *exec.Cmd) []string {
	t.Helper()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	c.Stderr = &stderr
	if err := s.start(c); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(2*time.Minute, func() { c.Process.Kill() })
	defer watchdog.Stop()
	var lines []string
	for scan := bufio.NewScanner(out); scan.Scan(); {
		if scan.Text() != "MOVE" {
			lines = append(lines, scan.Text())
			continue
		}
		moves := map[string]string{s.dir + "/work/away": s.dir + "/place/away", s.dir + "/source/sub/held": s.dir + "/source/held"}
		for from, to := range moves {
			if err := os.Rename(from, to); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(to+"/late", []byte(hiddenText), 0o644); err != nil {
				t.Error(err)
			}
		}
		if _, err := io.WriteString(in, "."); err != nil {
			t.Error(err)
		}
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%v %s", err, stderr.String())
	}
	return lines
}

// start starts the program; if something is to be mounted, in a mount namespace of
// its own, with which that goes away, however it ends.
func (s *place) start(c *exec.Cmd) error {
	if !s.mounted {
		return c.Start()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("make mounts private: %w", err)
			}
			if err := unix.Mount(s.dir+"/source/sub", s.dir+"/work/mnt", "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("bind mount: %w", err)
			}
			return c.Start()
		}()
	}()
	return <-done
}

// TestHandedToAnotherCell: two cells work together, and one sends the other all the
// directories that it was given. The other comes no further with them than the first,
// and cannot even read what is in them.
func TestHandedToAnotherCell(t *testing.T) {
	r := rig.NewRoot(t)
	_, ids := hideAbove(t, r)
	given := r.Base + "/given"
	r.Write(given+"/text", hiddenText, 0o644)
	r.Write(r.Path("Data/apps/giver/text"), hiddenText, 0o644)
	if err := os.Chmod(r.Path("Data/apps/giver"), 0o700); err != nil {
		t.Fatal(err)
	}
	installC(t, r, "giver", handedSource, "static")
	installC(t, r, "taker", handedSource, "static")
	hand := func(flags ...string) (lines []string) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		first, second := os.NewFile(uintptr(fds[0]), "first"), os.NewFile(uintptr(fds[1]), "second")
		giver := r.Command("run", "--unveil", given+":r", "giver", "--", "give", "40", "41", "42", "43", "44", "45")
		giver.Stdin = first
		if err := giver.Start(); err != nil {
			t.Fatal(err)
		}
		first.Close()
		taker := r.Command(slices.Concat([]string{"run", "--deny"}, flags, []string{"taker", "--", "take", r.Base, "6"}, ids)...)
		taker.Stdin = second
		res := rig.Run(t, taker)
		second.Close()
		if err := giver.Wait(); err != nil {
			t.Errorf("the cell that sends: %v", err)
		}
		if res.Code != 0 {
			t.Errorf("exit status %d %s", res.Code, res.Stderr)
		}
		return strings.Split(strings.TrimSpace(res.Stdout), "\n")
	}
	refused := 0
	for _, line := range hand() {
		if !strings.HasSuffix(line, " refused") {
			t.Error(line)
			continue
		}
		refused++
	}
	if refused != 6*4 {
		t.Errorf("%d attempts, want 24", refused)
	}
	works := false
	for _, line := range hand("--unveil", given+":r") {
		works = works || strings.HasPrefix(line, "descriptor 4 of another cell: a file's text") && strings.HasSuffix(line, " OPEN")
	}
	if !works {
		t.Error("the control: a cell cannot read what it may read by a descriptor that it was sent")
	}
}
