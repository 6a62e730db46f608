// Package programs runs real software from end to end: grafted from what the
// host's apt offers, installed, put to work in cells, looked at from outside
// and from inside, and removed without trace.
package programs

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

type testingT = *testing.T

func fixture(t testingT, name string) string { return rig.Fixture(t, name) }

func stageFile(t testingT, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	stageText(t, to, string(data))
}

func stageText(t testingT, to, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// cacheVar names a directory for downloads that outlives a test.
const cacheVar = "NIP_TEST_CACHE"

// TestPrograms is the main job: everything that the table has goes through one
// root, which must hold nothing of it at the end.
func TestPrograms(t *testing.T) {
	r := rig.NewRoot(t)
	if cache := os.Getenv(cacheVar); cache != "" {
		r.Env = append(r.Env, "XDG_CACHE_HOME="+cache)
	} else {
		r.Env = append(r.Env, "XDG_CACHE_HOME="+filepath.Join(r.Base, "cache"))
	}
	installed := make(map[string]bool)
	all := append(slices.Clone(table), others()...)
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			install(t, r, p)
			installed[p.name] = true
			w := newWorld(t, r, p)
			for _, j := range p.jobs {
				t.Run(strings.ReplaceAll(j.name, " ", "-"), func(t *testing.T) { w.work(t, j) })
			}
			for _, m := range p.more {
				t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) { m.run(t, w) })
			}
			t.Run("under-a-tight-budget", w.underPressure)
			if p.learn != nil {
				t.Run("learn", w.learns)
			}
			t.Run("sees-nothing-of-the-host", w.seesNothing)
			t.Run("shares-namespaces-and-cgroup", w.sharesNamespaces)
		})
	}
	t.Run("list", func(t *testing.T) { listed(t, r, installed) })
	t.Run("verify", func(t *testing.T) { r.Must("verify") })
	t.Run("remove", func(t *testing.T) {
		for _, p := range slices.Backward(all) { // what others depend on goes last
			if installed[p.name] {
				r.Must("remove", "--purge", p.name)
			}
		}
		nothingLeft(t, r, installed)
	})
}

func install(t *testing.T, r *rig.Root, p program) {
	t.Helper()
	dir := filepath.Join(r.Base, "stage-"+p.name)
	if p.stage != nil {
		p.stage(t, dir)
	}
	npk := filepath.Join(r.Base, p.name+".npk")
	if made := sharedPackage(t, p); made == "" || !exists(made) {
		graft(t, r, p, dir, npk)
		if made != "" {
			share(t, r, npk, made)
		}
	} else {
		// Whoever made it is somebody else here.
		stageFile(t, npk, made)
		must(t, r, "key", "add", made+".pub")
	}
	must(t, r, "install", "-q", npk)
	if err := os.Remove(npk); err != nil {
		t.Fatal(err)
	}
}

// graft makes the package of p in the file npk. dir is what p.stage filled.
func graft(t *testing.T, r *rig.Root, p program, dir, npk string) {
	t.Helper()
	args := []string{"graft", "-q"}
	for _, a := range p.graft {
		args = append(args, strings.ReplaceAll(a, "{dir}", dir))
	}
	if len(p.depends) == 0 {
		must(t, r, append(args, "-o", npk)...)
		return
	}
	stage := filepath.Join(r.Base, "graft-"+p.name)
	must(t, r, append(args, "--stage", stage)...)
	recipe := filepath.Join(stage, "recipe.kdl")
	text, err := os.ReadFile(recipe)
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := strings.Cut(string(text), "{\n")
	if !ok {
		t.Fatalf("the recipe is %s", text)
	}
	head += "{\n"
	for _, d := range p.depends {
		head += "    depends " + strconv.Quote(d) + "\n"
	}
	r.Write(recipe, head+body, 0o644)
	must(t, r, "pack", "-q", recipe, "-o", npk)
	if err := rig.RemoveAll(stage); err != nil {
		t.Fatal(err)
	}
}

// sharedPackage is where the package of p that this nip makes outlives the test, ""
// if it does not.
func sharedPackage(t *testing.T, p program) string {
	t.Helper()
	cache := os.Getenv(cacheVar)
	if cache == "" || !p.shared {
		return ""
	}
	nip, err := os.ReadFile(rig.Nip(t))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, p.name+"-"+sum(nip)[:16]+".npk")
}

