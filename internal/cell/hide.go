package cell

import (
	"fmt"
	"os"

	"nipcells/internal/capability"
	"nipcells/internal/membrane"
	"nipcells/internal/wall"
)

// openNames lists what exists for a cell that sees only its own names, and opens it.
// The view has a second name, its own on the host: programs must be executed by
// names that the kernel can follow there.
func (c *cell) openNames() error {
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
		{Prefix: "/Data/apps/" + c.Plan.Package, Host: c.home},
		{Prefix: "/proc", Proc: true},
		{Prefix: "/dev/fd", Link: "/proc/self/fd"},
		{Prefix: "/dev/stdin", Link: "/proc/self/fd/0"},
		{Prefix: "/dev/stdout", Link: "/proc/self/fd/1"},
		{Prefix: "/dev/stderr", Link: "/proc/self/fd/2"},
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		list = append(list, membrane.Name{Prefix: "/dev/" + name, Host: "/dev/" + name, Optional: true})
	}
	if c.pledge.Has(capability.Inet) {
		for _, f := range resolverFiles {
			list = append(list, membrane.Name{Prefix: f, Host: f, Optional: true})
		}
	}
	for _, u := range c.unveil {
		list = append(list, membrane.Name{Prefix: u.Path, Host: u.Path})
	}
	hide := &membrane.Hide{
		Names: list, Skeleton: c.state.names(), Programs: c.Plan.View, Loaders: c.Plan.Root + "/Cas/ld", Fiber: c.state.id,
	}
	if err := os.Mkdir(hide.Skeleton, 0o755); err != nil {
		return fmt.Errorf("make the cell's names: %w", err)
	}
	if err := hide.Open(); err != nil {
		return err
	}
	c.names = hide
	return nil
}

func (s *state) names() string { return s.dir + "/names" }

// closeNames removes what openNames made, when the cell has ended.
func (c *cell) closeNames() {
	if c.names == nil {
		return
	}
	c.names.Close()
	if err := os.RemoveAll(c.state.names()); err != nil {
		c.Report("clean up: " + err.Error())
	}
}

// placesOf returns the cell's own directories by the names that it has for them.
func (c *cell) placesOf() (home, tmp, run string) {
	if !c.Hide {
		return c.home, c.state.tmp(), c.state.run()
	}
	return "/Data/apps/" + c.Plan.Package, "/tmp", "/Cell/self/run"
}

// skeletonRule lets the cell list the directories of its names.
func (c *cell) skeletonRule() wall.Rule {
	return wall.Rule{Path: c.state.names(), Access: wall.AccessOf(capability.Read, c.pledge|capability.Rpath)}
}
