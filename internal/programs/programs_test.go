package programs

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/ledger"
	"nipcells/internal/npk"
	"nipcells/internal/store"
)

func TestInstall(t *testing.T) {
	for _, umask := range []int{0o022, 0o077} {
		t.Run(fmt.Sprintf("umask %03o", umask), func(t *testing.T) {
			defer unix.Umask(unix.Umask(umask))
			testInstall(t)
		})
	}
}

func testInstall(t *testing.T) {
	root := testRoot(t)
	var last, total int64
	data := tool("1.0").pack(t)
	p, err := Install(context.Background(), root, iotest.OneByteReader(bytes.NewReader(data[:2000])), Options{Trust: trustAll})
	if !errors.Is(err, npk.ErrCorrupt) {
		t.Fatalf("a piece of a package: %v, %v", p, err)
	}
	p, err = Install(context.Background(), root, bytes.NewReader(data), Options{Trust: trustAll, Progress: func(d, n int64) { last, total = d, n }})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Current || p.Title != "Tool" || last == 0 || last != total {
		t.Errorf("%+v, progress %d of %d", p, last, total)
	}
	prog := root.Program("Tool", "1.0")
	for _, c := range []struct{ a, b string }{ // one inode
		{prog + "/share/big", prog + "/share/same"},
		{prog + "/bin/sh", prog + "/libexec/copy"},
		{prog + "/share/big", root.View("Tool", "1.0") + "/share/big"},
		{prog + "/lib/ld.so", root.Loader(entry(t, p, "lib/ld.so").CID.String())},
	} {
		a, errA := os.Stat(c.a)
		b, errB := os.Stat(c.b)
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			t.Errorf("%s and %s do not share their bytes: %v %v", c.a, c.b, errA, errB)
		}
	}
	for path, want := range map[string]string{
		"bin/tool":  "#!" + root.View("Tool", "1.0") + "/usr/bin/sh -e\necho 1.0\n",
		"bin/other": "#!/usr/bin/nothere\n",
		"share/v":   "1.0", "lib64/../share/deep/a/b/c": "deep", "share/empty": "",
	} {
		for _, dir := range []string{prog, root.View("Tool", "1.0"), root.Title("Tool") + "/Current"} {
			if b, err := os.ReadFile(dir + "/" + path); err != nil || string(b) != want {
				t.Errorf("%s/%s: %q, %v", dir, path, b, err)
			}
		}
	}
	sh, err := os.ReadFile(prog + "/bin/sh")
	if loader := root.Loader(entry(t, p, "lib/ld.so").CID.String()); err != nil || !strings.HasPrefix(string(sh[512:]), loader+"\x00") {
		t.Errorf("interpreter of bin/sh: %q, %v", sh[512:600], err)
	}
	if fi, err := os.Stat(prog + "/share/v"); err != nil || fi.Mode() != 0o444 || fi.ModTime().Unix() != store.Epoch {
		t.Errorf("share/v: %v, %v", fi, err)
	}
	if b, err := os.ReadFile(root.Launcher("tool")); err != nil || !strings.Contains(string(b), "\nexec nip run --root '"+root.Path()+"' tool/tool -- \"$@\"\n") {
		t.Errorf("launcher: %s, %v", b, err)
	}
	verifyClean(t, root)
	again, err := Install(context.Background(), root, bytes.NewReader(data), Options{Trust: trustAll})
	if err != nil || !again.Current {
		t.Errorf("again: %v", err)
	}
	if kinds := ledgerKinds(t, root); !slices.Equal(kinds, []string{"install"}) {
		t.Errorf("ledger: %v", kinds)
	}
	chunks, err := store.Open(root).Chunks()
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Head.Entries {
		for _, c := range p.Head.Entries[i].Chunks {
			if _, err := chunks.Read(c.CID, nil); err != nil {
				t.Errorf("chunk of %s: %v", p.Head.Entries[i].Path, err)
			}
		}
	}
}

func entry(t *testing.T, p *Installed, path string) *npk.Entry {
	t.Helper()
	e, ok := p.Head.Lookup(path)
	if !ok {
		t.Fatalf("no entry %s", path)
	}
	return e
}

func ledgerKinds(t *testing.T, root *hier.Root) (kinds []string) {
	t.Helper()
	err := ledger.Open(root.Ledger()).Read(func(r ledger.Record) error { kinds = append(kinds, r.Kind); return nil })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return kinds
}

