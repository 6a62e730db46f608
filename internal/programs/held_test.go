package programs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/ledger"
	"nipcells/internal/npk"
	"nipcells/internal/policy"
)

// greedyTool asks for more than tool does.
func greedyTool(version string) pkg {
	p := tool(version)
	p.asks.Pledge = capability.Stdio | capability.Inet
	return p
}

// asking is a small package with rights.
func asking(version, pledge string, unveil []capability.Unveil, budget capability.Budget, bus ...string) pkg {
	words, err := capability.ParsePledgeList(pledge)
	if err != nil {
		panic(err)
	}
	return pkg{name: "tool", version: version, title: "Tool", commands: []npk.Command{{Name: "tool", Exec: "bin/tool"}},
		files: map[string]string{"x:bin/tool": "#!/bin/sh\n", "share/v": version},
		asks:  capability.Set{Pledge: words, Unveil: unveil, Budget: budget}, bus: bus}
}

func put(t *testing.T, root *hier.Root, p pkg, opt Options) *Installed {
	t.Helper()
	opt.Trust = trustAll
	in, err := Install(context.Background(), root, bytes.NewReader(p.pack(t)), opt)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// lastOf returns the fields of the ledger's last record of a kind, as
// name=value, without the hashes.
func lastOf(t *testing.T, root *hier.Root, kind string) (text string) {
	t.Helper()
	err := ledger.Open(root.Ledger()).Read(func(r ledger.Record) error {
		if r.Kind == kind {
			text = ""
			for _, f := range r.Fields {
				text += f.Name + "=" + f.Text + "|"
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestUpdateThatAsksForMoreIsHeld(t *testing.T) {
	read, write := capability.Read, capability.Read|capability.Write|capability.Create
	old := asking("1", "STDIO,RPATH,WPATH,-FATTR", []capability.Unveil{{Path: "/srv", Rights: read}, {Path: "/home", Rights: write}},
		capability.Budget{Spectrum: "gravity", Memory: 64 << 20, Fibers: 8}, "hud")
	for name, c := range map[string]struct {
		pledge string
		unveil []capability.Unveil
		budget capability.Budget
		bus    []string
		more   string // empty: it is not held
	}{
		"the same": {"STDIO,RPATH,WPATH,-FATTR", old.asks.Unveil, old.asks.Budget, old.bus, ""},
		"less": {"STDIO", []capability.Unveil{{Path: "/home/me", Rights: read}, {Path: "/home/you", Rights: write}},
			capability.Budget{Spectrum: "void", Memory: 1 << 20, Fibers: 8, CPU: 10}, nil, ""},
		"a promise":           {"STDIO,INET", nil, old.asks.Budget, nil, "pledge INET"},
		"a part of a promise": {"STDIO,WPATH", nil, old.asks.Budget, nil, "pledge FATTR"},
		"a path":              {"STDIO", []capability.Unveil{{Path: "/opt", Rights: read}}, old.asks.Budget, nil, "unveil /opt:r"},
		"a right":             {"STDIO", []capability.Unveil{{Path: "/srv", Rights: write}}, old.asks.Budget, nil, "unveil /srv:w"},
		"a path above":        {"STDIO", []capability.Unveil{{Path: "/", Rights: read}}, old.asks.Budget, nil, "unveil /:r"},
		"more memory":         {"STDIO", nil, capability.Budget{Spectrum: "gravity", Memory: 65 << 20, Fibers: 8}, nil, "budget memory 64M -> 65M"},
		"no limit":            {"STDIO", nil, capability.Budget{Spectrum: "gravity", Memory: 64 << 20}, nil, "budget fibers 8 -> unlimited"},
		"a higher spectrum":   {"STDIO", nil, capability.Budget{Spectrum: "matter", Memory: 64 << 20, Fibers: 8}, nil, "budget spectrum gravity -> matter"},
		"an endpoint":         {"STDIO", nil, old.asks.Budget, []string{"hud", "open-file"}, "bus open-file"},
	} {
		t.Run(name, func(t *testing.T) {
			root := testRoot(t)
			put(t, root, old, Options{})
			in := put(t, root, asking("2", c.pledge, c.unveil, c.budget, c.bus...), Options{})
			if in.Held != (c.more != "") || in.Current == in.Held {
				t.Fatalf("held %t, active %t", in.Held, in.Current)
			}
			verifyClean(t, root)
			if !in.Held {
				return
			}
			want := "tool 2 is held: it asks for more than version 1 was given: " + c.more
			if _, err := Rollback(context.Background(), root, "tool", "2", Options{}); err == nil || err.Error() != want {
				t.Errorf("rollback to it: %v", err)
			}
			in, err := Accept(context.Background(), root, "tool", "", Options{})
			if err != nil || in.Held || !in.Current || in.Version != "2" {
				t.Errorf("accept: %+v, %v", in, err)
			}
			if got := lastOf(t, root, "accept"); got != "package=tool|version=2|more="+c.more+"|" {
				t.Errorf("ledger: %s", got)
			}
			if _, err := os.Stat(root.Join("Nexus/held")); !os.IsNotExist(err) {
				t.Errorf("a mark is left: %v", err)
			}
		})
	}
}

// TestHeldStaysHeld: no other way makes a held version active.
func TestHeldStaysHeld(t *testing.T) {
	root, ctx := testRoot(t), context.Background()
	before := snapshot(t, root)
	var refusal *HeldError
	for _, v := range []string{"1", "3"} {
		put(t, root, asking(v, "STDIO", nil, capability.Budget{}), Options{})
		if v == "1" {
			put(t, root, asking("2", "STDIO,INET", nil, capability.Budget{}), Options{})
		}
	}
	active := func(want string) {
		t.Helper()
		if p, err := Info(root, "tool", ""); err != nil || p.Version != want {
			t.Errorf("active: %v, %v, want %s", p, err, want)
		}
	}
	active("3")
	if in := put(t, root, asking("2", "STDIO,INET", nil, capability.Budget{}), Options{}); !in.Held {
		t.Error("installed again it is not held")
	}
	if _, err := Activate(ctx, root, "tool", "2", Options{}); !errors.As(err, &refusal) || refusal.Active != "3" {
		t.Errorf("activate: %v", err)
	}
	if p, err := Rollback(ctx, root, "tool", "", Options{}); err != nil || p.Version != "1" { // passes it over
		t.Errorf("rollback: %v, %v", p, err)
	}
	if _, err := Remove(ctx, root, "tool", RemoveOptions{Version: "1"}); err != nil {
		t.Error(err)
	}
	active("3")
	if in := put(t, root, asking("4", "STDIO,EXEC", nil, capability.Budget{}), Options{KeepCurrent: true}); !in.Held {
		t.Error("kept beside the active one it is not held")
	}
	if held, err := HeldVersions(root, "tool"); err != nil || !slices.Equal(held, []string{"2", "4"}) {
		t.Errorf("held: %v, %v", held, err)
	}
	for _, force := range []bool{false, true} {
		_, err := Remove(ctx, root, "tool", RemoveOptions{Version: "3", Force: force})
		if !errors.Is(err, ErrOnlyHeld) || !strings.HasSuffix(err.Error(), ": tool 2, tool 4") {
			t.Errorf("remove the only accepted version: %v", err)
		}
	}
	active("3")
	if _, err := Accept(ctx, root, "tool", "3", Options{}); !errors.Is(err, ErrNotHeld) {
		t.Errorf("accept what is not held: %v", err)
	}
	if p, err := Accept(ctx, root, "tool", "2", Options{}); err != nil || p.Version != "2" {
		t.Errorf("accept: %v, %v", p, err)
	}
	if p, err := Rollback(ctx, root, "tool", "3", Options{}); err != nil || p.Version != "3" {
		t.Errorf("rollback: %v, %v", p, err)
	}
	if p, err := Rollback(ctx, root, "tool", "2", Options{}); err != nil || p.Version != "2" { // was accepted
		t.Errorf("rollback to what was accepted: %v, %v", p, err)
	}
	if _, err := Remove(ctx, root, "tool", RemoveOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := Accept(ctx, root, "tool", "", Options{}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("accept what is gone: %v", err)
	}
	sameNames(t, before, snapshot(t, root))
}

// TestOverridesCountAsAgreed: what the person gives a package is not new, and
// what he takes from it he has seen before.
func TestOverridesCountAsAgreed(t *testing.T) {
	root, ctx := testRoot(t), context.Background()
	before := snapshot(t, root)
	put(t, root, asking("1", "STDIO,RPATH", nil, capability.Budget{}), Options{})
	decide := func(words ...string) {
		t.Helper()
		if _, err := policy.Change(ctx, root, "tool", func(o *capability.Override) error { return o.SetPledge(words) }); err != nil {
			t.Fatal(err)
		}
	}
	two := asking("2", "STDIO,RPATH,INET", nil, capability.Budget{})
	decide("-RPATH", "-INET")
	if in := put(t, root, two, Options{}); !in.Held {
		t.Error("a promise that is taken for now could be had silently, once the override goes")
	}
	decide("INET")
	if in := put(t, root, two, Options{}); in.Held || !in.Current {
		t.Error("a promise that was given is held")
	}
	done, err := Remove(ctx, root, "tool", RemoveOptions{})
	if err != nil || done.Decided != "pledge -RPATH,INET" {
		t.Errorf("remove: %+v, %v", done, err)
	}
	sameNames(t, before, snapshot(t, root))
}

// TestActiveThatCannotBeRead: an update beside a damaged version is none of a
// first version.
func TestActiveThatCannotBeRead(t *testing.T) {
	root := testRoot(t)
	put(t, root, asking("1", "STDIO", nil, capability.Budget{}), Options{})
	if err := os.Chmod(root.Record("tool", "1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root.Record("tool", "1"), []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if in := put(t, root, asking("2", "STDIO,INET", nil, capability.Budget{}), Options{KeepCurrent: true}); !in.Held {
		t.Error("it is not held")
	}
}
