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
)

// Activate makes an installed version of a package the active one.
func Activate(ctx context.Context, root *hier.Root, name, version string, opt Options) (*Installed, error) {
	l, err := lock(ctx, root)
	if err != nil {
		return nil, err
	}
	defer l.Unlock()
	return activate(root, name, version, false, &opt)
}

// Rollback makes the version of a package active that was installed last before
// the active one and is not held; version, if not empty, names another. Without
// an earlier one the error wraps ErrNoEarlier; a held one is a *HeldError.
func Rollback(ctx context.Context, root *hier.Root, name, version string, opt Options) (*Installed, error) {
	l, err := lock(ctx, root)
	if err != nil {
		return nil, err
	}
	defer l.Unlock()
	if version == "" {
		if version, err = earlier(root, name); err != nil {
			return nil, err
		}
	}
	return activate(root, name, version, true, &opt)
}

func earlier(root *hier.Root, name string) (string, error) {
	now, err := Info(root, name, "")
	if err != nil {
		return "", err
	}
	versions, err := Versions(root, name)
	if err != nil {
		return "", err
	}
	for i := slices.Index(versions, now.Version) - 1; i >= 0; i-- {
		if !exists(root.Held(name, versions[i])) {
			return versions[i], nil
		}
	}
	return "", fmt.Errorf("roll back %s: %w", now, ErrNoEarlier)
}

func activate(root *hier.Root, name, version string, rollback bool, opt *Options) (*Installed, error) {
	p, err := read(root, name, version)
	if err != nil || p.Current {
		return p, err
	}
	if p.Held && !opt.Accept {
		return nil, WhyHeld(p)
	}
	c, err := begin(root, intent{op: opActivate, name: name, title: p.Title, version: version, rollback: rollback}, opt)
	if err != nil {
		return nil, err
	}
	if err := c.finishActivate(); err != nil {
		return nil, fmt.Errorf("activate %s: %w", p, err)
	}
	return read(root, name, version)
}

// finishActivate does all of an activation. It may be repeated.
func (c *change) finishActivate() error {
	if err := c.accept(); err != nil {
		return err
	}
	if err := c.setCurrent(c.in.title, c.in.version); err != nil {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	kind := "activate"
	if c.in.rollback {
		kind = "rollback"
	}
	if err := c.log(kind, ledger.Text("package", c.in.name), ledger.Text("version", c.in.version)); err != nil {
		return err
	}
	return c.end()
}

// setCurrent makes Current of a title lead to version, by one rename; empty
// removes it.
func (c *change) setCurrent(title, version string) error {
	c.opt.at("current")
	link := c.root.Current(title)
	if version == "" {
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove current version: %w", err)
		}
		return nil
	}
	tmp := c.path("current")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set current version: %w", err)
	}
	if err := os.Symlink(version, tmp); err != nil {
		return fmt.Errorf("set current version: %w", err)
	}
	if err := os.Rename(tmp, link); err != nil {
		return fmt.Errorf("set current version: %w", err)
	}
	return c.sync(c.root.Title(title))
}

// settle brings everything that follows from what is installed and active up to
// date: launchers and the views of dependents. It may be repeated.
func (c *change) settle() error {
	all, err := listKnown(c.root, c.known)
	if err != nil && !errors.Is(err, ErrDamaged) { // damage elsewhere is verify's to tell
		return err
	}
	if err := c.settleLaunchers(all); err != nil {
		return err
	}
	return c.refreshViews(all)
}

// Launchers are shell scripts, so that they work wherever nip is on PATH and
// need no change when it moves:
//
//	#!/bin/sh
//	# nip launcher: <package> <command>
//	exec nip run [--root '<root>'] <package>/<command> -- "$@"
//
// The system's root is not named: an ordinary user who runs a system-wide
// package keeps his own root for its state. "--" is there because nip run drops
// one: a "--" of the person's own must reach the program.

const launcherMark = "#!/bin/sh\n# nip launcher: "

