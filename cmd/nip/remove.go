package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"nipcells/internal/cell"
	"nipcells/internal/hier"
	"nipcells/internal/programs"
)

type removeFlags struct {
	version string
	purge   bool
	force   bool
}

func newRemoveCommand(a *app) *cobra.Command {
	var f removeFlags
	c := &cobra.Command{
		Use:   "remove PACKAGE...",
		Short: "Remove packages",
		Long: `Remove takes away all versions of a package, or the one named with --version: files,
view, commands, launch plans and at once the stored data that nothing else uses. With
the last version goes what nip policy holds about the package. The application's own data (its HOME) stays unless --purge is given or you say yes on a
terminal; what was kept is printed.`,
		Example:           "  nip remove python3\n  nip remove python3 --purge",
		Args:              args(1, -1, "a PACKAGE"),
		ValidArgsFunction: a.completePackages,
		RunE: func(c *cobra.Command, names []string) error {
			r, err := a.changeRoot()
			if err != nil {
				return err
			}
			if err := a.announceWait(r); err != nil {
				return err
			}
			for _, name := range names {
				if err := a.remove(c, r, name, f); err != nil {
					return errors.Join(err, a.seal(r))
				}
			}
			return a.seal(r)
		},
	}
	c.Flags().StringVar(&f.version, "version", "", "only this `VERSION`")
	c.Flags().BoolVar(&f.purge, "purge", false, "remove the application's data as well")
	c.Flags().BoolVar(&f.force, "force", false, "even if cells run it or other packages need it")
	return c
}

// running returns a function that says which cells run a version of a package.
func running(r *hier.Root) func(name, version string) ([]string, error) {
	return func(name, version string) ([]string, error) {
		cells, err := cell.List(r)
		if err != nil {
			return nil, err
		}
		var ids []string
		for _, c := range cells {
			if c.Package == name && c.Version == version && !c.Dead {
				ids = append(ids, c.Fiber)
			}
		}
		return ids, nil
	}
}

func (a *app) remove(c *cobra.Command, r *hier.Root, name string, f removeFlags) error {
	if !f.purge && f.version == "" && a.terminal() && hier.Component(name) == nil {
		if data := r.AppData(name); hasEntries(data) {
			f.purge = a.ask(fmt.Sprintf("Remove the data of %s in %s too?", name, data))
		}
	}
	done, err := programs.Remove(c.Context(), r, name, programs.RemoveOptions{
		Options: programs.Options{
			Running: running(r), Leftovers: func(name string) error { return cell.Forget(r, name) },
		},
		Version: f.version, Purge: f.purge, Force: f.force,
	})
	if err != nil {
		return err
	}
	for _, v := range done.Versions {
		a.say("removed %s %s", name, v)
	}
	a.say("freed %s", bytesText(done.Freed.Bytes))
	if done.Decided != "" {
		a.say("forgot what was decided about it: %s", printable(done.Decided))
	}
	for _, path := range done.Purged {
		a.say("removed its data, %s", path)
	}
	for _, path := range done.Kept {
		a.say("kept its data, %s; to remove that too: nip remove %s --purge", path, name)
	}
	return nil
}

// hasEntries reports whether dir is a directory with something in it.
func hasEntries(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0
}