// share keeps a package, and the key that it is signed with, for who tests next.
func share(t *testing.T, r *rig.Root, npk, to string) {
	t.Helper()
	stageFile(t, to, npk)
	stageText(t, to+".pub", r.Must("key", "show"))
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// must runs nip, and ends this test, not that which the root is made for. A graft
// may have much to download.
func must(t *testing.T, r *rig.Root, args ...string) {
	t.Helper()
	if res := rig.RunFor(t, r.Command(args...), 10*time.Minute); res.Code != 0 {
		t.Fatalf("nip %s: exit status %d\n%s%s", strings.Join(args, " "), res.Code, res.Stdout, res.Stderr)
	}
}

// world is what one program runs in: an unveiled directory beside a home of
// somebody that is not unveiled.
type world struct {
	root       *rig.Root
	p          program
	dir        string // {work}
	home       string // the program's HOME, on the host
	secretFile string
	flags      []string // of every run
}

func newWorld(t *testing.T, r *rig.Root, p program) *world {
	t.Helper()
	return newWorldIn(t, r, p, filepath.Join(r.Base, "work-"+p.name))
}

// newWorldIn makes {work} in another place.
func newWorldIn(t *testing.T, r *rig.Root, p program, dir string) *world {
	t.Helper()
	w := &world{root: r, p: p, dir: dir, home: r.Path("Data/apps", p.name)}
	w.plant(w.dir)
	w.give(t, w.dir)
	w.secretFile = filepath.Join(r.Base, "home", "diary")
	r.Write(w.secretFile, "dear diary\n", 0o644)
	return w
}

// nobody is who root runs the cells of some programs as.
const nobody = "65534:65534"

// give makes a file or directory belong to who the cell runs as.
func (w *world) give(t *testing.T, name string) {
	t.Helper()
	if !w.p.nobody || os.Getuid() != 0 {
		return
	}
	if err := os.Chown(name, 65534, 65534); err != nil {
		t.Fatal(err)
	}
}

// plant makes what the program finds in {work}.
func (w *world) plant(dir string) {
	w.root.Write(dir+"/text", "hello world\n", 0o644)
	w.root.Write(dir+"/edited", "hello world\n", 0o644)
	for name, text := range w.p.files {
		w.root.Write(filepath.Join(dir, name), text, 0o644)
	}
}

// command is nip, about to run the program in a cell.
func (w *world) command(flags, args []string) *exec.Cmd {
	r := strings.NewReplacer("{work}", w.dir, "{home}", "/Data/apps/"+w.p.name)
	line := []string{"run"}
	if w.p.nobody && os.Getuid() == 0 {
		line = append(line, "--user", nobody)
	}
	for _, f := range append(slices.Clone(w.flags), flags...) {
		line = append(line, r.Replace(f))
	}
	line = append(line, w.p.name)
	for _, a := range args {
		line = append(line, r.Replace(a))
	}
	return w.root.Command(line...)
}

// run runs the program in a cell.
func (w *world) run(t *testing.T, flags, args []string, stdin string) rig.Result {
	t.Helper()
	c := w.command(flags, args)
	c.Stdin = strings.NewReader(stdin)
	return rig.Run(t, c)
}

// outside runs the host's own program of that name with the arguments of a job, in
// a directory that is as {work} was.
func (w *world) outside(t *testing.T, program string, args []string, stdin string) rig.Result {
	t.Helper()
	dir := filepath.Join(w.root.Base, "outside-"+w.p.name)
	w.plant(dir)
	defer rig.RemoveAll(dir) // goes with the root at the latest
	c := exec.Command(program)
	for _, a := range args {
		c.Args = append(c.Args, strings.ReplaceAll(a, "{work}", dir))
	}
	c.Stdin = strings.NewReader(stdin)
	return rig.Run(t, c)
}

func (w *world) work(t *testing.T, j job) {
	res := w.run(t, j.flags, j.args, j.stdin)
	if res.Code != 0 {
		t.Fatalf("exit status %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if j.want != "" && !regexp.MustCompile(j.want).MatchString(strings.TrimSpace(res.Stdout)) {
		t.Errorf("printed %q, want %s\n%s", res.Stdout, j.want, res.Stderr)
	}
	if j.outside != "" {
		if host := w.outside(t, j.outside, j.args, j.stdin); host.Code != 0 || host.Stdout != res.Stdout {
			t.Errorf("printed\n%s\noutside, with exit status %d,\n%s%s", res.Stdout, host.Code, host.Stdout, host.Stderr)
		}
	}
	if j.file == "" {
		return
	}
	path := filepath.Join(w.dir, j.file)
	if rest, ok := strings.CutPrefix(j.file, "~/"); ok {
		path = filepath.Join(w.home, rest)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), j.has) {
		t.Errorf("%s holds %.80q, want %q in it", j.file, data, j.has)
	}
}

// hostFiles are files that every process outside can read, and that the cell has
// none of its own of. Those that INET implies (how this host resolves names) are
// not among them.
func (w *world) hostFiles(t *testing.T) []string {
	t.Helper()
	files := []string{w.secretFile}
	for _, name := range []string{
		"/etc/passwd", "/etc/os-release", "/etc/hostname", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/debian_version",
		"/usr/lib/os-release", "/usr/bin/dpkg", "/usr/share/common-licenses/BSD", "/usr/bin/apt", "/proc/kallsyms", "/proc/1/cmdline",
		"/lib/x86_64-linux-gnu/libapt-pkg.so.6.0", "/var/lib/dpkg/status", "/usr/share/perl5/Debconf/Config.pm", "/sys/kernel/uevent_seqnum",
	} {
		if f, err := os.Open(name); err == nil {
			f.Close()
			if !w.inView(t, name) {
				files = append(files, name)
			}
		}
	}
	if len(files) < 8 {
		t.Fatalf("only %d files of the host can be read from outside", len(files))
	}
	return files
}

// inView reports whether the cell has something of its own under a name.
func (w *world) inView(t *testing.T, name string) bool {
	t.Helper()
	views, err := filepath.Glob(w.root.Path("System/Views", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, view := range views {
		if !strings.HasPrefix(strings.ToLower(filepath.Base(filepath.Dir(view))), w.p.name) {
			continue
		}
		dir, err := unix.Open(view, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		unix.Close(dir)
		if err == nil {
			unix.Close(fd)
		}
		return err == nil
	}
	t.Fatalf("%s has no view among %q", w.p.name, views)
	return false
}

// seesNothing has the program itself try to read the host's files and
// directories, with everything that it may do by default.
func (w *world) seesNothing(t *testing.T) {
	if w.p.read != nil {
		w.readsOnly(t, w.p.read, w.hostFiles(t), w.dir+"/text")
	}
	if w.p.list != nil {
		var dirs []string
		for _, d := range []string{"/usr/lib/apt", "/usr/lib/dpkg", "/etc/apt", "/home", "/boot", "/root", "/run", "/sys", "/var/lib", "/var/lib/dpkg", "/proc/1", filepath.Dir(w.secretFile), w.root.Path("Nexus")} {
			if names, err := os.ReadDir(d); err == nil && len(names) > 0 && !w.inView(t, d) {
				dirs = append(dirs, d)
			}
		}
		w.readsOnly(t, w.p.list, dirs, w.dir)
	}
}

// readsOnly fails the test if any of paths can be read, or if granted cannot.
func (w *world) readsOnly(t *testing.T, how func([]string) [][]string, paths []string, granted string) {
	t.Helper()
	// Programs that take one path print what they read, or nothing.
	told := regexp.MustCompile("READ|(?m:^[0-9a-f]{40,})")
	if w.p.told != "" {
		told = regexp.MustCompile(w.p.told)
	}
	for i, args := range how(paths) {
		res := w.run(t, work, args, "")
		if told.MatchString(res.Stdout) {
			t.Errorf("run %d read something of the host: %.300q", i, res.Stdout)
		}
		if strings.Contains(res.Stderr, "capability fault") {
			t.Errorf("run %d was a capability fault instead of a refused file: %s", i, res.Stderr)
		}
	}
	control := w.run(t, work, how([]string{granted})[0], "")
	if !told.MatchString(control.Stdout) {
		t.Errorf("the control, %s, was not read: %q %s", granted, control.Stdout, control.Stderr)
	}
}

// sharesNamespaces compares a running cell with the test itself: no namespace
// and no cgroup may differ.
func (w *world) sharesNamespaces(t *testing.T) {
	c := w.command(nil, w.p.wait)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil && w.p.name != "vim-tiny" { // a script of vim that ends without quitting is an error
			t.Errorf("the program that waited ended with %v", err)
		}
	})
	var pid int
	rig.Until(t, 20*time.Second, "nip ps shows the program", func() bool {
		var cells []struct {
			PID     int    `json:"pid"`
			Package string `json:"package"`
		}
		if err := json.Unmarshal([]byte(w.root.Must("ps", "--json")), &cells); err != nil {
			t.Fatal(err)
		}
		for _, cell := range cells {
			if cell.Package == w.p.name {
				pid = cell.PID
			}
		}
		return pid > 0
	})
	ours, err := rig.Namespaces(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := rig.Namespaces(pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(theirs) < 7 {
		t.Errorf("only %d namespaces seen", len(theirs))
	}
	for name, id := range theirs {
		if ours[name] != id {
			t.Errorf("%s of the cell is %s, ours is %s", name, id, ours[name])
		}
	}
	if exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe"); err != nil || !strings.HasPrefix(exe, w.root.Dir) {
		t.Errorf("the program is %s, which is not below the root: %v", exe, err)
	}
}

func listed(t *testing.T, r *rig.Root, want map[string]bool) {
	var packages []struct{ Name, Version string }
	if err := json.Unmarshal([]byte(r.Must("list", "--json")), &packages); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, p := range packages {
		seen[p.Name] = p.Version != ""
	}
	for name := range want {
		if !seen[name] {
			t.Errorf("nip list does not show %s", name)
		}
	}
}

// nothingLeft looks for anything of the removed packages below the root: a
// blob, a cell, or any name that holds one of theirs.
func nothingLeft(t *testing.T, r *rig.Root, removed map[string]bool) {
	t.Helper()
	err := filepath.WalkDir(r.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		short := strings.TrimPrefix(path, r.Dir)
		if !d.IsDir() && (strings.HasPrefix(short, "/Cas/") || strings.HasPrefix(short, "/Programs/") || strings.HasPrefix(short, "/System/")) {
			t.Errorf("%s is left", short)
		}
		if strings.HasPrefix(short, "/Cell/") || strings.HasPrefix(short, "/Data/apps/") || strings.HasPrefix(short, "/Nexus/staging/") {
			t.Errorf("%s is left", short)
		}
		for name := range removed {
			if strings.Contains(d.Name(), name) {
				t.Errorf("%s is left of %s", short, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