func launcher(root *hier.Root, name, command string) string {
	at := ""
	if !root.System() {
		at = "--root '" + strings.ReplaceAll(root.Path(), "'", `'\''`) + "' "
	}
	return launcherMark + name + " " + command + "\nexec nip run " + at + name + "/" + command + ` -- "$@"` + "\n"
}

// launcherOwner returns the package that a launcher starts; empty if it is none.
func launcherOwner(text, command string) string {
	rest, ok := strings.CutPrefix(text, launcherMark)
	if !ok {
		return ""
	}
	line, _, _ := strings.Cut(rest, "\n")
	owner, cmd, _ := strings.Cut(line, " ")
	if cmd != command {
		return ""
	}
	return owner
}

// owners decides which active package each command starts: the one whose
// launcher exists already, so that no later package takes a command over, else
// the first by name.
func owners(root *hier.Root, all []*Installed) (map[string]string, error) {
	offers := map[string][]string{} // command -> packages, sorted as all is
	for _, p := range all {
		if !p.Current {
			continue
		}
		for _, cmd := range p.Head.Manifest.Commands {
			offers[cmd.Name] = append(offers[cmd.Name], p.Name)
		}
	}
	owner := map[string]string{}
	for cmd, list := range offers {
		owner[cmd] = list[0]
		if len(list) == 1 {
			continue
		}
		b, err := os.ReadFile(root.Launcher(cmd))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read launcher: %w", err)
		}
		if now := launcherOwner(string(b), cmd); slices.Contains(list, now) {
			owner[cmd] = now
		}
	}
	return owner, nil
}

func (c *change) settleLaunchers(all []*Installed) error {
	c.opt.at("launchers")
	owner, err := owners(c.root, all)
	if err != nil {
		return err
	}
	if err := c.root.Make("System/Index/bin"); err != nil {
		return err
	}
	present, err := os.ReadDir(c.root.Bin())
	if err != nil {
		return fmt.Errorf("list launchers: %w", err)
	}
	changed := false
	for _, e := range present {
		b, err := os.ReadFile(c.root.Bin() + "/" + e.Name())
		if err != nil {
			return fmt.Errorf("read launcher: %w", err)
		}
		name, wanted := owner[e.Name()]
		switch {
		case wanted && string(b) == launcher(c.root, name, e.Name()) && e.Type().IsRegular():
			delete(owner, e.Name())
		case !wanted && launcherOwner(string(b), e.Name()) != "":
			changed = true
			if err := os.Remove(c.root.Bin() + "/" + e.Name()); err != nil {
				return fmt.Errorf("remove launcher: %w", err)
			}
		}
	}
	for cmd, name := range owner {
		changed = true
		c.opt.at("launcher")
		tmp := c.path("launcher")
		if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write launcher: %w", err)
		}
		if err := c.writeLauncher(tmp, launcher(c.root, name, cmd)); err != nil {
			return fmt.Errorf("write launcher: %w", err)
		}
		if err := os.Rename(tmp, c.root.Launcher(cmd)); err != nil {
			return fmt.Errorf("write launcher: %w", err)
		}
	}
	if changed {
		return c.sync(c.root.Bin())
	}
	return nil
}

// writeLauncher does not wait for the disk: ext4 and its kin write a file that
// is renamed over another first, and what is lost is derived data that verify
// finds and any change makes again.
func (c *change) writeLauncher(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

// Shadowed returns those commands of an installed package whose launcher starts
// another package, with its name: they are reached as package/command.
func Shadowed(p *Installed) (map[string]string, error) {
	by := map[string]string{}
	for _, cmd := range p.Head.Manifest.Commands {
		b, err := os.ReadFile(p.Root.Launcher(cmd.Name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read launcher: %w", err)
		}
		if owner := launcherOwner(string(b), cmd.Name); owner != "" && owner != p.Name {
			by[cmd.Name] = owner
		}
	}
	return by, nil
}
