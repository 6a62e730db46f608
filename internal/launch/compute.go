package launch

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/npk"
	"nipcells/internal/plan"
	"nipcells/internal/policy"
	"nipcells/internal/programs"
	"nipcells/internal/view/native"
	"nipcells/internal/wall"
)

// roots are those whose policies and overrides bear on a package of root for
// whoever has the root own: the package's first, so that a person has the last
// word on what is not capped.
func roots(own, root *hier.Root) []*hier.Root {
	if root.Path() == own.Path() {
		return []*hier.Root{own}
	}
	return []*hier.Root{root, own}
}

// decisions are the files that Given reads.
func decisions(name string, own, root *hier.Root) []string {
	list := policy.Files(name, roots(own, root)...)
	for _, r := range roots(own, root) {
		list = append(list, r.Policy())
	}
	return list
}

// Given returns what cells of a package in root are given for whoever has the
// root own: what the manifest asks, with the overrides, under the hosts' policies.
func Given(own, root *hier.Root, m *npk.Manifest) (capability.Set, error) {
	given, _, err := given(own, root, m)
	return given, err
}

func given(own, root *hier.Root, m *npk.Manifest) (given, limit capability.Set, err error) {
	limit = capability.Everything()
	for _, r := range roots(own, root) {
		l, err := policy.Read(r.Policy())
		if err != nil {
			return given, limit, err
		}
		limit = limit.Intersect(l)
	}
	layers, err := policy.Layers(m.Name, roots(own, root)...)
	if err != nil {
		return given, limit, err
	}
	return capability.Given(programs.Asks(m), layers, limit), limit, nil
}

// grant fills in what is given.
func grant(p *plan.Plan, m *npk.Manifest, own, root *hier.Root) error {
	given, limit, err := given(own, root, m)
	if err != nil {
		return err
	}
	p.Pledge, p.Unveil, p.Net, p.Budget = given.Pledge, given.Unveil, given.Net, given.Budget
	p.Ceiling, p.Caps, p.NetCaps = limit.Pledge, limit.Unveil, limit.Net
	p.Capped = !capability.RightsAt(limit.Unveil, "/").Has(capability.AllRights)
	return nil
}

// Sight is how a cell of the plan finds files if nothing that the person says
// forbids native views.
func Sight(p *plan.Plan) wall.Sight {
	if p.Asked != "" {
		return wall.Asked
	}
	return wall.Native
}

// asked looks at every file that a cell of the packages may execute and returns
// why there is one that must not be beside a zone, "" if there is none. The
// packages' own word counts for nothing here.
func asked(root *hier.Root, packages []*programs.Installed) (string, error) {
	loaders := map[string]bool{}
	for _, p := range packages {
		for i := range p.Head.Entries {
			e := &p.Head.Entries[i]
			path := root.Loader(e.Interp.String())
			if _, done := loaders[path]; done || e.Interp.IsZero() {
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return "", fmt.Errorf("look at the loader of %s: %w", e.Path, err)
			}
			loaders[path] = native.Stubbed(b)
		}
	}
	for _, p := range packages {
		for i := range p.Head.Entries {
			e := &p.Head.Entries[i]
			if e.Kind != npk.File || !e.Exec {
				continue
			}
			why, err := executable(filepath.Join(p.Root.Program(p.Title, p.Version), e.Path), loaders)
			if err != nil {
				return "", err
			}
			if why != nil {
				return fmt.Sprintf("%s of package %s %v", e.Path, p.Name, why), nil
			}
		}
	}
	return "", nil
}

// executable says why the file at path may not be executed beside a zone.
func executable(path string, loaders map[string]bool) (why, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // was only read
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return native.Executable(f, st.Size(), func(loader string) bool { return loaders[loader] }), nil
}

// shortcuts are the package's own directory, for what finds its files from where
// it lies, and those that FHS paths lead through. Static programs alone, which know
// nothing of roots, need none.
func shortcuts(p *plan.Plan, packages []*programs.Installed) ([]plan.Shortcut, error) {
	if !dynamic(packages) {
		return nil, nil
	}
	view, err := filepath.EvalSymlinks(p.View)
	if err != nil {
		return nil, fmt.Errorf("look at the view of package %s: %w", p.Package, err)
	}
	own := strings.TrimPrefix(p.Prefix, p.View)
	list := []plan.Shortcut{{Dir: view + own, Names: []string{p.Prefix, own}}}
	for _, top := range []string{"/lib", "/share"} {
		dir, err := filepath.EvalSymlinks(p.View + top)
		if err != nil || !strings.HasPrefix(dir, view+"/") {
			continue // the view has none
		}
		names := []string{top, p.View + top}
		if usr, err := filepath.EvalSymlinks(p.View + "/usr" + top); err == nil && usr == dir {
			names = append(names, "/usr"+top)
		}
		list = append(list, plan.Shortcut{Dir: dir, Names: names})
	}
	return list, nil
}

