// Package hier knows where things live under a root (DESIGN.md, "Names under a
// root"), makes the directories with the modes they must have, opens names
// without leaving a directory, and takes locks that end with the process.
//
// It is on the path of every start of a cell: opening a Root costs one stat,
// nothing is scanned, and directories are made when somebody needs them.
//
// Invariant: below a root that Open accepted, nobody but its owner and root can
// plant a name, because the root directory is the owner's alone to write and
// everything below is made by Make. Cell and Data are the exception: what cells
// put there is hostile, and is opened with OpenBeneath only.
package hier

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// MaxInterp is the length in bytes that `<root>/Cas/ld/<64 hex digits>` may
// have: the interpreter field of 256 bytes less its closing NUL.
const MaxInterp = 255

const hexDigits = 64 // of a content id

// Errors that callers decide on.
var (
	ErrPath    = errors.New("not usable as a root")                // wrapped by every refusal of a root's path
	ErrForeign = errors.New("root belongs to somebody else")       // a root that others could have planted things in
	ErrLocked  = errors.New("locked by another nip")               // by TryLock
	ErrName    = errors.New("not usable as one name in a path")    // by Component
	ErrEscape  = errors.New("path leads out of the directory")     // by OpenBeneath
	ErrNotDir  = errors.New("exists, but is no directory of ours") // by Make
)

// Root is the directory below which one installation lives. The zero Root is
// not usable; it is immutable and safe for concurrent use.
type Root struct {
	path  string
	owner int
}

// Default says which root to use: flag (--root) if it is not empty, else env
// (NIP_ROOT), else "/" for uid 0, else $XDG_DATA_HOME/nexus or
// ~/.local/share/nexus. A relative flag or env counts from the working
// directory. The result has passed CheckPath; whether it exists is not looked at.
func Default(flag, env string, uid int) (string, error) {
	for _, given := range []string{flag, env} {
		if given == "" {
			continue
		}
		abs, err := filepath.Abs(given)
		if err != nil {
			return "", fmt.Errorf("resolve root %q: %w", given, err)
		}
		return abs, CheckPath(abs)
	}
	if uid == 0 {
		return "/", nil
	}
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) { // the XDG specification: relative values are ignored
		home := os.Getenv("HOME")
		if !filepath.IsAbs(home) {
			return "", fmt.Errorf("find the root: HOME and XDG_DATA_HOME are not set: %w", ErrPath)
		}
		data = filepath.Join(home, ".local/share")
	}
	p := filepath.Join(data, "nexus")
	return p, CheckPath(p)
}

// CheckPath reports why path cannot be a root: it must be absolute and clean,
// short enough for the interpreter field, and free of blanks and control
// characters, which no #! line can hold. The error wraps ErrPath.
func CheckPath(path string) error {
	bad := func(why string) error { return fmt.Errorf("root %q: %s: %w", path, why, ErrPath) }
	switch {
	case !filepath.IsAbs(path):
		return bad("must be absolute")
	case filepath.Clean(path) != path:
		return bad("must be clean, " + filepath.Clean(path))
	case len(filepath.Join(path, "Cas/ld"))+1+hexDigits > MaxInterp:
		return bad(fmt.Sprintf("must be at most %d bytes long", MaxInterp-hexDigits-len("/Cas/ld/")))
	}
	for i := range len(path) {
		if path[i] <= ' ' || path[i] == 0x7f {
			return bad("must hold no blanks or control characters")
		}
	}
	return nil
}

// Open returns the root at path, which must exist and belong to the caller or
// to root, with nobody else able to write in it. It makes nothing. A missing
// root is an error that wraps fs.ErrNotExist.
func Open(path string) (*Root, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return nil, fmt.Errorf("open root: %w", &fs.PathError{Op: "stat", Path: path, Err: err})
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return nil, fmt.Errorf("root %q: is no directory: %w", path, ErrPath)
	}
	owner, me := int(st.Uid), os.Geteuid()
	if path == "/" { // whoever owns / owns us: there is nothing to refuse
		if me == 0 {
			owner = 0
		}
		return &Root{path, owner}, nil
	}
	if owner != me && owner != 0 {
		return nil, fmt.Errorf("root %q belongs to uid %d, you are uid %d: %w", path, owner, me, ErrForeign)
	}
	if st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("root %q is writable for others (mode %04o; chmod go-w it): %w", path, st.Mode&0o7777, ErrForeign)
	}
	return &Root{path, owner}, nil
}

