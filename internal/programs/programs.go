// Package programs installs, activates, rolls back, verifies and removes
// packages below a root.
//
// What is installed is decided by one thing: the record
// Nexus/packages/<name>/<version>, the signed head of the package. A record
// appears and goes by one rename, and everything else (trees, view, blobs, chunk
// index, Current, launchers) is made before it appears and removed after it
// went. A change that a crash cut off left its intent in Nexus/staging; the next
// change, or Recover, completes or undoes it. So whenever a process dies, what
// others see is the old state or the new one.
//
// Changes hold hier.LockPackages exclusively. Readers take no lock: a version
// is used through directories whose contents never change.
package programs

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"nipcells/internal/hier"
	"nipcells/internal/npk"
)

// Errors that callers decide on.
var (
	ErrNotInstalled = errors.New("not installed")
	ErrConflict     = errors.New("conflict")
	ErrDepends      = errors.New("missing dependency")
	ErrNeeded       = errors.New("needed by other packages")
	ErrRunning      = errors.New("still running")
	ErrSpace        = errors.New("not enough space")
	ErrArch         = errors.New("made for another architecture")
	ErrNoEarlier    = errors.New("no earlier version")
	ErrDamaged      = errors.New("installation is damaged")
	ErrNotHeld      = errors.New("no version is held")
	ErrOnlyHeld     = errors.New("only versions that nobody has accepted would be left")
)

// Options says how a change is made. Its zero value trusts nobody.
type Options struct {
	// Trust decides whether packages of a signer may be installed: nil if so,
	// else the reason why not. Install asks it before anything is read on.
	Trust func(ed25519.PublicKey) error
	// Progress, if not nil, is told how many of total bytes are done. It is
	// called from one goroutine at a time.
	Progress func(done, total int64)
	// KeepCurrent installs a version beside the active one without making it
	// the active one. A first version is always active.
	KeepCurrent bool
	// Accept makes a version active that asks for more than the active one was
	// given. Without it such a version is held: installed beside the active one.
	Accept bool
	// Running, if not nil, returns the fiber-ids of the cells that run a version
	// of a package.
	Running func(name, version string) ([]string, error)

	// Leftovers, if not nil, removes what ended and crashed cells of a package
	// left: their directories in Cell, their logs. Removals call it.
	Leftovers func(name string) error

	step   func(string) // told before every step, by tests that end the process there
	noSync bool         // benchmarks measure what the disk costs
}

func (o *Options) at(step string) {
	if o.step != nil {
		o.step(step)
	}
}

// Installed is an installed version of a package. It is immutable.
type Installed struct {
	Name, Version, Title string
	Current              bool      // this version is the active one
	Held                 bool      // it asks for more than the active one was given, which nobody has accepted
	At                   time.Time // when it was installed
	Head                 *npk.Head
	Root                 *hier.Root
}

// String returns name and version as people write them.
func (p *Installed) String() string { return p.Name + " " + p.Version }

// Names returns the names of the installed packages, sorted.
func Names(root *hier.Root) ([]string, error) { return list(root.Records()) }

// Versions returns the installed versions of a package, the one installed last
// at the end.
func Versions(root *hier.Root, name string) ([]string, error) {
	if hier.Component(name) != nil {
		return nil, nil
	}
	versions, err := list(root.Join("Nexus/packages/" + name))
	if err != nil {
		return nil, err
	}
	at := map[string]time.Time{}
	for _, v := range versions {
		fi, err := os.Lstat(root.Record(name, v))
		if err != nil {
			return nil, fmt.Errorf("list versions of %s: %w", name, err)
		}
		at[v] = fi.ModTime()
	}
	slices.SortStableFunc(versions, func(a, b string) int { return at[a].Compare(at[b]) })
	return versions, nil
}

