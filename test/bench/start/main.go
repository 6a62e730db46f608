// Command start times how long it takes to start a program that ends at once:
// plainly, in a cell, and with the peers. Rounds are interleaved, so that a
// busy machine hits all of them alike; medians and ratios of this one run are
// printed. Every row that contains a launcher starts the very same binary.
//
//	start -nip FILE -fixtures DIRECTORY [-rounds N]
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	nip := flag.String("nip", "bin/nip", "the nip to time")
	fixtures := flag.String("fixtures", "", "directory of test/fixtures.sh, with empty and landrunlike")
	rounds := flag.Int("rounds", 100, "runs of each command")
	limit := flag.Float64("limit", 0, "end with 1 if nip's median is above this part of bwrap's")
	flag.Parse()
	if err := run(*nip, *fixtures, *rounds, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

// contender is one way to start the program.
type contender struct {
	name  string
	argv  []string
	env   []string
	every int // takes part in every n-th round: slow ones need no hundred runs
	times []time.Duration
	err   error
}

// The names by which ratios are taken.
const (
	plain = "plain exec of a static C program"
	cell  = "nip run"
	bwrap = "bwrap --unshare-all, proc, dev, three mounts"
	lean  = "bwrap --unshare-all, proc, dev, one mount"
)

func run(nip, fixtures string, rounds int, limit float64) error {
	if rounds < 1 {
		return errors.New("rounds: want at least 1")
	}
	base, err := os.MkdirTemp("", "nip-bench-")
	if err != nil {
		return err
	}
	defer removeTree(base)
	s, err := newStage(nip, fixtures, base)
	if err != nil {
		return err
	}
	list := s.contenders()
	for i := range list {
		for n := 0; n < 3 && list[i].err == nil; n++ { // plan computed, caches warm
			_, list[i].err = once(list[i].argv, list[i].env)
		}
	}
	debug.SetGCPercent(-1) // no pauses of ours in the figures
	for round := range rounds {
		for i := range list {
			c := &list[i]
			if c.err != nil || round%c.every != 0 {
				continue
			}
			took, err := once(c.argv, c.env)
			if err != nil {
				c.err = err
				continue
			}
			c.times = append(c.times, took)
		}
	}
	if err := print(list); err != nil {
		return err
	}
	if err := s.printMemory(); err != nil {
		return err
	}
	if share := ratio(list, cell, bwrap); limit > 0 && share > limit {
		return fmt.Errorf("nip run takes %.2fx of bwrap, more than %.2fx", share, limit)
	}
	return nil
}

// once runs argv and returns the time from before the fork to after the wait.
func once(argv, env []string) (time.Duration, error) {
	begin := time.Now()
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Env: env, Dir: "/", Files: []*os.File{nil, nil, os.Stderr}})
	if err != nil {
		return 0, err
	}
	state, err := p.Wait()
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	if !state.Success() {
		return 0, fmt.Errorf("%s: %s", filepath.Base(argv[0]), state)
	}
	return took, nil
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Clone(times)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// ratio is the median of a over that of b; 0 if either did not run.
func ratio(list []contender, a, b string) float64 {
	var of [2]time.Duration
	for _, c := range list {
		for i, name := range []string{a, b} {
			if c.name == name && c.err == nil {
				of[i] = median(c.times)
			}
		}
	}
	if of[0] == 0 || of[1] == 0 {
		return 0
	}
	return float64(of[0]) / float64(of[1])
}

func print(list []contender) error {
	fmt.Printf("%-48s %6s %8s %8s %8s   %s\n", "start to end of a program that ends at once", "runs", "median", "p10", "p90", "of bwrap")
	for _, c := range list {
		if c.err != nil {
			fmt.Printf("%-48s not measured: %v\n", c.name, c.err)
			continue
		}
		sorted := slices.Clone(c.times)
		slices.Sort(sorted)
		at := func(part float64) float64 {
			return float64(sorted[int(part*float64(len(sorted)-1))].Microseconds()) / 1000
		}
		fmt.Printf("%-48s %6d %8.2f %8.2f %8.2f   %.2fx\n", c.name, len(sorted), at(0.5), at(0.1), at(0.9), ratio(list, c.name, bwrap))
	}
	for _, c := range list {
		if (c.name == plain || c.name == cell || c.name == bwrap) && c.err != nil {
			return fmt.Errorf("%s: %w", c.name, c.err)
		}
	}
	return nil
}

// stage is a root with the program installed, and what the peers need.
type stage struct {
	nip, fixtures, base, root string
	bundle                    error // why runc has nothing to run
}

