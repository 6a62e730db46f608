// Package wall turns a cell's capabilities into what the kernel enforces:
// a Landlock ruleset, a seccomp filter, resource limits and emptied
// credentials. It is the only package that makes those system calls.
//
// A wall goes around one operating-system thread (no TSYNC, no libpsx): the
// caller locks a goroutine to a thread, calls Confine there, forks the program
// from it and lets the thread end. What the thread forks inherits the wall and
// can only tighten it. The other way round, a program that takes rights away from
// itself (package nexus) does so for all its threads: Ratchet, Narrow.
//
// Sources: landlock(7), seccomp(2), the kernel's
// Documentation/userspace-api/landlock.rst and seccomp_filter.rst.
package wall

import (
	"fmt"
	"runtime"
)

// call is one system call of an architecture.
type call struct {
	name string
	nr   uint32
}

// Arch is what a seccomp filter has to know about a machine.
type Arch struct {
	Name   string // as in GOARCH
	audit  uint32 // AUDIT_ARCH_* of linux/audit.h
	x32Bit uint32 // numbers from here on belong to the x32 ABI; 0 where there is none
	calls  []call // sorted by name
}

// ArchOf returns the description of a GOARCH that cells can run on.
func ArchOf(goarch string) (Arch, error) {
	switch goarch {
	case "amd64":
		return Arch{"amd64", 0xc000003e, 0x40000000, callsAMD64[:]}, nil
	case "arm64":
		return Arch{"arm64", 0xc00000b7, 0, callsARM64[:]}, nil
	}
	return Arch{}, fmt.Errorf("no system call table for %s: cells run on amd64 and arm64", goarch)
}

// Host returns the architecture that this program was built for.
func Host() Arch {
	a, err := ArchOf(runtime.GOARCH)
	if err != nil {
		panic(err) // nip is built for the two only
	}
	return a
}

// Number returns the number of the system call called name.
func (a Arch) Number(name string) (nr uint32, ok bool) {
	lo, hi := 0, len(a.calls)
	for lo < hi {
		m := (lo + hi) / 2
		if a.calls[m].name < name {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(a.calls) && a.calls[lo].name == name {
		return a.calls[lo].nr, true
	}
	return 0, false
}

// CallName returns the name of system call nr, or its number in words.
func (a Arch) CallName(nr uint32) string {
	for _, c := range a.calls {
		if c.nr == nr {
			return c.name
		}
	}
	if a.x32Bit != 0 && nr >= a.x32Bit {
		return fmt.Sprintf("x32 call %d", nr-a.x32Bit)
	}
	return fmt.Sprintf("call %d", nr)
}

// Audit returns the architecture's AUDIT_ARCH_* number, which the kernel puts
// into each notification.
func (a Arch) Audit() uint32 { return a.audit }