func TestVersions(t *testing.T) {
	root, ctx := testRoot(t), context.Background()
	before := snapshot(t, root)
	for _, v := range []string{"1.0", "2.0", "3.0"} {
		install(t, root, tool(v))
	}
	verifyClean(t, root)
	if vs, err := Versions(root, "tool"); err != nil || !slices.Equal(vs, []string{"1.0", "2.0", "3.0"}) {
		t.Fatalf("versions %v, %v", vs, err)
	}
	active := func(want string) {
		t.Helper()
		p, err := Info(root, "tool", "")
		if err != nil || p.Version != want {
			t.Errorf("active: %v, %v, want %s", p, err, want)
		}
	}
	active("3.0")
	for _, want := range []string{"2.0", "1.0"} {
		if p, err := Rollback(ctx, root, "tool", "", Options{}); err != nil || p.Version != want {
			t.Errorf("rollback: %v, %v", p, err)
		}
		active(want)
	}
	if _, err := Rollback(ctx, root, "tool", "", Options{}); !errors.Is(err, ErrNoEarlier) {
		t.Errorf("rollback of the first: %v", err)
	}
	if _, err := Activate(ctx, root, "tool", "9", Options{}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("activate: %v", err)
	}
	if _, err := Activate(ctx, root, "tool", "3.0", Options{}); err != nil {
		t.Error(err)
	}
	active("3.0")
	if done, err := Remove(ctx, root, "tool", RemoveOptions{Version: "3.0"}); err != nil || !slices.Equal(done.Versions, []string{"3.0"}) {
		t.Errorf("%+v, %v", done, err)
	}
	active("2.0")
	verifyClean(t, root)
	if err := os.MkdirAll(root.AppData("tool")+"/x", 0o700); err != nil {
		t.Fatal(err)
	}
	done, err := Remove(ctx, root, "tool", RemoveOptions{})
	if err != nil || !slices.Equal(done.Versions, []string{"1.0", "2.0"}) || !slices.Equal(done.Kept, []string{root.AppData("tool")}) || done.Freed.Bytes < 700<<10 {
		t.Errorf("%+v, %v", done, err)
	}
	if done, err := Remove(ctx, root, "tool", RemoveOptions{Purge: true}); err != nil || len(done.Purged) != 1 {
		t.Errorf("purge later: %+v, %v", done, err)
	}
	if _, err := Remove(ctx, root, "tool", RemoveOptions{Purge: true}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("remove what is gone: %v", err)
	}
	sameNames(t, before, snapshot(t, root))
	want := []string{"install", "install", "install", "rollback", "rollback", "activate", "remove", "remove", "remove"}
	if kinds := ledgerKinds(t, root); !slices.Equal(kinds, want) {
		t.Errorf("ledger: %v", kinds)
	}
}

