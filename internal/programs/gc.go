package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/store"
)

// GC removes from the store what no installed package uses, completes changes
// that died, and brings launchers, views of dependents and chunk indexes up to
// date. Versions that are installed stay, active or not.
func GC(ctx context.Context, root *hier.Root, opt Options) (store.Freed, error) {
	l, err := lock(ctx, root)
	if err != nil {
		return store.Freed{}, err
	}
	defer l.Unlock()
	all, err := List(root)
	if err != nil { // what a damaged package uses nobody knows: collect nothing
		return store.Freed{}, fmt.Errorf("collect: %w", err)
	}
	st := store.Open(root)
	used := map[store.Name]bool{}
	for _, p := range all {
		if _, err := st.Index(p.Name, p.Version); err != nil {
			if err := rebuildIndex(p); err != nil {
				return store.Freed{}, err
			}
		}
		names, err := blobs(p)
		if err != nil {
			return store.Freed{}, err
		}
		for _, n := range names {
			used[n] = true
		}
	}
	freed, err := st.Collect(func(n store.Name) bool { return used[n] })
	if err != nil {
		return freed, err
	}
	c := &change{root: root, st: st, opt: &opt, known: all}
	if err := root.Make("Nexus/staging"); err != nil {
		return freed, err
	}
	if c.dir, err = os.MkdirTemp(root.Staging(), "gc-"); err != nil { // without an intent: Recover just removes it
		return freed, fmt.Errorf("collect: %w", err)
	}
	if err := c.settle(); err != nil {
		return freed, err
	}
	return freed, c.end()
}

// usedBlobs returns the blobs that installed packages use, except those of the
// chunk index at the path except (relative to the root).
func usedBlobs(root *hier.Root, except string) (map[store.Name]bool, error) {
	used := map[store.Name]bool{}
	names, err := Names(root)
	if err != nil {
		return nil, err
	}
	st := store.Open(root)
	for _, name := range names {
		versions, err := list(root.Join("Nexus/packages/" + name))
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			if store.IndexRel(name, v) == except {
				continue
			}
			var list []store.Name
			if ix, err := st.Index(name, v); err == nil {
				list = ix.Blobs
			} else if list, err = derived(root, name, v); err != nil {
				return nil, fmt.Errorf("find what may be removed: %w", err)
			}
			for _, n := range list {
				used[n] = true
			}
		}
	}
	return used, nil
}

func derived(root *hier.Root, name, version string) ([]store.Name, error) {
	p, err := read(root, name, version)
	if err != nil {
		return nil, err
	}
	return blobs(p)
}

// blobs returns the blobs that an installed package uses, from its record and
// its tree.
func blobs(p *Installed) ([]store.Name, error) {
	contents, err := installedContents(p)
	if err != nil {
		return nil, err
	}
	var names []store.Name
	for _, c := range contents {
		names = append(names, c.name)
	}
	return names, nil
}

// installedContents returns the contents of an installed package with their
// names in the store: which scripts are located is read from the tree.
func installedContents(p *Installed) ([]*content, error) {
	contents := contentsOf(p.Root, p.Head)
	for _, c := range contents {
		if !c.name.Exec || c.name.Variant != "" {
			continue
		}
		located, err := isLocated(p, c.entry.Path)
		if err != nil {
			return nil, err
		}
		if located {
			c.name.Variant = store.Variant(p.Root.View(p.Title, p.Version))
		}
	}
	return contents, nil
}

// isLocated reports whether a file of an installed package is a script with the
// view's path put in. A file that is missing is not.
func isLocated(p *Installed, path string) (bool, error) {
	dir, err := p.Root.OpenDir("Programs/" + p.Title + "/" + p.Version)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	d := os.NewFile(uintptr(dir), p.Root.Program(p.Title, p.Version))
	defer d.Close() // a path descriptor has nothing to flush
	fd, err := hier.OpenBeneath(dir, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // only read
	fi, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
	if !fi.Mode().IsRegular() {
		return false, nil
	}
	head := make([]byte, 256)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	if interp, _, ok := store.Shebang(head[:n]); !ok || interp == "" {
		return false, nil
	}
	_, err = store.FindPatch(f, fi.Size(), store.Variant(p.Root.View(p.Title, p.Version)), p.Root)
	return err == nil, nil
}

// rebuildIndex writes the chunk index of a package anew.
func rebuildIndex(p *Installed) error {
	contents, err := installedContents(p)
	if err != nil {
		return err
	}
	rel := store.IndexRel(p.Name, p.Version)
	if err := p.Root.Make("Cas/chunk/" + p.Name); err != nil {
		return err
	}
	if err := p.Root.Make("Cas/tmp"); err != nil {
		return err
	}
	tmp := p.Root.Join("Cas/tmp/index")
	os.Remove(tmp) // of one that died; the next line tells if that failed
	if err := hier.WriteFile(tmp, encodeIndex(contents), 0o444); err != nil {
		return fmt.Errorf("rebuild chunk index of %s: %w", p, err)
	}
	if err := os.Rename(tmp, p.Root.Join(rel)); err != nil {
		return fmt.Errorf("rebuild chunk index of %s: %w", p, err)
	}
	return nil
}
