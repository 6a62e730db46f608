// Package plan is the launch plan: everything that `nip run` must know of a
// package, computed once per package, policy, kernel and nip (package launch)
// and kept in one flat, checksummed file. Reading it parses nothing: it is a
// list of numbers and strings in a fixed order, and Read tells whether it is
// still true by looking at the files it came from, without reading them.
//
// The file (all numbers little-endian):
//
//	offset  size  meaning
//	0       8     "NIPPLAN" and the format's version, 0x07
//	8       4     Adler-32 of all that follows: against damage, not against people,
//	              who could write the right sum, too
//	12      …     fields in the order of Plan: integers as unsigned varints,
//	              strings and byte strings as a varint length and the bytes,
//	              lists as a varint count and the elements
package plan

import (
	"encoding/binary"
	"errors"
	"hash/adler32"
	"unsafe"

	"nipcells/internal/capability"
)

// Magic begins every plan of the version that this package reads and writes.
const Magic = "NIPPLAN\x07"

const headSize = len(Magic) + 4

// sum is the checksum of a plan's fields.
func sum(fields []byte) uint32 { return adler32.Checksum(fields) }

// ErrCorrupt reports bytes that are no plan of this version. The cure is to
// compute the plan again.
var ErrCorrupt = errors.New("launch plan is damaged or of another version")

// Plan says how the programs of one package are started.
type Plan struct {
	Stamps  []Stamp // what the plan was computed from
	Kernel  string  // release and version of the kernel it was computed for
	Package string
	Version string
	Title   string
	Root    string // the root the package is installed in
	View    string // root directory of its cells
	Prefix  string // the package's own directory in the view
	Data    string // HOME: <own root>/Data/apps/<package>
	// Shortcuts are directories of the view to which many paths lead, the most
	// useful ones first.
	Shortcuts []Shortcut

	Pledge  capability.Pledge   // what the manifest asks, with the person's changes, under the policy
	Ceiling capability.Pledge   // what the policy allows at most
	Caps    []capability.Unveil // paths that the policy allows at most
	Capped  bool                // whether Caps limits at all
	Unveil  []capability.Unveil
	Net     []capability.Net // under the policy
	NetCaps []capability.Net // rules that the policy allows at most
	Budget  capability.Budget
	Rules   []Rule // Landlock, without /Cell, Data and Unveil
	Filter  string // seccomp filter of Pledge, launcher not patched in: with native views, or asking every path call
	// Asked says why the package's cells have no native views; "" if they have.
	Asked    string
	Env      []string
	Commands []Command
	Default  int // index of the command that the package's name alone runs; -1: none
}

// Stamp identifies the state of a file that the plan depends on. A missing
// file has zeroes.
type Stamp struct {
	Path   string
	Inode  uint64
	Size   int64
	MTime  int64  // nanoseconds since the epoch
	Target string // of a symlink
}

// Shortcut is a directory and what a cell calls it.
type Shortcut struct {
	Dir   string // absolute, free of symlinks
	Names []string
}

// Rule is one Landlock rule: LANDLOCK_ACCESS_FS_* rights below a path.
type Rule struct {
	Path     string
	Access   uint64
	Optional bool
}

// Command is one program of the package.
type Command struct {
	Name string
	Path string   // absolute
	Args []string // argv[0] and what comes before the person's arguments
}

// Encode returns the file's bytes.
func (p *Plan) Encode() []byte {
	b := append(make(encoder, 0, 16<<10), Magic...)
	b = b[:headSize]
	b.num(uint64(len(p.Stamps)))
	for _, s := range p.Stamps {
		b.str(s.Path)
		b.num(s.Inode)
		b.num(uint64(s.Size))
		b.num(uint64(s.MTime))
		b.str(s.Target)
	}
	for _, s := range []string{p.Kernel, p.Package, p.Version, p.Title, p.Root, p.View, p.Prefix, p.Data} {
		b.str(s)
	}
	b.num(uint64(len(p.Shortcuts)))
	for _, s := range p.Shortcuts {
		b.str(s.Dir)
		b.strs(s.Names)
	}
	b.num(uint64(p.Pledge))
	b.num(uint64(p.Ceiling))
	b.unveils(p.Caps)
	b.flag(p.Capped)
	b.unveils(p.Unveil)
	b.nets(p.Net)
	b.nets(p.NetCaps)
	b.str(p.Budget.Spectrum)
	for _, n := range []int64{p.Budget.Memory, int64(p.Budget.Fibers), int64(p.Budget.CPU), p.Budget.Disk, p.Budget.IO, p.Budget.Energy} {
		b.num(uint64(n))
	}
	b.num(uint64(len(p.Rules)))
	for _, r := range p.Rules {
		b.str(r.Path)
		b.num(r.Access)
		b.flag(r.Optional)
	}
	b.str(p.Filter)
	b.str(p.Asked)
	b.strs(p.Env)
	b.num(uint64(len(p.Commands)))
	for _, c := range p.Commands {
		b.str(c.Name)
		b.str(c.Path)
		b.strs(c.Args)
	}
	b.num(uint64(p.Default + 1))
	binary.LittleEndian.PutUint32(b[len(Magic):], sum(b[headSize:]))
	return b
}

