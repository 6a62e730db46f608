package wall

import (
	"encoding/binary"
	"slices"
	"sort"

	"nipcells/internal/capability"
)

// Verdict is what a filter returns for a call: a SECCOMP_RET_* value.
type Verdict uint32

// Verdicts. Ask and Fault both go to the listener, which tells them apart by
// the call's number: what it has no handler for is a capability fault.
const (
	Allow Verdict = 0x7fff0000 // SECCOMP_RET_ALLOW
	Ask   Verdict = 0x7fc00000 // SECCOMP_RET_USER_NOTIF
	Fault Verdict = 0x7fc00000
)

// Errno makes the call return -e without being made (SECCOMP_RET_ERRNO).
func Errno(e uint16) Verdict { return Verdict(0x00050000 | uint32(e)) }

// test compares the low 32 bits of one argument, which is all that the kernel
// reads of an int: whether (arg & mask) lies in one of the spans, or in none of
// them where not is set. With high it looks at the upper 32 bits instead, for
// pointers.
type test struct {
	arg       uint8
	high, not bool
	mask      uint32
	values    []span
}

// span is a range of values, both ends included.
type span struct{ from, to uint32 }

// clause is a verdict for a call when all tests hold. Of a call's clauses the
// first that holds decides.
type clause struct {
	tests   []test
	verdict Verdict
	guard   guard
}

// guard says when a clause of a template is there (Template.Cut); the zero guard
// stands for always.
type guard struct {
	need capability.Pledge // all of these are held
	lack capability.Pledge // one of these is not
}

// Instruction is one struct sock_filter of linux/filter.h.
type Instruction struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

// Filter is an assembled seccomp filter.
type Filter []Instruction

// InstructionSize is the size of an encoded Instruction in bytes.
const InstructionSize = 8

// Offsets in struct seccomp_data.
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

// Classic BPF operation codes that the assembler uses (linux/bpf_common.h).
const (
	opLoad = 0x20 // BPF_LD | BPF_W | BPF_ABS
	opAnd  = 0x54 // BPF_ALU | BPF_AND | BPF_K
	opJa   = 0x05 // BPF_JMP | BPF_JA
	opJeq  = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	opJge  = 0x35 // BPF_JMP | BPF_JGE | BPF_K
	opJgt  = 0x25 // BPF_JMP | BPF_JGT | BPF_K
	opRet  = 0x06 // BPF_RET | BPF_K
)

// assemble makes the program that gives each call the verdict of its clauses
// and every other call, other architectures and x32 included, otherwise.
func assemble(a Arch, calls map[uint32][]clause, otherwise Verdict) Filter {
	nrs := make([]uint32, 0, len(calls))
	for nr := range calls {
		nrs = append(nrs, nr)
	}
	sort.Slice(nrs, func(i, j int) bool { return nrs[i] < nrs[j] })

	// Leaves in order of numbers: from start on, code decides. Neighbours that
	// are decided alike are one leaf.
	var leaves []leaf
	add := func(start uint32, code Filter) {
		if n := len(leaves); n > 0 && slices.Equal(leaves[n-1].code, code) {
			return
		}
		leaves = append(leaves, leaf{start, code})
	}
	next := uint32(0)
	for _, nr := range nrs {
		if nr > next {
			add(next, Filter{ret(otherwise)})
		}
		add(nr, clauses(calls[nr], otherwise))
		next = nr + 1
	}
	add(next, Filter{ret(otherwise)})

	p := Filter{
		{Code: opLoad, K: dataArch},
		{Code: opJeq, K: a.audit, Jt: 1},
		ret(otherwise),
		{Code: opLoad, K: dataNr},
	}
	return append(p, tree(leaves)...)
}

type leaf struct {
	start uint32
	code  Filter
}

// tree is a binary search over the leaves for the number in the accumulator.
func tree(leaves []leaf) Filter {
	if len(leaves) == 1 {
		return leaves[0].code
	}
	m := len(leaves) / 2
	left, right := tree(leaves[:m]), tree(leaves[m:])
	p := Filter{{Code: opJge, K: leaves[m].start}}
	if len(left) <= 255 {
		p[0].Jt = uint8(len(left))
	} else { // conditional jumps reach 255 instructions, JA any number
		p[0].Jf = 1
		p = append(p, Instruction{Code: opJa, K: uint32(len(left))})
	}
	return append(append(p, left...), right...)
}

// clauses gives the verdict of the first clause that holds.
func clauses(list []clause, otherwise Verdict) Filter {
	var p Filter
	for _, c := range list {
		body := conjunction(c)
		if c.guard != (guard{}) {
			p = append(p, c.guard.instruction(len(body)))
		}
		if p = append(p, body...); c.final() {
			return p
		}
	}
	return append(p, ret(otherwise))
}

// final reports whether nothing that follows c can hold.
func (c clause) final() bool { return len(c.tests) == 0 && c.guard == guard{} }

