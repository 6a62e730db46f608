package hidden

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/view"
	"nipcells/test/rig"
)

// cellUser is whom the cells of root run as, so that a chroot for the same user
// has the same rights: a cell has no capabilities.
const cellUser = 61234

// farVar names a directory that is not below /tmp, for an ordinary user whose
// own is.
const farVar = "NIP_TEST_FAR"

// stage is a root with a package of the two probes: "probe" is static and in Go,
// each of its calls is asked; "native" is dynamic and in C.
type stage struct {
	*rig.Root
	far    string // directory outside /tmp
	places int    // how many there are
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{Root: rig.NewRoot(t)}
	base, err := filepath.EvalSymlinks(s.Base)
	if err != nil {
		t.Fatal(err)
	}
	s.Base = base
	npk := s.Base + "/probe.npk"
	s.Must("graft", "dir:"+rig.Fixture(t, "native/tree"), "--name", "probe", "--version", "1.0", "--pledge", "STDIO,RPATH,WPATH,EXEC", "-o", npk)
	s.Must("install", npk)
	s.far = farDirectory(t)
	return s
}

// farDirectory makes a directory that is not below /tmp.
func farDirectory(t *testing.T) string {
	t.Helper()
	parent := os.Getenv(farVar)
	if parent == "" && os.Geteuid() == 0 {
		parent = "/home"
	} else if parent == "" {
		parent = os.Getenv("HOME")
	}
	if strings.HasPrefix(parent+"/", "/tmp/") {
		t.Fatalf("%s is below /tmp: %s must name a directory that is not", parent, farVar)
	}
	dir, err := os.MkdirTemp(parent, "nip-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rig.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// place is what one way of running a probe has to work with: directories with
// names of their own, so that no other way has changed anything in them.
type place struct {
	work string // below /tmp
	far  string // not below /tmp
	view string // the view's own name
	home string
}

func (s *stage) place() *place {
	way := fmt.Sprintf("/way%02d", s.places) // all of one length, as the sizes of symlinks are compared
	s.places++
	return &place{work: s.Base + way + "/work", far: s.far + way, view: s.Path("System/Views/probe/1.0"), home: "/Data/apps/probe"}
}

// unveils are the directories and files that a cell is given, with rights.
func (p *place) unveils(workRights string) []string {
	list := []string{p.work + ":" + workRights, p.far + "/u/x:rw", p.far + "/u/r:r", p.far + "/u/r/in:rw", p.far + "/u/file:r"}
	for i := range 12 { // more than there are descriptors for
		list = append(list, fmt.Sprintf("%s/many/%d:r", p.far, i))
	}
	return list
}

func (p *place) replacer(back bool) *strings.Replacer {
	list := []string{"{work}", p.work, "{below}", strings.TrimPrefix(p.work, "/tmp/"), "{base}", filepath.Dir(p.work), "{far}", p.far, "{view}", p.view, "{long}", strings.Repeat("n", 256)}
	if back {
		list = slices.Delete(list, 2, 4) // what is below /tmp can be told from the whole
		for i := 0; i < len(list); i += 2 {
			list[i], list[i+1] = list[i+1], list[i]
		}
	}
	return strings.NewReplacer(list...)
}

// fill lays out what is unveiled below top, "" for the host itself.
func (s *stage) fill(t *testing.T, p *place, top string) {
	t.Helper()
	work, far := top+p.work, top+p.far
	s.Write(work+"/file", "contents\n", 0o644)
	s.Write(work+"/sub/below", "below\n", 0o600)
	s.links(t, work, map[string]string{
		"relative": "sub/below", "up": strings.Repeat("../", 16) + "Programs", "absolute": "/Data/apps/probe", "loop": "loop", "dangling": "nothing",
		"view": "/usr/bin/probe", "out": "../outside", "slash": "sub/",
	})
	s.Write(far+"/u/x/file", "far\n", 0o644)
	s.Write(far+"/u/x/sub/deep", "deep\n", 0o600)
	s.links(t, far+"/u/x", map[string]string{
		"home": "/Data/apps/probe", "tmp": strings.Repeat("../", 16) + "tmp", "work": p.work, "beside": "../r/in", "file2": "../file", "hidden": "../hidden",
		"bin": "/usr/bin", "proc": "/proc/self", "null": "/dev/null", "top": "/", "upper": "..",
	})
	s.Write(far+"/u/r/plain", "plain\n", 0o644)
	s.Write(far+"/u/r/in/inner", "inner\n", 0o644)
	s.links(t, far+"/u/r", map[string]string{"inside": "in/inner", "across": "../x/sub/deep"})
	s.Write(far+"/u/file", "single\n", 0o644)
	for i := range 12 {
		s.Write(fmt.Sprintf("%s/many/%d/name", far, i), "many\n", 0o644)
	}
	if top == "" {
		s.Write(far+"/u/hidden/secret", "SECRET\n", 0o644) // no name leads there
	}
	s.own(t, work)
	s.own(t, far+"/u/x")
	s.own(t, far+"/u/r/in")
}

func (s *stage) links(t *testing.T, dir string, list map[string]string) {
	t.Helper()
	for name, text := range list {
		if err := os.Symlink(text, dir+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
}

// own gives a tree to the user of the cells.
func (s *stage) own(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, cellUser, cellUser)
	}); err != nil {
		t.Fatal(err)
	}
}

// numbers are parts of answers that are another's each time.
var numbers = regexp.MustCompile(`(/proc/|/Cell/|pipe:\[|^ok |^)(?:[0-9a-f]{8}|\d{2,})\b`)

// cell returns nip running a command of the package with what p has unveiled.
func (s *stage) cell(p *place, command, workRights string, flags ...string) *exec.Cmd {
	line := append([]string{"run"}, flags...)
	for _, u := range p.unveils(workRights) {
		line = append(line, "--unveil", u)
	}
	if os.Geteuid() == 0 {
		line = append(line, "--user", fmt.Sprint(cellUser))
	}
	return s.Command(append(line, "probe/"+command)...)
}

// answers has a probe make the calls and returns a line for each.
func (s *stage) answers(t *testing.T, p *place, c *exec.Cmd, calls []string) []string {
	t.Helper()
	c.Stdin = strings.NewReader(p.replacer(false).Replace(strings.Join(calls, "\n")) + "\n")
	res := rig.Run(t, c)
	out := strings.Split(strings.TrimSuffix(res.Stdout, "\n"), "\n")
	if res.Code != 0 || len(out) != len(calls) {
		t.Fatalf("exit status %d, %d answers to %d calls\n%s%s", res.Code, len(out), len(calls), res.Stdout, res.Stderr)
	}
	back := p.replacer(true)
	for i := range out {
		out[i] = numbers.ReplaceAllString(back.Replace(out[i]), "$1#")
	}
	return out
}

// inCell makes the calls in a cell. The work directory's rights say whether it
// has native views: what may be executed there need not begin with the stub.
func (s *stage) inCell(t *testing.T, command, workRights string, calls []string) []string {
	t.Helper()
	p := s.place()
	s.fill(t, p, "")
	if err := rig.RemoveAll(s.Path("Data/apps/probe")); err != nil {
		t.Fatal(err)
	}
	return s.answers(t, p, s.cell(p, command, workRights), calls)
}

// inChroot makes the calls in a chroot of the same names. The programs there are
// as they were before they were packed: a loader with the stub wants a zone.
func (s *stage) inChroot(t *testing.T, command string, calls []string) []string {
	t.Helper()
	p := s.place()
	jail := s.Base + "/jail-" + command
	for _, at := range []string{jail, jail + p.view} {
		s.copyView(t, p, at)
	}
	for _, dir := range []string{"/tmp", p.home} {
		if err := os.MkdirAll(jail+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(jail+dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.fill(t, p, jail)
	s.own(t, jail+"/tmp")
	s.own(t, jail+p.home)
	s.devices(t, jail)
	c := exec.Command("/bin/" + command)
	c.Dir = p.home
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: jail, Credential: &syscall.Credential{Uid: cellUser, Gid: cellUser}}
	return s.answers(t, p, c, calls)
}

// devices makes what a cell has in /dev.
func (s *stage) devices(t *testing.T, jail string) {
	t.Helper()
	s.links(t, jail+"/dev", map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"})
	if err := os.Mkdir(jail+"/dev/shm", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		var st unix.Stat_t
		if err := unix.Stat("/dev/"+name, &st); err != nil {
			t.Fatal(err)
		}
		at := jail + "/dev/" + name
		if err := unix.Mknod(at, st.Mode, int(st.Rdev)); err != nil {
			t.Fatalf("make %s: %v", at, err)
		}
		if err := unix.Chmod(at, st.Mode&0o7777); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *stage) copyView(t *testing.T, p *place, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", p.view, to).CombinedOutput(); err != nil {
		t.Fatalf("copy the view: %v %s", err, out)
	}
	for name, fixture := range map[string]string{"probe": "probe", "native": "native/static"} {
		at := to + "/Programs/probe/1.0/bin/" + name
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(rig.Fixture(t, fixture))
		if err != nil {
			t.Fatal(err)
		}
		s.Write(at, string(data), 0o555)
	}
	for _, hole := range view.Holes() {
		if err := os.Chmod(to+"/"+hole, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
