package programs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"nipcells/internal/capability"
	"nipcells/internal/npk"
	"nipcells/test/rig"
)

// learnt runs a cell that learns and returns what it says, and that as a recipe
// means it.
func learnt(t *testing.T, file string, run func(flags ...string) rig.Result) (text string, set capability.Set) {
	t.Helper()
	if res := run("--learn=" + file); res.Code != 0 || res.Stderr != "" {
		t.Fatalf("exit status %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), parsed(t, string(b))
}

// parsed reads a fragment in a recipe.
func parsed(t *testing.T, fragment string) capability.Set {
	t.Helper()
	recipe, err := npk.ParseRecipe("learnt", []byte("package \"p\" version=\"1\" {\ncommand \"p\" exec=\"p\"\n"+fragment+"}\n"))
	if err != nil {
		t.Fatalf("%v\n%s", err, fragment)
	}
	return capability.Set{Pledge: recipe.Pledge, Unveil: recipe.Unveil, Net: recipe.Net}
}

// given are the flags that give a cell exactly a set.
func given(s capability.Set) []string {
	flags := []string{"--pledge", s.Pledge.String()}
	for _, u := range s.Unveil {
		flags = append(flags, "--unveil", u.String())
	}
	for _, n := range s.Net {
		flags = append(flags, "--net", n.String())
	}
	return flags
}

// smallest fails the test unless the program works with what was learnt, and does
// not without any one promise of that.
func smallest(t *testing.T, s capability.Set, works func(flags ...string) bool) {
	t.Helper()
	if !works(given(s)...) {
		t.Errorf("it does not work with %q", given(s))
	}
	for bit := capability.Pledge(1); bit != 0 && bit <= capability.AllPledges; bit <<= 1 {
		without := capability.Set{Pledge: s.Pledge &^ bit, Unveil: s.Unveil, Net: s.Net}
		if without.Pledge != s.Pledge && works(given(without)...) {
			t.Errorf("it works without %s, too", bit)
		}
	}
}

// learns is the test of a program of the table.
func (w *world) learns(t *testing.T) {
	j := w.p.learn
	run := func(flags ...string) rig.Result { return w.run(t, flags, j.args, j.stdin) }
	_, s := learnt(t, filepath.Join(t.TempDir(), "learnt"), func(flags ...string) rig.Result { return run(append(flags, j.flags...)...) })
	smallest(t, s, func(flags ...string) bool {
		res := run(flags...)
		return res.Code == 0 && regexp.MustCompile(j.want).MatchString(strings.TrimSpace(res.Stdout))
	})
}

// lessonCase is what the learner does, and what is learnt. T stands for the tree.
type lessonCase struct {
	name   string
	unveil string // flags' values
	jobs   string
	want   string // lines of the fragment that are no comments
}

func lessons() []lessonCase {
	return []lessonCase{
		{"nothing", "", "", `pledge "STDIO"`},
		{"sockets, children and a file", "--net=loopback --net=listen:loopback", "n c /Data/apps/learner/made",
			"pledge \"STDIO\" \"RPATH\" \"WPATH\" \"-FATTR\" \"INET\" \"PROC\"\nnet \"tcp:127.0.0.1\"\nnet \"listen:127.0.0.1\""},
		{"a child that asks nothing", "", "e 1", `pledge "STDIO" "PROC"`},
		{"a child that is not waited for", "", "e 0", `pledge "STDIO" "PROC"`},
		{"look", "T:rw", "s T/a", "pledge \"STDIO\"\nunveil \"T/a\" \"r\""},
		{"look at a directory", "T:rw", "s T/d", "pledge \"STDIO\"\nunveil \"T/d\" \"r\""},
		{"look on the way", "T:rw", "s T/d s T/d/1", "pledge \"STDIO\"\nunveil \"T/d/1\" \"r\""},
		{"read", "T:rw", "r T/a", "pledge \"STDIO\" \"RPATH\"\nunveil \"T/a\" \"r\""},
		{"read many", "T:rw", "r T/d/1 r T/d/2 r T/d/3 r T/d/4", "pledge \"STDIO\" \"RPATH\"\nunveil \"T/d\" \"r\""},
		{"list", "T:rw", "l T/d", "pledge \"STDIO\" \"RPATH\"\nunveil \"T/d\" \"r\""},
		{"write", "T:rw", "w T/a", "pledge \"STDIO\" \"WPATH\" \"-CPATH\" \"-FATTR\"\nunveil \"T/a\" \"w\""},
		{"truncate", "T:rw", "t T/a", "pledge \"STDIO\" \"WPATH\" \"-CPATH\" \"-FATTR\"\nunveil \"T/a\" \"w\""},
		{"make a file", "T:rw", "c T/d/new", "pledge \"STDIO\" \"RPATH\" \"WPATH\" \"-FATTR\"\nunveil \"T/d\" \"rw\""},
		{"make in what was made", "T:rw", "k T/d/new k T/d/new/er c T/d/new/er/file", "pledge \"STDIO\" \"RPATH\" \"WPATH\" \"-FATTR\"\nunveil \"T/d\" \"rw\""},
		{"make a directory", "T:rw", "k T/d/new", "pledge \"STDIO\" \"CPATH\"\nunveil \"T/d\" \"c\""},
		{"remove", "T:rw", "u T/d/1", "pledge \"STDIO\" \"CPATH\"\nunveil \"T/d\" \"c\""},
		{"rename", "T:rw", "m T/d/1 T/d/new s T/d/new", "pledge \"STDIO\" \"CPATH\"\nunveil \"T/d\" \"c\""},
		{"rename across", "T:rw", "r T/a m T/d/1 T/e/new r T/e/new", "pledge \"STDIO\" \"RPATH\" \"CPATH\"\nunveil \"T/a\" \"r\"\nunveil \"T/d\" \"rc\"\nunveil \"T/e\" \"rc\""},
		{"link across", "T:rw", "h T/d/1 T/e/new r T/e/new", "pledge \"STDIO\" \"RPATH\" \"CPATH\"\nunveil \"T/d\" \"rc\"\nunveil \"T/e\" \"rc\""},
		{"change a mode", "T:rw", "p T/a", "pledge \"STDIO\" \"FATTR\"\nunveil \"T/a\" \"w\""},
		{"lock", "T:rw", "f T/a", "pledge \"STDIO\" \"RPATH\"\nunveil \"T/a\" \"rw\""},
		{"through a link", "T:rw", "r T/links/to", "pledge \"STDIO\" \"RPATH\"\nunveil \"T/a\" \"r\"\nunveil \"T/links\" \"r\""},
		{"where it began", "T:rw --cwd=T", "r a", "pledge \"STDIO\" \"RPATH\"\nunveil \"T\" \"r\""},
		{"where it went", "T:rw", "d T/d r 1", "pledge \"STDIO\" \"RPATH\"\nunveil \"T/d/1\" \"r\""},
		{"run", "T:rx", "x T/e/true", "pledge \"STDIO\" \"RPATH\" \"EXEC\"\nunveil \"T/e/true\" \"x\""},
		{"a narrow unveil", "T:r", "r T/a ! w T/a", "pledge \"STDIO\" \"RPATH\"\nunveil \"T/a\" \"r\""},
		{"what is not there", "T:r", "! r T/no", "pledge \"STDIO\""},
	}
}

// TestLearn: what is learnt of each job is what it takes, and it takes all of it.
func TestLearn(t *testing.T) {
	r := rig.NewRoot(t)
	r.InstallProgram("learner", "1", rig.Fixture(t, "learner"), "    pledge \"STDIO\" \"RPATH\" \"WPATH\" \"INET\" \"EXEC\"")
	for _, c := range lessons() {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			l := &lessonTree{t: t, root: r}
			words := func(s string) []string {
				return strings.Fields(regexp.MustCompile(`\bT\b`).ReplaceAllString(s, l.dir()))
			}
			run := func(flags ...string) rig.Result {
				l.plant()
				return r.Run(append(append(append([]string{"run"}, flags...), "learner"), words(c.jobs)...)...)
			}
			var unveil, other []string
			for _, w := range words(c.unveil) {
				if strings.HasPrefix(w, "--") {
					other = append(other, w)
				} else {
					unveil = append(unveil, "--unveil", w)
				}
			}
			text, s := learnt(t, filepath.Join(r.Base, "learnt"), func(flags ...string) rig.Result {
				return run(append(append(flags, unveil...), other...)...)
			})
			var lines []string
			for line := range strings.Lines(text) {
				if !strings.HasPrefix(line, "//") {
					lines = append(lines, strings.ReplaceAll(line, l.dir(), "T"))
				}
			}
			if got := strings.TrimSpace(strings.Join(lines, "")); got != c.want {
				t.Errorf("learnt\n%s\nwant\n%s", got, c.want)
			}
			if strings.Contains(c.jobs, "!") {
				return // what must fail does so without any promise
			}
			smallest(t, s, func(flags ...string) bool { return run(append(flags, other...)...).Code == 0 })
		})
	}
}

