package referee

import (
	"strings"
	"testing"

	"nipcells/test/rig"
)

// Rights in layers are letters; see test/ratchet/try/layers.c.
var layers = []row{
	{name: "rights of a file and of a directory", steps: "layer=rwl,{1}/in:rl,{2}/f:rw read={1}/in/f list={1}/in read={1}/in/deep/f both={2}/f write={1}/in/f read={1}/f list={1} read={2}/g",
		want: "layer ok|read ok|list ok|read ok|both ok|write EACCES|read EACCES|list EACCES|read EACCES"},
	{name: "what a layer does not handle", steps: "layer=x,{1}:x read={2}/f write={2}/f list={2} mkdir={2}/d unlink={2}/f rename={2}/g,{1}/h",
		want: "layer ok|read ok|write ok|list ok|mkdir ok|unlink ok|rename EXDEV"},
	{name: "rules for one place", steps: "layer=rwl,{1}:r,{1}:w,{1}:l both={1}/f list={1} read={2}/f", want: "layer ok|both ok|list ok|read EACCES"},
	{name: "rules on the way", steps: "layer=rw,{1}:r,{1}/in:w both={1}/in/f read={1}/f both={1}/f layer=rw,{1}/in:r,{1}/in/deep:w both={1}/in/deep/f read={1}/in/f both={1}/in/f read={1}/f",
		want: "layer ok|both ok|read ok|both EACCES|layer ok|both ok|read ok|both EACCES|read EACCES"},
	{name: "layers for different rights", steps: "layer=f,{1}/in:f layer=F,{1}/in/deep:F exclusive={1}/in/n unlink={1}/in/deep/f exclusive={1}/n unlink={1}/in/f",
		want: "layer ok|layer ok|exclusive ok|unlink ok|exclusive EACCES|unlink EACCES"},
	{name: "layers in turn", steps: "layer=r,{1}:r layer=rw,{1}/in:rw layer=r,{1}:r read={1}/in/f write={1}/in/f read={1}/f layer=w,{1}/in/deep:w write={1}/in/deep/f write={1}/in/f read={1}/in/f layer=r read={1}/in/deep/f write={1}/in/deep/f",
		want: "layer ok|layer ok|layer ok|read ok|write ok|read EACCES|layer ok|write ok|write EACCES|read ok|layer ok|read EACCES|write ok"},
	{name: "a wider layer", steps: "layer=rwl,{1}/in:rwl layer=rwl,{1}:rwl both={1}/in/f read={1}/f list={1} layer=rl,{1}/in/deep:rl both={1}/in/deep/f read={1}/in/f",
		want:  "layer ok|layer ok|both ok|read EACCES|list EACCES|layer ok|both ok|read EACCES",
		asked: "layer ok|layer EACCES|both ok|read EACCES|list EACCES|layer ok|both ok|read EACCES"}, // nobody may name {1} any more
	{name: "a layer that handles more", steps: "layer=r,{1}:r layer=rwl,{1}:wl,{1}/in:r both={1}/in/f list={1}/in read={1}/f write={1}/f",
		want: "layer ok|layer ok|both ok|list ok|read EACCES|write ok"},
	{name: "an empty layer, and one twice", steps: "layer= read={1}/f same=rl,{1}:rl read={1}/f read={2}/f layer=w read={1}/f write={1}/f",
		want: "layer ENOMSG|read ok|same ok|read ok|read EACCES|layer ok|read ok|write EACCES"},
	{name: "as many layers as there are", steps: "most=rl,{1}:rl read={1}/f layer=rl read={1}/f",
		want: "16 most E2BIG|read ok|layer E2BIG|read ok", native: "14 most E2BIG|read ok|layer E2BIG|read ok", asked: "15 most E2BIG|read ok|layer E2BIG|read ok"},
	{name: "a rule for the root", steps: "layer=rl,/:rl list=/ read={1}/f layer=rl list=/ read={1}/f",
		want: "layer ok|list ok|read ok|layer ok|list EACCES|read EACCES",
		cell: "layer ok|list ok|read EACCES|layer ok|list EACCES|read EACCES"},
	{name: "no rule for the root", steps: "list=/ layer=rl list=/ read={1}/f", want: "list ok|layer ok|list EACCES|read EACCES"},
	{name: "from an open directory", steps: "hold={1}/in,r layer=rl,{1}/in:rl,{2}/in:rl heldat=f heldat=. heldat=deep heldat=../f heldat=.. heldat=../../two/in/f heldat=../../two/f",
		want: "hold ok|layer ok|heldat ok|heldat ok|heldat ok|heldat EACCES|heldat EACCES|heldat ok|heldat EACCES"},
	{name: "from the working directory", steps: "chdir={1}/in layer=rl,{1}/in:rl,{2}/in:rl read=f list=. list=deep read=../f list=.. read=../../two/in/f read=../../two/f",
		want: "chdir ok|layer ok|read ok|list ok|list ok|read EACCES|list EACCES|read ok|read EACCES"},
	{name: "links", steps: "layer=f,{1}/in:f link={1}/f,{1}/n link={1}/in/f,{1}/in/n link={2}/f,{1}/in/m link={1}/in/deep/f,{1}/in/m layer=F,{1}/in/deep:F link={1}/in/g,{1}/in/o",
		want: "layer ok|link EACCES|link ok|link EXDEV|link EXDEV|layer ok|link ok"},
	{name: "moved files", steps: "layer=F,{1}/in/deep:F,{2}/in:F rename={2}/in/f,{1}/in/deep/f exchange={2}/in/f,{1}/in/deep/f exchange={2}/in/f,{1}/in/deep rename={2}/f,{1}/in/deep/f exchange={2}/in,{2}/f rename={1}/f,{1}/in exchange={2}/in/deep/f,{2}/in/deep/g rename={2}/in/deep/f,{2}/in/deep/g exchange={2}/in/f,{2}/in/deep",
		want: "layer ok|rename EXDEV|exchange EXDEV|exchange EXDEV|rename EACCES|exchange EACCES|rename EACCES|exchange ok|rename ok|exchange ok"},
	{name: "moved directories", steps: "layer=D,{1}/in:D,{2}:D exchange={2}/in/deep,{1}/in/deep rename={2}/in/deep,{1}/in/n exchange={1},{2} rename={1}/in,{1}/n exchange={1}/f,{1}/in exchange={1}/in/deep,{1}/in/f rename={2}/in,{2}/n",
		want: "layer ok|exchange EXDEV|rename EXDEV|exchange EACCES|rename EACCES|exchange EACCES|exchange ok|rename ok"},
	{name: "moves across directories", steps: "layer=R,{1}/in:R,{2}/in:R rename={1}/in,{2}/n rename={1}/in,{2}/in/n rename={1}/in/deep,{2}/n rename={1}/in/deep,{2}/in/n",
		want: "layer ok|rename EXDEV|rename EXDEV|rename EXDEV|rename ok"},
	{name: "no moves by default", steps: "layer=R,{w}:R rename={1}/f,{2}/h exchange={1}/g,{2}/g link={2}/f,{1}/l layer=x,{w}:x rename={2}/h,{1}/f exchange={1}/g,{2}/g link={2}/f,{1}/m rename={1}/g,{1}/k",
		want: "layer ok|rename ok|exchange ok|link ok|layer ok|rename EXDEV|exchange EXDEV|link EXDEV|rename ok"},
	{name: "nor behind a layer without", steps: "layer=x,{2}:x rename={1}/f,{2}/h layer=R,{w}:R rename={1}/f,{2}/h exchange={1}/g,{2}/g rename={1}/g,{1}/k",
		want: "layer ok|rename EXDEV|layer ok|rename EXDEV|exchange EXDEV|rename ok"},
	{name: "links across directories", steps: "layer=fR,{1}/in:f,{1}/in/deep:R,{2}/in:R,{2}/in/deep:f link={1}/f,{1}/n link={2}/f,{1}/in/n link={2}/f,{1}/in/deep/n link={2}/in/f,{1}/n link={2}/in/f,{1}/in/n link={2}/in/f,{1}/in/deep/n link={1}/in/deep/f,{2}/in/deep/n",
		want: "layer ok|link EACCES|link EXDEV|link EXDEV|link EACCES|link EXDEV|link ok|link ok"},
	{name: "a move needs both rights", steps: "layer=fFR,{1}:fR,{2}:FR rename={1}/f,{2}/n rename={2}/f,{1}/n exchange={1}/g,{2}/g", want: "layer ok|rename EACCES|rename ok|exchange EACCES"},
	{name: "a move gives no rights", steps: "layer=rwR,{1}:rR,{2}:rwR rename={1}/f,{2}/n exchange={1}/g,{2}/g link={1}/f,{2}/l rename={2}/f,{1}/n read={1}/n write={1}/n link={2}/in/f,{1}/m",
		want: "layer ok|rename EXDEV|exchange EXDEV|link EXDEV|rename ok|read ok|write EACCES|link ok"},
	{name: "nor by another layer", steps: "layer=wR,{1}/in:R,{2}/in:wR layer=xR,{w}:R,{1}/in:xR rename={1}/in/f,{2}/in/n rename={2}/in/f,{1}/in/n exchange={1}/in/g,{2}/in/g rename={1}/in/g,{1}/in/deep/n",
		want: "layer ok|layer ok|rename EXDEV|rename EXDEV|exchange EXDEV|rename ok"},
	{name: "moved directories give none, too", steps: "layer=wR,{1}:R,{2}:wR rename={1}/in,{2}/n exchange={1}/in,{2}/in rename={2}/in/deep,{1}/n write={1}/n/f",
		want: "layer ok|rename EXDEV|exchange EXDEV|rename ok|write EACCES"},
	{name: "moves that remove and replace", steps: "layer=DFfdR,{1}:FfR,{2}:R,{2}/in:DFfdR rename={1}/f,{2}/n rename={1}/f,{2}/in/g rename={1}/in,{2}/in/n rename={2}/in/deep,{1}/n exchange={1}/g,{2}/in/deep exchange={1}/g,{2}/in/f",
		want: "layer ok|rename EACCES|rename ok|rename EACCES|rename EACCES|exchange EACCES|exchange ok"},
	{name: "removed directories", steps: "layer=D,{1}/in:D unlink={1}/in/deep/f unlink={1}/in/deep/g rmdir={1}/in/deep rmdir={1}/in rmdir={w}/sub", want: "layer ok|unlink ok|unlink ok|rmdir ok|rmdir EACCES|rmdir EACCES"},
	{name: "removed files", steps: "layer=F,{1}/in:F unlink={1}/in/f unlink={1}/f rename={1}/in/g,{1}/in/n rename={1}/g,{1}/n", want: "layer ok|unlink ok|unlink EACCES|rename ok|rename EACCES"},
	{name: "made files", steps: "layer=f,{1}/in:f exclusive={1}/in/n mknod={1}/in/m,f link={1}/in/f,{1}/in/l rename={1}/in/f,{1}/in/o tmpfile={1}/in exclusive={1}/n mknod={1}/m,f link={1}/f,{1}/l rename={1}/f,{1}/o mkdir={1}/d",
		want: "layer ok|exclusive ok|mknod ok|link ok|rename ok|tmpfile ok|exclusive EACCES|mknod EACCES|link EACCES|rename EACCES|mkdir ok"},
	{name: "made FIFOs", steps: "layer=p,{1}/in:p mknod={1}/in/n,p mknod={1}/n,p rename={1}/in/n,{1}/in/m", want: "layer ok|mknod ok|mknod EACCES|rename ok"},
	{name: "made symlinks", steps: "layer=y,{1}/in:y symlink=x,{1}/in/n symlink=x,{1}/n rename={1}/in/n,{1}/in/m", want: "layer ok|symlink ok|symlink EACCES|rename ok"},
	{name: "made directories", steps: "layer=d,{1}/in:d mkdir={1}/in/n mkdir={1}/n rename={1}/in/n,{1}/in/m rename={1}/in,{1}/n", want: "layer ok|mkdir ok|mkdir EACCES|rename ok|rename EACCES"},
	{name: "made sockets and devices", steps: "mknod={1}/in/f,f mknod={1}/n,p mknod={1}/s,s mknod={1}/c,c mknod={1}/b,b layer=scb,{1}/in:scb mknod={1}/in/s,s mknod={1}/in/c,c",
		want: "mknod EEXIST|mknod ok|mknod EPERM|mknod EPERM|mknod EPERM|layer ok|mknod EPERM|mknod EPERM", only: "cell"},
	{name: "a file without a name any more", steps: "layer=rw,{w}:r hold={1}/f,r unlink={1}/f reopen=r reopen=w heldread", want: "layer ok|hold ok|unlink ok|reopen ok|reopen EACCES|heldread ok"},
	{name: "a pipe by its link", steps: "layer=rw pipe reopen=r heldread read={1}/f", want: "layer ok|pipe ok|reopen ok|heldread ok|read EACCES"},
	{name: "lengths that a layer does not handle", steps: "layer=rw,{1}:r,{2}:w truncate={1}/f cut={1}/f trunc={2}/f write={1}/f", want: "layer ok|truncate ok|cut ok|trunc ok|write EACCES"},
	{name: "lengths", steps: "layer=rwt,{1}:rw,{2}:rwt,{2}/in/deep:t truncate={2}/f trunc={2}/f creat={2}/f cut={2}/f truncate={2}/in/deep/f truncate={1}/f trunc={1}/f creat={1}/f cut={1}/f write={1}/f append={1}/f exclusive={1}/n",
		want: "layer ok|truncate ok|trunc ok|creat ok|cut ok|truncate ok|truncate EACCES|trunc EACCES|creat EACCES|cut EACCES|write ok|append ok|exclusive ok"},
	{name: "lengths of what is open", steps: "hold={1}/f,w layer=wt,{w}:w,{2}:wt heldtruncate hold={1}/f,w heldtruncate hold={2}/f,w heldtruncate", want: "hold ok|layer ok|heldtruncate ok|hold ok|heldtruncate EACCES|hold ok|heldtruncate ok"},
	{name: "lengths of what another process has opened", steps: "hold={1}/f,w inherit=wt layer=wt,{w}:w inherit=wt hold={1}/f,w inherit=w", want: "hold ok|inherit ok|layer ok|inherit ok|hold ok|inherit EACCES"},
	{name: "a memory file", steps: "layer=rwti memory heldtruncate heldioctl=0x5421 heldioctl=0x541b reopen=r reopen=w truncate={1}/f",
		want: "layer ok|memory ok|heldtruncate ok|heldioctl ok|heldioctl ok|reopen ok|reopen ok|truncate EACCES"},
	{name: "a path descriptor", steps: "layer=rwti,{1}:rwt hold={1}/f,p heldtruncate heldioctl=0x541b hold={1}/f,rw heldtruncate heldioctl=0x541b",
		want:  "layer ok|hold ok|heldtruncate EBADF|heldioctl EBADF|hold ok|heldtruncate ok|heldioctl ok",
		asked: "layer ok|hold ok|heldtruncate EINVAL|heldioctl ok|hold ok|heldtruncate ok|heldioctl ok"},
	{name: "devices", steps: "layer=rwi,/dev/null:rwi,/dev/zero:rw ioctl=/dev/null,0x5401 ioctl=/dev/null,0x541b ioctl=/dev/null,0x5421 ioctl=/dev/zero,0x5401 ioctl=/dev/zero,0x541b ioctl=/dev/zero,0x5421 ioctl=/dev/zero,0x5451 ioctl=/dev/full,0x5421",
		want: "layer ok|ioctl ENOTTY|ioctl ENOTTY|ioctl ok|ioctl EACCES|ioctl EACCES|ioctl ok|ioctl ok|ioctl EACCES"},
	{name: "a device that was open before", steps: "hold=/dev/null,rw layer=i heldioctl=0x5401 ioctl=/dev/null,0x5401", want: "hold ok|layer ok|heldioctl ENOTTY|ioctl EACCES"},
	{name: "ioctl of a FIFO", steps: "mknod={1}/p,p layer=rwi,{1}:rw ioctl={1}/p,0x541b ioctl={1}/f,0x541b ioctl={2}/f,0x541b", want: "mknod ok|layer ok|ioctl ok|ioctl ok|ioctl EACCES"},
	{name: "a ruleset of another process", steps: "transfer={1}/in,{2}/in", want: "transfer ok"},
	{name: "layers, then a child and a program", steps: "layer=rw,{1}:rw inchild read={2}/f read={1}/f layer=r,{1}/in:r read={1}/f write={1}/f read={1}/in/f", want: "layer ok|inchild ok|read EACCES|read ok|layer ok|read EACCES|write ok|read ok"},
}