// dynamic reports whether a package has a dynamic program.
func dynamic(packages []*programs.Installed) bool {
	return slices.ContainsFunc(packages, func(pkg *programs.Installed) bool {
		return slices.ContainsFunc(pkg.Head.Entries, func(e npk.Entry) bool { return !e.Interp.IsZero() })
	})
}

// devices are the harmless ones that every program expects.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}

// rules are the Landlock rules that every cell of the package has: its view,
// the loaders that the executables of the view's packages name, devices. The
// view stays readable without RPATH: a program that cannot read its libraries
// cannot start.
func rules(root *hier.Root, p *plan.Plan, packages []*programs.Installed) []plan.Rule {
	list := []plan.Rule{{Path: p.View, Access: uint64(wall.Package)}}
	for _, dir := range crowded(packages) {
		list = append(list, plan.Rule{Path: p.View + dir, Access: uint64(wall.Package)})
	}
	seen := map[string]bool{}
	for _, pkg := range packages {
		for i := range pkg.Head.Entries {
			e := &pkg.Head.Entries[i]
			if e.Interp.IsZero() || seen[e.Interp.String()] {
				continue
			}
			seen[e.Interp.String()] = true
			list = append(list, plan.Rule{Path: root.Loader(e.Interp.String()), Access: uint64(wall.Package)})
		}
	}
	for _, d := range devices {
		list = append(list, plan.Rule{Path: d, Access: uint64(wall.Device), Optional: true})
	}
	return list
}

// mostCrowded is how many directories of a view get Landlock rules of their own at
// most. Each takes a microsecond or two at every start.
const mostCrowded = 8

// crowded are the directories of a view that have the most files, by their names
// below it; none where all programs are static, which open few. Landlock looks for a rule from a file upwards, a fifth of a microsecond
// for each directory on the way: rules where most files are spare it the walk up to
// the view's.
func crowded(packages []*programs.Installed) []string {
	if !dynamic(packages) {
		return nil
	}
	files := map[string]int{}
	for _, pkg := range packages {
		in := "/Programs/" + pkg.Title + "/" + pkg.Version + "/"
		for i := range pkg.Head.Entries {
			if e := &pkg.Head.Entries[i]; e.Kind == npk.File {
				files[filepath.Dir(in+e.Path)]++
			}
		}
	}
	list := slices.Collect(maps.Keys(files))
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(files[b]-files[a], strings.Compare(a, b)) })
	return list[:min(len(list), mostCrowded)]
}

// environment puts the package's places into the recipe's variables; those of
// the running cell stay for the start.
func environment(m *npk.Manifest, p *plan.Plan) []string {
	expand := strings.NewReplacer("{prefix}", p.Prefix, "{view}", p.View)
	var env []string
	for _, v := range m.Env {
		env = append(env, v.Name+"="+expand.Replace(v.Value))
	}
	return env
}

// commands fills in the programs. The default is the only command, else the
// one named like the package. A script is started by its interpreter, whose
// path the installer has put into its first line.
func commands(p *plan.Plan, head *npk.Head) error {
	for i, c := range head.Manifest.Commands {
		path := filepath.Join(p.Prefix, c.Exec)
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("command %s of package %s: %w", c.Name, p.Package, err)
		}
		args := append([]string{argv0(path, c)}, c.Args...)
		p.Commands = append(p.Commands, plan.Command{Name: c.Name, Path: path, Args: args})
		if c.Name == p.Package || len(head.Manifest.Commands) == 1 {
			p.Default = i
		}
	}
	return nil
}

// argv0 is what the program is told that it is called: its path, since many
// find their files from there; for a program with many names (busybox, vim) the
// command's name.
func argv0(path string, c npk.Command) string {
	if filepath.Base(c.Exec) == c.Name || isScript(path) {
		return path
	}
	return filepath.Join(filepath.Dir(path), c.Name)
}

func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head, err := bufio.NewReader(f).Peek(2)
	return err == nil && bytes.Equal(head, []byte("#!"))
}
