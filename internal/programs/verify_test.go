package programs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nipcells/internal/hier"
	"nipcells/internal/npk"
	"nipcells/internal/store"
)

// change a read-only file in place, keeping its inode.
func tamper(t *testing.T, path string, fn func([]byte)) {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fn(b)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, fi.Mode()); err != nil {
		t.Fatal(err)
	}
}

// replace puts another file in the place of one, as an editor would.
func replace(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFinds(t *testing.T) {
	lib := pkg{name: "lib", version: "1", files: map[string]string{"share/lib": "lib"}}
	app := tool("1.0")
	app.depends = []string{"lib"}
	flip := func(b []byte) { b[len(b)/2] ^= 4 }
	do := func(errs ...error) func(*testing.T) {
		return func(t *testing.T) {
			for _, err := range errs {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, c := range []struct {
		name string
		harm func(*testing.T, *hier.Root, *Installed)
		want []string // parts of what is reported, each in some line
	}{
		{"flipped bit", func(t *testing.T, r *hier.Root, _ *Installed) { tamper(t, r.Program("Tool", "1.0")+"/share/big", flip) },
			[]string{"tool 1.0: Programs/Tool/1.0/share/big: has other bytes", "Programs/Tool/1.0/share/same: has other", "System/Views/Tool/1.0/Programs/Tool/1.0/share/big: has other", "Cas/blob/"}},
		{"flipped bit in a loader", func(t *testing.T, r *hier.Root, p *Installed) {
			tamper(t, r.Loader(entry(t, p, "lib/ld.so").CID.String()), flip)
		}, []string{"tool 1.0: Cas/ld/", "Programs/Tool/1.0/lib/ld.so"}},
		{"another interpreter", func(t *testing.T, r *hier.Root, _ *Installed) {
			tamper(t, r.Program("Tool", "1.0")+"/bin/sh", func(b []byte) { b[513] ^= 1 })
		}, []string{"bin/sh: has other bytes"}},
		{"script without its prefix", func(t *testing.T, r *hier.Root, _ *Installed) {
			replace(t, r.Program("Tool", "1.0")+"/bin/tool", "#!/usr/bin/sh -e\necho 1.0\n", 0o555)
		}, []string{"Programs/Tool/1.0/bin/tool: has other bytes"}},
		{"replaced file", func(t *testing.T, r *hier.Root, _ *Installed) {
			replace(t, r.Program("Tool", "1.0")+"/share/v", "2.0", 0o444)
		}, []string{"Programs/Tool/1.0/share/v: has other bytes"}},
		{"mode", func(t *testing.T, r *hier.Root, _ *Installed) {
			do(os.Chmod(r.Program("Tool", "1.0")+"/share/v", 0o644))(t)
		},
			[]string{"tool 1.0: Programs/Tool/1.0/share/v: has mode 0644, not 0444"}},
		{"mode of a directory", func(t *testing.T, r *hier.Root, _ *Installed) {
			do(os.Chmod(r.Program("Tool", "1.0")+"/share", 0o777))(t)
		},
			[]string{"Programs/Tool/1.0/share: has mode 0777, not 0755"}},
		{"setuid", func(t *testing.T, r *hier.Root, _ *Installed) {
			do(os.Chmod(r.Program("Tool", "1.0")+"/bin/sh", 0o555|os.ModeSetuid))(t)
		}, []string{"bin/sh: has mode 4555"}},
		{"missing file", func(t *testing.T, r *hier.Root, _ *Installed) {
			do(os.Remove(r.Program("Tool", "1.0") + "/share/v"))(t)
		},
			[]string{"tool 1.0: Programs/Tool/1.0/share/v: missing"}},
		{"missing directory", func(t *testing.T, r *hier.Root, _ *Installed) {
			do(os.RemoveAll(r.Program("Tool", "1.0") + "/share/deep"))(t)
		},
			[]string{"share/deep: missing", "share/deep/a/b/c: missing"}},
		{"missing tree", func(t *testing.T, r *hier.Root, _ *Installed) { do(os.RemoveAll(r.Program("Tool", "1.0")))(t) },
			[]string{"tool 1.0: Programs/Tool/1.0: missing"}},
		{"extra file", func(t *testing.T, r *hier.Root, _ *Installed) {
			replace(t, r.Program("Tool", "1.0")+"/share/x", "", 0o444)
		},
			[]string{"tool 1.0: Programs/Tool/1.0/share/x: does not belong here"}},
		{"extra file in the view", func(t *testing.T, r *hier.Root, _ *Installed) { replace(t, r.View("Tool", "1.0")+"/x", "", 0o444) },
			[]string{"tool 1.0: System/Views/Tool/1.0/x: does not belong here"}},
		{"wrong link", func(t *testing.T, r *hier.Root, _ *Installed) {
			do(os.Remove(r.Program("Tool", "1.0")+"/share/link"), os.Symlink("same", r.Program("Tool", "1.0")+"/share/link"))(t)
		}, []string{"share/link: leads to same, not to big"}},
		{"wrong link in the view", func(t *testing.T, r *hier.Root, _ *Installed) {
			do(os.Remove(r.View("Tool", "1.0")+"/usr"), os.Symlink("/", r.View("Tool", "1.0")+"/usr"))(t)
		}, []string{"System/Views/Tool/1.0/usr: leads to /, not to ."}},
		{"dependency in the view", func(t *testing.T, r *hier.Root, _ *Installed) {
			replace(t, r.View("Tool", "1.0")+"/Programs/lib/1/share/lib", "LIB", 0o444)
		}, []string{"tool 1.0: System/Views/Tool/1.0/Programs/lib/1/share/lib: has other bytes"}},
		{"missing blob", func(t *testing.T, r *hier.Root, p *Installed) {
			do(os.Remove(store.Open(r).Path(store.Name{CID: entry(t, p, "share/v").CID})))(t)
		}, []string{"tool 1.0: Cas/blob/"}},
		{"record", func(t *testing.T, r *hier.Root, _ *Installed) { tamper(t, r.Record("tool", "1.0"), flip) },
			[]string{"tool 1.0: Nexus/packages/tool/1.0: record cannot be read"}},
		{"chunk index", func(t *testing.T, r *hier.Root, _ *Installed) { tamper(t, r.Join(store.IndexRel("tool", "1.0")), flip) },
			[]string{"tool 1.0: Cas/chunk/tool/1.0: chunk index cannot be read"}},
		{"current", func(t *testing.T, r *hier.Root, _ *Installed) {
			do(os.Remove(r.Current("Tool")), os.Symlink("9.9", r.Current("Tool")))(t)
		}, []string{"Programs/Tool/Current: leads to no installed version"}},
		{"launcher", func(t *testing.T, r *hier.Root, _ *Installed) { tamper(t, r.Launcher("tool"), flip) },
			[]string{"tool 1.0: System/Index/bin/tool: is not the launcher of tool/tool"}},
		{"no launcher", func(t *testing.T, r *hier.Root, _ *Installed) { do(os.Remove(r.Launcher("tool")))(t) },
			[]string{"tool 1.0: System/Index/bin/tool: missing"}},
		{"stray version", func(t *testing.T, r *hier.Root, _ *Installed) { do(r.Make("Programs/Tool/7.0"))(t) },
			[]string{"Programs/Tool/7.0: belongs to no package"}},
		{"stray file in Programs", func(t *testing.T, r *hier.Root, _ *Installed) { replace(t, r.Join("Programs/x"), "", 0o444) },
			[]string{"Programs/x: does not belong here"}},
		{"stray in the store", func(t *testing.T, r *hier.Root, _ *Installed) { replace(t, r.Join("Cas/blob/x"), "", 0o444) },
			[]string{"Cas/blob/x: does not belong here"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			root := testRoot(t)
			install(t, root, lib)
			p := install(t, root, app)
			verifyClean(t, root)
			c.harm(t, root, p)
			var found []string
			count, err := Verify(context.Background(), root, func(p Problem) { found = append(found, p.String()) })
			if err != nil {
				t.Fatal(err)
			}
			if count.Problems != len(found) || len(found) == 0 {
				t.Errorf("%d problems counted, %d reported", count.Problems, len(found))
			}
			all := strings.Join(found, "\n")
			for _, w := range c.want {
				if !strings.Contains(all, w) {
					t.Errorf("%q is not in\n%s", w, all)
				}
			}
		})
	}
}

// An executable that would choose its own interpreter is not installed. Pack
// makes no such package, so the check is called as the workers call it.
func TestForeignInterpreter(t *testing.T) {
	root := testRoot(t)
	u := &unpacker{root: root, st: store.Open(root), dst: -1}
	for name, text := range map[string]string{"the host's": elf(28, "/lib64/ld-linux-x86-64.so.2"), "an undeclared field": elf(256, "")} {
		for _, exec := range []bool{true, false} {
			c := &content{name: store.Name{Exec: exec}, entry: &npk.Entry{Path: "bin/bad", Exec: exec}, size: int64(len(text))}
			if _, err := u.patch(c, memory(text), c.size); errors.Is(err, store.ErrLocate) != exec {
				t.Errorf("%s, executable %v: %v", name, exec, err)
			}
		}
	}
}

// A root owned by root serves ordinary users read-only: nothing they call
// changes it, whatever its modes say to them.
func TestForeignRoot(t *testing.T) {
	if os.Geteuid() == 0 { // as root: a root of somebody else's is refused before
		dir := filepath.Join(t.TempDir(), "theirs")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if _, err := hier.Open(dir); err == nil {
			t.Error("root works in a root of somebody else's")
		}
		return
	}
	sys, err := hier.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Install(context.Background(), sys, bytes.NewReader(tool("1.0").pack(t)), Options{Trust: trustAll}); err == nil {
		t.Error("an ordinary user installed into /")
	}
	if _, err := Remove(context.Background(), sys, "tool", RemoveOptions{}); err == nil {
		t.Error("an ordinary user removed from /")
	}
}
