// Package zone defines the zone: 64 KiB of read-only memory that every process
// of a cell with native views has at the same address, sealed there before its
// first instruction (stub in package view). It holds
//
//	Addr          slots: every struct open_how that a program of a cell may pass to openat2
//	Addr+0x8000   the cell's table: header, roots, directories for getcwd, their names
//	Addr+0xc000   the empty string that AT_EMPTY_PATH calls pass
//
// A seccomp filter cannot read a struct open_how, but it can compare the pointer
// to one. With a filter that lets openat2 through for pointers to slots only,
// the kernel itself keeps each path that a program passes below a directory
// descriptor that the cell was given. Nothing here is trusted for that but the
// slots: the table only tells the shim in the cell's C library (package view)
// which descriptor to use.
//
// Invariants: every slot has RESOLVE_IN_ROOT or RESOLVE_BENEATH and
// RESOLVE_NO_MAGICLINKS; no 32-byte aligned address outside the slots' range
// lies in it; what is behind the last slot are zeroes, which openat2 takes for
// no restriction at all, so that the filter's range ends with the last slot.
//
// The layout is that of struct open_how (openat2(2)) and of shim/zone.h, which
// shim/gen writes from this package.
package zone

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Where the zone is and what lies where in it. All addresses are below 4 GiB:
// the high half of a pointer into the zone is 0.
const (
	Addr = 0x10000
	Size = 0x10000

	TableAddr = Addr + 0x8000
	TableSize = 0x4000
	EmptyAddr = Addr + 0xc000 // of the empty string; the rest of its page is zeroes, too
)

// Descriptors that a cell inherits and cannot close. They are the same in all
// cells: code in packages depends on the zone's.
const (
	PackageFD = 40 // the package's directory
	ViewFD    = 41 // the view root
	HomeFD    = 42 // the application's data
	TmpFD     = 43 // the cell's temporary directory
	FirstFD   = 44 // of the unveiled directories
	LastFD    = 54
	FD        = 55 // the zone itself
)

// Kept has bit n set where a cell must keep descriptor n: all of them, as numbers
// without a use are duplicates of ViewFD, so that no program's descriptor is ever
// taken for one of these.
const Kept = uint64(1)<<(FD+1) - 1<<PackageFD

// FchdirMark is what the shim passes fchdir(2) as a second argument, which the
// kernel does not look at. The filter lets a call with it through and asks
// without it: a call that does not come from the shim may be of a program whose
// working directory the supervisor keeps. Nothing depends on who passes it.
const FchdirMark = 0x6e637764 // "ncwd"

// VirtualCwd and above, but for RLIM_INFINITY, is what the soft RLIMIT_LOCKS of a
// process says while the supervisor keeps its working directory (package membrane).
const VirtualCwd = 1 << 40

// Version is that of the layout, of the slot function and of the stub. Packages
// carry code that depends on it.
const Version = 1

// Magic begins the table: "nipzone" and the version.
const Magic = uint64('n') | 'i'<<8 | 'p'<<16 | 'z'<<24 | 'o'<<32 | 'n'<<40 | 'e'<<48 | Version<<56

// Offsets in the table. Numbers are little-endian. A root is its prefix' offset
// in the table and length (2 bytes each), its descriptor (4) and flags (4); a
// directory is device and inode (8 each), its name's offset and length (2 each)
// and flags (4): Listed.
const (
	HeaderFlags    = 8  // 4 bytes: AskAll, HasExact
	HeaderRoots    = 12 // 2 bytes: how many roots
	HeaderDirs     = 14 // 2 bytes: how many directories
	HeaderDirsOff  = 16 // 4 bytes: where they begin
	HeaderKept     = 24 // 8 bytes: bit n is set where descriptor n must stay
	HeaderSize     = 32
	RootSize       = 12
	DirSize        = 24
	MaxRoots       = 64
	MaxDirs        = 64
	maxPrefixBytes = 4095 // PATH_MAX without its NUL
)

// AskAll in the table's flags makes the shim pass every call on as it is.
// The stub then goes on where the kernel cannot seal memory: nothing depends
// on what is mapped there.
const AskAll = 1

// HasExact in the table's flags says that there are Exact roots.
const HasExact = 2

// RootFlags say how paths below a root are resolved.
type RootFlags uint32

// InRoot is for the cell's "/": symlinks and ".." stay inside as chroot(2) would
// keep them. Below any other root a path that leaves it goes to the supervisor.
const InRoot RootFlags = 1

// Exact is for a directory that the supervisor lists, as names below it are
// other roots': the root is that directory alone, and what is below it belongs
// to the roots that follow. It may have the same prefix as another root. Its
// descriptor is Ask.
const Exact RootFlags = 2

// Unseen is for a root of which the view knows nothing, not even a placeholder
// on the way: paths below "/" that the kernel does not find are asked if they
// have the last component of such a root's, as they may come there by ".." or a
// symlink.
const Unseen RootFlags = 4

// Within is for a directory of the view that gets a descriptor of its own, so
// that the way there is not walked for each name below: the root is only what is
// strictly below it, and a path that leaves it goes to the next root that it lies
// below. With InRoot it is part of the cell's "/".
const Within RootFlags = 8

// Known says that the prefix and all that it lies below are directories, none of them
// a symlink, as long as the cell lives: so readlink needs not look at them, which
// realpath asks of each directory on the way.
const Known RootFlags = 16

// Ask as a root's descriptor sends the names below it to the supervisor.
const Ask = -1

