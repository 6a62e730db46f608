package ratchet

import (
	"slices"
	"strings"
	"testing"

	"nipcells/test/rig"
)

// row is what steps say that are made one after the other by one program.
type row struct {
	name  string
	steps string
	want  string
	only  string // place; "": all
	// What is said in a cell with native views, and where all is asked, if that is different.
	native, asked string
}

var rows = []row{
	{name: "the control", steps: "read={w}/a write={w}/a both={w}/a odd={w}/a list={w} path={w}/a stat={w}/a create={w}/n creat={w}/n tmpfile={w} truncate={w}/a mkdir={w}/d rename={w}/n,{w}/m unlink={w}/m chmod={w}/a utimes={w}/a socket fork thread exec read={w}/a",
		want: "read ok|write ok|both ok|odd ok|list ok|path ok|stat ok|create ok|creat ok|tmpfile ok|truncate ok|mkdir ok|rename ok|unlink ok|chmod ok|utimes ok|socket ok|fork ok|thread ok|exec ok|read ok"},

	{name: "without RPATH nothing is read", steps: "deny read={w}/a pledge=stdio,wpath read={w}/a rawread={w}/a both={w}/a odd={w}/a list={w} path={w}/a openat2={w}/a slots=r,{w}/a stat={w}/a write={w}/a create={w}/n",
		want: "deny ok|read ok|pledge ok|read EPERM|rawread EPERM|both EPERM|odd EPERM|list EPERM|path EPERM|openat2 ENOSYS|slots ENOENT|stat ok|write ok|create ok",
		// A path descriptor of the kernel's own, with which nothing can be read.
		native: "deny ok|read ok|pledge ok|read EPERM|rawread EPERM|both EPERM|odd EPERM|list EPERM|path ok|openat2 ENOSYS|slots ENOENT|stat ok|write ok|create ok"},
	{name: "reading kills", steps: "pledge=stdio,wpath stat={w}/a read={w}/a", want: "pledge ok|stat ok|killed"},
	{name: "without WPATH nothing is written", steps: "deny write={w}/a pledge=stdio,rpath,cpath,fattr write={w}/a rawwrite={w}/a both={w}/a cut={w}/a creat={w}/a create={w}/n truncate={w}/a openat2={w}/a slots=w,{w}/a magic={w}/a read={w}/a mkdir={w}/d chmod={w}/a",
		want: "deny ok|write ok|pledge ok|write EPERM|rawwrite EPERM|both EPERM|cut EPERM|creat EPERM|create EPERM|truncate EPERM|openat2 ENOSYS|slots ENOENT|magic EPERM|read ok|mkdir ok|chmod ok"},
	{name: "writing kills", steps: "pledge=stdio,rpath read={w}/a write={w}/a", want: "pledge ok|read ok|killed"},
	{name: "without CPATH nothing is made or removed", steps: "deny create={w}/n pledge=stdio,rpath,wpath,-cpath create={w}/o creat={w}/o tmpfile={w} mkdir={w}/d unlink={w}/n rename={w}/a,{w}/z write={w}/a truncate={w}/a chmod={w}/a",
		want: "deny ok|create ok|pledge ok|create EPERM|creat EPERM|tmpfile EPERM|mkdir EPERM|unlink EPERM|rename EPERM|write ok|truncate ok|chmod ok"},
	{name: "removing kills", steps: "pledge=stdio,rpath unlink={w}/a", want: "pledge ok|killed"},
	{name: "without FATTR no mode is changed", steps: "deny chmod={w}/a pledge=stdio,rpath,wpath,-fattr chmod={w}/a utimes={w}/a write={w}/a",
		want: "deny ok|chmod ok|pledge ok|chmod EPERM|utimes EPERM|write ok"},
	{name: "without INET there are no sockets", steps: "deny socket pledge=stdio,rpath socket read={w}/a", want: "deny ok|socket ok|pledge ok|socket EPERM|read ok"},
	{name: "a socket kills", steps: "pledge=stdio socket", want: "pledge ok|killed"},
	{name: "without EXEC no program runs", steps: "deny pledge=stdio,rpath,proc fork pass exec", want: "deny ok|pledge ok|fork ok|pass EPERM|exec ok|exec EPERM"},
	{name: "a program kills", steps: "pledge=stdio,rpath,proc fork exec", want: "pledge ok|fork ok|exec ok|killed"},
	{name: "without PROC no process is made", steps: "deny fork pledge=stdio,rpath fork thread", want: "deny ok|fork ok|pledge ok|fork EPERM|thread ok"},
	{name: "a fork kills", steps: "pledge=stdio,rpath thread fork", want: "pledge ok|thread ok|killed"},
	{name: "nothing is left", steps: "pledge=none read={w}/a", want: "killed"},

	{name: "words", steps: "pledge=stdio,everything pledge=none,stdio pledge=-none write={w}/a", want: "pledge EINVAL|pledge EINVAL|pledge EINVAL|write ok"},
	{name: "what is gone stays gone", steps: "deny pledge=stdio,rpath pledge=stdio,rpath,inet pledge=stdio,rpath pledge=stdio pledge=stdio,rpath read={w}/a",
		want: "deny ok|pledge ok|pledge EPERM|pledge ok|pledge ok|pledge EPERM|read EPERM"},
	{name: "in a new program, too", steps: "deny pledge=stdio,rpath,exec exec deny pledge=stdio,rpath,inet socket write={w}/a read={w}/a pledge=stdio,rpath read={w}/a",
		want: "deny ok|pledge ok|exec ok|deny ok|pledge EPERM|socket EPERM|write EPERM|read ok|pledge ok|read ok"},
	{name: "and in a child", steps: "deny pledge=stdio,rpath,proc inchild pledge=stdio,rpath,wpath write={w}/a socket read={w}/a",
		want: "deny ok|pledge ok|inchild ok|pledge EPERM|write EPERM|socket EPERM|read ok"},
	{name: "one that kills counts", steps: "pledge=stdio,rpath deny pledge=stdio,rpath socket", want: "pledge ok|deny ok|pledge ok|killed"},

	{name: "unveil narrows", steps: "read={w}/a unveil={w}/sub:r read={w}/a commit read={w}/a rawread={w}/a write={w}/sub/b rawwrite={w}/sub/b create={w}/sub/n create={w}/n unlink={w}/a mkdir={w}/d truncate={w}/a rename={w}/sub/b,{w}/b magic={w}/sub/b list={w} read={w}/sub/b rawread={w}/sub/b list={w}/sub stat={w}/a",
		want: "read ok|unveil ok|read ok|commit ok|read EACCES|rawread EACCES|write EACCES|rawwrite EACCES|create EACCES|create EACCES|unlink EACCES|mkdir EACCES|truncate EACCES|rename EACCES|magic EACCES|list EACCES|read ok|rawread ok|list ok|stat ok"},
	{name: "a new unveil gives nothing back", steps: "unveil={w}/sub:r commit unveil={w}:rw unveil={w}/sub:rw commit read={w}/a rawread={w}/a write={w}/sub/b rawwrite={w}/sub/b read={w}/sub/b",
		want: "unveil ok|commit ok|unveil ok|unveil ok|commit ok|read EACCES|rawread EACCES|write EACCES|rawwrite EACCES|read ok",
		// Where all is asked, a path descriptor is one that can be read.
		asked: "unveil ok|commit ok|unveil EACCES|unveil ok|commit ok|read EACCES|rawread EACCES|write EACCES|rawwrite EACCES|read ok"},
	{name: "nor does a program or a child", steps: "programs unveil={w}/sub:r commit inchild exec read={w}/a rawread={w}/a write={w}/sub/b read={w}/sub/b unveil={w}:r commit rawread={w}/a",
		want:  "programs ok|unveil ok|commit ok|inchild ok|exec ok|read EACCES|rawread EACCES|write EACCES|read ok|unveil ok|commit ok|rawread EACCES",
		asked: "programs ok|unveil ok|commit ok|inchild ok|exec ok|read EACCES|rawread EACCES|write EACCES|read ok|unveil EACCES|commit ok|rawread EACCES"},
	{name: "w and c", steps: "unveil={w}/sub:w unveil={w}:c commit create={w}/sub/n write={w}/sub/b read={w}/sub/b mkdir={w}/d write={w}/a unlink={w}/a rename={w}/sub/n,{w}/n",
		want: "unveil ok|unveil ok|commit ok|create ok|write ok|read EACCES|mkdir ok|write EACCES|unlink ok|rename ok"},
	{name: "a file, and letters", steps: "unveil={w}/a:rw unveil={w}/a:q unveil={w}/a: unveil={w}/none:r commit read={w}/a write={w}/a read={w}/sub/b unlink={w}/a",
		want: "unveil ok|unveil EINVAL|unveil EINVAL|unveil ENOENT|commit ok|read ok|write ok|read EACCES|unlink EACCES"},
	{name: "nothing", steps: "commit read={w}/a rawread={w}/a thread fork", want: "commit ok|read EACCES|rawread EACCES|thread ok|fork ok"},
	{name: "modes only where writing is unveiled", only: "cell", steps: "unveil={w}/sub:rw commit chmod={w}/a utimes={w}/a utimes={w}/sub/b chmod={w}/sub/b chmod={w}/sub",
		want: "unveil ok|commit ok|chmod EPERM|utimes EPERM|utimes ok|chmod ok|chmod ok"},
	{name: "devices", steps: "unveil=/dev/null:rw commit write=/dev/null read=/dev/null read=/dev/zero", want: "unveil ok|commit ok|write ok|read ok|read EACCES"},
	{name: "layers run out", only: "outside", steps: "layers={w} read={w}/a", want: "16 layers E2BIG|read ok"},
	{name: "layers run out in a cell", only: "cell", steps: "layers={w} read={w}/a unveil={w}:r commit rawread={w}/a", want: "14 layers E2BIG|read ok|unveil ok|commit E2BIG|rawread ok",
		asked: "15 layers E2BIG|read ok|unveil ok|commit E2BIG|rawread ok"},
	{name: "both", steps: "deny unveil={w}/sub:r commit pledge=stdio,rpath read={w}/sub/b read={w}/a write={w}/sub/b socket", want: "deny ok|unveil ok|commit ok|pledge ok|read ok|read EACCES|write EPERM|socket EPERM"},

	// Attempts to fool the supervisor, who opens for a program what is asked.
	{name: "a ruleset that was entered", steps: "widen={w}", want: "widen EACCES"},
	{name: "descriptors of the parent", steps: "parent={w}/a", want: "parent EACCES"},
	{name: "the number of the domain", only: "cell", steps: "limit unveil={w}/sub:r commit limit chdir={w} rawread=a chdir={w}/sub rawread=b", want: "limit EPERM|unveil ok|commit ok|limit EPERM|chdir ok|rawread EACCES|chdir ok|rawread ok"},
}

func TestRatchet(t *testing.T) {
	s := rig.NewTryStage(t)
	for _, p := range rig.TryPlaces() {
		for _, program := range []string{"try", "try-static"} {
			t.Run(p.Name+"/"+program, func(t *testing.T) {
				for _, r := range rows {
					if r.only != "" && (r.only == "cell") == (p.Name == "outside") {
						continue
					}
					s.Set(t)
					steps := strings.Fields(strings.ReplaceAll(r.steps, "{w}", s.Work))
					want := r.want
					if r.native != "" && p.Name == "native" {
						want = r.native
					} else if r.asked != "" && p.Name == "asked" {
						want = r.asked
					}
					if got := s.Try(t, p.Run(s, program, steps...)); !slices.Equal(got, strings.Split(want, "|")) {
						t.Errorf("%s: %s\n got %s\nwant %s", r.name, r.steps, strings.Join(got, "|"), want)
					}
				}
			})
		}
	}
}
