package referee

import (
	"os/exec"
	"strings"
	"testing"

	"nipcells/test/rig"
)

// What is given in TestUnveil: the directory one and the file a, both to read and write.
var given = []string{"--unveil", "{base}/work/one:rw", "--unveil", "{base}/work/a:rw"}

// unveiled are steps that all succeed outside of cells.
var unveiled = []row{
	{name: "open", steps: "read={w}/sub/b list={2} both={w}/a both={1}/f create={1}/n create=/{1}//m read={2}/f create={2}/n",
		cell: "read ENOENT|list ENOENT|both ok|both ok|create ok|create ok|read ENOENT|create ENOENT"},
	{name: "open from a directory", steps: "at={1},f at={1}/in,../f at={1},{w}/a at={1},. at=/,{w}/a at=/,etc/passwd at={1},/etc/passwd at={1},{2}/f at={1},../two/f",
		cell: "at ok|at ok|at ok|at ok|at ok|at ENOENT|at ENOENT|at ENOENT|at ENOENT"},
	{name: "list", steps: "list={1} list={1}/. list={1}/in/../in list={1}/../../work/one/in list={1}/.. list={2} list={1}/../two list={2}/in",
		cell: "list ok|list ok|list ok|list ok|list ok|list ENOENT|list ENOENT|list ENOENT"},
	{name: "whole names", steps: "realpath={1} realpath={w}/a realpath={1}/../a realpath={2} realpath={w}/sub/b", cell: "realpath ok|realpath ok|realpath ok|realpath ENOENT|realpath ENOENT"},
	{name: "remove", steps: "unlink={1}/f unlink={2}/f unlink={w}/sub/b unlink={w}/a rmdir={2}/none/..", want: "unlink ok|unlink ok|unlink ok|unlink ok|rmdir ENOENT",
		cell: "unlink ok|unlink ENOENT|unlink ENOENT|unlink EBUSY|rmdir ENOENT"},
	{name: "link", steps: "link={1}/f,{1}/l link={1}/f,{1}/in/l link={w}/a,{1}/m link={w}/sub/b,{1}/n link={1}/f,{2}/l", cell: "link ok|link ok|link EXDEV|link ENOENT|link ENOENT"},
	{name: "change the directory", steps: "chdir={1} where={1} chdir={2} where={2} chdir={1}/in", want: "chdir ok|where ok|chdir ok|where ok|chdir ok", cell: "chdir ok|where ok|chdir ENOENT|{1} where ok|chdir ok"},
	{name: "upwards", steps: "chdir={1}/in/deep access=f,4 chdir=../../in access=../in/f,4 access=deep/../f,4 chdir=../.. access=one/f,4 access=two/f,4 list=sub",
		cell: "chdir ok|access ok|chdir ok|access ok|access ok|chdir ok|access ok|access ENOENT|list ENOENT"},
	{name: "make upwards", steps: "chdir={1} create=./n create=n create=in/../m create=../hello create=.././hello", cell: "chdir ok|create ok|create ok|create ok|create {above}|create {above}"},
	{name: "rename", steps: "rename={1}/f,{1}/r rename={1}/in/f,{1}/s rename={2}/f,{2}/r rename={1}/g,{2}/r rename={2}/g,{1}/t rename={1}/r,{w}/sub/b",
		cell: "rename ok|rename ok|rename ENOENT|rename ENOENT|rename ENOENT|rename ENOENT"},
	{name: "access", steps: "access={w}/a,4 access={1},4 access={1},2 access={w}/sub/b,4 access={2},4 access=/etc/passwd,4 access=/home,0 access=/,4", cell: "access ok|access ok|access ok|access ENOENT|access ENOENT|access ENOENT|access ENOENT|access ok"},
	{name: "stat", steps: "stat={w}/a lstat={1} stat={1}/in stat=/ lstat=/usr stat={w}/sub/b stat={2} lstat={2} lstat=/home", cell: "stat ok|lstat ok|stat ok|stat ok|lstat ok|stat ENOENT|stat ENOENT|lstat ENOENT|lstat ENOENT"},
	{name: "statfs", steps: "statfs={w}/a statfs={1} statfs=/ statfs={w}/sub/b statfs={2} statfs=/home", cell: "statfs ok|statfs ok|statfs ok|statfs ENOENT|statfs ENOENT|statfs ENOENT"},
	{name: "symlinks", steps: "symlink={w}/a,{1}/s lstat={1}/s readlink={1}/s read={1}/s symlink={2}/f,{1}/t lstat={1}/t readlink={1}/t read={1}/t stat={1}/t symlink=x,{2}/s",
		cell: "symlink ok|lstat ok|readlink ok|read ok|symlink ok|lstat ok|readlink ok|read ENOENT|stat ENOENT|symlink ENOENT"},
	{name: "modes", steps: "chmod={w}/a chmod={1}/in utimes={1}/f chmod={w}/sub/b utimes={2}/f chmod={2}", cell: "chmod ok|chmod ok|utimes ok|chmod ENOENT|utimes ENOENT|chmod ENOENT"},
	{name: "inode flags", steps: "hold={1}/f,rw heldioctl=0x80086601 heldioctl=0x40086602", want: "-", cell: "hold ok|heldioctl ok|heldioctl ENOTTY", only: "cell"},
	{name: "locks", steps: "flock={1}/f flock={w}/a flock={2}/f", cell: "flock ok|flock ok|flock ENOENT"},
	{name: "lengths", steps: "truncate={1}/f trunc={w}/a cut={1}/g truncate={2}/f creat={2}/f", cell: "truncate ok|trunc ok|cut ok|truncate ENOENT|creat ENOENT"},
	{name: "by way of other names", steps: "lstat={1}/../one lstat={1}/in/../../../work/one lstat={1}/../two/../one lstat={2}/../one/f lstat={1}/../a", cell: "lstat ok|lstat ok|lstat ENOENT|lstat ENOENT|lstat ok"},
	{name: "in a child", steps: "inchild read={1}/f list={1} create={1}/n list={2} read={w}/sub/b", cell: "inchild ok|read ok|list ok|create ok|list ENOENT|read ENOENT"},
	{name: "in a new program", steps: "exec read={1}/f list={1} create={1}/n list={2} read={w}/sub/b", cell: "exec ok|read ok|list ok|create ok|list ENOENT|read ENOENT"},
	{name: "the own /tmp", steps: "create=/tmp/nip-referee-{pid} unlink=/tmp/nip-referee-{pid} tmpfile=/tmp", cell: "create ok|unlink ok|tmpfile ok"},
	{name: "devices", steps: "both=/dev/null both=/dev/zero read=/dev/urandom exclusive=/dev/null/x exclusive=/dev/x", want: "both ok|both ok|read ok|exclusive ENOTDIR|exclusive EACCES"},
}

