package launch

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/npk"
	"nipcells/internal/plan"
	"nipcells/internal/policy"
	"nipcells/internal/programs"
	"nipcells/internal/wall"
)

// install packs and installs a small package of scripts.
func install(t *testing.T, root *hier.Root, version string, commands []npk.Command) {
	t.Helper()
	installFiles(t, root, map[string]string{"bin/tool": "#!/bin/sh\n", "bin/many": program(), "share/x": "x"}, version, commands)
}

func installFiles(t *testing.T, root *hier.Root, files map[string]string, version string, commands []npk.Command) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := &npk.Recipe{Name: "tool", Version: version, Title: "Tool", Arch: runtime.GOARCH, Summary: "test", Source: "dir:tool", Commands: commands,
		Pledge: capability.Stdio | capability.Rpath | capability.Inet, Unveil: []capability.Unveil{{Path: "/srv/x", Rights: capability.Read | capability.Execute}}}
	var b bytes.Buffer
	if _, err := npk.Pack(&b, dir, r, npk.PackOptions{Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}); err != nil {
		t.Fatal(err)
	}
	if _, err := programs.Install(context.Background(), root, &b, programs.Options{Trust: func(ed25519.PublicKey) error { return nil }}); err != nil {
		t.Fatal(err)
	}
}

// program is an ELF file with one segment, which does not run.
func program() string {
	b := make([]byte, 4096)
	copy(b, "\x7fELF\x02\x01\x01")
	machine := map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	for at, v := range map[int]uint16{16: 2, 18: machine, 20: 1, 32: 64, 52: 64, 54: 56, 56: 1, 58: 64, 64: 1, 68: 4, 96: 4096, 104: 4096, 112: 4096} {
		binary.LittleEndian.PutUint16(b[at:], v)
	}
	return string(b)
}

