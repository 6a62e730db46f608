package zone

import (
	"encoding/binary"
	"runtime"

	"golang.org/x/sys/unix"
)

// HowSize is the size of the struct open_how that the filter lets through, and
// SlotSize the distance between two.
const (
	HowSize  = 24
	SlotSize = 32
)

// Flags are the values of open(2)'s flags on one machine.
type Flags struct {
	Arch                                          string // as GOARCH
	Creat, Excl, Noctty, Trunc, Append, Nonblock  uint64
	Directory, Nofollow, Cloexec, Largefile, Path uint64
}

// Linux's flags, from asm/fcntl.h of each machine.
const (
	oWronly, oRdwr, oAccmode = 1, 2, 3
)

// Machines returns the flags of every machine there are packages for.
func Machines() []Flags {
	common := Flags{Creat: 0o100, Excl: 0o200, Noctty: 0o400, Trunc: 0o1000, Append: 0o2000, Nonblock: 0o4000,
		Cloexec: 0o2000000, Path: 0o10000000}
	amd64, arm64 := common, common
	amd64.Arch, amd64.Directory, amd64.Nofollow, amd64.Largefile = "amd64", 0o200000, 0o400000, 0o100000
	arm64.Arch, arm64.Directory, arm64.Nofollow, arm64.Largefile = "arm64", 0o40000, 0o100000, 0o400000
	return []Flags{amd64, arm64}
}

// Class is a set of combinations of flags that have slots: all that contain
// Fixed and any of Free, once for each mode. The slot of a combination is First
// plus what its bits say: bit i of the number is set where Free[i] is.
type Class struct {
	First int
	Fixed uint64
	Free  []uint64
	Modes []uint64 // nil: mode 0 only
}

// Count returns how many slots the class has.
func (c Class) Count() int { return max(len(c.Modes), 1) << len(c.Free) }

// creationModes are those that programs create files with: shells and fopen,
// editors, mkstemp, copies of executables, read-only objects.
var creationModes = [...]uint64{0o666, 0o644, 0o600, 0o755, 0o444}

// Classes returns the classes of f's machine. No combination is in two of them.
func (f Flags) Classes() []Class {
	read := []uint64{f.Cloexec, f.Nonblock, f.Nofollow, f.Noctty, f.Directory}
	write := []uint64{f.Cloexec, f.Nonblock, f.Nofollow, f.Noctty, f.Trunc, f.Append}
	create := []uint64{f.Cloexec, f.Excl, f.Nofollow, f.Trunc, f.Append}
	list := []Class{
		{Fixed: f.Path, Free: []uint64{f.Cloexec, f.Directory, f.Nofollow}},
		{Fixed: 0, Free: read},
		{Fixed: oWronly, Free: write},
		{Fixed: oRdwr, Free: write},
		{Fixed: oWronly | f.Creat, Free: create, Modes: creationModes[:]},
		{Fixed: oRdwr | f.Creat, Free: create, Modes: creationModes[:]},
	}
	next := 0
	for i := range list {
		list[i].First = next
		next += list[i].Count()
	}
	return list
}

// half is how many slots there are for each way to resolve.
func (f Flags) half() int {
	list := f.Classes()
	last := list[len(list)-1]
	return last.First + last.Count()
}

// Table is a machine's classes, computed once for many look-ups.
type Table struct {
	flags   Flags
	classes []Class
	half    int // slots for each way to resolve
}

// Table returns the classes of f's machine for look-ups.
func (f Flags) Table() Table { return Table{f, f.Classes(), f.half()} }

// Slots returns how many slots the machine's zone has.
func (f Flags) Slots() int { return 2 * f.half() }

// Normalize takes away from flags and mode, which a program passed to open(2),
// what the kernel ignores there and refuses in openat2.
func (f Flags) Normalize(flags, mode uint64) (uint64, uint64) {
	flags = uint64(uint32(flags)) &^ f.Largefile
	if flags&f.Path != 0 {
		flags &= f.Path | f.Cloexec | f.Directory | f.Nofollow
	}
	if flags&f.Creat == 0 {
		return flags, 0
	}
	return flags, mode & 0o7777
}

// Slot returns the number of the slot for what a program passes to open(2).
// inRoot chooses RESOLVE_IN_ROOT, otherwise it is RESOLVE_BENEATH. ok is false
// where there is none.
func (t Table) Slot(flags, mode uint64, inRoot bool) (slot int, ok bool) {
	flags, mode = t.flags.Normalize(flags, mode)
	for _, c := range t.classes {
		rest, n := flags&^c.Fixed, 0
		if flags&c.Fixed != c.Fixed {
			continue
		}
		for i, bit := range c.Free {
			if rest&bit != 0 {
				rest, n = rest&^bit, n|1<<i
			}
		}
		if rest != 0 {
			continue
		}
		for i, m := range c.Modes {
			if m == mode {
				slot, ok = c.First+n+i<<len(c.Free), true
			}
		}
		if c.Modes == nil {
			slot, ok = c.First+n, true
		}
		if ok && !inRoot {
			slot += t.half
		}
		return slot, ok
	}
	return 0, false
}

// Build returns the slots of the machine's zone.
func (f Flags) Build() []byte {
	half := f.half()
	b := make([]byte, 2*half*SlotSize)
	for _, c := range f.Classes() {
		for n := range c.Count() {
			flags, mode := c.Fixed, uint64(0)
			for i, bit := range c.Free {
				if n>>i&1 != 0 {
					flags |= bit
				}
			}
			if c.Modes != nil {
				mode = c.Modes[n>>len(c.Free)]
			}
			put(b[(c.First+n)*SlotSize:], flags, mode, unix.RESOLVE_IN_ROOT)
			put(b[(half+c.First+n)*SlotSize:], flags, mode, unix.RESOLVE_BENEATH)
		}
	}
	return b
}

func put(b []byte, flags, mode, resolve uint64) {
	binary.LittleEndian.PutUint64(b, flags)
	binary.LittleEndian.PutUint64(b[8:], mode)
	binary.LittleEndian.PutUint64(b[16:], resolve|unix.RESOLVE_NO_MAGICLINKS)
}

// Host returns the flags of the machine that this program runs on.
func Host() Flags {
	for _, f := range Machines() {
		if f.Arch == runtime.GOARCH {
			return f
		}
	}
	return Flags{}
}

// BuildSlots returns the slots of this machine's zone, the same for all cells:
// what Build makes, made beforehand, as every start of a cell needs it. They are
// not to be changed.
func BuildSlots() []byte { return hostSlots }

// LastSlot returns the address of the last slot of this machine's zone: openat2
// may be let through with a pointer from Addr to LastSlot, a multiple of
// SlotSize, and size HowSize.
func LastSlot() uint32 { return Addr + uint32(Host().Slots()-1)*SlotSize }