// ErrTable reports roots or directories that the table cannot hold.
var ErrTable = errors.New("not a table of roots")

// Root is a place in a cell's file system that a descriptor leads to.
type Root struct {
	Prefix string // canonical: absolute, no "//", ".", ".." and no "/" at its end
	FD     int    // PackageFD to LastFD, or Ask
	Flags  RootFlags
}

// Dir is a directory whose name getcwd can tell without asking.
type Dir struct {
	Dev, Ino uint64
	Name     string // canonical
	// Listed says that the supervisor lists it, as it is that of an Exact root:
	// a path that comes there by way of a symlink is asked, too.
	Listed bool
}

// Listed is the flag of such a directory.
const Listed = 1

// BuildTable makes the cell's part of the zone, TableSize bytes at most. Of
// several roots that a path lies below the longest counts. No roots at all make
// a table with AskAll.
func BuildTable(roots []Root, dirs []Dir) ([]byte, error) {
	if len(roots) > MaxRoots || len(dirs) > MaxDirs {
		return nil, fmt.Errorf("%w: %d roots and %d directories", ErrTable, len(roots), len(dirs))
	}
	roots = slices.Clone(roots)
	slices.SortStableFunc(roots, func(a, b Root) int {
		return cmp.Or(cmp.Compare(len(b.Prefix), len(a.Prefix)), cmp.Compare(a.Prefix, b.Prefix), cmp.Compare(b.Flags&Exact, a.Flags&Exact), cmp.Compare(b.Flags&Within, a.Flags&Within))
	})
	dirsOff := HeaderSize + (len(roots)*RootSize+7)&^7
	b := make([]byte, dirsOff+len(dirs)*DirSize)
	le := binary.LittleEndian
	le.PutUint64(b, Magic)
	le.PutUint32(b[HeaderFlags:], tableFlags(roots))
	le.PutUint16(b[HeaderRoots:], uint16(len(roots)))
	le.PutUint16(b[HeaderDirs:], uint16(len(dirs)))
	le.PutUint32(b[HeaderDirsOff:], uint32(dirsOff))
	le.PutUint64(b[HeaderKept:], Kept)
	for i, r := range roots {
		if err := r.check(); err != nil {
			return nil, err
		}
		if i > 0 && roots[i-1].Prefix == r.Prefix && (roots[i-1].Flags^r.Flags)&(Exact|Within) == 0 {
			return nil, fmt.Errorf("%w: %s twice", ErrTable, r.Prefix)
		}
		prefix := strings.TrimSuffix(r.Prefix, "/") // "/" is the prefix of no bytes
		e := b[HeaderSize+i*RootSize:]
		le.PutUint16(e, uint16(len(b)))
		le.PutUint16(e[2:], uint16(len(prefix)))
		le.PutUint32(e[4:], uint32(int32(r.FD)))
		le.PutUint32(e[8:], uint32(r.Flags))
		b = append(b, prefix...)
	}
	for i, d := range dirs {
		if !canonical(d.Name) {
			return nil, fmt.Errorf("%w: directory %q", ErrTable, d.Name)
		}
		e := b[dirsOff+i*DirSize:]
		le.PutUint64(e, d.Dev)
		le.PutUint64(e[8:], d.Ino)
		le.PutUint16(e[16:], uint16(len(b)))
		le.PutUint16(e[18:], uint16(len(d.Name)))
		if d.Listed {
			le.PutUint32(e[20:], Listed)
		}
		b = append(b, d.Name...)
	}
	if len(b) > TableSize {
		return nil, fmt.Errorf("%w: %d bytes, %d at most", ErrTable, len(b), TableSize)
	}
	return b, nil
}

func tableFlags(roots []Root) uint32 {
	if len(roots) == 0 {
		return AskAll
	}
	if slices.ContainsFunc(roots, func(r Root) bool { return r.Flags&Exact != 0 }) {
		return HasExact
	}
	return 0
}

func (r Root) check() error {
	if !canonical(r.Prefix) {
		return fmt.Errorf("%w: prefix %q", ErrTable, r.Prefix)
	}
	flags := r.Flags &^ Known
	exact := flags&^Unseen == Exact && r.FD == Ask
	within := flags&^InRoot == Within && r.FD != Ask
	if !exact && (r.FD != Ask && (r.FD < PackageFD || r.FD > LastFD) || !within && flags&^(InRoot|Unseen) != 0) {
		return fmt.Errorf("%w: %s has descriptor %d and flags %#x", ErrTable, r.Prefix, r.FD, uint32(r.Flags))
	}
	return nil
}

// canonical reports whether name is absolute and spelled in the only way there is.
func canonical(name string) bool {
	if name == "/" {
		return true
	}
	if len(name) > maxPrefixBytes || !strings.HasPrefix(name, "/") || strings.IndexByte(name, 0) >= 0 {
		return false
	}
	for part := range strings.SplitSeq(name[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// PlaceholderMode is that of a directory or file that stands in a view for a
// name where another root is mounted: 0, so that the kernel lets nothing be done
// by way of it (EACCES) and the shim knows it, and sends the call to the
// supervisor. As a directory it has the right type in a listing.
const PlaceholderMode = 0

// Placeholder returns the target of the symlink that stands in a view for a name
// of another root that is a symlink itself. Following it fails with ELOOP in the
// kernel, and so sends the call to the supervisor, whichever way a path came
// there. The shim knows it by its length.
func Placeholder(name string) string { return "./././" + name }