// all is what every one of the steps being ok reads as.
func all(steps string) string {
	var said []string
	for step := range strings.FieldsSeq(steps) {
		what, _, _ := strings.Cut(step, "=")
		said = append(said, what+" ok")
	}
	return strings.Join(said, "|")
}

// TestUnveil: of two directories and two files beside each other one is given to a
// cell; of the others it finds that there are none.
func TestUnveil(t *testing.T) {
	s := newStage(t)
	places := []rig.TryPlace{{Name: "outside", Run: (*rig.TryStage).Outside}}
	for name, flags := range map[string][]string{"native": given, "asked": append(given[:len(given):len(given)], rig.Asked...)} {
		places = append(places, rig.TryPlace{Name: name, Run: func(s *rig.TryStage, program string, args ...string) *exec.Cmd {
			return s.InCellWith(flags, program, args...)
		}})
	}
	for _, p := range places {
		for _, program := range programs(p.Name) {
			t.Run(p.Name+"/"+program, func(t *testing.T) {
				for _, r := range unveiled {
					if r.only == "cell" && p.Name == "outside" {
						continue
					}
					s.set(t)
					if r.want == "" {
						r.want = all(r.steps)
					}
					before := s.hidden(t)
					s.say(t, r.name, p.Run(s.TryStage, program, strings.Fields(s.expand(r.steps))...), s.expand(r.at(p.Name)))
					if p.Name == "outside" {
						continue
					}
					if now := s.hidden(t); now != before {
						t.Errorf("%s: what is hidden was changed:\n%s\nbefore\n%s", r.name, now, before)
					}
				}
			})
		}
	}
}

