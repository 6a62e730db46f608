package policy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/ledger"
)

func newRoot(t *testing.T) *hier.Root {
	t.Helper()
	root, err := hier.Create(filepath.Join(t.TempDir(), "root"))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestParseOverride(t *testing.T) {
	for _, tt := range []struct{ src, want, err string }{
		{src: "", want: ""},
		{src: `pledge "INET" "-EXEC"`, want: "pledge INET,-EXEC"},
		{src: `unveil "/srv" "rw"` + "\n" + `limit "/home" "r"` + "\n" + `limit "/mnt" ""`, want: "unveil /srv:rw; limit /home:r; hide /mnt"},
		{src: `budget memory="64M" fibers=3`, want: "budget memory=64M,fibers=3"},
		{src: `pledge "NONE"`, err: `o.kdl:1:1: pledge "NONE": no such promise`},
		{src: `pledge a="b"`, err: "o.kdl:1:1: pledge has no properties"},
		{src: `pledge "INET"` + "\n" + `pledge "EXEC"`, err: "o.kdl:2:1: second pledge"},
		{src: `unveil "/srv" ""`, err: "o.kdl:1:1: rights"},
		{src: `unveil "srv" "r"`, err: "not an absolute, clean path"},
		{src: `limit "/srv"`, err: `limit takes a path and rights: limit "/srv" "r"`},
		{src: `limit "/srv" "q"`, err: "o.kdl:1:1: rights"},
		{src: `limit "/srv" "r"` + "\n" + `unveil "/srv" "r"`, err: "o.kdl:2:1: second word about /srv"},
		{src: `budget colour="red"`, err: "o.kdl:1:1: "},
		{src: `hide "/srv"`, err: "unknown node hide"},
		{src: `limit "/srv" "r" { x }`, err: "limit takes no block"},
	} {
		o, err := parseOverride("o.kdl", []byte(tt.src))
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %s", tt.src, err, tt.err)
			}
		case err != nil || o.String() != tt.want:
			t.Errorf("%s: %s, %v, want %s", tt.src, o, err, tt.want)
		}
	}
}

// FuzzOverride: what is read is written so that it is read again.
func FuzzOverride(f *testing.F) {
	f.Add([]byte(`pledge "INET" "-EXEC"` + "\n" + `unveil "/srv \"x\"" "rw"` + "\n" + `limit "/mnt" ""` + "\n" + `budget memory="64M"`))
	f.Fuzz(func(t *testing.T, src []byte) {
		o, err := parseOverride("o.kdl", src)
		if err != nil {
			return
		}
		again, err := parseOverride("o.kdl", write(o))
		if err != nil || again.String() != o.String() {
			t.Errorf("%s became %s, %v", o, again, err)
		}
	})
}

func TestChange(t *testing.T) {
	root, ctx := newRoot(t), context.Background()
	set := func(name string, edit func(*capability.Override) error) bool {
		t.Helper()
		changed, err := Change(ctx, root, name, edit)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	words := func(w ...string) func(*capability.Override) error {
		return func(o *capability.Override) error { return o.SetPledge(w) }
	}
	if !set("tool", words("-INET")) || set("tool", words("-INET")) || !set(All, words("EXEC")) {
		t.Error("what changed, or did not")
	}
	set("tool", func(o *capability.Override) error {
		o.SetUnveil(capability.Unveil{Path: "/srv/a \"b\"\n", Rights: capability.AllRights})
		o.SetLimit(capability.Unveil{Path: "/mnt"})
		o.SetBudget(capability.Budget{Spectrum: "void", Memory: 1 << 20, Fibers: 2, CPU: 3, Disk: 4, IO: 5})
		return nil
	})
	layers, err := Layers("tool", root, root)
	var got []string
	for _, o := range layers {
		got = append(got, o.String())
	}
	const decided = "pledge -INET; unveil /srv/a \"b\"\n:rwx; hide /mnt; budget memory=1M,fibers=2,cpu=3%,disk=4,io=5/s,spectrum=void"
	if err != nil || !slices.Equal(got, []string{"pledge EXEC", decided, "pledge EXEC", decided}) {
		t.Errorf("layers %q, %v", got, err)
	}
	if names, err := Names(root); err != nil || !slices.Equal(names, []string{All, "tool"}) {
		t.Errorf("names %q, %v", names, err)
	}
	for _, name := range []string{All, "tool"} {
		if fi, err := os.Stat(file(root, name)); err != nil || fi.Mode() != 0o644 {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
		set(name, func(o *capability.Override) error { *o = capability.Override{}; return nil })
	}
	if names, err := Names(root); err != nil || len(names) > 0 {
		t.Errorf("names %q, %v", names, err)
	}
	var said []string
	err = ledger.Open(root.Ledger()).Read(func(r ledger.Record) error {
		said = append(said, r.Kind+" "+r.Fields[0].Text+": "+r.Fields[1].Text)
		return nil
	})
	if want := []string{"policy tool: pledge -INET", "policy *: pledge EXEC", "policy tool: " + decided, "policy *: ", "policy tool: "}; err != nil || !slices.Equal(said, want) {
		t.Errorf("ledger %q, %v", said, err)
	}
}

// TestRefusedChanges leave what there was.
func TestRefusedChanges(t *testing.T) {
	root, ctx := newRoot(t), context.Background()
	if _, err := Change(ctx, root, "tool", func(o *capability.Override) error { return o.SetPledge([]string{"INET"}) }); err != nil {
		t.Fatal(err)
	}
	for want, path := range map[error]string{ErrNotText: "/srv/\xff", ErrTooLong: "/" + strings.Repeat("x", maxText)} {
		_, err := Change(ctx, root, "tool", func(o *capability.Override) error {
			o.SetUnveil(capability.Unveil{Path: path, Rights: capability.Read})
			return nil
		})
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if o, err := Override(root, "tool"); err != nil || o.String() != "pledge INET" {
		t.Errorf("%s, %v", o, err)
	}
	// A ledger that takes nothing: what it cannot tell of does not happen.
	if err := os.Remove(root.Ledger()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root.Ledger(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Change(ctx, root, "tool", func(o *capability.Override) error { return o.SetPledge([]string{"EXEC"}) }); err == nil {
		t.Error("changed without a word in the ledger")
	}
	if o, err := Override(root, "tool"); err != nil || o.String() != "pledge INET" {
		t.Errorf("%s, %v", o, err)
	}
	if err := os.WriteFile(file(root, "tool"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Layers("tool", root); err == nil || !strings.Contains(err.Error(), file(root, "tool")+":1:1: unknown node") {
		t.Errorf("rubbish: %v", err)
	}
}
