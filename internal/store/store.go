// Package store keeps the bytes of packages: every content exactly once, as a
// read-only blob named by its content id, mode and location (DESIGN.md, "Names
// under a root" and "Located files").
//
// Invariants. A name below Cas/blob is only ever given to a file that is
// complete, whose content has been checked against the name, and that has
// reached the disk: what a crash leaves is in Cas/tmp or nowhere. A blob is
// never written again. Blobs, and the trees that share their bytes, have
// constant times, so that equal contents are equal files.
//
// Who changes the store holds the lock hier.LockPackages exclusively; readers
// need no lock, because blobs that they have open stay.
package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/cid"
	"nipcells/internal/hier"
)

// Errors that callers decide on.
var (
	ErrNotFound = errors.New("not in the store")
	ErrCorrupt  = errors.New("content does not match its name")
	ErrName     = errors.New("not the name of a blob")
)

const variantDigits = 16

// Name names a blob.
type Name struct {
	CID     cid.CID // content as the package has it, before location
	Exec    bool    // mode 0555 instead of 0444
	Variant string  // 16 hexadecimal digits if the blob is located, else empty
}

// String returns the blob's file name, <cid>.<mode>[.<variant>].
func (n Name) String() string {
	mode := ".r"
	if n.Exec {
		mode = ".x"
	}
	if n.Variant == "" {
		return n.CID.String() + mode
	}
	return n.CID.String() + mode + "." + n.Variant
}

// Mode returns the permission bits of a blob with this name.
func (n Name) Mode() uint32 { return modeOf(n.Exec) }

func modeOf(exec bool) uint32 {
	if exec {
		return 0o555
	}
	return 0o444
}

// ParseName reads the form that String writes. The error wraps ErrName.
func ParseName(s string) (Name, error) {
	bad := fmt.Errorf("%q: %w", s, ErrName)
	digits, rest, ok := strings.Cut(s, ".")
	if !ok {
		return Name{}, bad
	}
	c, err := cid.Parse(digits)
	if err != nil {
		return Name{}, bad
	}
	mode, variant, located := strings.Cut(rest, ".")
	n := Name{CID: c, Exec: mode == "x", Variant: variant}
	if mode != "x" && mode != "r" || located && !isVariant(variant) {
		return Name{}, bad
	}
	return n, nil
}

func isVariant(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(s) == variantDigits && hex.EncodeToString(b) == s
}

// Store is the store of one root. It is immutable; see the package comment for
// what is safe concurrently.
type Store struct{ root *hier.Root }

// Open returns the store of root. It touches no disk.
func Open(root *hier.Root) *Store { return &Store{root} }

// Rel returns where a blob lives, relative to the root.
func (s *Store) Rel(n Name) string {
	name := n.String()
	return "Cas/blob/" + name[:2] + "/" + name
}

// Path returns where a blob lives.
func (s *Store) Path(n Name) string { return s.root.Join(s.Rel(n)) }

// Has reports whether the store has the blob n with a file of size bytes (as it
// lies on disk, that is after location) and everything about it that costs no
// read is right. A negative size is not compared.
func (s *Store) Has(n Name, size int64) bool {
	var st unix.Stat_t
	if unix.Lstat(s.Path(n), &st) != nil {
		return false
	}
	return st.Mode == unix.S_IFREG|n.Mode() && int(st.Uid) == s.root.Owner() && (size < 0 || st.Size == size)
}

// Put copies r into the store as the blob n and returns when it is on the disk.
// r yields the content before location; patch, which may be nil, locates it:
// it is called with the content once that is verified. A blob that the store
// already has is not written again, and r is not read. A content that does not
// match n is an error that wraps ErrCorrupt and leaves nothing behind.
func (s *Store) Put(n Name, r io.Reader, patch func(io.ReaderAt, int64) (Patch, error)) error {
	if s.Has(n, -1) {
		return nil
	}
	f, err := s.temp()
	if err != nil {
		return err
	}
	defer func() { f.Close() }() // what matters was synced; an unnamed file is gone
	h := cid.NewHasher()
	size, err := io.Copy(io.MultiWriter(f, h), r)
	if err != nil {
		return fmt.Errorf("write blob %s: %w", n.CID.Short(), err)
	}
	if h.CID() != n.CID {
		return fmt.Errorf("blob %s: %w", n.CID.Short(), ErrCorrupt)
	}
	if patch != nil {
		p, err := patch(f, size)
		if err != nil {
			return fmt.Errorf("locate blob %s: %w", n.CID.Short(), err)
		}
		located, err := s.temp()
		if err != nil {
			return err
		}
		if _, err := io.Copy(located, p.Located(f, size)); err != nil {
			located.Close()
			return fmt.Errorf("locate blob %s: %w", n.CID.Short(), err)
		}
		f.Close()
		f = located
	}
	if err := Finish(int(f.Fd()), n.Exec); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write blob %s: %w", n.CID.Short(), err)
	}
	return s.Adopt(n, unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_SYMLINK_FOLLOW)
}

