package graft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// plumbing are packages that serve a host's package management, its boot or
// its accounts. They are not taken into a tree, nor is what only they depend
// on, unless the person names them.
//
//	debconf, cdebconf, ucf       ask and keep answers for maintainer scripts, which are not run
//	dpkg, install-info           register packages on a host
//	base-files, base-passwd      a host's own files and accounts; a cell's come from the supervisor
//	adduser, passwd, login       make and use accounts
//	init-system-helpers, systemd, udev, lsb-base, sysvinit-utils    start services
//	sensible-utils               chooses among a host's editors
//	gcc-12-base and its like     documentation only
//	libc-bin                     ldconfig and its triggers; its locale is taken with libc6
//	python3-minimal's helpers    (py3compile) byte code is made by graft
//	usr-is-merged, usrmerge      move a host's directories
var plumbing = [...]string{"debconf", "debconf-2.0", "cdebconf", "ucf", "dpkg", "install-info", "base-files", "base-passwd",
	"adduser", "passwd", "login", "init-system-helpers", "systemd", "systemd-sysv", "udev", "lsb-base", "sysvinit-utils",
	"sensible-utils", "libc-bin", "usr-is-merged", "usrmerge", "mount", "util-linux-extra"}

func isPlumbing(name string) bool {
	return slices.Contains(plumbing[:], name) || strings.HasPrefix(name, "gcc-") && strings.HasSuffix(name, "-base")
}

// reachable returns those of all that roots need, the roots included, without
// going through plumbing. all holds a closure, in an order that is kept.
func reachable(all []*deb, roots []string) []*deb {
	provider := map[string][]*deb{}
	for _, d := range all {
		provider[d.Name] = append(provider[d.Name], d)
		for _, p := range d.Provides {
			provider[p] = append(provider[p], d)
		}
	}
	seen := map[*deb]bool{}
	var visit func(name string, root bool)
	visit = func(name string, root bool) {
		for _, d := range provider[name] {
			if seen[d] || !root && isPlumbing(d.Name) {
				continue
			}
			seen[d] = true
			for _, alternatives := range d.Depends {
				for _, a := range alternatives {
					visit(a, false)
				}
			}
		}
	}
	for _, r := range roots {
		visit(r, true)
	}
	return slices.DeleteFunc(slices.Clone(all), func(d *deb) bool { return !seen[d] })
}

// packageName strips version and architecture from what a person asks for.
func packageName(spec string) string {
	name, _, _ := strings.Cut(spec, "=")
	name, _, _ = strings.Cut(name, ":")
	name, _, _ = strings.Cut(name, "/")
	return name
}

// addDebian adds packages and all they need to the tree; those that are there
// already stay as they are.
func (g *grafting) addDebian(ctx context.Context, names []string) error {
	for _, n := range names {
		if n == "" || strings.HasPrefix(n, "-") || strings.HasSuffix(n, "-") || strings.HasSuffix(n, "+") && !strings.Contains(n, "++") || strings.ContainsAny(n, " \t\n*?^$") {
			return fmt.Errorf("%q is no Debian package's name", n)
		}
	}
	a, err := openApt(ctx, g.Cache, g.tree.notes.add)
	if err != nil {
		return err
	}
	defer a.close()
	g.Progress("resolve", 0, 0)
	debs, err := g.closure(ctx, a, names)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, d := range g.debs {
		have[d.Name] = true
	}
	debs = slices.DeleteFunc(debs, func(d *deb) bool { return have[d.Name] })
	if err := a.fetch(ctx, debs, func(done, total int64) { g.Progress("download", done, total) }); err != nil {
		return err
	}
	for i, d := range debs {
		g.Progress("unpack", int64(i), int64(len(debs)))
		if err := g.tree.unpackDeb(ctx, d); err != nil {
			return fmt.Errorf("unpack package %s: %w", d.Name, err)
		}
		g.debs = append(g.debs, d)
	}
	g.Progress("unpack", int64(len(debs)), int64(len(debs)))
	slices.SortFunc(g.debs, func(a, b *deb) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// closure resolves names together with all that was asked for before, so that
// every version fits every other.
func (g *grafting) closure(ctx context.Context, a *apt, names []string) ([]*deb, error) {
	if err := a.update(ctx, false); err != nil {
		return nil, err
	}
	ask := append(slices.Clone(names), localePackage)
	for _, d := range g.debs {
		ask = append(ask, d.Name+"="+d.Version)
	}
	selection, err := a.selection(ctx, ask)
	if err != nil && ctx.Err() == nil {
		// The lists may be younger than what is asked for.
		if uerr := a.update(ctx, true); uerr != nil {
			return nil, errors.Join(err, uerr)
		}
		selection, err = a.selection(ctx, ask)
	}
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", strings.Join(names, ", "), err)
	}
	all, err := a.show(ctx, selection)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, n := range names {
		roots = append(roots, packageName(n))
	}
	return withLocale(all, reachable(all, roots)), nil
}

// localePackage is the Essential package with the locale C.UTF-8, which programs
// expect wherever there is a C library, and localeDir where it lies in the tree.
const (
	localePackage = "libc-bin"
	localeDir     = "lib/locale"
)

// withLocale adds the locale of all's localePackage to chosen, if there is a C
// library among these that can read it.
func withLocale(all, chosen []*deb) []*deb {
	named := func(name string) func(*deb) bool { return func(d *deb) bool { return d.Name == name } }
	i := slices.IndexFunc(all, named(localePackage))
	if i < 0 || slices.ContainsFunc(chosen, named(localePackage)) || !slices.ContainsFunc(chosen, named("libc6")) {
		return chosen
	}
	all[i].only = localeDir
	return append(chosen, all[i])
}

// collectDebian fills the tree from a package of the host's configured sources.
func (g *grafting) collectDebian(ctx context.Context) error {
	if err := g.addDebian(ctx, append([]string{g.what}, g.With...)); err != nil {
		return err
	}
	name := packageName(g.what)
	var root *deb
	for _, d := range g.debs {
		if d.Name == name {
			root = d
		}
	}
	if root == nil {
		return fmt.Errorf("%s: %w", name, ErrNotInstalled)
	}
	g.source = root.cid
	g.recipe.Source = "debian:" + root.Name + "=" + root.Version
	g.recipe.Summary = root.Summary
	if g.recipe.Version == "" {
		g.recipe.Version = withoutEpoch(root.Version)
	}
	g.primary[root.Name] = true
	for _, alternatives := range root.Depends {
		for _, d := range g.debs {
			if slices.Contains(alternatives, d.Name) && d.Source == root.Source {
				g.primary[d.Name] = true
			}
		}
	}
	return nil
}

// withoutEpoch drops the 2: of a Debian version, which a recipe's cannot have.
func withoutEpoch(version string) string {
	if _, rest, ok := strings.Cut(version, ":"); ok {
		return rest
	}
	return version
}
