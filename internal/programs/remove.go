package programs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"nipcells/internal/hier"
	"nipcells/internal/ledger"
	"nipcells/internal/policy"
	"nipcells/internal/store"
)

// RemoveOptions says how a package is removed.
type RemoveOptions struct {
	Options
	Version string // which; empty: all
	Purge   bool   // the application's data, too
	Force   bool   // even if cells run it or packages need it
}

// Removed says what a removal did.
type Removed struct {
	Versions []string    // that are gone, sorted
	Freed    store.Freed // blobs that nothing else used
	Kept     []string    // paths that are still there because they are the person's
	Decided  string      // what the person had decided about the package's rights, which is gone too
	Purged   []string    // paths of data that is gone
}

// Remove removes a version of a package, or all: record, files, view,
// launchers, launch plans, and at once the blobs that nothing else uses. A
// version that was active gives way to the one installed last that is not held.
// With the last version goes what the person had decided about the package's
// rights. The application's data stays unless Purge is set and no version is left.
//
// Errors wrap ErrNotInstalled, ErrNeeded, ErrRunning or ErrOnlyHeld, or are the
// system's.
func Remove(ctx context.Context, root *hier.Root, name string, opt RemoveOptions) (*Removed, error) {
	l, err := lock(ctx, root)
	if err != nil {
		return nil, err
	}
	defer l.Unlock()
	all, err := List(root)
	if err != nil && !errors.Is(err, ErrDamaged) { // damage elsewhere is verify's to tell
		return nil, err
	}
	var gone, left []*Installed
	for _, p := range all {
		switch {
		case p.Name == name && (opt.Version == "" || p.Version == opt.Version):
			gone = append(gone, p)
		case p.Name == name:
			left = append(left, p)
		}
	}
	if len(gone) == 0 {
		return removeNothing(root, name, opt, len(left) > 0)
	}
	if len(left) > 0 && !slices.ContainsFunc(left, func(p *Installed) bool { return !p.Held }) {
		return nil, fmt.Errorf("remove %s: %w: %s", named(gone), ErrOnlyHeld, named(left))
	}
	if !opt.Force {
		if err := removable(gone, left, all, &opt.Options); err != nil {
			return nil, err
		}
	}
	c, err := begin(root, intent{op: opRemove, name: name, title: gone[0].Title, version: opt.Version, purge: opt.Purge}, &opt.Options)
	if err != nil {
		return nil, err
	}
	c.known = all
	if err := c.takeRecords(); err != nil {
		return nil, fmt.Errorf("remove %s: %w", name, err)
	}
	done, err := c.finishRemove()
	if err != nil {
		return nil, fmt.Errorf("remove %s: %w", name, err)
	}
	return done, nil
}

// removeNothing handles a package that is not installed: its data may be left
// from before.
func removeNothing(root *hier.Root, name string, opt RemoveOptions, otherVersions bool) (*Removed, error) {
	data := root.AppData(name)
	if !opt.Purge || otherVersions || hier.Component(name) != nil || !exists(data) {
		what := name
		if opt.Version != "" {
			what += " " + opt.Version
		}
		return nil, fmt.Errorf("remove package %s: %w", what, ErrNotInstalled)
	}
	if err := os.RemoveAll(data); err != nil {
		return nil, fmt.Errorf("remove data of %s: %w", name, err)
	}
	return &Removed{Purged: []string{data}}, nil
}

// removable reports why versions cannot be removed: packages hold them in their
// views, or depend on the name of which nothing would be left, or cells run.
func removable(gone, left, all []*Installed, opt *Options) error {
	var by []*Installed
	for _, p := range gone {
		by = append(by, users(p, all)...)
	}
	if len(left) == 0 {
		for _, p := range all {
			if slices.Contains(p.Head.Manifest.Depends, gone[0].Name) && !slices.Contains(by, p) {
				by = append(by, p)
			}
		}
	}
	if len(by) > 0 {
		return fmt.Errorf("remove %s: %w: %s", named(gone), ErrNeeded, named(by))
	}
	if opt.Running == nil {
		return nil
	}
	for _, p := range gone {
		ids, err := opt.Running(p.Name, p.Version)
		if err != nil {
			return fmt.Errorf("ask what runs %s: %w", p, err)
		}
		if len(ids) > 0 {
			return fmt.Errorf("remove %s: %w in cell %s", p, ErrRunning, strings.Join(ids, ", "))
		}
	}
	return nil
}

