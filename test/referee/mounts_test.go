package referee

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

// mounted are steps where something is mounted in the tree: a tmpfs at one/mnt, with the
// files f and g, two/in also at one/bind, and at merged one below two, as an overlay.
var mounted = []row{
	{name: "a rule above a mount", steps: "layer=rwl,{1}:rwl list={1}/mnt both={1}/mnt/f both={1}/f read={2}/f", want: "layer ok|list ok|both ok|both ok|read EACCES"},
	{name: "a rule for a mount", steps: "layer=rwl,{1}/mnt:rwl list={1}/mnt both={1}/mnt/f read={1}/f list={1}", want: "layer ok|list ok|both ok|read EACCES|list EACCES"},
	{name: "rules above and for a mount", steps: "layer=rw,{1}:r,{1}/mnt:w both={1}/mnt/f read={1}/f both={1}/f", want: "layer ok|both ok|read ok|both EACCES"},
	{name: "moves across mounts", steps: "rename={1}/f,{1}/mnt/h link={1}/f,{1}/mnt/h rename={1}/mnt/f,{1}/h rename={1}/mnt/f,{1}/mnt/h rename={1}/bind/f,{2}/in/h rename={1}/bind/f,{1}/bind/h rmdir={1}/mnt unlink={1}/mnt",
		want: "rename EXDEV|link EXDEV|rename EXDEV|rename ok|rename EXDEV|rename ok|rmdir EBUSY|unlink EISDIR"},
	{name: "one directory by two names", steps: "layer=rl,{2}/in:rl read={2}/in/f read={1}/bind/f list={1}/bind read={1}/f read={2}/f at={1}/bind,../f", want: "layer ok|read ok|read ok|list ok|read EACCES|read EACCES|at EACCES"},
	{name: "a rule for the other name", steps: "layer=rl,{1}/bind:rl read={1}/bind/f read={2}/in/f read={2}/f", want: "layer ok|read ok|read ok|read EACCES"},
	{name: "an overlay", steps: "both={w}/merged/f layer=rwl,{w}/merged:rwl both={w}/merged/g list={w}/merged/in read={1}/f read={2}/f", want: "both ok|layer ok|both ok|list ok|read EACCES|read EACCES"},
	{name: "what an overlay is made of", steps: "layer=rwl,{1}:rwl,{2}:rwl both={1}/f both={2}/f read={w}/merged/f list={w}/merged", want: "layer ok|both ok|both ok|read EACCES|list EACCES"},
}

// given in cells: one and merged, of two nothing.
var unveiledMounts = []row{
	{name: "mounts in what is unveiled", steps: "both={1}/f both={1}/mnt/f list={1}/mnt read={1}/bind/f stat={1}/bind/../f at={1}/mnt,../f stat={2}/in read={2}/in/f at={1}/bind,../f read={w}/merged/f create={w}/merged/n",
		want: "both ok|both ok|list ok|read ok|stat ok|at ok|stat ENOENT|read ENOENT|at ok|read ok|create ok"},
}

// TestMounts: rules go by what lies there, whatever is mounted. Only root can mount.
func TestMounts(t *testing.T) {
	if !asRoot() {
		t.Log("only root can mount: the same is tried in the half as root")
		return
	}
	s := newStage(t)
	for _, p := range rig.TryPlaces() {
		for _, r := range mounted {
			t.Run(p.Name+"/"+r.name, func(t *testing.T) {
				s.mount(t)
				s.say(t, r.name, p.Run(s.TryStage, "try", strings.Fields(s.expand(r.steps))...), r.at(p.Name))
			})
		}
	}
	for name, flags := range map[string][]string{"native": nil, "asked": rig.Asked} {
		for _, r := range unveiledMounts {
			t.Run("unveiled/"+name, func(t *testing.T) {
				s.mount(t)
				flags := append([]string{"--unveil", s.Work + "/one:rw", "--unveil", s.Work + "/merged:rw"}, flags...)
				s.say(t, r.name, s.InCellWith(flags, "try", strings.Fields(s.expand(r.steps))...), r.want)
			})
		}
	}
}

// mount makes the tree and mounts, for this thread and what it starts; it ends with the
// test, and so do the mounts.
func (s *stage) mount(t *testing.T) {
	t.Helper()
	s.set(t)
	for _, dir := range []string{"one/mnt", "one/bind", "merged", "over"} {
		if err := os.Mkdir(s.Work+"/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s.Own(t, s.Work+"/"+dir)
	}
	runtime.LockOSThread() // for ever
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	do := func(from, to, kind string, flags uintptr, data string) {
		t.Helper()
		if err := unix.Mount(from, to, kind, flags, data); err != nil {
			t.Fatalf("mount %s: %v", to, err)
		}
	}
	do("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	do("none", s.Work+"/one/mnt", "tmpfs", 0, "")
	do(s.Work+"/two/in", s.Work+"/one/bind", "", unix.MS_BIND, "")
	do("none", s.Work+"/over", "tmpfs", 0, "") // an overlay's upper side cannot be one itself
	for _, dir := range []string{"/over/upper", "/over/work"} {
		if err := os.Mkdir(s.Work+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s.Own(t, s.Work+dir)
	}
	do("none", s.Work+"/merged", "overlay", 0, "lowerdir="+s.Work+"/two:"+s.Work+"/one/in,upperdir="+s.Work+"/over/upper,workdir="+s.Work+"/over/work")
	for _, file := range []string{"/one/mnt/f", "/one/mnt/g"} {
		s.Write(s.Work+file, "contents\n", 0o644)
		s.Own(t, s.Work+file)
	}
	s.Own(t, s.Work+"/one/mnt")
}
