package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"nipcells/internal/cid"
)

// Freed says what a collection took away.
type Freed struct {
	Blobs int   // files
	Bytes int64 // of disk, as stat(2) counts blocks; bytes that a tree still holds do not count
}

func (f *Freed) add(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err == unix.ENOENT {
		return nil
	} else if err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	f.Blobs++
	if st.Nlink == 1 {
		f.Bytes += st.Blocks * 512
	}
	return nil
}

// Drop removes blobs, and the loaders that lead to them. A blob that is not
// there is no error.
func (s *Store) Drop(names []Name) (freed Freed, err error) {
	for _, n := range names {
		if n.Exec && n.Variant == "" {
			if err := os.Remove(s.root.Loader(n.CID.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return freed, fmt.Errorf("drop loader: %w", err)
			}
		}
		if err := freed.add(s.Path(n)); err != nil {
			return freed, fmt.Errorf("drop blob: %w", err)
		}
		os.Remove(filepath.Dir(s.Path(n))) // fails while other blobs are in it, which is fine
	}
	return freed, nil
}

// Each calls fn for every file below Cas/blob. A file whose name is not a
// blob's has the zero Name.
func (s *Store) Each(fn func(path string, n Name) error) error {
	top := s.root.Join("Cas/blob")
	dirs, err := os.ReadDir(top)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list blobs: %w", err)
	}
	for _, d := range dirs {
		if !d.IsDir() {
			if err := fn(filepath.Join(top, d.Name()), Name{}); err != nil {
				return err
			}
			continue
		}
		files, err := os.ReadDir(filepath.Join(top, d.Name()))
		if err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
		for _, f := range files {
			n, err := ParseName(f.Name())
			if err != nil || n.String()[:2] != d.Name() {
				n = Name{}
			}
			if err := fn(filepath.Join(top, d.Name(), f.Name()), n); err != nil {
				return err
			}
		}
	}
	return nil
}

// Collect removes everything in the store that keep does not want: blobs,
// loaders, and whatever a crash left in Cas/tmp. The caller holds
// hier.LockPackages exclusively.
func (s *Store) Collect(keep func(Name) bool) (freed Freed, err error) {
	var drop []Name
	err = s.Each(func(path string, n Name) error {
		if n == (Name{}) {
			return freed.add(path)
		}
		if !keep(n) {
			drop = append(drop, n)
		}
		return nil
	})
	if err != nil {
		return freed, fmt.Errorf("collect: %w", err)
	}
	more, err := s.Drop(drop)
	freed.Blobs, freed.Bytes = freed.Blobs+more.Blobs, freed.Bytes+more.Bytes
	if err != nil {
		return freed, err
	}
	loaders, err := readDir(s.root.Join("Cas/ld"))
	if err != nil {
		return freed, err
	}
	for _, path := range loaders {
		if c, err := cid.Parse(filepath.Base(path)); err == nil && keep(Name{CID: c, Exec: true}) {
			continue
		}
		if err := freed.add(path); err != nil {
			return freed, fmt.Errorf("collect: %w", err)
		}
	}
	left, err := readDir(s.root.Join("Cas/tmp"))
	if err != nil {
		return freed, err
	}
	for _, path := range left {
		if err := freed.add(path); err != nil {
			return freed, fmt.Errorf("collect: %w", err)
		}
	}
	return freed, nil
}

func readDir(dir string) (paths []string, err error) {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("collect: %w", err)
	}
	for _, e := range list {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths, nil
}
