// Command view times path calls in the three ways that a cell can make them:
// as they are, by way of the shim and the zone with the filter on, and all
// asked. Native views are meant to cost what a person cannot feel; the limits
// are those of the project's plan and fail the program when -limits is given.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"nipcells/test/bench/view/scratch"
)

// limit is how much a native figure may be of that of unchanged programs.
func limit(name string) float64 {
	switch name {
	case "open+close":
		return 1.25
	case "stat":
		return 2.6
	case "missing":
		return 2
	case "python3 os.walk+lstat":
		return 1.6
	case "git status":
		return 1.7
	}
	return 0
}

func main() {
	scratch.Main()
	rounds := flag.Int("rounds", 15, "how often each program is run; the lower quartile counts")
	files := flag.Int("files", 50000, "files in the tree that is walked")
	tracked := flag.Int("tracked", 10000, "files in the git tree")
	limits := flag.Bool("limits", false, "fail where a limit is broken")
	calls := flag.String("calls", "", "the compiled calls.c")
	flag.Parse()
	broken, err := run(*calls, *rounds, *files, *tracked)
	if err != nil {
		fmt.Fprintln(os.Stderr, "view:", err)
		os.Exit(1)
	}
	if *limits && broken > 0 {
		os.Exit(1)
	}
}

// way is a column.
type way struct {
	name string
	how  scratch.How
}

// bubblewrap runs unchanged programs in namespaces of bwrap, whose own start is
// in the times of whole programs; that of the other ways is not.
const bubblewrap scratch.How = -1

// ways are the columns, in the order in which they are printed.
func ways() []way {
	return []way{{"as it is", scratch.AsIs}, {"native", scratch.Native}, {"bwrap", bubblewrap}, {"all asked", scratch.AllAsked}}
}

func run(calls string, rounds, files, tracked int) (broken int, err error) {
	base, err := os.MkdirTemp("", "nip-view")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(base)                               // a scratch tree
	defer exec.Command("chmod", "-R", "u+rwx", base).Run() // it has directories that are closed
	t, err := scratch.New(base, []string{"/usr/bin/python3.11", "/usr/bin/git", "/usr/bin/true", calls}, []string{"/usr/lib/python3.11"})
	if err != nil {
		return 0, err
	}
	for _, root := range []string{t.Native, t.Asked} {
		if err := fill(root+scratch.Work+"/many", files, 100); err != nil {
			return 0, err
		}
		if err := fill(root+scratch.Work+"/git", tracked, 50); err != nil {
			return 0, err
		}
		if err := repository(root + scratch.Work + "/git"); err != nil {
			return 0, err
		}
	}
	fmt.Printf("%-22s", "")
	for _, w := range ways() {
		fmt.Printf(" %10s", w.name)
	}
	for _, w := range ways()[1:] {
		fmt.Printf(" %9s", w.name)
	}
	fmt.Println("  limit of native")
	print := func(name, unit string, v []float64) {
		l := limit(name)
		verdict := ""
		if l > 0 {
			if verdict = fmt.Sprintf("%.2fx", l); v[1] > l*v[0] {
				verdict += " BROKEN"
				broken++
			}
		}
		fmt.Printf("%-22s", name)
		for _, x := range v {
			fmt.Printf(" %8.2f%s", x, unit)
		}
		for _, x := range v[1:] {
			fmt.Printf(" %8.2fx", x/v[0])
		}
		fmt.Printf("  %s\n", verdict)
	}
	if err := single(t, "/usr"+calls, print); err != nil {
		return 0, err
	}
	return broken, programs(t, rounds, print)
}

// fill makes n small files in directories of per each.
func fill(dir string, n, per int) error {
	for i := range n {
		sub := filepath.Join(dir, strconv.Itoa(i/per/20), strconv.Itoa(i/per))
		if i%per == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(sub, strconv.Itoa(i)), []byte{'x'}, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func repository(dir string) error {
	past := time.Now().Add(-time.Hour) // or git would read files as young as its index
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Chtimes(path, past, past)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-q", "."}, {"add", "."}} {
		cmd := exec.Command("/usr/bin/git", args...)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git: %w: %s", err, out)
		}
	}
	return nil
}

func start(t *scratch.Tree, how scratch.How, dir string, args ...string) (*scratch.Result, string, error) {
	var out, errs bytes.Buffer
	env := []string{"LC_ALL=C", "HOME=" + scratch.Home, "PATH=/usr/bin", "GIT_OPTIONAL_LOCKS=0"}
	if how == bubblewrap {
		cmd := exec.Command("bwrap", append([]string{"--unshare-all", "--bind", t.Native, "/", "--chdir", dir}, args...)...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errs
		begin := time.Now()
		if err := cmd.Run(); err != nil {
			return nil, "", fmt.Errorf("bwrap %q: %w: %s", args, err, errs.String())
		}
		return &scratch.Result{Time: time.Since(begin)}, out.String(), nil
	}
	r, err := t.Run(how, scratch.Command{Args: args, Dir: dir, Env: env, Stdout: &out, Stderr: &errs})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("exit %d", r.Exit)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%q: %w: %s", args, err, errs.String())
	}
	return r, out.String(), nil
}

// single times single calls: microseconds. The ways take turns, and the best of
// each counts.
func single(t *scratch.Tree, calls string, print func(string, string, []float64)) error {
	var names []string
	best := map[string][]float64{}
	for range 3 {
		for i, w := range ways() {
			_, out, err := start(t, w.how, scratch.Work+"/many", calls, "/usr/lib/python3.11/json/decoder.py")
			if err != nil {
				return err
			}
			for line := range strings.Lines(out) {
				name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
				ns, err := strconv.ParseFloat(text, 64)
				if err != nil {
					return err
				}
				if best[name] == nil {
					names, best[name] = append(names, name), []float64{1e9, 1e9, 1e9, 1e9}
				}
				best[name][i] = min(best[name][i], ns/1000)
			}
		}
	}
	for _, name := range names {
		print(name, "us", best[name])
	}
	return nil
}

// walk is a tree walk as scripts do it. What C makes of it is among the single calls.
const walk = `import os
for dir, _, names in os.walk("."):
    for n in names:
        os.lstat(os.path.join(dir, n))`

// programs times whole programs: milliseconds. The ways take turns; of each the
// lower quartile counts, which other work on the machine disturbs less than the
// median.
func programs(t *scratch.Tree, rounds int, print func(string, string, []float64)) error {
	for _, p := range []struct {
		name, dir string
		args      []string
	}{
		{"true", scratch.Home, []string{"/usr/bin/true"}},
		{"python3 import", scratch.Home, []string{"/usr/bin/python3.11", "-c", "import ssl,json"}},
		{"python3 os.walk+lstat", scratch.Work + "/many", []string{"/usr/bin/python3.11", "-I", "-c", walk}},
		{"git status", scratch.Work + "/git", []string{"/usr/bin/git", "status", "--porcelain"}},
	} {
		times := make([][]float64, len(ways()))
		for range rounds {
			for i, w := range ways() {
				r, _, err := start(t, w.how, p.dir, p.args...)
				if err != nil {
					return err
				}
				times[i] = append(times[i], r.Time.Seconds()*1000)
			}
		}
		quartiles := make([]float64, len(times))
		for i, list := range times {
			slices.Sort(list)
			quartiles[i] = list[len(list)/4]
		}
		print(p.name, "ms", quartiles)
		r, _, err := start(t, scratch.Counted, p.dir, p.args...)
		if err != nil {
			return err
		}
		fmt.Printf("%-22s %d calls native, %d asked\n", "", r.Native, r.AskedTotal())
	}
	return nil
}