// temp makes a file without a name below Cas/tmp: a crash leaves nothing of it.
func (s *Store) temp() (*os.File, error) {
	if err := s.root.Make("Cas/tmp"); err != nil {
		return nil, err
	}
	dir := s.root.Join("Cas/tmp")
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make temporary file: %w", &fs.PathError{Op: "open", Path: dir, Err: err})
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// Adopt gives the file src in the directory dirfd (as in linkat(2), with its
// flags) the name of the blob n. The caller vouches for the content, for Finish
// and that the bytes are on the disk. If the store has the blob already, src
// stays as it is; a file under the blob's name that cannot be the blob is
// replaced.
func (s *Store) Adopt(n Name, dirfd int, src string, flags int) error {
	dst := s.Path(n)
	err := linkat(dirfd, src, unix.AT_FDCWD, dst, flags)
	if err == unix.ENOENT { // the directory of two digits is made when first needed
		rel := s.Rel(n)
		if err := s.root.Make(rel[:strings.LastIndexByte(rel, '/')]); err != nil {
			return err
		}
		err = linkat(dirfd, src, unix.AT_FDCWD, dst, flags)
	}
	switch {
	case err == nil, err == unix.EEXIST && s.Has(n, -1):
		return nil
	case err != unix.EEXIST && !needsCopy(err):
		return fmt.Errorf("name blob: %w", &os.LinkError{Op: "link", Old: src, New: dst, Err: err})
	}
	if err := s.root.Make("Cas/tmp"); err != nil {
		return err
	}
	var random [8]byte
	rand.Read(random[:]) // never fails
	tmp := s.root.Join("Cas/tmp/" + hex.EncodeToString(random[:]))
	if _, err := link(dirfd, src, unix.AT_FDCWD, tmp, flags, n.Exec, true); err != nil {
		return err
	}
	if err := os.Rename(tmp, dst); err != nil {
		os.Remove(tmp) // collected later if this fails too
		return fmt.Errorf("name blob: %w", err)
	}
	return nil
}

// AddLoader makes Cas/ld/<cid> lead to the blob of a dynamic loader.
func (s *Store) AddLoader(loader cid.CID) error {
	if err := s.root.Make("Cas/ld"); err != nil {
		return err
	}
	src, dst := s.Path(Name{CID: loader, Exec: true}), s.root.Loader(loader.String())
	var a, b unix.Stat_t
	if unix.Lstat(src, &a) == nil && unix.Lstat(dst, &b) == nil && a.Ino == b.Ino && a.Dev == b.Dev {
		return nil
	}
	if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace loader: %w", err)
	}
	if _, err := Link(unix.AT_FDCWD, src, unix.AT_FDCWD, dst, true); err != nil {
		return fmt.Errorf("link loader %s: %w", loader.Short(), err)
	}
	return nil
}

// Blob is a blob that was verified when it was opened. It reads as the content
// before location. Close it.
type Blob struct {
	*io.SectionReader
	f *os.File
}

// Close closes the blob's file.
func (b *Blob) Close() error { return b.f.Close() }

// Open opens and verifies the blob n: what is read is what the name promises.
// A missing blob is an error that wraps ErrNotFound, a damaged one wraps
// ErrCorrupt.
func (s *Store) Open(n Name) (*Blob, error) {
	f, err := openFile(s.Path(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", n, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	r, err := s.original(f, n)
	if err == nil {
		err = check(r, n.CID)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("blob %s: %w", n, err)
	}
	return &Blob{r, f}, nil
}

// openFile opens a regular file for reading, following no symlink in the last
// place and blocking on nothing that somebody put there.
func openFile(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
