package programs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/ledger"
	"nipcells/internal/npk"
	"nipcells/internal/policy"
)

// A version that asks for more than the active one was given is held: it is
// installed, but nothing makes it active until a person accepts it. What says so
// is an empty file, Nexus/held/<name>/<version>, that is on the disk before the
// version's record is, and goes when the version becomes active.

// More is what a version asks for beyond what the active one was given.
type More struct {
	capability.Excess
	Bus []string // endpoints
}

// IsZero reports whether it asks for nothing more.
func (m More) IsZero() bool { return m.Excess.IsZero() && len(m.Bus) == 0 }

// Lines says what it is, a line for each kind of right.
func (m More) Lines() []string {
	lines := m.Excess.Lines()
	if len(m.Bus) > 0 {
		lines = append(lines, "bus "+strings.Join(m.Bus, " "))
	}
	return lines
}

// String returns the lines on one.
func (m More) String() string { return strings.Join(m.Lines(), "; ") }

// HeldError reports a version that nobody has accepted.
type HeldError struct {
	Version *Installed
	Active  string // the version that is active; empty if none can be read
	More    More
}

// Error says what is asked for beyond what.
func (e *HeldError) Error() string {
	switch {
	case e.More.IsZero():
		return fmt.Sprintf("%s is held: it asks for more than the version that was active when it was installed", e.Version)
	case e.Active == "":
		return fmt.Sprintf("%s is held: it asks for more than was given before: %s", e.Version, e.More)
	}
	return fmt.Sprintf("%s is held: it asks for more than version %s was given: %s", e.Version, e.Active, e.More)
}

// Asks returns the rights that a manifest asks for.
func Asks(m *npk.Manifest) capability.Set {
	nets := m.Net
	if len(nets) == 0 {
		nets = capability.DefaultNets()
	}
	return capability.Set{Pledge: m.Pledge, Unveil: m.Unveil, Net: nets, Budget: m.Budget}
}

// beyondActive returns what a version that is not installed asks for beyond what
// the active version has been given. A first version asks for nothing more. An
// active version that cannot be read has been given nothing.
func beyondActive(root *hier.Root, m *npk.Manifest, all []*Installed) (More, error) {
	active := find(all, m.Name, "")
	if active != nil {
		return beyond(root, m, &active.Head.Manifest)
	}
	if current(root, m.Title) == "" {
		return More{}, nil
	}
	return beyond(root, m, &npk.Manifest{})
}

func beyond(root *hier.Root, m, active *npk.Manifest) (More, error) {
	layers, err := policy.Layers(m.Name, root)
	if err != nil {
		return More{}, err
	}
	more := More{Excess: Asks(m).Beyond(capability.Agreed(Asks(active), layers))}
	for _, b := range m.Bus {
		if !slices.Contains(active.Bus, b) {
			more.Bus = append(more.Bus, b)
		}
	}
	return more, nil
}

// Beyond returns what an installed version asks for beyond what the active one
// has been given.
func Beyond(p *Installed) (More, error) {
	active, err := Info(p.Root, p.Name, "")
	switch {
	case errors.Is(err, ErrNotInstalled) || errors.Is(err, ErrDamaged):
		return beyond(p.Root, &p.Head.Manifest, &npk.Manifest{})
	case err != nil:
		return More{}, err
	}
	return beyond(p.Root, &p.Head.Manifest, &active.Head.Manifest)
}

// WhyHeld returns the *HeldError about a version that is held.
func WhyHeld(p *Installed) error {
	more, err := Beyond(p)
	if err != nil {
		return err
	}
	e := &HeldError{Version: p, More: more}
	if active, err := Info(p.Root, p.Name, ""); err == nil {
		e.Active = active.Version
	}
	return e
}

// HeldVersions returns the versions of a package that are held, the one
// installed last at the end.
func HeldVersions(root *hier.Root, name string) (versions []string, err error) {
	all, err := Versions(root, name)
	for _, v := range all {
		if p, err := read(root, name, v); err == nil && p.Held {
			versions = append(versions, v)
		}
	}
	return versions, err
}

// Accept makes a held version of a package active; with an empty version the one
// installed last. If none is held the error wraps ErrNotHeld.
func Accept(ctx context.Context, root *hier.Root, name, version string, opt Options) (*Installed, error) {
	l, err := lock(ctx, root)
	if err != nil {
		return nil, err
	}
	defer l.Unlock()
	if version == "" {
		if _, err := Info(root, name, ""); err != nil && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		versions, err := HeldVersions(root, name)
		if err != nil {
			return nil, err
		}
		if len(versions) == 0 {
			return nil, fmt.Errorf("accept %s: %w", name, ErrNotHeld)
		}
		version = versions[len(versions)-1]
	}
	p, err := read(root, name, version)
	if err != nil {
		return nil, err
	}
	if !p.Held {
		return nil, fmt.Errorf("accept %s: %w", p, ErrNotHeld)
	}
	opt.Accept = true
	return activate(root, name, version, false, &opt)
}

// markHeld notes that the version is held.
func (c *change) markHeld() error {
	c.opt.at("hold")
	if err := c.root.Make("Nexus/held/" + c.in.name); err != nil {
		return err
	}
	f, err := os.OpenFile(c.root.Held(c.in.name, c.in.version), os.O_WRONLY|os.O_CREATE, 0o644) // syncAll follows
	if err != nil {
		return err
	}
	return f.Close()
}

// accept takes the mark off the version that becomes active, if it is held. The
// ledger tells of it first, while what was active still is. It may be repeated.
func (c *change) accept() error {
	p, err := readKnown(c.root, c.in.name, c.in.version, find(c.known, c.in.name, c.in.version))
	if err != nil {
		return err
	}
	if p.Held {
		more, err := Beyond(p)
		if err != nil {
			return err
		}
		if err := c.log("accept", ledger.Text("package", p.Name), ledger.Text("version", p.Version), ledger.Text("more", more.String())); err != nil {
			return err
		}
	}
	return c.unmarkHeld(c.in.version)
}

// unmarkHeld takes the mark off a version. What is not there is no error.
func (c *change) unmarkHeld(version string) error {
	c.opt.at("unhold")
	mark := c.root.Held(c.in.name, version)
	if err := os.Remove(mark); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("take the mark off a held version: %w", err)
	}
	if err := c.sync(c.root.Join("Nexus/held/" + c.in.name)); err != nil {
		return err
	}
	os.Remove(c.root.Join("Nexus/held/" + c.in.name)) // these fail, rightly, if there are others
	os.Remove(c.root.Join("Nexus/held"))
	return nil
}
