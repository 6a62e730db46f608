package ratchet

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"nipcells/test/rig"
)

// TestCommand has nip-pledge execute a program, which tries what is left. {try} is its
// name, {bin} the directory of it, {script} that of a script, {w} the directory to work in.
func TestCommand(t *testing.T) {
	s := rig.NewTryStage(t)
	rows := []struct {
		name, line, want string
		only             string // "cell": nip knows what #! lines mean there
	}{
		{name: "the control", line: "{try} read={w}/a write={w}/a socket fork", want: "read ok|write ok|socket ok|fork ok"},
		{name: "promises", line: "-d -p stdio,rpath {try} read={w}/a write={w}/a socket fork exec", want: "read ok|write EPERM|socket EPERM|fork EPERM|exec ok|exec EPERM"},
		{name: "kills", line: "-p stdio,rpath {try} read={w}/a write={w}/a", want: "read ok|killed"},
		{name: "with EXEC", line: "-d -p stdio,rpath,exec {try} fork exec read={w}/a write={w}/a", want: "fork ok|exec ok|read ok|write EPERM"},
		{name: "the pass is good once", line: "-d -p stdio,rpath {try} pass exec", want: "pass EPERM|exec ok|exec EPERM"},
		{name: "paths", line: "-v {w}/sub:r {try} read={w}/sub/b read={w}/a rawread={w}/a write={w}/sub/b exec read={w}/a write=/dev/null", want: "read ok|read EACCES|rawread EACCES|write EACCES|exec ok|read EACCES|write ok"},
		{name: "paths and promises", line: "-d -p stdio,rpath -v {w}/sub {try} read={w}/sub/b read={w}/a write={w}/sub/b exec", want: "read ok|read EACCES|write EPERM|exec ok|exec EPERM"},
		{name: "twice", line: "-d -p stdio,rpath,exec -v {w}:rw -v {bin}:rx {pledge} -d -p stdio,rpath -v {w}/sub:rw {try} read={w}/sub/b write={w}/sub/b read={w}/a", want: "read ok|write EPERM|read EACCES"},
		{name: "a script", line: "-d -p stdio,rpath {script}", want: "stat ok", only: "cell"},
		{name: "a script, with EXEC", line: "-d -p stdio,rpath,exec {script}", want: "stat ok", only: "cell"},
	}
	for _, p := range rig.TryPlaces() {
		for _, r := range rows {
			if r.only == "cell" && p.Name != "native" {
				continue
			}
			s.Set(t)
			bin := s.Bin(p)
			words := strings.NewReplacer("{try}", bin+"/try", "{script}", bin+"/script", "{pledge}", bin+"/nip-pledge", "{bin}", bin, "{w}", s.Work)
			c := p.Run(s, "nip-pledge", strings.Fields(words.Replace(r.line))...)
			if strings.Contains(r.line, "{script}") {
				c.Stderr = os.Stderr
				said := rig.Run(t, c)
				if said.Code != 97 || !strings.HasPrefix(said.Stdout, r.want+"\n") { // its own name is no step
					t.Errorf("%s, %s: exit status %d: %s%s", p.Name, r.name, said.Code, said.Stdout, said.Stderr)
				}
				continue
			}
			if got := s.Try(t, c); !slices.Equal(got, strings.Split(r.want, "|")) {
				t.Errorf("%s, %s:\n got %s\nwant %s", p.Name, r.name, strings.Join(got, "|"), r.want)
			}
		}
	}
}