// Create opens the root at path and makes what is missing: the directory
// itself (parents 0700, as the XDG specification wants) and the top level of
// the tree. It is for commands that change something; others use Open.
func Create(path string) (*Root, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create root: %w", err)
	}
	if err := mkdir(path, 0o755); err != nil {
		return nil, fmt.Errorf("create root: %w", err)
	}
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	if !r.Own() {
		return nil, fmt.Errorf("root %q belongs to uid %d, you are uid %d: %w", path, r.owner, os.Geteuid(), ErrForeign)
	}
	for _, dir := range topLevel() {
		if err := r.Make(dir); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func topLevel() []string {
	return []string{"Programs", "System/Views", "System/Index/bin", "Cell", "Data/apps", "Bus", "Cas/blob", "Cas/ld", "Cas/tmp",
		"Nexus/packages", "Nexus/staging", "Nexus/keys", "Nexus/plans", "Nexus/log", "Nexus/lock"}
}

// Path returns the root's own path.
func (r *Root) Path() string { return r.path }

// Owner returns the uid that the root belongs to.
func (r *Root) Owner() int { return r.owner }

// Own reports whether the caller may change the root: it is his.
func (r *Root) Own() bool { return r.owner == os.Geteuid() }

// System reports whether this is the system-wide root.
func (r *Root) System() bool { return r.path == "/" }

// Join returns the path of a name below the root. rel is clean, relative and
// the program's own: it is not checked.
func (r *Root) Join(rel string) string {
	if r.path == "/" {
		return "/" + rel
	}
	return r.path + "/" + rel
}

// Rel takes the root away from a path below it; ok is false for other paths.
func (r *Root) Rel(path string) (rel string, ok bool) {
	if r.path == "/" {
		return strings.CutPrefix(path, "/")
	}
	rel, ok = strings.CutPrefix(path, r.path)
	if !ok || !strings.HasPrefix(rel, "/") {
		return "", false
	}
	return rel[1:], true
}

// Make makes the directory rel (relative, clean, the program's own) and the
// parents it lacks, each with the mode that its place in the tree demands,
// whatever the umask. A directory that exists is left as it is; a symlink or
// file in its place is an error that wraps ErrNotDir. It costs one system call
// where only the last name is missing, two where it exists.
func (r *Root) Make(rel string) error {
	err := r.makeOne(rel)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for i := range len(rel) {
		if rel[i] == '/' {
			if err := r.makeOne(rel[:i]); err != nil {
				return err
			}
		}
	}
	return r.makeOne(rel)
}

func (r *Root) makeOne(rel string) error {
	if err := mkdir(r.Join(rel), modeOf(rel)); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return nil
}

func mkdir(path string, mode uint32) error {
	err := syscall.Mkdir(path, mode)
	if err == nil {
		if err = syscall.Chmod(path, mode); err == nil { // the umask may have taken bits
			return nil
		}
	}
	if err != syscall.EEXIST {
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return &fs.PathError{Op: "mkdir", Path: path, Err: ErrNotDir}
	}
	return nil
}

// modeOf says which directories only their owner may enter: what cells and
// their persons own, keys, and everything in which others could get in the way
// (a lock file that others can open, others can lock).
func modeOf(rel string) uint32 {
	for _, private := range []string{"Cell", "Data", "Cas/tmp",
		"Nexus/keys", "Nexus/staging", "Nexus/plans", "Nexus/log", "Nexus/lock"} {
		if rel == private || strings.HasPrefix(rel, private+"/") {
			return 0o700
		}
	}
	return 0o755
}