func TestRefusals(t *testing.T) {
	root, ctx := testRoot(t), context.Background()
	install(t, root, tool("1.0"))
	before := snapshot(t, root)
	small := pkg{name: "small", version: "1", files: map[string]string{"f": "x"}}
	other := tool("1.0")
	other.files = map[string]string{"x:bin/tool": "other"}
	titled := small
	titled.title = "Tool"
	retitled := tool("2.0")
	retitled.title = "Toolbox"
	needy := small
	needy.depends = []string{"lib-b", "lib-a"}
	foreign := small
	foreign.arch = map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	errStranger := errors.New("stranger")
	for _, c := range []struct {
		name  string
		p     pkg
		trust func(ed25519.PublicKey) error
		want  error
		text  string
	}{
		{"another 1.0", other, trustAll, ErrConflict, "installed with other contents"},
		{"same title", titled, trustAll, ErrConflict, `packages tool and small both have the title "Tool"`},
		{"new title", retitled, trustAll, ErrConflict, "remove the old version first"},
		{"dependencies", needy, trustAll, ErrDepends, "install small 1: missing dependency: lib-a, lib-b"},
		{"architecture", foreign, trustAll, ErrArch, "package is for "},
		{"signer", small, func(ed25519.PublicKey) error { return errStranger }, errStranger, "install small 1: stranger"},
		{"nobody trusted", small, nil, nil, "no key is trusted"},
	} {
		_, err := Install(ctx, root, bytes.NewReader(c.p.pack(t)), Options{Trust: c.trust})
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := Remove(ctx, root, "../..", RemoveOptions{}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("remove ../..: %v", err)
	}
	if _, err := Info(root, "..", "x"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("info ..: %v", err)
	}
	running := Options{Running: func(name, version string) ([]string, error) { return []string{"00c0ffee"}, nil }}
	if _, err := Remove(ctx, root, "tool", RemoveOptions{Options: running}); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), "00c0ffee") {
		t.Errorf("remove what runs: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Install(cancelled, root, bytes.NewReader(tool("5").pack(t)), Options{Trust: trustAll}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	sameNames(t, before, snapshot(t, root))
	verifyClean(t, root)
	if _, err := Remove(ctx, root, "tool", RemoveOptions{Options: running, Force: true}); err != nil {
		t.Errorf("forced: %v", err)
	}
}

// A package whose signature is good, but whose bytes are not, leaves nothing.
func TestDamagedContents(t *testing.T) {
	root := testRoot(t)
	before := snapshot(t, root)
	data := tool("1.0").pack(t)
	r, err := npk.Open(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	start := len(r.Head().Raw)
	for _, at := range []int{start + 6, start + 40, (start + len(data)) / 2, len(data) - 2} {
		bad := bytes.Clone(data)
		bad[at] ^= 0x10
		if _, err := Install(context.Background(), root, bytes.NewReader(bad), Options{Trust: trustAll}); !errors.Is(err, npk.ErrCorrupt) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	for _, n := range []int{start, start + 3, len(data) - 1} {
		if _, err := Install(context.Background(), root, bytes.NewReader(data[:n]), Options{Trust: trustAll}); !errors.Is(err, npk.ErrCorrupt) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
	broken := io.MultiReader(bytes.NewReader(data[:len(data)/2]), iotest.ErrReader(unix.EIO))
	if _, err := Install(context.Background(), root, broken, Options{Trust: trustAll}); !errors.Is(err, unix.EIO) {
		t.Errorf("broken reader: %v", err)
	}
	sameNames(t, before, snapshot(t, root))
}

func TestDependencies(t *testing.T) {
	root, ctx := testRoot(t), context.Background()
	lib := func(v string) pkg {
		return pkg{name: "lib", version: v, files: map[string]string{"lib/liba.so": "a" + v, "share/doc/lib": v, "x:bin/sh": elf(0, ""), "share/locale/de": "de"}}
	}
	app := pkg{name: "app", version: "1", title: "App", depends: []string{"lib"}, commands: []npk.Command{{Name: "app", Exec: "bin/app"}},
		files: map[string]string{"x:bin/app": "#!/bin/sh\n", "share/doc/app": "doc", "share/locale/fr": "fr"}}
	install(t, root, lib("1"))
	install(t, root, app)
	verifyClean(t, root)
	dir := root.View("App", "1")
	read := func(path, want string) {
		t.Helper()
		if b, err := os.ReadFile(dir + path); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v, want %q", path, b, err, want)
		}
	}
	read("/lib/liba.so", "a1")
	read("/usr/share/doc/lib", "1")
	read("/usr/share/doc/app", "doc")
	read("/share/locale/fr", "fr")
	read("/share/locale/de", "de")
	read("/bin/app", "#!"+dir+"/bin/sh\n")
	if _, err := Remove(ctx, root, "lib", RemoveOptions{}); !errors.Is(err, ErrNeeded) || !strings.Contains(err.Error(), "app 1") {
		t.Errorf("remove a dependency: %v", err)
	}
	busy := Options{Trust: trustAll, Running: func(name, _ string) ([]string, error) {
		if name == "app" {
			return []string{"00c0ffee"}, nil
		}
		return nil, nil
	}}
	if _, err := Install(ctx, root, bytes.NewReader(lib("2").pack(t)), busy); err != nil {
		t.Fatal(err)
	}
	read("/lib/liba.so", "a1") // the files of a running cell stay
	verifyClean(t, root)
	if _, err := Remove(ctx, root, "lib", RemoveOptions{Version: "1"}); !errors.Is(err, ErrNeeded) {
		t.Errorf("remove what a view holds: %v", err)
	}
	if _, err := GC(ctx, root, Options{}); err != nil {
		t.Fatal(err)
	}
	read("/lib/liba.so", "a2")
	verifyClean(t, root)
	if _, err := Remove(ctx, root, "lib", RemoveOptions{Version: "1"}); err != nil {
		t.Errorf("remove what no view holds: %v", err)
	}
	verifyClean(t, root)
	if _, err := Remove(ctx, root, "app", RemoveOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := Remove(ctx, root, "lib", RemoveOptions{}); err != nil {
		t.Error(err)
	}
}

func TestLaunchersAreNotTakenOver(t *testing.T) {
	root, ctx := testRoot(t), context.Background()
	with := func(name string) pkg {
		return pkg{name: name, version: "1", commands: []npk.Command{{Name: "vi", Exec: "bin/vi"}, {Name: name, Exec: "bin/vi"}}, files: map[string]string{"x:bin/vi": name}}
	}
	starts := func() string {
		b, err := os.ReadFile(root.Launcher("vi"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return launcherOwner(string(b), "vi")
	}
	install(t, root, with("vim"))
	nvi := install(t, root, with("nvi"))
	if starts() != "vim" {
		t.Errorf("vi starts %q", starts())
	}
	if by, err := Shadowed(nvi); err != nil || len(by) != 1 || by["vi"] != "vim" {
		t.Errorf("shadowed: %v, %v", by, err)
	}
	verifyClean(t, root)
	if _, err := Remove(ctx, root, "vim", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if starts() != "nvi" || exists(root.Launcher("vim")) {
		t.Errorf("vi starts %q", starts())
	}
	if err := os.WriteFile(root.Launcher("mine"), []byte("#!/bin/sh\necho a script of the person's own\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Remove(ctx, root, "nvi", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if starts() != "" || !exists(root.Launcher("mine")) {
		t.Errorf("vi starts %q", starts())
	}
}

func TestSharing(t *testing.T) {
	root := testRoot(t)
	a := pkg{name: "a", version: "1", files: map[string]string{}}
	b := pkg{name: "b", version: "1", files: map[string]string{}}
	for i := range 40 {
		a.files[fmt.Sprintf("f%d", i)] = big(i, 200<<10)
		if i < 36 {
			b.files[fmt.Sprintf("f%d", i)] = big(i, 200<<10)
		} else {
			b.files[fmt.Sprintf("f%d", i)] = big(i+100, 200<<10)
		}
	}
	install(t, root, a)
	first := diskUse(t, root)
	install(t, root, b)
	second := diskUse(t, root) - first
	if second*100 > first*15 {
		t.Errorf("the first package takes %d bytes, one that shares 90 %% of its files %d", first, second)
	}
	t.Logf("first %d bytes, second %d: %.1f %%", first, second, float64(second)*100/float64(first))
	verifyClean(t, root)
	if _, err := Remove(context.Background(), root, "a", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, root)
	if third := diskUse(t, root); third*100 > first*110 {
		t.Errorf("with b alone %d bytes, with a alone %d", third, first)
	}
}

// diskUse is what du counts: the blocks of every inode once.
func diskUse(t testing.TB, root *hier.Root) (n int64) {
	t.Helper()
	seen := map[uint64]bool{}
	err := filepath.WalkDir(root.Path(), func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err != nil && isHole(d) {
			return nil // its own blocks are counted
		}
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if err == nil && !seen[st.Ino] {
			seen[st.Ino] = true
			n += st.Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestIntent(t *testing.T) {
	for _, in := range []intent{
		{op: opInstall, name: "a", title: "A", version: "1", activate: true},
		{op: opRemove, name: "a", title: "A", purge: true},
		{op: opActivate, name: "a", title: "A", version: "1", rollback: true},
	} {
		text := in.encode()
		if got, err := parseIntent([]byte(text)); err != nil || got != in {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		for n := range len(text) {
			if got, err := parseIntent([]byte(text[:n])); !errors.Is(err, ErrDamaged) {
				t.Errorf("%q: %+v, %v", text[:n], got, err)
			}
		}
		for _, bad := range []string{strings.Replace(text, "\na\n", "\n..\n", 1), strings.Replace(text, "\nA\n", "\nA/../..\n", 1), "x" + text, text + "x"} {
			if got, err := parseIntent([]byte(bad)); !errors.Is(err, ErrDamaged) {
				t.Errorf("%q: %+v, %v", bad, got, err)
			}
		}
	}
}

func TestGC(t *testing.T) {
	root, ctx := testRoot(t), context.Background()
	p := install(t, root, tool("1.0"))
	junk := store.Name{CID: p.Head.Manifest.Tree}
	path := store.Open(root).Path(junk)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("unused"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(root.Join(store.IndexRel("tool", "1.0"))); err != nil {
		t.Fatal(err)
	}
	freed, err := GC(ctx, root, Options{})
	if err != nil || freed.Blobs != 1 {
		t.Errorf("%+v, %v", freed, err)
	}
	verifyClean(t, root)
	if freed, err := GC(ctx, root, Options{}); err != nil || freed.Blobs != 0 {
		t.Errorf("a second time: %+v, %v", freed, err)
	}
}
