package wall

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/view/zone"
)

// This file makes the filters by which a running program takes promises away from
// itself (package nexus, and nexus.h for C). They are made of the same rows as those
// of cells, and differ in what they can say:
//
//   - they have no listener, as the kernel allows one: what a cell's filter asks they
//     allow, so that it is still asked. What they refuse no supervisor hears of, since
//     of several filters the most restrictive verdict counts (seccomp(2));
//   - Landlock rules of the cell say what RPATH, WPATH and CPATH mean. A program that
//     pledges has none of its own, so open(2) is judged by its flags, and openat2 by the
//     slot of the zone;
//   - what they refuse kills the process, or fails with EPERM.

// HeldOption is an option of prctl(2) that no kernel has. With a promise as second
// argument a filter answers it with EPERM if it does not hold that promise, and the
// kernel with EINVAL if all of them do: so a program finds out what is left to it,
// whoever pledged and however many programs ago.
const HeldOption = 0x6e697070

// withheld answers for a promise that a filter does not hold.
func withheld(p capability.Pledge) row {
	return row{"prctl", all(is(0, HeldOption), is(1, uint32(p))), Errno(eperm)}
}

// bits are the promises, one by one.
func bits() (list []capability.Pledge) {
	for p := capability.Pledge(1); p <= capability.AllPledges; p <<= 1 {
		if capability.AllPledges.Has(p) {
			list = append(list, p)
		}
	}
	return list
}

// lost are the rows about the promises that a cell has not.
func lost(pledge capability.Pledge) (rows []row) {
	for _, p := range bits() {
		if !pledge.Has(p) {
			rows = append(rows, withheld(p))
		}
	}
	return rows
}

// What a template's guards can ask for beside promises.
const (
	// ByZone is there in cells with native views.
	ByZone capability.Pledge = 1 << 14
	// ByPass is there where one execveat is allowed to who shows the pass.
	ByPass capability.Pledge = 1 << 15
)

// Template is a filter for all pledges at once; Cut makes one of it. Its guards are
// instructions that no kernel has.
type Template Filter

// opGuard is the code of a guard: of the Jt instructions behind it nothing is done
// unless all promises in the low half of K are held, and one of those in the high half
// is not, if there are any.
const opGuard = 0xffff

func (g guard) instruction(length int) Instruction {
	if length > 255 {
		panic("a clause of more than 255 instructions") // they are all in this package
	}
	return Instruction{Code: opGuard, Jt: uint8(length), K: uint32(g.need) | uint32(g.lack)<<16}
}

// RatchetTemplate makes the template of an architecture.
func RatchetTemplate(a Arch) Template {
	calls := map[uint32][]clause{}
	for _, g := range ratchetRows(a) {
		for name := range strings.FieldsSeq(g.names) {
			nr, ok := a.Number(name)
			if !ok || settled(calls[nr]) {
				continue
			}
			verdict := g.verdict
			if verdict == Ask && !g.fault || verdict == Errno(0) {
				verdict = Allow
			}
			calls[nr] = append(calls[nr], clause{g.tests, verdict, g.guard})
		}
	}
	return Template(assemble(a, calls, Fault))
}

// guarded is a row with its guard.
type guarded struct {
	row
	guard
	fault bool // the row's verdict is Fault, which has the number of Ask
}

// ratchetRows are the rows of a program that pledges by itself, in order.
func ratchetRows(a Arch) []guarded {
	list := []guarded{
		// With no promise at all a program can still end.
		{row: row{names: "exit exit_group rt_sigreturn", verdict: Allow}},
		{row: row{"execveat", ratchetPass(), Allow}, guard: guard{need: ByPass}},
	}
	for _, p := range bits() {
		list = append(list, guarded{row: withheld(p), guard: guard{lack: p}})
	}
	list = append(list, guarded{row: row{"prctl", all(is(0, HeldOption)), Allow}})
	list = append(list, slots(a)...)
	list = append(list, opens(a)...)
	for _, p := range promises() {
		if p.cell {
			continue
		}
		for _, r := range p.rows {
			list = append(list, guarded{row: r, guard: guard{need: p.bit}})
		}
	}
	return list
}

