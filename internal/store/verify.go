package store

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"nipcells/internal/cid"
)

// original returns the content of the blob n, which f is, from before location.
func (s *Store) original(f *os.File, n Name) (*io.SectionReader, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p, err := FindPatch(f, fi.Size(), n.Variant, s.root)
	if err != nil {
		return nil, err
	}
	return p.Original(f, fi.Size()), nil
}

// check reads r and compares it with c.
func check(r io.ReadSeeker, c cid.CID) error {
	h := cid.NewHasher()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if h.CID() != c {
		return ErrCorrupt
	}
	_, err := r.Seek(0, io.SeekStart)
	return err
}

// Verify reads the blob n and reports what is wrong with its content, mode or
// owner: an error that wraps ErrCorrupt or ErrNotFound.
func (s *Store) Verify(n Name) error { return s.VerifyFile(s.Path(n), n) }

// VerifyFile is Verify for another file that should hold the same bytes: a name
// in a tree, a loader's.
func (s *Store) VerifyFile(path string, n Name) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err == unix.ENOENT {
		return fmt.Errorf("%s: %w", path, ErrNotFound)
	} else if err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s is not a regular file: %w", path, ErrCorrupt)
	case st.Mode&0o7777 != n.Mode():
		return fmt.Errorf("%s has mode %04o, not %04o: %w", path, st.Mode&0o7777, n.Mode(), ErrCorrupt)
	case int(st.Uid) != s.root.Owner():
		return fmt.Errorf("%s belongs to uid %d, not %d: %w", path, st.Uid, s.root.Owner(), ErrCorrupt)
	}
	return s.VerifyContent(path, n)
}

// VerifyContent is VerifyFile for the bytes alone.
func (s *Store) VerifyContent(path string, n Name) error {
	f, err := openFile(path)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	r, err := s.original(f, n)
	if err == nil {
		err = check(r, n.CID)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