// list returns the names in a directory of records; none if it does not exist.
func list(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	for _, e := range entries {
		if hier.Component(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Info returns an installed version of a package; the active one if version is
// empty. A package that is not there is an error that wraps ErrNotInstalled.
func Info(root *hier.Root, name, version string) (*Installed, error) {
	if version == "" {
		versions, err := Versions(root, name)
		if err != nil {
			return nil, err
		}
		for _, v := range slices.Backward(versions) {
			p, err := read(root, name, v)
			if err != nil || p.Current {
				return p, err
			}
		}
		return nil, fmt.Errorf("package %q: %w", name, ErrNotInstalled)
	}
	return read(root, name, version)
}

func read(root *hier.Root, name, version string) (*Installed, error) {
	if hier.Component(name) != nil || hier.Component(version) != nil {
		return nil, fmt.Errorf("package %q version %q: %w", name, version, ErrNotInstalled)
	}
	p, err := readRecord(root, root.Record(name, version))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("package %s %s: %w", name, version, ErrNotInstalled)
	}
	if err != nil {
		return nil, fmt.Errorf("package %s %s: %w: %w", name, version, ErrDamaged, err)
	}
	if p.Name != name || p.Version != version {
		return nil, fmt.Errorf("record of %s %s is that of %s: %w", name, version, p, ErrDamaged)
	}
	p.look()
	return p, nil
}

// look finds out what is not in the record.
func (p *Installed) look() {
	p.Current = current(p.Root, p.Title) == p.Version
	p.Held = !p.Current && exists(p.Root.Held(p.Name, p.Version))
}

// readKnown is read, without parsing if known is there.
func readKnown(root *hier.Root, name, version string, known *Installed) (*Installed, error) {
	if known == nil {
		return read(root, name, version)
	}
	p := *known
	p.look()
	return &p, nil
}

func readRecord(root *hier.Root, path string) (*Installed, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	h, err := npk.ParseHead(raw)
	if err != nil {
		return nil, err
	}
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	m := &h.Manifest
	return &Installed{Name: m.Name, Version: m.Version, Title: m.Title, At: fi.ModTime(), Head: h, Root: root}, nil
}

// current returns the version that Current of a title leads to; empty if none.
func current(root *hier.Root, title string) string {
	target, err := os.Readlink(root.Current(title))
	if err != nil || hier.Component(target) != nil {
		return ""
	}
	return target
}

// List returns all installed versions, sorted by name and then by when they
// were installed. A record that cannot be read is an error that wraps
// ErrDamaged, beside all that can.
func List(root *hier.Root) ([]*Installed, error) { return listKnown(root, nil) }

// listKnown is List, which takes the heads of packages that are known already
// from there: parsing them is most of the work.
func listKnown(root *hier.Root, known []*Installed) ([]*Installed, error) {
	names, err := Names(root)
	if err != nil {
		return nil, err
	}
	var all []*Installed
	var errs []error
	for _, name := range names {
		versions, err := Versions(root, name)
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			p, err := readKnown(root, name, v, find(known, name, v))
			if err != nil {
				errs = append(errs, err)
				continue
			}
			all = append(all, p)
		}
	}
	return all, errors.Join(errs...)
}

// Find looks a package up in several roots, the first that has it wins: a
// person's own, then the system's. The error is that of the last root.
func Find(name, version string, roots ...*hier.Root) (p *Installed, err error) {
	err = fmt.Errorf("package %q: %w", name, ErrNotInstalled)
	for _, r := range roots {
		if p, err = Info(r, name, version); err == nil || !errors.Is(err, ErrNotInstalled) {
			return p, err
		}
	}
	return nil, err
}

// find returns the version of a package in a list, the active one if version is
// empty; nil if there is none.
func find(all []*Installed, name, version string) *Installed {
	for _, p := range all {
		if p.Name == name && (p.Version == version || version == "" && p.Current) {
			return p
		}
	}
	return nil
}

// named writes packages for people: a 1.0, b 2.1.
func named(list []*Installed) string {
	var s []string
	for _, p := range list {
		s = append(s, p.String())
	}
	return strings.Join(s, ", ")
}