// slots allow openat2 for the slots of the zone that do no more than is held. What is
// refused fails with ENOSYS (quiet), and the shim makes the original call.
func slots(a Arch) (list []guarded) {
	flags := flagsOf(a)
	half := flags.Slots() / 2
	for _, c := range flags.Classes() {
		r := row{"openat2", all(high(is(2, 0)), within(2, []span{slotSpan(c, 0), slotSpan(c, half)}), masked(2, zone.SlotSize-1, 0), high(is(3, 0)), is(3, zone.HowSize)), Allow}
		list = append(list, guarded{row: r, guard: guard{need: ByZone | promisesOf(flags, c)}})
	}
	return list
}

func slotSpan(c zone.Class, half int) span {
	first := uint32(zone.Addr + (half+c.First)*zone.SlotSize)
	return span{first, first + uint32(c.Count()-1)*zone.SlotSize}
}

// promisesOf says what opening with the flags of a class needs.
func promisesOf(f zone.Flags, c zone.Class) capability.Pledge {
	need := capability.Stdio
	if c.Fixed&f.Path != 0 {
		return need // a real path descriptor, which opens nothing
	}
	if c.Fixed&unix.O_ACCMODE != unix.O_WRONLY {
		need |= capability.Rpath
	}
	if c.Fixed&unix.O_ACCMODE != unix.O_RDONLY {
		need |= capability.WriteOnly
	}
	if c.Fixed&f.Creat != 0 {
		need |= capability.Cpath
	}
	return need
}

// opens refuse what open and openat would do without the promise for it. O_PATH
// counts as reading: the supervisor answers it with a descriptor that can be read.
// O_TRUNC writes whatever the rest says.
func opens(a Arch) (list []guarded) {
	f := flagsOf(a)
	for i, name := range []string{"open", "openat"} {
		arg := uint8(1 + i)
		refuse := func(lack capability.Pledge, t test) {
			list = append(list, guarded{row{name, all(t), Fault}, guard{lack: lack}, true})
		}
		refuse(capability.Rpath, has(arg, uint32(f.Path)))
		refuse(capability.Rpath, not(masked(arg, unix.O_ACCMODE, unix.O_WRONLY)))
		refuse(capability.WriteOnly, has(arg, unix.O_ACCMODE|uint32(f.Trunc)))
		refuse(capability.Cpath, has(arg, openMakes))
	}
	return append(list, guarded{row{"creat", nil, Fault}, guard{lack: capability.WriteOnly}, true})
}

// ratchetPass are the tests of an execveat that shows the pass, 64 random bits in the
// upper halves of the two arguments that are an int to the kernel (compare pass; the
// shim has no way for a sixth argument): for a program that pledges for the one that it
// executes, and so must do that last of all.
func ratchetPass() []test {
	const dirfd, flags = 0, 4
	return all(high(is(dirfd, passWord)), high(is(flags, passWord+1)))
}

// Cut makes the filter that holds a pledge, which can have ByZone in it. What it
// refuses has the verdict of refusal: KillProcess, or Errno of EPERM.
func (t Template) Cut(held capability.Pledge, refusal Verdict) Filter {
	f := make(Filter, len(t))
	for i, in := range t {
		need, lack := capability.Pledge(in.K&0xffff), capability.Pledge(in.K>>16)
		switch {
		case in.Code == opGuard && held.Has(need) && (lack == 0 || !held.Has(lack)):
			in = Instruction{Code: opJa}
		case in.Code == opGuard:
			in = Instruction{Code: opJa, K: uint32(in.Jt)}
		case in.Code == opRet && in.K == uint32(Fault):
			in.K = uint32(refusal)
		}
		f[i] = in
	}
	return f
}

// KillProcess ends the process with SIGSYS (SECCOMP_RET_KILL_PROCESS).
const KillProcess Verdict = 0x80000000

// Refuse lets a call fail with EPERM.
const Refuse = Verdict(0x00050000 | uint32(unix.EPERM))

// hasZone reports whether the program runs in a cell with native views: the zone is
// where it belongs, sealed, and does not say that all is asked. Elsewhere memory there
// is the program's own, and no slot may be allowed.
func hasZone() bool {
	b, ok := peek(zone.TableAddr, zone.HeaderSize)
	if !ok || binary.LittleEndian.Uint64(b) != zone.Magic || binary.LittleEndian.Uint32(b[zone.HeaderFlags:])&zone.AskAll != 0 {
		return false
	}
	return sealed(zone.Addr, zone.Size)
}
