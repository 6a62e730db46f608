package capability

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestParsePledge(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Pledge
		text string
	}{
		{"STDIO", Stdio, "STDIO"},
		{"exec,Stdio, rpath", Stdio | Rpath | Exec, "STDIO,RPATH,EXEC"},
		{"WPATH", WriteOnly | Cpath | Fattr, "WPATH"},
		{"WPATH,-CPATH", WriteOnly | Fattr, "WPATH,-CPATH"},
		{"WPATH,-cpath,-FATTR", WriteOnly, "WPATH,-CPATH,-FATTR"},
		{"CPATH", Cpath, "CPATH"},
		{"CPATH,WPATH", Wpath, "WPATH"},
		{"EXEC,-PROC", ExecOnly, "EXEC,-PROC"},
		{"PROC,FATTR", Proc | Fattr, "FATTR,PROC"},
		{"-WPATH,STDIO", Stdio, "STDIO"},
		{"STDIO,RPATH,WPATH,UDP,TTY,UNIX,INET,EXEC", AllPledges, "STDIO,RPATH,WPATH,INET,UDP,UNIX,TTY,EXEC"},
		{"NONE", 0, "NONE"},
		{"none", 0, "NONE"},
	} {
		p, err := ParsePledgeList(c.in)
		if err != nil || p != c.want || p.String() != c.text {
			t.Errorf("%q: %#x %s, %v; want %#x %s", c.in, uint64(p), p, err, uint64(c.want), c.text)
		}
	}
	for _, in := range []string{"", " ", "STDOI", "STDIO,,RPATH", "NONE,STDIO", "--STDIO", "-", "-NONE"} {
		p, err := ParsePledgeList(in)
		var e *SyntaxError
		if !errors.As(err, &e) || e.What != "pledge" || p != 0 {
			t.Errorf("%q: %v, %v; want a syntax error", in, p, err)
		}
	}
	if p, err := ParsePledge(nil); p != 0 || err != nil {
		t.Errorf("no words: %v, %v", p, err)
	}
}

func TestPledgeTextComesBack(t *testing.T) {
	for p := range AllPledges + 1 {
		q, err := ParsePledgeList(p.String())
		if err != nil || q != p {
			t.Fatalf("%#x is written %s and read %#x, %v", uint64(p), p, uint64(q), err)
		}
		q, err = ParsePledge(p.Words())
		if err != nil || q != p {
			t.Fatalf("%#x: words %q are read %#x, %v", uint64(p), p.Words(), uint64(q), err)
		}
	}
}

func TestParseUnveil(t *testing.T) {
	for _, c := range []struct {
		in, cwd, want string
	}{
		{"/srv:rw", "", "/srv:rw"},
		{"/srv", "", "/srv:r"},
		{"/srv/", "", "/srv:r"},
		{"/srv/../etc//x:rx", "", "/etc/x:rx"},
		{"src:rwxc", "/home/me", "/home/me/src:rwx"},
		{".:c", "/home/me", "/home/me:c"},
		{"../x:w", "/home/me", "/home/x:w"},
		{"/a:b", "", "/a:b:r"},
		{"/a:b:rw", "", "/a:b:rw"},
		{"/a:r:r", "", "/a:r:r"},
		{"/a:", "", "/a::r"},
		{"/dev/disk/by-path/pci-0000:00:1f.2:r", "", "/dev/disk/by-path/pci-0000:00:1f.2:r"},
		{"/:cr", "", "/:rc"},
		{"..:r", "/", "/:r"},
	} {
		u, err := ParseUnveil(c.in, c.cwd)
		if err != nil || u.String() != c.want {
			t.Errorf("%q in %q: %s, %v; want %s", c.in, c.cwd, u, err, c.want)
			continue
		}
		if again, err := ParseUnveil(u.String(), ""); err != nil || again != u {
			t.Errorf("%s is read back as %s, %v", u, again, err)
		}
	}
	for _, in := range []string{"", ":rw", "src:r", "/a\x00b:r", "rw"} {
		if u, err := ParseUnveil(in, ""); err == nil {
			t.Errorf("%q without a directory: %s", in, u)
		}
	}
	for _, in := range []string{"", "rwz", "R", "r w"} {
		if r, err := ParseRights(in); err == nil {
			t.Errorf("rights %q: %s", in, r)
		}
	}
}

func TestRightsTextComesBack(t *testing.T) {
	for r := Rights(1); r <= AllRights; r++ {
		got, err := ParseRights(r.String())
		if err != nil || got != r.closed() {
			t.Errorf("%04b is written %s and read %04b, %v", r, r, got, err)
		}
	}
}

func FuzzParseUnveil(f *testing.F) {
	f.Add("/a:b:rw")
	f.Add("src::x")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUnveil(s, "/cwd")
		if err != nil {
			return
		}
		if u.Rights == 0 || !strings.HasPrefix(u.Path, "/") || strings.Contains(u.Path+"/", "/../") {
			t.Fatalf("%q: %+v", s, u)
		}
		if again, err := ParseUnveil(u.String(), ""); err != nil || again != u {
			t.Fatalf("%q: %+v is read back as %+v, %v", s, u, again, err)
		}
	})
}

// random returns a source of numbers that is the same in every run.
func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