// lessonTree is what the learner works on.
type lessonTree struct {
	t    *testing.T
	root *rig.Root
}

func (l *lessonTree) dir() string { return filepath.Join(l.root.Base, "tree") }

// plant makes the tree as new.
func (l *lessonTree) plant() {
	l.t.Helper()
	if err := os.RemoveAll(l.dir()); err != nil {
		l.t.Fatal(err)
	}
	for _, name := range []string{"a", "d/1", "d/2", "d/3", "d/4", "d/5", "e/1", "links/other"} {
		l.root.Write(filepath.Join(l.dir(), name), "text", 0o644)
	}
	program, err := os.ReadFile(rig.Fixture(l.t, "true"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.root.Write(filepath.Join(l.dir(), "e/true"), string(program), 0o755)
	if err := os.Symlink("../a", filepath.Join(l.dir(), "links/to")); err != nil {
		l.t.Fatal(err)
	}
	_ = os.Remove(l.root.Path("Data/apps/learner/made")) // it is not there before the first run
}

// TestLearnComments: what a cell lacked is told to the person, and only to him.
func TestLearnComments(t *testing.T) {
	r := rig.NewRoot(t)
	r.InstallProgram("learner", "1", rig.Fixture(t, "learner"), "    pledge \"STDIO\" \"RPATH\" \"WPATH\" \"INET\" \"EXEC\"")
	l := &lessonTree{t: t, root: r}
	l.plant()
	for _, c := range []struct {
		name, flags, jobs string
		want, not         string // regular expressions
	}{
		{"a promise", "--pledge STDIO", "! c /Data/apps/learner/made ! e 1", `(?m)^pledge "STDIO" "WPATH" "-FATTR" "PROC"\n// It was refused WPATH,-FATTR,PROC, .* --pledge STDIO`, "hidden"},
		{"what no cell may", "", "! i", `pledge "STDIO"\n// No cell may call mount\.\n$`, "hidden"},
		{"rights", "--unveil T:r", "! w T/a", `wanted more .*\n//   unveil "T/a" "w"`, "hidden"},
		{"a right to run", "--unveil T:r", "! x T/e/true", `wanted more .*\n//   unveil "T/e/true" "x"`, "hidden"},
		{"hidden", "", "! r T/a ! s T/d/1 ! s T/d", `hidden .*\n//   unveil "T/a" "r"\n//   unveil "T/d/1" "r"\n$`, `T/d"`},
		{"hidden, to make something in", "", "! c T/d/new", `hidden .*\n//   unveil "T/d" "w"\n$`, "T/d/new"},
		{"what is nip's own", "", "! s " + r.Path("Nexus/ledger") + " ! s /proc/1/status ! l /proc/1", `pledge "STDIO"\n$`, "hidden"},
		{"what is not there", "", "! s T/no", `pledge "STDIO"\n$`, "hidden"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			words := func(s string) []string {
				return strings.Fields(regexp.MustCompile(`\bT\b`).ReplaceAllString(s, l.dir()))
			}
			res := r.Run(append(append(append([]string{"run", "--learn"}, words(c.flags)...), "learner"), words(c.jobs)...)...)
			if res.Code != 0 || res.Stdout != "" {
				t.Errorf("exit status %d, %q", res.Code, res.Stdout)
			}
			_, fragment, _ := strings.Cut(res.Stderr, "// used by learner\n")
			parsed(t, fragment)
			if got := strings.ReplaceAll(fragment, l.dir(), "T"); !regexp.MustCompile(c.want).MatchString(got) || regexp.MustCompile(c.not).MatchString(got) {
				t.Errorf("said %s", res.Stderr)
			}
		})
	}
}

// TestLearnPolicy: what the host forbids every cell is not advised.
func TestLearnPolicy(t *testing.T) {
	r := rig.NewRoot(t)
	r.InstallProgram("learner", "1", rig.Fixture(t, "learner"), "    pledge \"STDIO\" \"INET\"")
	r.Write(r.Path("Nexus/policy.kdl"), "pledge \"STDIO\"\n", 0o644)
	res := r.Run("run", "--learn", "learner", "!", "n")
	const want = "// used by learner\npledge \"STDIO\" \"INET\"\n// It was refused INET; the host's policy allows no cell that.\n"
	if res.Code != 0 || !strings.HasSuffix(res.Stderr, want) {
		t.Errorf("exit status %d, said %s", res.Code, res.Stderr)
	}
}

// TestLearnFile: what a cell puts in the place of the file that is written at its
// end, it does not reach.
func TestLearnFile(t *testing.T) {
	r := rig.NewRoot(t)
	r.InstallProgram("learner", "1", rig.Fixture(t, "learner"), "    pledge \"STDIO\" \"CPATH\"")
	l := &lessonTree{t: t, root: r}
	l.plant()
	outside, used := filepath.Join(r.Base, "outside"), filepath.Join(l.dir(), "used")
	r.Write(outside, "mine", 0o644)
	res := r.Run("run", "--learn="+used, "--unveil", l.dir()+":rw", "learner", "u", used, "y", outside, used)
	if res.Code != 0 {
		t.Fatalf("exit status %d, said %s", res.Code, res.Stderr)
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "mine" {
		t.Errorf("the file outside holds %q, %v", b, err)
	}
}

// TestLearnMany: more paths than a learner keeps are still covered.
func TestLearnMany(t *testing.T) {
	r := rig.NewRoot(t)
	r.InstallProgram("learner", "1", rig.Fixture(t, "learner"), "    pledge \"STDIO\" \"RPATH\" \"WPATH\"")
	dir := filepath.Join(r.Base, "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, s := learnt(t, filepath.Join(r.Base, "learnt"), func(flags ...string) rig.Result {
		args := append(append([]string{"run", "--unveil", dir + ":rw"}, flags...), "learner", "q", dir, "c", dir+"/last")
		return r.Run(args...)
	})
	if len(s.Unveil) != 1 || s.Unveil[0] != (capability.Unveil{Path: dir, Rights: capability.Read | capability.Write | capability.Create}) {
		t.Errorf("learnt %v", s.Unveil)
	}
}