// takeRecords commits a removal: the records leave their place by one rename.
func (c *change) takeRecords() error {
	home := c.root.Join("Nexus/packages/" + c.in.name)
	c.opt.at("take records")
	if c.in.version == "" {
		if err := os.Rename(home, c.path("records")); err != nil {
			return err
		}
	} else {
		// Made under another name: "records" is the sign of the commit.
		if err := os.Mkdir(c.path("taken"), 0o700); err != nil {
			return err
		}
		if err := os.Rename(c.path("taken"), c.path("records")); err != nil {
			return err
		}
		c.opt.at("take record")
		if err := os.Rename(home+"/"+c.in.version, c.path("records/"+c.in.version)); err != nil {
			return err
		}
		os.Remove(home) // fails, rightly, while other versions are there
	}
	c.opt.at("taken")
	return c.sync(c.root.Records(), c.dir)
}

// finishRemove does what follows from records that are gone. It may be repeated.
func (c *change) finishRemove() (*Removed, error) {
	taken, err := os.ReadDir(c.path("records"))
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	left, err := Versions(c.root, c.in.name)
	if err != nil {
		return nil, err
	}
	done := &Removed{}
	for _, e := range taken {
		done.Versions = append(done.Versions, e.Name())
	}
	if now := current(c.root, c.in.title); len(done.Versions) > 0 && !slices.Contains(left, now) {
		if err := c.setCurrent(c.in.title, c.successor(left)); err != nil {
			return nil, err
		}
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	for _, v := range done.Versions {
		if err := c.removeTrees(c.in.title, v); err != nil {
			return nil, err
		}
	}
	for _, v := range done.Versions { // after all trees: only now nothing holds the bytes
		if err := c.removeBlobs(c.in.name, v, ""); err != nil {
			return nil, err
		}
	}
	done.Freed = c.freed
	c.opt.at("plans")
	if err := os.RemoveAll(c.root.Plans(c.in.name)); err != nil {
		return nil, fmt.Errorf("remove launch plans: %w", err)
	}
	if err := c.forgetDecisions(done, len(left) == 0); err != nil {
		return nil, err
	}
	if c.opt.Leftovers != nil && len(left) == 0 {
		if err := c.opt.Leftovers(c.in.name); err != nil {
			return nil, fmt.Errorf("remove what cells left: %w", err)
		}
	}
	if err := c.removeData(done, len(left) > 0); err != nil {
		return nil, err
	}
	for _, v := range done.Versions {
		if err := c.log("remove", ledger.Text("package", c.in.name), ledger.Text("version", v), ledger.Number("purged", number(len(done.Purged) > 0))); err != nil {
			return nil, err
		}
	}
	return done, c.end()
}

// successor is the version that becomes active in place of one that is gone: of
// those left, which are in the order of their installation, the last that is not
// held; empty if there is none.
func (c *change) successor(left []string) string {
	for _, v := range slices.Backward(left) {
		if !exists(c.root.Held(c.in.name, v)) {
			return v
		}
	}
	return ""
}

// forgetDecisions removes the marks of held versions that are gone, and with the
// last version what the person had decided about the package: should another of
// its name come, nothing is given to it in advance.
func (c *change) forgetDecisions(done *Removed, last bool) error {
	for _, v := range done.Versions {
		if err := c.unmarkHeld(v); err != nil {
			return err
		}
	}
	if !last {
		return nil
	}
	c.opt.at("overrides")
	o, err := policy.Override(c.root, c.in.name)
	switch {
	case err != nil:
		done.Decided = "what could not be read"
	case !o.IsZero():
		done.Decided = o.String()
	}
	return policy.Forget(c.root, c.in.name)
}

// removeData removes the application's data or notes that it is kept.
func (c *change) removeData(done *Removed, versionsLeft bool) error {
	data := c.root.AppData(c.in.name)
	if _, err := os.Lstat(data); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !c.in.purge || versionsLeft {
		done.Kept = append(done.Kept, data)
		return nil
	}
	c.opt.at("purge")
	if err := os.RemoveAll(data); err != nil {
		return fmt.Errorf("remove data: %w", err)
	}
	done.Purged = append(done.Purged, data)
	return nil
}