// hidden tells of all that is not given in TestUnveil: names, modes, lengths and times.
func (s *stage) hidden(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("find", s.Work, "-path", s.Work+"/one", "-prune", "-o", "-path", s.Work+"/a", "-prune", "-o", "-printf", "%p %m %s %T@ %C@\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestUnveilRights gives a directory with each combination of rights, and has all
// tried: reading, listing, writing, making, removing and executing. What access(2) says
// goes by modes, and modes alone.
func TestUnveilRights(t *testing.T) {
	s := newStage(t)
	const steps = "read={1}/f list={1} write={1}/f truncate={1}/f exclusive={1}/n unlink={1}/g run={1}/true access={1}/f,4 access={1}/f,2 access={1}/true,1 chmod={1}/f stat={2}"
	ok := func(granted bool) string {
		if granted {
			return " ok"
		}
		return " EACCES"
	}
	for n := 1; n < 16; n++ {
		rights := ""
		for i, letter := range "rwxc" {
			if n&(1<<i) != 0 {
				rights += string(letter)
			}
		}
		w, x := strings.Contains(rights, "w"), strings.Contains(rights, "x")
		r, c := x || strings.Contains(rights, "r"), w || strings.Contains(rights, "c")
		mode := " ok"
		if !w {
			mode = " EPERM"
		}
		made := map[bool]string{true: "ok", false: "EACCES"}[w]
		if c && !w && !x {
			made = "EEXIST" // made, not opened, and looked at a second time
		}
		want := "read" + ok(r) + "|list" + ok(r) + "|write" + ok(w) + "|truncate" + ok(w) + "|exclusive " + made + "|unlink" + ok(c) + "|run" + ok(x) +
			"|access ok|access ok|access ok|chmod" + mode + "|stat ENOENT"
		t.Run(rights, func(t *testing.T) {
			s.set(t)
			s.program(t, s.Work+"/one/true", 0o755)
			s.say(t, rights, s.InCellWith([]string{"--unveil", s.Work + "/one:" + rights}, "try", strings.Fields(s.expand(steps))...), want)
		})
	}
}

// TestUnveilOrder: the rights of several unveils add up, in whatever order; one below
// another takes nothing away. Those of an unveiled file are the file's.
func TestUnveilOrder(t *testing.T) {
	s := newStage(t)
	for _, r := range []struct {
		name    string
		unveils string
		steps   string
		want    string
	}{
		{"wider below", "{1}:r {1}/in:rw", "read={1}/f write={1}/f write={1}/in/f exclusive={1}/in/n exclusive={1}/n rename={1}/in/f,{1}/h", "read ok|write EACCES|write ok|exclusive ok|exclusive EACCES|rename EACCES"},
		{"narrower below", "{1}:rw {1}/in:r", "read={1}/in/f write={1}/f write={1}/in/f read={2}/f", "read ok|write ok|write ok|read ENOENT"},
		{"by a link in /tmp", "{1}:r {1}/in:rw", "symlink={relative}/one,/tmp/l read=/tmp/l/f exclusive=/tmp/l/in/n read={1}/in/n exclusive=/tmp/l/n list=/tmp/l/in/deep", "symlink ok|read ok|exclusive ok|read ok|exclusive EACCES|list ok"},
		{"one of three", "{1}/in/deep:rw", "write={1}/in/deep/f read={1}/in/f read={1}/f list={1}/in list={1} exclusive={1}/in/n", "write ok|read ENOENT|read ENOENT|list ok|list ok|exclusive {above}"},
		{"a file", "{1}/f:r {1}/g:rw", "read={1}/f write={1}/f both={1}/g unlink={1}/g rename={1}/g,{1}/f read={1}/in/f list={1}/in", "read ok|write EACCES|both ok|unlink EBUSY|rename EBUSY|read ENOENT|list ENOENT"},
		{"nothing", "", "read={1}/f list={1} stat={w} access=/home,0 list=/ create=/tmp/n", "read ENOENT|list ENOENT|stat ENOENT|access ENOENT|list ok|create ok"},
	} {
		var flags, back []string
		for u := range strings.FieldsSeq(s.expand(r.unveils)) {
			flags = append(flags, "--unveil", u)
			back = append([]string{"--unveil", u}, back...)
		}
		for way, flags := range map[string][]string{"": flags, ", in reverse": back, ", asked": append(flags, rig.Asked...)} {
			s.set(t)
			s.say(t, r.name+way, s.InCellWith(flags, "try", strings.Fields(s.expand(r.steps))...), s.expand(r.want))
		}
	}
}

// TestUnveilNothing: what is not there cannot be unveiled, nor with no rights or such as there are none.
func TestUnveilNothing(t *testing.T) {
	s := newStage(t)
	for unveil, says := range map[string]string{s.Work + "/none:r": "no such file", s.Work + "/a:q": "", s.Work + "/a:": "", s.Work + "/a/x:r": ""} {
		c := s.InCellWith([]string{"--unveil", unveil}, "try", "plain")
		if r := rig.Run(t, c); r.Code == 0 || strings.Contains(r.Stdout, "plain") || !strings.Contains(r.Stderr, says) {
			t.Errorf("--unveil %s: exit status %d: %s%s, want %q", unveil, r.Code, r.Stdout, r.Stderr, says)
		}
	}
	s.say(t, "the control", s.InCellWith([]string{"--unveil", s.Work + "/a:r"}, "try", "plain", "read="+s.Work+"/a"), "plain ok|read ok")
}

// givenUp are rights that a program takes away from itself with nexus_unveil.
var givenUp = []row{
	{name: "unveil after a pledge", steps: "deny unveil={1}:rw unveil={w}/a:r pledge=stdio,rpath,wpath unveil={w}/sub:r commit pledge=stdio,rpath read={1}/f read={w}/a read={w}/sub/b read={2}/f write={1}/f",
		want: "deny ok|unveil ok|unveil ok|pledge ok|unveil ok|commit ok|pledge ok|read ok|read ok|read ok|read EACCES|write EPERM"},
	{name: "a directory that was open before", steps: "hold={2},r unveil={1}:rw commit heldat=f heldat=in/f heldcreate=n heldrename={1}/f,r heldat=../one/g heldchdir read=f list=. read=../one/g",
		want: "hold ok|unveil ok|commit ok|heldat EACCES|heldat EACCES|heldcreate EACCES|heldrename EACCES|heldat ok|heldchdir ok|read EACCES|list EACCES|read ok"},
	{name: "a file that was open before", steps: "hold={2}/f,rw unveil={1}:rw commit heldread heldtruncate reopen=r hold={1}/f,r reopen=r rawread={2}/f", want: "hold ok|unveil ok|commit ok|heldread ok|heldtruncate ok|reopen EACCES|hold ok|reopen ok|rawread EACCES",
		cell: "hold ok|unveil ok|commit ok|heldread ok|heldtruncate ok|reopen ok|hold ok|reopen ok|rawread EACCES"}, // what it has it may have twice
	{name: "nor for writing by a link", steps: "hold={2}/f,r unveil={1}:rw commit heldread reopen=w hold={1}/f,r reopen=w", want: "hold ok|unveil ok|commit ok|heldread ok|reopen EACCES|hold ok|reopen ok"},
	{name: "the working directory itself", steps: "chdir={1} unveil=.:rw commit write=f unlink=. create=n list=. list=.. read={2}/f", want: "chdir ok|unveil ok|commit ok|write ok|unlink EISDIR|create ok|list ok|list EACCES|read EACCES"},
	{name: "all but for reading", steps: "unveil=/:r unveil=/dev/null:rw unveil={1}:r commit both=/dev/null list=/ read={1}/f write={1}/f both=/dev/zero",
		want: "unveil ok|unveil ok|unveil ok|commit ok|both ok|list ok|read ok|write EACCES|both EACCES"},
	{name: "modes only with writing", only: "cell", steps: "unveil={1}:rw unveil={w}/a:r commit chmod={1}/f utimes={1}/in chmod={w}/a utimes={w}/a chmod={2}", want: "unveil ok|unveil ok|commit ok|chmod ok|utimes ok|chmod EPERM|utimes EPERM|chmod EPERM"},
	{name: "removed and made again", steps: "unveil={1}/in:rw commit unlink={1}/in/deep/f unlink={1}/in/deep/g rmdir={1}/in/deep mkdir={1}/in/deep exclusive={1}/in/deep/f read={1}/in/deep/f rmdir={1}/in",
		want: "unveil ok|commit ok|unlink ok|unlink ok|rmdir ok|mkdir ok|exclusive ok|read ok|rmdir EACCES"},
	{name: "what is meant is what was there", steps: "layer=rw,{1}/in/deep:rw,{1}/f:rw read={1}/f read={1}/in/deep/f unlink={1}/f mknod={1}/f,f read={1}/f unlink={1}/in/deep/f unlink={1}/in/deep/g rmdir={1}/in/deep mkdir={1}/in/deep mknod={1}/in/deep/f,f read={1}/in/deep/f",
		want: "layer ok|read ok|read ok|unlink ok|mknod ok|read EACCES|unlink ok|unlink ok|rmdir ok|mkdir ok|mknod ok|read EACCES"},
	{name: "what was renamed is still meant", steps: "layer=rw,{1}/in/deep:rw,{1}/f:rw rename={1}/f,{1}/h rename={1}/in/deep,{1}/in/d read={1}/h both={1}/in/d/f read={1}/in/f", want: "layer ok|rename ok|rename ok|read ok|both ok|read EACCES"},
	{name: "locked, in a child", steps: "commit inchild unveil=/:rw commit read={1}/f list=/ rawread={1}/f", want: "commit ok|inchild ok|unveil ok|commit ok|read EACCES|list EACCES|rawread EACCES",
		asked: "commit ok|inchild ok|unveil EACCES|commit ok|read EACCES|list EACCES|rawread EACCES"},
}

// TestUnveilFromWithin: the same, of a program that takes paths away from itself.
func TestUnveilFromWithin(t *testing.T) { newStage(t).compare(t, givenUp) }
