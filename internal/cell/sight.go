package cell

import (
	"os"
	"slices"
	"strings"

	"nipcells/internal/capability"
	"nipcells/internal/membrane"
	"nipcells/internal/wall"
)

// chooseSight says how the cell's programs find files. Native views need that
// whatever the cell may execute begins with the stub. What a person unveils for
// execution does not.
func (c *cell) chooseSight() wall.Sight {
	others := slices.ContainsFunc(c.unveil, func(u capability.Unveil) bool { return u.Rights.Has(capability.Execute) })
	switch {
	case !c.Hide:
		return wall.Bare
	case c.Learn != nil:
		return wall.Learned
	case c.Plan.Asked != "", others && c.pledge.Has(capability.ExecOnly):
		return wall.Asked
	case c.Count != nil:
		return wall.Counted
	}
	return wall.Native
}

// names lists what exists for a cell that sees only its own names. The view has a
// second name, its own on the host: programs must be executed by names that the
// kernel can follow there.
func (c *cell) names() *membrane.Hide {
	if !c.Hide {
		return nil
	}
	fiber := "/Cell/" + c.state.fiber
	list := []membrane.Name{
		{Prefix: "/", Host: c.Plan.View},
		{Prefix: c.Plan.View, Host: c.Plan.View},
		{Prefix: "/tmp", Host: c.state.tmp()},
		{Prefix: "/var/tmp", Host: c.state.tmp()},
		{Prefix: "/dev/shm", Host: c.state.tmp()},
		{Prefix: fiber + "/tmp", Host: c.state.tmp()},
		{Prefix: fiber + "/run", Host: c.state.run()},
		{Prefix: "/Cell/self", Link: c.state.fiber},
		{Prefix: c.homeName(), Host: c.home},
		{Prefix: "/proc", Proc: true},
		{Prefix: "/dev/fd", Link: "/proc/self/fd"},
		{Prefix: "/dev/stdin", Link: "/proc/self/fd/0"},
		{Prefix: "/dev/stdout", Link: "/proc/self/fd/1"},
		{Prefix: "/dev/stderr", Link: "/proc/self/fd/2"},
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		list = append(list, membrane.Name{Prefix: "/dev/" + name, Host: "/dev/" + name, Optional: true})
	}
	for _, f := range c.resolver {
		list = append(list, membrane.Name{Prefix: f, Host: f, Optional: true, Text: c.ownFile})
	}
	for i, u := range c.unveil {
		list = append(list, membrane.Name{Prefix: u.Path, Host: u.Path, FD: c.unveilFD[i]})
	}
	return &membrane.Hide{Names: list, Skeleton: c.state.names(), Programs: c.Plan.View, Loaders: c.Plan.Root + "/Cas/ld", Fiber: c.state.id}
}

// homeName is what HOME is called in the cell.
func (c *cell) homeName() string { return "/Data/apps/" + c.Plan.Package }

// cellName is what a path of the host that the cell may start in is called there.
func (c *cell) cellName(path string) string {
	if rest, ok := strings.CutPrefix(path, c.home); ok && below(path, c.home) {
		return c.homeName() + rest
	}
	return path
}

// placesOf returns the cell's own directories by the names that it has for them.
func (c *cell) placesOf() (home, tmp, run string) {
	if !c.Hide {
		return c.home, c.state.tmp(), c.state.run()
	}
	return c.homeName(), "/tmp", "/Cell/self/run"
}

// skeletonRule lets the cell list the directories of its names.
func (c *cell) skeletonRule() wall.Rule {
	return wall.Rule{Path: c.state.names(), Access: wall.AccessOf(capability.Read, c.pledge|capability.Rpath)}
}

// names is the directory of what only leads to other names (membrane.Hide). It
// is empty until the cell asks for the first.
func (s *state) names() string { return s.dir + "/names" }

// clearNames makes it empty again.
func (s *state) clearNames() error {
	entries, err := os.ReadDir(s.names())
	for _, e := range entries {
		if err == nil {
			err = os.RemoveAll(s.names() + "/" + e.Name())
		}
	}
	return err
}