func newStage(nip, fixtures, base string) (*stage, error) {
	var err error
	if nip, err = filepath.Abs(nip); err != nil {
		return nil, err
	}
	if fixtures, err = filepath.Abs(fixtures); err != nil {
		return nil, err
	}
	s := &stage{nip: nip, fixtures: fixtures, base: base, root: filepath.Join(base, "root")}
	for _, dir := range []string{"view", "home"} {
		if err := os.Mkdir(filepath.Join(base, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := copyFile(filepath.Join(fixtures, "true"), filepath.Join(base, "view", "true")); err != nil {
		return nil, err
	}
	for name, pledge := range map[string]string{"true": `"STDIO"`, "attack": `"STDIO" "RPATH"`} {
		if err := s.install(name, pledge); err != nil {
			return nil, err
		}
	}
	s.bundle = s.makeBundle()
	return s, nil
}

// install packs a fixture as a package and installs it.
func (s *stage) install(name, pledge string) error {
	dir := filepath.Join(s.base, "pack-"+name)
	if err := os.MkdirAll(filepath.Join(dir, "files/bin"), 0o755); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(s.fixtures, name), filepath.Join(dir, "files/bin", name)); err != nil {
		return err
	}
	recipe := fmt.Sprintf("package %q version=\"1.0\" {\n    command %q exec=\"bin/%s\"\n    pledge %s\n}\n", name, name, name, pledge)
	if err := os.WriteFile(filepath.Join(dir, "recipe.kdl"), []byte(recipe), 0o644); err != nil {
		return err
	}
	npk := filepath.Join(dir, name+".npk")
	for _, args := range [][]string{{"pack", "-q", filepath.Join(dir, "recipe.kdl"), "-o", npk}, {"install", "-q", npk}} {
		c := exec.Command(s.nip, args...)
		c.Env = s.env()
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("nip %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// env is ours with the root of the stage, and only that one.
func (s *stage) env() []string {
	own := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "NIP_ROOT=") })
	return append(own, "NIP_ROOT="+s.root)
}

func (s *stage) contenders() []contender {
	program := filepath.Join(s.base, "view", "true")
	path := func(name string) string {
		found, err := exec.LookPath(name)
		if err != nil {
			return name // starting it says what is wrong
		}
		return found
	}
	env := os.Environ()
	runc := []string{path("runc"), "--root", filepath.Join(s.base, "runc"), "run", "--bundle", filepath.Join(s.base, "bundle"), fmt.Sprintf("nip-bench-%d", os.Getpid())}
	view := filepath.Join(s.base, "view")
	return []contender{
		{name: plain, argv: []string{program}, env: env, every: 1},
		{name: "empty Go program", argv: []string{filepath.Join(s.fixtures, "empty")}, env: env, every: 1},
		{name: cell, argv: []string{s.nip, "run", "true"}, env: s.env(), every: 1},
		{name: bwrap, argv: []string{path("bwrap"), "--unshare-all", "--proc", "/proc", "--dev", "/dev", "--ro-bind", view, "/view",
			"--bind", filepath.Join(s.base, "home"), "/home", "--tmpfs", "/tmp", "/view/true"}, env: env, every: 1},
		{name: lean, argv: []string{path("bwrap"), "--unshare-all", "--proc", "/proc", "--dev", "/dev", "--ro-bind", view, "/view", "/view/true"}, env: env, every: 1},
		{name: "landrun-like: Landlock, executes itself again", argv: []string{filepath.Join(s.fixtures, "landrunlike"), view, program}, env: env, every: 1},
		{name: "runc run, bundle with the program alone", argv: runc, env: env, every: 5, err: s.bundle},
	}
}

// makeBundle lets runc write its own configuration and puts the program in.
func (s *stage) makeBundle() error {
	bundle := filepath.Join(s.base, "bundle")
	if err := os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o755); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(s.fixtures, "true"), filepath.Join(bundle, "rootfs", "true")); err != nil {
		return err
	}
	args := []string{"spec", "--bundle", bundle}
	if os.Getuid() != 0 {
		args = append(args, "--rootless")
	}
	if out, err := exec.Command("runc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("runc spec: %w\n%s", err, out)
	}
	name := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	config := strings.Replace(string(text), `"terminal": true`, `"terminal": false`, 1)
	config = strings.Replace(config, "\"sh\"", "\"/true\"", 1)
	return os.WriteFile(name, []byte(config), 0o644)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

func removeTree(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
		fmt.Fprintln(os.Stderr, "start: clean up:", err)
	}
}
