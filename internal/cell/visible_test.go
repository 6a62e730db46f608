package cell

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/plan"
)

// chooser is a cell of the site that has come as far as its unveils.
func (s *site) chooser(root string, reports *[]string) *cell {
	s.t.Helper()
	r, err := hier.Open(root)
	if err != nil {
		s.t.Fatal(err)
	}
	return &cell{
		Options: &Options{Root: r, Plan: &plan.Plan{Root: root}, Report: func(line string) { *reports = append(*reports, line) }},
		home:    r.AppData("tool"),
	}
}

func (s *site) mkdir(names ...string) string {
	s.t.Helper()
	dir := filepath.Join(append([]string{s.base}, names...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s *site) symlink(target, name string) string {
	s.t.Helper()
	path := filepath.Join(s.base, name)
	if err := os.Symlink(target, path); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// TestUnveilTraps names nip's own files in every way there is.
func TestUnveilTraps(t *testing.T) {
	s := newSite(t)
	root := s.root.Path()
	s.mkdir("root-not")
	s.mkdir("root/Data/users/shared")
	s.mkdir("root/Data/apps/other")
	s.symlink(root, "to-root")
	s.symlink(s.base, "to-base")
	s.symlink(filepath.Join(root, "Nexus/keys"), "to-keys")
	s.symlink("loop", "loop")
	for _, tt := range []struct {
		path string // below base, unless absolute
		want error
	}{
		{"root-not", nil}, // begins like the root, is beside it
		{"root/Data/users", nil},
		{"root/Data/users/shared", nil},
		{"/", ErrCoversRoot},
		{".", ErrCoversRoot},
		{"root", ErrCoversRoot},
		{"root/", ErrCoversRoot},
		{"root-not/../root", ErrCoversRoot},
		{"root/Nexus", ErrCoversRoot},
		{"root/Nexus/keys", ErrCoversRoot},
		{"root/Cas/blob", ErrCoversRoot},
		{"root/System/Views", ErrCoversRoot},
		{"root/Programs", ErrCoversRoot},
		{"root/Cell", ErrCoversRoot},
		{"root/Data", ErrCoversRoot},
		{"root/Data/apps", ErrCoversRoot},
		{"root/Data/apps/other", ErrCoversRoot},
		{"to-root", ErrCoversRoot},
		{"to-root/Nexus", ErrCoversRoot},
		{"to-base", ErrCoversRoot},
		{"to-keys", ErrCoversRoot},
		{"none", fs.ErrNotExist},
		{"root-not/none", fs.ErrNotExist},
	} {
		path := tt.path
		if !filepath.IsAbs(path) {
			path = s.base + "/" + path
		}
		// The root by its own name, and by one that leads through a symlink.
		for _, name := range []string{root, s.base + "/to-base/root", s.base + "/to-root"} {
			c := s.chooser(name, new([]string))
			c.Options.Unveil = []capability.Unveil{{Path: path, Rights: capability.Read}}
			if err := c.chooseUnveil(); !errors.Is(err, tt.want) {
				t.Errorf("root %s: unveil %s: %v, want %v", name, tt.path, err, tt.want)
			}
		}
	}
	c := s.chooser(root, new([]string))
	c.Options.Unveil = []capability.Unveil{{Path: s.base + "/loop", Rights: capability.Read}}
	err := c.chooseUnveil()
	if err == nil || strings.Contains(err.Error(), "<nil>") || !strings.Contains(err.Error(), "too many links") {
		t.Errorf("unveil of a loop: %v", err)
	}
}

// TestUnveilByBindMount reaches the root under another name. Only root can
// mount; for others the names of the test above are all there are.
func TestUnveilByBindMount(t *testing.T) {
	s := newSite(t)
	alias := s.mkdir("alias")
	err := unix.Mount(s.base, alias, "", unix.MS_BIND, "")
	if os.Geteuid() != 0 {
		if err == nil {
			t.Fatal("an ordinary user has mounted something")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(alias, unix.MNT_DETACH) })
	for path, want := range map[string]error{alias: ErrCoversRoot, alias + "/root": ErrCoversRoot, alias + "/root/Nexus/keys": ErrCoversRoot, alias + "/root/Data/users": fs.ErrNotExist} {
		c := s.chooser(s.root.Path(), new([]string))
		c.Options.Unveil = []capability.Unveil{{Path: path, Rights: capability.Read}}
		if err := c.chooseUnveil(); !errors.Is(err, want) {
			t.Errorf("unveil %s: %v, want %v", path, err, want)
		}
	}
}

// TestPackageUnveils: what the package asks may be missing, and must be what it
// is called.
func TestPackageUnveils(t *testing.T) {
	s := newSite(t)
	shared, secret := s.mkdir("shared"), s.mkdir("secret")
	planted := s.symlink(secret, "shared/planted")
	s.mkdir("secret/deep")
	var reports []string
	c := s.chooser(s.root.Path(), &reports)
	c.Plan.Unveil = []capability.Unveil{
		{Path: shared, Rights: capability.Read},
		{Path: planted, Rights: capability.Read},
		{Path: planted + "/deep", Rights: capability.Read},
		{Path: s.base + "/none", Rights: capability.Read},
	}
	if err := c.chooseUnveil(); err != nil {
		t.Fatal(err)
	}
	if want := []capability.Unveil{{Path: shared, Rights: capability.Read}}; !slices.Equal(c.unveil, want) {
		t.Errorf("visible: %v, want %v", c.unveil, want)
	}
	if len(reports) != 2 || !strings.Contains(reports[0], planted) || !strings.Contains(reports[0], secret) {
		t.Errorf("reports: %q", reports)
	}
	c.Plan.Unveil = []capability.Unveil{{Path: filepath.Join(s.root.Path(), "Nexus"), Rights: capability.Read}}
	if err := c.chooseUnveil(); !errors.Is(err, ErrCoversRoot) {
		t.Errorf("a package unveils the keys: %v", err)
	}
}

// TestPlantedLink is the attack itself: a first run plants a symlink in what the
// package may write, a second run of the same package would follow it.
func TestPlantedLink(t *testing.T) {
	s := newSite(t)
	shared, secret := s.mkdir("shared"), s.mkdir("secret")
	file := filepath.Join(secret, "file")
	if err := os.WriteFile(file, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	given := []capability.Unveil{{Path: shared, Rights: capability.AllRights}, {Path: shared + "/x", Rights: capability.Read}}
	for _, step := range []struct {
		words []string
		given []capability.Unveil
		want  int
	}{
		{[]string{"symlink", secret, shared + "/x"}, given, 0},
		{[]string{"read", file}, given, 1},
		{[]string{"read", file}, []capability.Unveil{{Path: secret, Rights: capability.Read}}, 0}, // the control
	} {
		if status, r := s.run(spec{Args: step.words, Given: step.given}); status != step.want {
			t.Errorf("%q: status %d, want %d: %q", step.words, status, step.want, r.lines())
		}
	}
}

func TestPolicyCaps(t *testing.T) {
	s := newSite(t)
	in, out := s.mkdir("in"), s.mkdir("out")
	for _, tt := range []struct {
		path   string
		rights capability.Rights
		want   capability.Rights
		err    error
	}{
		{in, capability.AllRights, capability.Read, nil},
		{in, capability.Read, capability.Read, nil},
		{in, capability.Execute, 0, ErrPolicy},
		{out, capability.Read, 0, ErrPolicy},
	} {
		c := s.chooser(s.root.Path(), new([]string))
		c.Plan.Capped, c.Plan.Caps = true, []capability.Unveil{{Path: in, Rights: capability.Read}}
		c.Options.Unveil = []capability.Unveil{{Path: tt.path, Rights: tt.rights}}
		err := c.chooseUnveil()
		if !errors.Is(err, tt.err) || err == nil && c.unveil[0].Rights != tt.want {
			t.Errorf("%s:%s: %v %v, want %s %v", tt.path, tt.rights, c.unveil, err, tt.want, tt.err)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, tt := range []struct {
		path, dir string
		want      bool
	}{
		{"/a", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/a", "/a/b", false}, {"/a", "/", true}, {"/", "/", true},
		{"/a (deleted)", "/a", false}, {"", "/a", false},
	} {
		if got := below(tt.path, tt.dir); got != tt.want {
			t.Errorf("below(%q, %q) = %t", tt.path, tt.dir, got)
		}
	}
}

// TestEnvironment sees that it is clean, and that of one name there is one.
func TestEnvironment(t *testing.T) {
	s := newSite(t)
	t.Setenv("TERM", "dumb")
	t.Setenv("LANG", "C.UTF-8")
	t.Setenv("SECRET_TOKEN", "x")
	t.Setenv("LD_PRELOAD_", "x")
	t.Setenv("BASH_ENV", "/x")
	r := s.start(spec{
		Args: []string{"say"}, PlanEnv: []string{"DATA={home}/d", "SCRATCH={tmp}", "LANG=de_DE", "PATH=/package"},
		Env: []string{"PATH=/mine", "EXTRA=1=2", "EXTRA=3", "TERMINAL=no"},
	})
	home := s.root.AppData("tool")
	cell := s.root.Cell(r.fiber)
	if got := r.line(); got != home+" <nil>" {
		t.Errorf("working directory: %s", got)
	}
	var got []string
	for {
		text, err := r.stdout.ReadString('\n')
		if err != nil {
			break
		}
		got = append(got, strings.TrimSuffix(text, "\n"))
	}
	r.wait()
	want := []string{
		"HOME=" + home, "TMPDIR=" + cell + "/tmp", "XDG_RUNTIME_DIR=" + cell + "/run", "PATH=/mine", "NIP_CELL=" + r.fiber,
		"NIP_PACKAGE=tool", "TERM=dumb", "LANG=de_DE", "DATA=" + home + "/d", "SCRATCH=" + cell + "/tmp", "EXTRA=3", "TERMINAL=no",
	}
	slices.Sort(want)
	names := callersVariables
	got = slices.DeleteFunc(got, func(v string) bool { // others that the test was started with
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(names, name) && !slices.Contains(want, v) && name != "LANG" && name != "TERM"
	})
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("environment:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s.clean(r.fiber)
}