// TestLayers: a program that uses Landlock by itself finds in a cell what it finds
// outside, though most of its path calls are made by somebody else.
func TestLayers(t *testing.T) {
	newStage(t).compare(t, layers)
}

// TestExecute: where a cell may execute what it is given, a layer decides about that,
// too. What is executed ends with 0.
func TestExecute(t *testing.T) {
	s := newStage(t)
	for _, p := range rig.TryPlaces("--unveil", "{base}/work:rwx") {
		for name, r := range map[string]row{
			"executed":                      {steps: "run={1}/true run={2}/true run={2}/plain run={1}", want: "run ok|run ok|run EACCES|run EACCES"},
			"executed behind a layer":       {steps: "layer=x,{1}:x run={1}/true run={2}/true read={2}/true", want: "layer ok|run ok|run EACCES|read ok"},
			"executed behind an unveil":     {steps: "unveil={1}:rx unveil={2}:rw commit run={1}/true run={2}/true write={2}/plain write={1}/true", want: "unveil ok|unveil ok|commit ok|run ok|run EACCES|write ok|write EACCES"},
			"executed by what may not":      {steps: "deny run={1}/true pledge=stdio,rpath,proc run={1}/true read={1}/true", want: "deny ok|run ok|pledge ok|run EPERM|read ok"},
			"changed and then executed":     {steps: "run={1}/true layer=wt,{2}:wt write={1}/true truncate={1}/true run={1}/true", want: "run ok|layer ok|write EACCES|truncate EACCES|run ok"},
			"executed by another directory": {steps: "layer=xR,{1}:xR,{2}:R rename={1}/true,{2}/moved run={2}/moved rename={2}/true,{1}/moved link={2}/plain,{1}/l", want: "layer ok|rename ok|run EACCES|rename EXDEV|link EXDEV"},
		} {
			t.Run(p.Name+"/"+name, func(t *testing.T) {
				s.set(t)
				s.program(t, s.Work+"/one/true", 0o755)
				s.program(t, s.Work+"/two/true", 0o755)
				s.program(t, s.Work+"/two/plain", 0o644)
				s.say(t, name, p.Run(s.TryStage, "try", strings.Fields(s.expand(r.steps))...), r.at(p.Name))
			})
		}
	}
}

// TestChecks: calls with wrong arguments get the kernel's answers, whoever gives them.
func TestChecks(t *testing.T) {
	s := newStage(t)
	s.set(t)
	want := strings.Join(s.Try(t, s.Outside("try", s.expand("checks={1}"), s.expand("rawread={2}/f"))), "|")
	if strings.Count(want, " E") < 15 || !strings.HasSuffix(want, "checks ok|rawread ok") {
		t.Fatalf("outside: %s", want)
	}
	for _, p := range rig.TryPlaces() {
		s.say(t, p.Name, p.Run(s.TryStage, "try", s.expand("checks={1}"), s.expand("rawread={2}/f")), want)
	}
}
