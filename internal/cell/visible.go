package cell

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/wall"
)

// UnveilError reports a path that cannot be made visible.
type UnveilError struct {
	Path string
	Err  error
}

func (e *UnveilError) Error() string { return fmt.Sprintf("unveil %s: %v", e.Path, e.Err) }
func (e *UnveilError) Unwrap() error { return e.Err }

// CwdError reports a working directory that a cell cannot start in.
type CwdError struct {
	Path string
	Err  error
}

func (e *CwdError) Error() string { return fmt.Sprintf("start in %s: %v", e.Path, e.Err) }
func (e *CwdError) Unwrap() error { return e.Err }

var (
	// ErrUnseen reports a working directory that is not visible in the cell.
	ErrUnseen = errors.New("the cell cannot see it")
	// ErrCoversRoot reports an unveil that would show or open nip's own files:
	// Landlock cannot take away below what it grants.
	ErrCoversRoot = errors.New("it contains nip's own files (keys, ledger, other packages), which no cell may see")
	// ErrPolicy reports an unveil that the host's policy does not allow.
	ErrPolicy = errors.New("the host's policy does not allow it")
)

// chooseUnveil resolves what the package and the person want visible. The
// package's paths may be missing; the person's must exist. The policy caps all.
func (c *cell) chooseUnveil() error {
	if len(c.Plan.Unveil)+len(c.Options.Unveil) == 0 {
		return nil
	}
	own := c.ownFiles()
	for _, u := range c.Plan.Unveil {
		real, err := filepath.EvalSymlinks(u.Path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return &UnveilError{u.Path, cause(err)}
		}
		// Whoever agreed to the package's list has seen this name. A link may be
		// the work of a cell that can write there, and lead anywhere.
		if real != u.Path {
			c.Report(fmt.Sprintf("unveil %s: passed over, it leads through a symbolic link to %s; --unveil %s:%s makes that visible", u.Path, real, real, u.Rights))
			continue
		}
		if own.meet(real) {
			return &UnveilError{u.Path, ErrCoversRoot}
		}
		c.unveil = append(c.unveil, capability.Unveil{Path: real, Rights: u.Rights})
	}
	for _, u := range c.Options.Unveil {
		real, err := filepath.EvalSymlinks(u.Path)
		if err != nil {
			return &UnveilError{u.Path, cause(err)}
		}
		if own.meet(real) {
			return &UnveilError{u.Path, ErrCoversRoot}
		}
		rights := u.Rights
		if c.Plan.Capped {
			if rights = rights.Intersect(capability.RightsAt(c.Plan.Caps, real)); rights == 0 {
				return &UnveilError{u.Path, ErrPolicy}
			}
		}
		c.unveil = append(c.unveil, capability.Unveil{Path: real, Rights: rights})
	}
	return nil
}

// cause takes off err what says again which path it is about.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// fileID is what a file is, under whatever name.
type fileID struct{ dev, ino uint64 }

func identify(path string) (fileID, bool) {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return fileID{}, false
	}
	return fileID{uint64(st.Dev), st.Ino}, true
}

// ownFiles are the directories that belong to nip: what lies in them, and what
// they lie in, no cell may see. Names do not decide that: a root can be reached
// through symbolic links and bind mounts.
type ownFiles struct{ themselves, above map[fileID]bool }

// ownFiles looks at the caller's root and the package's. Below Data is free:
// that is where people keep what cells share; an application's own part of it
// is not.
func (c *cell) ownFiles() ownFiles {
	o := ownFiles{make(map[fileID]bool), make(map[fileID]bool)}
	for _, root := range slices.Compact([]string{c.Root.Path(), c.Plan.Root}) {
		if real, err := filepath.EvalSymlinks(root); err == nil {
			root = real
		}
		for _, own := range []string{"Nexus", "Cas", "System", "Programs", "Cell", "Data/apps"} {
			if id, ok := identify(filepath.Join(root, own)); ok {
				o.themselves[id] = true
			}
		}
		eachAncestor(filepath.Join(root, "Data"), func(dir string) {
			if id, ok := identify(dir); ok {
				o.above[id] = true
			}
		})
	}
	return o
}

// meet reports whether path, which holds no symbolic links, is at, in or above
// what belongs to nip.
func (o ownFiles) meet(path string) bool {
	if id, ok := identify(path); !ok || o.above[id] {
		return true // not to be looked at: not to be shown either
	}
	inside := false
	eachAncestor(path, func(dir string) {
		id, ok := identify(dir)
		inside = inside || ok && o.themselves[id]
	})
	return inside
}

// eachAncestor calls f with path and every directory above it.
func eachAncestor(path string, f func(string)) {
	for {
		f(path)
		if path == "/" {
			return
		}
		path = filepath.Dir(path)
	}
}

// below reports whether path is dir or lies below it.
func below(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || dir == "/" || rest[0] == '/')
}

// chooseCwd takes the person's choice, else the caller's directory where the
// cell may see it, else HOME.
func (c *cell) chooseCwd() error {
	if c.Cwd != "" {
		real, err := filepath.EvalSymlinks(c.Cwd)
		if err != nil {
			return &CwdError{c.Cwd, cause(err)}
		}
		if !c.sees(real) {
			return &CwdError{c.Cwd, ErrUnseen}
		}
		c.cwd = real
		return nil
	}
	c.cwd = c.home
	if len(c.unveil) == 0 {
		return nil
	}
	if wd, err := os.Getwd(); err == nil {
		if real, err := filepath.EvalSymlinks(wd); err == nil && c.sees(real) {
			c.cwd = real
		}
	}
	return nil
}