func newRoot(t *testing.T) *hier.Root {
	t.Helper()
	root, err := hier.Create(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestCompute(t *testing.T) {
	root := newRoot(t)
	install(t, root, "1", []npk.Command{{Name: "other", Exec: "bin/many"}, {Name: "tool", Exec: "bin/tool", Args: []string{"-x"}}, {Name: "many", Exec: "bin/many"}})
	p, err := Compute(root, "tool")
	if err != nil {
		t.Fatal(err)
	}
	prefix := root.View("Tool", "1") + "/Programs/Tool/1"
	if p.Prefix != prefix || p.Data != root.AppData("tool") || p.Version != "1" || p.Kernel != plan.Kernel() || p.Capped {
		t.Errorf("%+v", p)
	}
	if p.Pledge != capability.Stdio|capability.Rpath|capability.Inet || p.Ceiling != capability.AllPledges {
		t.Errorf("pledge %s of %s", p.Pledge, p.Ceiling)
	}
	// The program has no stub.
	if !strings.HasPrefix(p.Asked, "bin/many of package tool ") || p.Filter != string(wall.Compile(wall.Host(), p.Pledge, wall.Asked).Bytes()) {
		t.Errorf("asked because %q, or the filter is not the pledge's", p.Asked)
	}
	want := []plan.Command{ // a name that is not the file's is what the program is called
		{Name: "other", Path: prefix + "/bin/many", Args: []string{prefix + "/bin/other"}},
		{Name: "tool", Path: prefix + "/bin/tool", Args: []string{prefix + "/bin/tool", "-x"}},
		{Name: "many", Path: prefix + "/bin/many", Args: []string{prefix + "/bin/many"}},
	}
	if !slices.EqualFunc(p.Commands, want, func(a, b plan.Command) bool {
		return a.Name == b.Name && a.Path == b.Path && slices.Equal(a.Args, b.Args)
	}) || p.Default != 1 {
		t.Errorf("commands %+v, default %d", p.Commands, p.Default)
	}
	for _, r := range p.Rules {
		if (r.Path == p.View) != (r.Access == uint64(wall.Package)) && !strings.HasPrefix(r.Path, root.Cas()) || r.Path != p.View && strings.HasPrefix(p.View, r.Path) {
			t.Errorf("rule %+v", r)
		}
	}
	if _, err := Compute(root, "nonesuch"); err == nil {
		t.Error("a plan of nothing")
	}
}

// TestNative: cells of packages without a program of their own have native views.
func TestNative(t *testing.T) {
	root := newRoot(t)
	installFiles(t, root, map[string]string{"bin/tool": "#!/bin/sh\n", "share/x": "x"}, "1", []npk.Command{{Name: "tool", Exec: "bin/tool"}})
	p, err := Compute(root, "tool")
	if err != nil {
		t.Fatal(err)
	}
	if p.Asked != "" || p.Filter != string(wall.Compile(wall.Host(), p.Pledge, wall.Native).Bytes()) {
		t.Errorf("asked because %q, or the filter is not the pledge's", p.Asked)
	}
}

// TestLoad: what is kept is used until something changes.
func TestLoad(t *testing.T) {
	root := newRoot(t)
	install(t, root, "1", []npk.Command{{Name: "run", Exec: "bin/tool"}})
	load := func() *plan.Plan {
		t.Helper()
		p, err := Load(root, "tool")
		if err != nil {
			t.Fatal(err)
		}
		if kept, ok := plan.Read(root.Plans("tool"), "tool"); !ok || !bytes.Equal(kept.Encode(), p.Encode()) {
			t.Errorf("the plan was not kept: %t", ok)
		}
		return p
	}
	if p := load(); p.Default != 0 || p.Version != "1" {
		t.Errorf("default %d, version %s", p.Default, p.Version)
	}
	install(t, root, "2", []npk.Command{{Name: "a", Exec: "bin/tool"}, {Name: "b", Exec: "bin/tool"}})
	if p := load(); p.Default != -1 || p.Version != "2" {
		t.Errorf("after an install: default %d, version %s", p.Default, p.Version)
	}
	policy := "pledge \"STDIO\" \"RPATH\"\nunveil \"/srv\" \"r\"\n"
	if err := os.WriteFile(root.Policy(), []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	p := load()
	if p.Pledge != capability.Stdio|capability.Rpath || p.Ceiling != p.Pledge || !p.Capped ||
		!slices.Equal(p.Unveil, []capability.Unveil{{Path: "/srv/x", Rights: capability.Read}}) {
		t.Errorf("under a policy: %s of %s, %v", p.Pledge, p.Ceiling, p.Unveil)
	}
	if err := os.WriteFile(root.Policy(), []byte("pledge"+" \"NOTHING\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(root, "tool"); err == nil || !strings.Contains(err.Error(), root.Policy()+":1:1") {
		t.Errorf("a wrong policy: %v", err)
	}
	if err := os.Remove(root.Policy()); err != nil {
		t.Fatal(err)
	}
	if p := load(); p.Capped || !p.Pledge.Has(capability.Inet) {
		t.Errorf("without the policy again: %s", p.Pledge)
	}
}

// TestOverrides: what the person decides is in the next plan, and no plan from
// before is used.
func TestOverrides(t *testing.T) {
	root := newRoot(t)
	install(t, root, "1", []npk.Command{{Name: "run", Exec: "bin/tool"}})
	change := func(name string, edit func(*capability.Override)) {
		t.Helper()
		_, err := policy.Change(context.Background(), root, name, func(o *capability.Override) error { edit(o); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(pledge capability.Pledge, unveil ...capability.Unveil) {
		t.Helper()
		p, err := Load(root, "tool")
		if err != nil {
			t.Fatal(err)
		}
		if p.Pledge != pledge || !slices.Equal(p.Unveil, unveil) || p.Ceiling != capability.AllPledges || p.Capped {
			t.Errorf("pledge %s of %s, unveil %v", p.Pledge, p.Ceiling, p.Unveil)
		}
		if p.Filter != string(wall.Compile(wall.Host(), pledge, Sight(p)).Bytes()) {
			t.Error("the filter is not the pledge's")
		}
	}
	asked := capability.Unveil{Path: "/srv/x", Rights: capability.Read | capability.Execute}
	const pledge = capability.Stdio | capability.Rpath | capability.Inet
	check(pledge, asked)
	change("tool", func(o *capability.Override) { o.Take = capability.Inet })
	check(pledge&^capability.Inet, asked)
	change(policy.All, func(o *capability.Override) {
		o.Give, o.Take = capability.Exec|capability.Inet, capability.Rpath
		o.SetLimit(capability.Unveil{Path: "/srv", Rights: capability.Read})
	})
	check(capability.Stdio|capability.Exec, capability.Unveil{Path: "/srv/x", Rights: capability.Read})
	change("tool", func(o *capability.Override) { *o = capability.Override{} })
	change(policy.All, func(o *capability.Override) { *o = capability.Override{} })
	check(pledge, asked)
}

// TestGivenOfTwoRoots: for a package of another root that root's decisions come
// first, and both policies cap.
func TestGivenOfTwoRoots(t *testing.T) {
	system, own := newRoot(t), newRoot(t)
	m := &npk.Manifest{Recipe: npk.Recipe{Name: "tool", Pledge: capability.Stdio | capability.Rpath}}
	for root, words := range map[*hier.Root][]string{system: {"INET", "-RPATH", "EXEC"}, own: {"-INET", "RPATH", "WPATH"}} {
		_, err := policy.Change(context.Background(), root, "tool", func(o *capability.Override) error { return o.SetPledge(words) })
		if err != nil {
			t.Fatal(err)
		}
	}
	pledge := func(own, root *hier.Root) capability.Pledge {
		t.Helper()
		given, err := Given(own, root, m)
		if err != nil {
			t.Fatal(err)
		}
		return given.Pledge
	}
	if p := pledge(system, system); p != capability.Stdio|capability.Inet|capability.Exec {
		t.Errorf("system alone: %s", p)
	}
	if p := pledge(own, system); p != capability.Stdio|capability.Rpath|capability.Wpath|capability.Exec {
		t.Errorf("both: %s", p)
	}
	if err := os.WriteFile(system.Policy(), []byte(`pledge "STDIO" "RPATH" "WPATH"`), 0o644); err != nil {
		t.Fatal(err)
	}
	if p := pledge(own, system); p != capability.Stdio|capability.Rpath|capability.Wpath {
		t.Errorf("under the system's policy: %s", p)
	}
}
