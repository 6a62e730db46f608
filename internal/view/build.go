package view

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"nipcells/internal/npk"
	"nipcells/internal/store"
)

// DirMode is the mode of every directory of a package or view but holes.
const DirMode = 0o755

// HoleMode is that of holes.
const HoleMode = 0

// Build makes the view in the empty directory dst: Frame, then Link.
func (v *View) Build(dst int, sources []int) error {
	if err := v.Frame(dst); err != nil {
		return err
	}
	return v.Link(dst, sources)
}

// Frame makes the view's directories and symlinks in the empty directory dst,
// everything but the files. It needs no package to be in place.
func (v *View) Frame(dst int) error {
	for _, n := range v.nodes {
		var err error
		if n.Target == "" {
			err = mkdir(dst, n.Path, n.Mode())
		} else {
			err = symlink(n.Target, dst, n.Path)
		}
		if err != nil {
			return fmt.Errorf("build view: %w", err)
		}
	}
	return v.each(dst, func(i, to int) error { return Frame(to, v.packages[i].Head.Entries) })
}

// Link makes the view's files in dst, which Frame has filled, as further names
// of the packages' files. sources are the packages' directories, in the order
// of Packages, each with all its files in place.
func (v *View) Link(dst int, sources []int) error {
	return v.each(dst, func(i, to int) error { return linkFiles(sources[i], to, v.packages[i].Head.Entries) })
}

// each calls fn with every package's directory in the view.
func (v *View) each(dst int, fn func(i, to int) error) error {
	for i, p := range v.packages {
		to, err := unix.Openat(dst, p.Dir(), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("build view: %w", &fs.PathError{Op: "open", Path: p.Dir(), Err: err})
		}
		err = fn(i, to)
		unix.Close(to) // a path descriptor has nothing to flush
		if err != nil {
			return fmt.Errorf("build view: %s: %w", p.Dir(), err)
		}
	}
	return nil
}

// Frame makes a package's directories and symlinks in the empty directory dst,
// everything but the files.
func Frame(dst int, entries []npk.Entry) error {
	for i := range entries {
		var err error
		switch e := &entries[i]; e.Kind {
		case npk.Dir:
			err = Mkdir(dst, e.Path)
		case npk.Symlink:
			err = symlink(e.Target, dst, e.Path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Mkdir makes the directory path below dst with DirMode, whatever the umask.
func Mkdir(dst int, path string) error { return mkdir(dst, path, DirMode) }

func mkdir(dst int, path string, mode uint32) error {
	err := unix.Mkdirat(dst, path, mode)
	if err == nil {
		err = unix.Fchmodat(dst, path, mode, 0)
	}
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return nil
}

func symlink(target string, dst int, path string) error {
	if err := unix.Symlinkat(target, dst, path); err != nil {
		return &os.LinkError{Op: "symlink", Old: target, New: path, Err: err}
	}
	return nil
}

// linkFiles gives every file below src its name below dst. The directories
// exist. Neighbouring entries mostly share a directory, whose lock the kernel
// takes for each link: so every worker has a run of its own.
func linkFiles(src, dst int, entries []npk.Entry) error {
	workers := min(runtime.GOMAXPROCS(0), 4)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		part := entries[len(entries)*w/workers : len(entries)*(w+1)/workers]
		wg.Go(func() {
			for i := range part {
				if part[i].Kind != npk.File {
					continue
				}
				if _, err := store.Link(src, part[i].Path, dst, part[i].Path, part[i].Exec); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