// encoder appends the pieces of which the file consists.
type encoder []byte

func (e *encoder) num(n uint64) { *e = binary.AppendUvarint(*e, n) }

func (e *encoder) str(s string) {
	e.num(uint64(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) flag(f bool) {
	if f {
		e.num(1)
	} else {
		e.num(0)
	}
}

func (e *encoder) strs(list []string) {
	e.num(uint64(len(list)))
	for _, s := range list {
		e.str(s)
	}
}

func (e *encoder) unveils(list []capability.Unveil) {
	e.num(uint64(len(list)))
	for _, u := range list {
		e.str(u.Path)
		e.num(uint64(u.Rights))
	}
}

func (e *encoder) nets(list []capability.Net) {
	e.num(uint64(len(list)))
	for _, n := range list {
		e.num(uint64(n.Kind))
		e.str(n.Name)
		e.str(string(n.Addr[:]))
		e.num(uint64(n.Bits))
		e.flag(n.Outside)
		e.num(uint64(n.From))
		e.num(uint64(n.To))
	}
}

// Decode reads what Encode wrote. Strings share memory with b, which must not change
// any more. The only error is ErrCorrupt.
func Decode(b []byte) (*Plan, error) {
	if len(b) < headSize || string(b[:len(Magic)]) != Magic {
		return nil, ErrCorrupt
	}
	fields := b[headSize:]
	if sum(fields) != binary.LittleEndian.Uint32(b[len(Magic):]) {
		return nil, ErrCorrupt
	}
	r := reader{rest: unsafe.String(unsafe.SliceData(fields), len(fields))}
	p := &Plan{}
	p.Stamps = make([]Stamp, r.count())
	for i := range p.Stamps {
		p.Stamps[i] = Stamp{r.str(), r.num(), int64(r.num()), int64(r.num()), r.str()}
	}
	for _, s := range []*string{&p.Kernel, &p.Package, &p.Version, &p.Title, &p.Root, &p.View, &p.Prefix, &p.Data} {
		*s = r.str()
	}
	p.Shortcuts = make([]Shortcut, r.count())
	for i := range p.Shortcuts {
		p.Shortcuts[i] = Shortcut{r.str(), r.strs()}
	}
	p.Pledge, p.Ceiling = capability.Pledge(r.num()), capability.Pledge(r.num())
	p.Caps = r.unveils()
	p.Capped = r.num() != 0
	p.Unveil = r.unveils()
	p.Net, p.NetCaps = r.nets(), r.nets()
	p.Budget = capability.Budget{Spectrum: r.str(), Memory: int64(r.num()), Fibers: int(r.num()), CPU: int(r.num()), Disk: int64(r.num()), IO: int64(r.num()), Energy: int64(r.num())}
	p.Rules = make([]Rule, r.count())
	for i := range p.Rules {
		p.Rules[i] = Rule{r.str(), r.num(), r.num() != 0}
	}
	p.Filter = r.str()
	p.Asked = r.str()
	p.Env = r.strs()
	p.Commands = make([]Command, r.count())
	for i := range p.Commands {
		p.Commands[i] = Command{r.str(), r.str(), r.strs()}
	}
	p.Default = int(r.num()) - 1
	if r.bad || r.rest != "" || p.Default >= len(p.Commands) {
		return nil, ErrCorrupt
	}
	return p, nil
}

// reader takes fields from the front of rest. After a bad field all others are
// zero and bad stays set.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) num() (n uint64) {
	for shift := 0; shift < 64; shift += 7 {
		if r.rest == "" {
			break
		}
		c := r.rest[0]
		r.rest = r.rest[1:]
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return n
		}
	}
	r.bad, r.rest = true, ""
	return 0
}

// count is a number of elements, each of at least one byte.
func (r *reader) count() int {
	n := r.num()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, ""
		return 0
	}
	return int(n)
}

func (r *reader) str() string {
	n := r.count()
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *reader) strs() []string {
	list := make([]string, r.count())
	for i := range list {
		list[i] = r.str()
	}
	return list
}

func (r *reader) unveils() []capability.Unveil {
	list := make([]capability.Unveil, r.count())
	for i := range list {
		list[i] = capability.Unveil{Path: r.str(), Rights: capability.Rights(r.num())}
	}
	return list
}

func (r *reader) nets() []capability.Net {
	list := make([]capability.Net, r.count())
	for i := range list {
		n := &list[i]
		n.Kind, n.Name = capability.NetKind(r.num()), r.str()
		copy(n.Addr[:], r.str())
		n.Bits, n.Outside = int(r.num()), r.num() != 0
		n.From, n.To = uint16(r.num()), uint16(r.num())
	}
	return list
}
