package programs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"nipcells/internal/store"
)

// strays finds names that belong to no package: in the store, where packages
// and their views are, and among what is derived.
func (v *verifier) strays() error {
	if err := v.st.Each(func(p string, n store.Name) error {
		rel, _ := v.root.Rel(p)
		if n == (store.Name{}) {
			v.problem(nil, rel, "does not belong here")
		} else if !v.known[rel] { // unused, for gc to collect; but it must be what it says
			v.file(nil, rel, n)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, top := range []string{"Programs", "System/Views", "Cas/chunk"} {
		if err := v.strayVersions(top); err != nil {
			return err
		}
	}
	loaders, err := dirNames(v.root.Join("Cas/ld"))
	if err != nil {
		return err
	}
	for _, name := range loaders {
		if rel := "Cas/ld/" + name; !v.known[rel] {
			v.problem(nil, rel, "belongs to no package")
		}
	}
	return v.strayLaunchers()
}

// strayVersions looks at a directory of <title or name>/<version>.
func (v *verifier) strayVersions(top string) error {
	titles, err := dirNames(v.root.Join(top))
	if err != nil {
		return err
	}
	for _, title := range titles {
		versions, err := dirNames(v.root.Join(top + "/" + title))
		if err != nil {
			v.problem(nil, top+"/"+title, "does not belong here")
			continue
		}
		for _, version := range versions {
			rel := top + "/" + title + "/" + version
			if top == "Programs" && version == "Current" {
				v.currentLink(title, rel)
			} else if !v.known[rel] {
				v.problem(nil, rel, "belongs to no package")
			}
		}
	}
	for _, p := range v.all {
		if top == "Programs" && !slices.ContainsFunc(v.all, func(q *Installed) bool { return q.Name == p.Name && q.Current }) {
			v.problem(p, "Programs/"+p.Title+"/Current", "leads to no installed version")
		}
	}
	return nil
}

func (v *verifier) currentLink(title, rel string) {
	version := current(v.root, title)
	if !slices.ContainsFunc(v.all, func(p *Installed) bool { return p.Title == title && p.Version == version }) {
		v.problem(nil, rel, "leads to no installed version")
	}
}

func (v *verifier) strayLaunchers() error {
	owner, err := owners(v.root, v.all)
	if err != nil {
		return err
	}
	names, err := dirNames(v.root.Bin())
	if err != nil {
		return err
	}
	for _, cmd := range names {
		rel := "System/Index/bin/" + cmd
		b, err := os.ReadFile(v.root.Join(rel))
		var st unix.Stat_t
		switch name, ok := owner[cmd]; {
		case err != nil || unix.Lstat(v.root.Join(rel), &st) != nil:
			v.problem(nil, rel, "cannot be read")
		case !ok:
			v.problem(nil, rel, "starts no command of an active package")
		case string(b) != launcher(v.root, name, cmd) || st.Mode != unix.S_IFREG|0o755:
			v.problem(find(v.all, name, ""), rel, "is not the launcher of %s/%s", name, cmd)
		}
	}
	return nil
}

// dirNames lists a directory; one that does not exist is empty.
func dirNames(dir string) (names []string, err error) {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("verify: %w", err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names, nil
}