// conjunction returns c.verdict if all tests hold and falls through otherwise.
// It is short: the jumps are in reach.
func conjunction(c clause) Filter {
	var p Filter
	var leave []jump // sides of jumps on which the conjunction fails
	for _, t := range c.tests {
		offset := uint32(dataArgs) + 8*uint32(t.arg)
		if t.high {
			offset += 4 // little-endian, as both architectures are
		}
		p = append(p, Instruction{Code: opLoad, K: offset})
		if t.mask != ^uint32(0) {
			p = append(p, Instruction{Code: opAnd, K: t.mask})
		}
		var hit, miss []jump
		for _, v := range t.values {
			land(p, miss) // what is not in one span may be in the next
			miss = nil
			if v.from != v.to {
				miss = append(miss, jump{len(p), false})
				p = append(p, Instruction{Code: opJge, K: v.from})
				miss, hit = append(miss, jump{len(p), true}), append(hit, jump{len(p), false})
				p = append(p, Instruction{Code: opJgt, K: v.to})
				continue
			}
			hit, miss = append(hit, jump{len(p), true}), append(miss, jump{len(p), false})
			p = append(p, Instruction{Code: opJeq, K: v.from})
		}
		if t.not {
			hit, miss = miss, hit
		}
		land(p, hit)
		leave = append(leave, miss...)
	}
	p = append(p, ret(c.verdict))
	land(p, leave)
	return p
}

// jump is one side of a conditional jump: where it stands, and whether the side
// is the one taken when its comparison holds.
type jump struct {
	at    int
	taken bool
}

// land makes the jumps lead to the end of p.
func land(p Filter, jumps []jump) {
	for _, j := range jumps {
		if d := uint8(len(p) - j.at - 1); j.taken {
			p[j.at].Jt = d
		} else {
			p[j.at].Jf = d
		}
	}
}

func ret(v Verdict) Instruction { return Instruction{Code: opRet, K: uint32(v)} }

// Bytes encodes p as an array of struct sock_filter.
func (p Filter) Bytes() []byte {
	b := make([]byte, 0, len(p)*InstructionSize)
	for _, i := range p {
		b = binary.LittleEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.LittleEndian.AppendUint32(b, i.K)
	}
	return b
}

// reach is how far behind the next instruction a conditional jump leads at most.
const reach = 255

// share returns the same program with fewer instructions: what does the same from
// some instruction on is there once wherever jumps reach it. A third of a filter are
// returns, and the kernel takes a fifth of a microsecond or more for each instruction
// when it checks and compiles a filter, at every start of a cell.
func (p Filter) share() Filter {
	of, meanings := p.meanings()
	for p = slices.Clone(p); ; {
		p.retarget(of, meanings)
		q, left := p.reachable(of)
		if len(q) == len(p) {
			return q
		}
		p, of = q, left
	}
}

// meaning is what a program does from an instruction on: two that have the same do
// the same.
type meaning struct {
	Instruction
	next, other int // numbers of the meanings that follow; of a jump other is where it leads
}

// meanings returns the number of each instruction's, from 1 on, and how many there are.
func (p Filter) meanings() (of []int, n int) {
	of = make([]int, len(p))
	numbers := make(map[meaning]int, len(p))
	for i := len(p) - 1; i >= 0; i-- {
		m := meaning{Instruction: p[i]}
		switch p[i].Code {
		case opRet:
		case opJa:
			of[i] = of[i+1+int(p[i].K)]
			continue
		case opJeq, opJge, opJgt:
			m.Jt, m.Jf = 0, 0
			m.next, m.other = of[i+1+int(p[i].Jf)], of[i+1+int(p[i].Jt)]
		default:
			m.next = of[i+1]
		}
		if numbers[m] == 0 {
			numbers[m] = len(numbers) + 1
		}
		of[i] = numbers[m]
	}
	return of, len(numbers)
}

// retarget makes jumps lead to as few instructions as can be. From the end on, the
// one of a meaning that was chosen last is taken as long as it is in reach: then the
// jumps before, which reach less far, find theirs among few.
func (p Filter) retarget(of []int, meanings int) {
	chosen := make([]int, meanings+1) // never the first instruction: 0 is none
	choose := func(from, to int) int {
		if at := chosen[of[to]]; at > 0 && at-from-1 <= reach {
			return at
		}
		chosen[of[to]] = to
		return to
	}
	for i := len(p) - 1; i >= 0; i-- {
		switch p[i].Code {
		case opJa:
			if to := i + 1 + int(p[i].K); p[to].Code == opRet {
				p[i] = p[to]
			}
		case opJeq, opJge, opJgt:
			for _, side := range []*uint8{&p[i].Jt, &p[i].Jf} {
				*side = uint8(choose(i, i+1+int(*side)) - i - 1)
			}
		}
	}
}

// reachable leaves out what no path comes to, and the numbers of it.
func (p Filter) reachable(of []int) (q Filter, left []int) {
	live := make([]bool, len(p))
	live[0] = true
	for i, in := range p {
		if !live[i] {
			continue
		}
		switch in.Code {
		case opRet:
		case opJa:
			live[i+1+int(in.K)] = true
		case opJeq, opJge, opJgt:
			live[i+1+int(in.Jt)], live[i+1+int(in.Jf)] = true, true
		default:
			live[i+1] = true
		}
	}
	at := make([]int, len(p)) // where each comes to stand
	for i := range p {
		if at[i] = len(q); live[i] {
			q, left = append(q, p[i]), append(left, of[i])
		}
	}
	for i, in := range p {
		if !live[i] {
			continue
		}
		n := &q[at[i]]
		switch in.Code {
		case opJa:
			n.K = uint32(at[i+1+int(in.K)] - at[i] - 1)
		case opJeq, opJge, opJgt:
			n.Jt, n.Jf = uint8(at[i+1+int(in.Jt)]-at[i]-1), uint8(at[i+1+int(in.Jf)]-at[i]-1)
		}
	}
	return q, left
}