func (c *cell) sees(path string) bool {
	return below(path, c.home) || capability.RightsAt(c.unveil, path) != 0
}

// rules lists all that the cell may touch: the plan's part, its own
// directories, what is unveiled.
func (c *cell) rules() []wall.Rule {
	rules := make([]wall.Rule, 0, len(c.Plan.Rules)+len(c.unveil)+len(c.resolver)+4)
	for _, r := range c.Plan.Rules {
		access := wall.Access(r.Access)
		if access == wall.Package && c.sight >= wall.Native {
			access = wall.Unhindered
		}
		rules = append(rules, wall.Rule{Path: r.Path, Access: access, Optional: r.Optional})
	}
	rules = append(rules, c.ownRules()...)
	for _, u := range c.unveil {
		rules = append(rules, wall.Rule{Path: u.Path, Access: wall.AccessOf(u.Rights, c.pledge), Resolved: true})
	}
	if c.Hide {
		rules = append(rules, c.skeletonRule())
	}
	for _, f := range c.resolver {
		rules = append(rules, wall.Rule{Path: f, Access: wall.Config, Optional: true})
	}
	return rules
}

// ownRules are those of the cell's own directories.
func (c *cell) ownRules() []wall.Rule {
	own := wall.Scratch.Under(c.pledge)
	return []wall.Rule{{Path: c.home, Access: own}, {Path: c.state.tmp(), Access: own}, {Path: c.state.run(), Access: own}}
}

// lengthRules are those of rules that truncating needs, without what Unhindered
// adds.
func (c *cell) lengthRules() []wall.Rule {
	rules := c.ownRules()
	for i, u := range c.unveil {
		rules = append(rules, wall.Rule{Path: u.Path, FD: c.unveilFD[i], Access: wall.AccessOf(u.Rights, c.pledge)})
	}
	return rules
}

// resolverFiles are the configuration files that INET implies: how this host
// resolves names.
var resolverFiles = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols"}

// chooseResolver takes those of them that the view has none of its own of.
func (c *cell) chooseResolver() {
	if !c.networked() {
		return
	}
	for _, f := range resolverFiles {
		if !c.Hide || !inView(f) {
			c.resolver = append(c.resolver, f)
		}
	}
}

// writable and readable are what the Membrane goes by.
func (c *cell) writable() []string {
	list := []string{c.home, c.state.tmp(), c.state.run()}
	// The Membrane compares with the kernel's names, which hold no symbolic links.
	if real, err := filepath.EvalSymlinks(c.Root.Path()); err == nil && real != c.Root.Path() {
		for i := range list {
			if rel, ok := c.Root.Rel(list[i]); ok {
				list[i] = filepath.Join(real, rel)
			}
		}
	}
	for _, u := range c.unveil {
		if u.Rights.Has(capability.Write) {
			list = append(list, u.Path)
		}
	}
	return list
}

func (c *cell) readable() []string {
	var list []string
	for _, u := range c.unveil {
		list = append(list, u.Path)
	}
	return list
}

// environment is the program's: a clean one. The cell's own directories; these
// of the caller's variables, where set; the plan's, with the cell's directories
// put in; the person's. Of one name only the last is given: programs differ in
// which of several they take.
func (c *cell) environment() []string {
	env := make([]string, 0, len(c.Plan.Env)+len(c.Env)+24)
	put := func(name, value string) { env = append(env, name+"="+value) }
	home, tmp, run := c.placesOf()
	put("HOME", home)
	put("TMPDIR", tmp)
	put("XDG_RUNTIME_DIR", run)
	put("PATH", c.Plan.View+"/bin:"+c.Plan.View+"/sbin")
	put("NIP_CELL", c.state.fiber)
	put("NIP_PACKAGE", c.Plan.Package)
	for _, name := range callersVariables {
		if value, ok := os.LookupEnv(name); ok {
			put(name, value)
		}
	}
	expand := strings.NewReplacer("{home}", home, "{tmp}", tmp)
	for _, v := range c.Plan.Env {
		if strings.Contains(v, "{") {
			v = expand.Replace(v)
		}
		env = override(env, v)
	}
	for _, v := range c.Env {
		env = override(env, v)
	}
	return env
}

// override puts NAME=VALUE in the place of the variable of that name, if there
// is one.
func override(env []string, v string) []string {
	name := v[:strings.IndexByte(v, '=')+1]
	for i := range env {
		if name != "" && strings.HasPrefix(env[i], name) {
			env[i] = v
			return env
		}
	}
	return append(env, v)
}

// callersVariables pass into a cell: who, in which language, on what terminal.
var callersVariables = []string{
	"USER", "LOGNAME", "TERM", "COLORTERM", "NO_COLOR", "COLUMNS", "LINES", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE",
	"LC_COLLATE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME", "TZ",
}

// compileFilter returns the seccomp program for the cell's pledge and sight: the
// plan's where the person changed nothing.
func (c *cell) compileFilter() []byte {
	planned := wall.Native
	if c.Plan.Asked != "" {
		planned = wall.Asked
	}
	if c.pledge == c.Plan.Pledge && c.sight == planned && slices.Equal(wall.AskedFor(c.budget), wall.AskedFor(c.Plan.Budget)) {
		return []byte(c.Plan.Filter)
	}
	return wall.Compile(wall.Host(), c.pledge, c.sight, wall.AskedFor(c.budget)...).Bytes()
}
