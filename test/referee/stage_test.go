// Package referee goes through the cases that those who wrote Landlock, pledge and
// unveil test themselves with, in real cells: see README.md.
package referee

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nipcells/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// row is what steps say that are made one after the other by one program. Something
// that is granted, and works, is in each.
type row struct {
	name  string
	steps string
	want  string
	// What is said in cells, in one with native views, and where all is asked, if that
	// is different from outside.
	cell, native, asked string
	only                string // "cell": not outside; "asked": only there
}

// at is what a row says at a place.
func (r *row) at(place string) string {
	want := r.want
	if r.cell != "" && place != "outside" {
		want = r.cell
	}
	if r.native != "" && place == "native" {
		want = r.native
	}
	if r.asked != "" && place == "asked" {
		want = r.asked
	}
	return want
}

// stage has a tree in the work directory: one and two, in each of them in, and there
// deep; in each directory the files f and g.
type stage struct {
	*rig.TryStage
	words []string // what stands for {word} in steps, in pairs
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{TryStage: rig.NewTryStage(t)}
	above := "EACCES"         // what becomes of a name that is made above what is unveiled
	relative := ".." + s.Work // the work directory as seen from /tmp
	if below, ok := strings.CutPrefix(s.Work, "/tmp/"); ok {
		above, relative = "ok", below // in the cell's own /tmp
	}
	s.words = []string{"{above}", above, "{relative}", relative, "{w}", s.Work, "{1}", s.Work + "/one", "{2}", s.Work + "/two", "{pid}", strconv.Itoa(os.Getpid())}
	return s
}

func (s *stage) set(t *testing.T) {
	t.Helper()
	s.Set(t)
	for _, dir := range []string{"/one", "/one/in", "/one/in/deep", "/two", "/two/in", "/two/in/deep"} {
		for _, file := range []string{"/f", "/g"} {
			s.Write(s.Work+dir+file, "contents\n", 0o644)
			s.Own(t, s.Work+dir, s.Work+dir+file)
		}
	}
}

func (s *stage) expand(text string) string { return strings.NewReplacer(s.words...).Replace(text) }

// programs are those that make steps at a place: one that is linked to its C library at
// run time, and one that is static. Where native views are both go by them.
func programs(place string) []string {
	return map[string][]string{"outside": {"try"}, "native": {"try", "try-static"}, "asked": {"try-static"}}[place]
}

// compare makes the steps of rows, outside and in cells with flags.
func (s *stage) compare(t *testing.T, rows []row, flags ...string) {
	t.Helper()
	for _, p := range rig.TryPlaces(flags...) {
		for _, program := range programs(p.Name) {
			t.Run(p.Name+"/"+program, func(t *testing.T) {
				for _, r := range rows {
					if r.only == "cell" && p.Name == "outside" || r.only == "asked" && p.Name != "asked" {
						continue
					}
					s.set(t)
					s.say(t, r.name, p.Run(s.TryStage, program, strings.Fields(s.expand(r.steps))...), r.at(p.Name))
				}
			})
		}
	}
}

// say runs the steps of c and fails the test unless they say what is wanted.
func (s *stage) say(t *testing.T, name string, c *exec.Cmd, want string) {
	t.Helper()
	got := s.Try(t, c)
	if !slices.Equal(got, strings.Split(want, "|")) {
		t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "|"), want)
	}
}

// program makes the file name of a program that ends with 0 at once.
func (s *stage) program(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile(rig.Fixture(t, "true"))
	if err != nil {
		t.Fatal(err)
	}
	s.Write(name, string(data), mode)
	s.Own(t, name)
}

// asRoot reports whether cells are started by root.
func asRoot() bool { return os.Geteuid() == 0 }