// TestCommandByName finds the command in a cell by PATH, and in the view's own names.
func TestCommandByName(t *testing.T) {
	s := rig.NewTryStage(t)
	for _, name := range []string{"try", "try-static", "/usr/bin/try"} {
		got := s.Try(t, inCell()(s, "nip-pledge", "-d", "-p", "stdio,rpath", name, "read="+s.Work+"/a", "write="+s.Work+"/a"))
		if want := []string{"read ok", "write EPERM"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestCommandMistakes are told, and nothing is executed.
func TestCommandMistakes(t *testing.T) {
	pledge := filepath.Join(rig.Fixture(t, "ratchet/tree/bin"), "nip-pledge")
	for _, x := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 125, "usage:"},
		{[]string{"-p", "stdio everything", "true"}, 125, `"stdio everything": no such promises`},
		{[]string{"-v", "/nowhere:r", "true"}, 125, "unveil /nowhere:r: No such file or directory"},
		{[]string{"-q", "true"}, 125, "usage:"},
		{[]string{"no-such-command"}, 127, "no-such-command: no such command"},
		{[]string{"/etc"}, 126, "/etc: Permission denied"},
		{[]string{"-n", "-v", "/tmp:r", "true"}, 126, "Permission denied"},
		{[]string{"-p", "stdio rpath exec", pledge, "-p", "stdio inet", "true"}, 125, `pledge "stdio inet": Operation not permitted`},
	} {
		r := rig.Run(t, exec.Command(pledge, x.args...))
		if r.Code != x.code || !strings.Contains(r.Stderr, x.says) {
			t.Errorf("nip-pledge %q: exit status %d: %s; want %d: %s", x.args, r.Code, r.Stderr, x.code, x.says)
		}
	}
}

// TestCellPledge: a program learns what its cell leaves it.
func TestCellPledge(t *testing.T) {
	s := rig.NewTryStage(t)
	got := s.Try(t, inCell("--pledge", "STDIO,RPATH,EXEC")(s, "try", "pledge=stdio,rpath,inet", "pledge=stdio,wpath", "pledge=stdio,rpath,exec", "read="+s.Work+"/a"))
	if want := []string{"pledge EPERM", "pledge EPERM", "pledge ok", "read ok"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestNative: path calls of a program that gave up rights do not become asked.
func TestNative(t *testing.T) {
	s := rig.NewTryStage(t)
	r := rig.Run(t, inCell("--stats")(s, "nip-pledge", "-p", "stdio,rpath", "-v", s.Work+":r", "try", "read="+s.Work+"/a", "stat="+s.Work+"/a", "list="+s.Work))
	if r.Code != 0 || !strings.Contains(r.Stdout, "list ok") {
		t.Fatalf("exit status %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	for line := range strings.Lines(r.Stderr) {
		f := strings.Fields(line)
		if len(f) == 3 && (f[0] == "openat" || f[0] == "newfstatat") && f[1] == "0" {
			t.Errorf("%s was asked each time:\n%s", f[0], r.Stderr)
		}
	}
	if info := s.Must("info", "ratchet"); !strings.Contains(info, "native") {
		t.Errorf("nip-pledge keeps the package from native views:\n%s", info)
	}
}

// TestThreads: the Go package takes rights from all threads of a program.
func TestThreads(t *testing.T) {
	s := rig.NewTryStage(t)
	const want = `before: <nil>
unveiled: <nil>
not unveiled: permission denied
not writable: permission denied
more: true true
socket: operation not permitted
still: <nil>
exec: true
word: true
read: operation not permitted
`
	for _, p := range rig.TryPlaces() {
		s.Set(t)
		if r := rig.Run(t, p.Run(s, "threads", s.Work+"/sub", s.Work+"/a")); r.Code != 0 || r.Stdout != want {
			t.Errorf("%s: exit status %d: %s%s", p.Name, r.Code, r.Stdout, r.Stderr)
		}
	}
}

// TestManyDomains: each program that narrows itself costs the supervisor a thread, until
// it is gone.
func TestManyDomains(t *testing.T) {
	s := rig.NewTryStage(t)
	steps := []string{}
	for range 150 {
		steps = append(steps, "child="+s.Work+"/sub")
	}
	steps = append(steps, "rawread="+s.Work+"/a")
	got := s.Try(t, inCell(rig.Asked...)(s, "try", steps...))
	if len(got) != len(steps) {
		t.Fatalf("%d answers to %d steps: %q", len(got), len(steps), got)
	}
	for i, g := range got {
		if !strings.HasSuffix(g, " ok") {
			t.Fatalf("step %d: %s", i, g)
		}
	}
}

// TestDependency: a package has nip-pledge in its cells because it depends on it.
func TestDependency(t *testing.T) {
	s := rig.NewTryStage(t)
	npk := s.Base + "/nip-pledge.npk"
	s.Must("pack", filepath.Join(rig.Fixture(t, "ratchet/nexus"), "recipe.kdl"), "-o", npk)
	s.Must("install", npk)
	if info := s.Must("info", "nip-pledge"); !strings.Contains(info, "native views native") {
		t.Errorf("the package has no native views:\n%s", info)
	}
	s.InstallProgram("tool", "1.0", rig.Fixture(t, "ratchet/tree/bin/try-static"), `    pledge "STDIO" "RPATH" "WPATH" "EXEC"
    depends "nip-pledge"`)
	tool := s.Path("System/Views/tool/1.0/bin/tool")
	got := s.Try(t, s.Command("run", "tool", "create=mine", "exec=/usr/bin/nip-pledge", "-d", "-p", "stdio rpath", tool, "read=mine", "write=mine", "exec"))
	if want := []string{"create ok", "exec ok", "read ok", "write EPERM", "exec ok", "exec EPERM"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestCompilers builds the library and nip-pledge with each compiler that
// test/setup.sh installs.
func TestCompilers(t *testing.T) {
	for _, cc := range []string{"gcc", "aarch64-linux-gnu-gcc", "musl-gcc"} {
		t.Run(cc, func(t *testing.T) {
			out := t.TempDir()
			c := exec.Command(filepath.Join(rig.Source(), "nexus/c/build.sh"), out)
			c.Env = append(os.Environ(), "CC="+cc)
			if r := rig.Run(t, c); r.Code != 0 {
				t.Fatalf("%s%s", r.Stdout, r.Stderr)
			}
			pledge := []string{out + "/files/bin/nip-pledge"}
			if strings.HasPrefix(cc, "aarch64") {
				if runtime.GOARCH != "arm64" {
					pledge = append([]string{"qemu-aarch64-static"}, pledge...)
				}
				// Emulation has no filters: only that it runs, and refuses.
				if r := rig.Run(t, exec.Command(pledge[0], append(pledge[1:], "-p", "stdio nothing", "true")...)); r.Code != 125 || !strings.Contains(r.Stderr, "no such promises") {
					t.Errorf("exit status %d: %s", r.Code, r.Stderr)
				}
				return
			}
			if r := rig.Run(t, exec.Command(pledge[0], "-d", "-p", "stdio rpath", "/bin/sh", "-c", "echo no > "+out+"/made; echo yes")); r.Stdout != "yes\n" || !strings.Contains(r.Stderr, "Operation not permitted") {
				t.Errorf("exit status %d: %s%s", r.Code, r.Stdout, r.Stderr)
			}
		})
	}
}
