package native

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/arch/arm64/arm64asm"
)

// a64 is how arm64 is rewritten: the svc instruction itself becomes a jump to
// the trampoline, so that nothing else moves.
type a64 struct{}

// pathCallsARM64 are the calls that the shim makes, in order.
func pathCallsARM64() []pathCall {
	return []pathCall{
		{17, "getcwd"}, {43, "statfs"}, {48, "faccessat"}, {49, "chdir"}, {50, "fchdir"}, {56, "openat"}, {78, "readlinkat"},
		{79, "newfstatat"}, {221, "execve"}, {281, "execveat"}, {291, "statx"}, {436, "close_range"}, {439, "faccessat2"},
	}
}

const (
	a64Size = 4
	svc0    = 0xd4000001
)

// sites implements machine.
func (a a64) sites(p *program) ([]Site, []patch, int, error) {
	parts, err := p.parts()
	if err != nil {
		return nil, nil, 0, err
	}
	targets := map[uint64]bool{}
	for _, s := range parts {
		if s.addr%a64Size != 0 {
			return nil, nil, 0, fmt.Errorf("%w: code at %#x is not aligned", ErrUnproven, s.addr)
		}
		for off := 0; off+a64Size <= len(s.code); off += a64Size {
			if d, ok := branchA64(binary.LittleEndian.Uint32(s.code[off:])); ok {
				targets[s.addr+uint64(off)+uint64(d)] = true
			}
		}
	}
	last := parts[len(parts)-1]
	p.pointers(func(addr uint64) {
		if addr%a64Size == 0 && parts[0].addr <= addr && addr < last.addr+uint64(len(last.code)) {
			targets[addr] = true
		}
	})
	for _, f := range p.functions() {
		targets[f] = true
	}
	var sites []Site
	var patches []patch
	unknown := 0
	for _, s := range parts {
		for off := 0; off+a64Size <= len(s.code); off += a64Size {
			if binary.LittleEndian.Uint32(s.code[off:]) != svc0 {
				continue
			}
			nr, known := numberA64(s, off, targets)
			name := AnyCall
			if known {
				name = nameOf(pathCallsARM64(), nr)
			} else if !numberedA64(s, off) {
				unknown++
				continue
			}
			if name != "" {
				at := s.addr + uint64(off)
				patches = append(patches, patch{site: len(sites), from: at, size: a64Size, any: !known})
				sites = append(sites, Site{Addr: at, Call: name})
			}
		}
	}
	return sites, patches, unknown, nil
}

// branchA64 returns the distance of a direct branch or of an adr.
func branchA64(w uint32) (int64, bool) {
	field := func(at, bits uint) int64 { return int64(int32(w<<(32-at-bits))>>(32-bits)) * a64Size }
	switch {
	case w&0x7c000000 == 0x14000000: // b, bl
		return field(0, 26), true
	case w&0xff000010 == 0x54000000, w&0x7e000000 == 0x34000000: // b.cond, cbz, cbnz
		return field(5, 19), true
	case w&0x7e000000 == 0x36000000: // tbz, tbnz
		return field(5, 14), true
	case w&0x9f000000 == 0x10000000: // adr
		return int64(int32(w<<8)>>13)<<2 | int64(w>>29&3), true
	}
	return 0, false
}

// numberA64 proves the number of the svc at off: as x86Code.number does.
func numberA64(s part, off int, targets map[uint64]bool) (uint32, bool) {
	for at := off; at > 0 && off-at < maxBack*a64Size; {
		if targets[s.addr+uint64(at)] {
			return 0, false
		}
		at -= a64Size
		w := binary.LittleEndian.Uint32(s.code[at:])
		if w&0xffe0001f == 0xd2800008 || w&0xffe0001f == 0x52800008 { // movz x8 or w8, #imm
			return w >> 5 & 0xffff, true
		}
		inst, err := arm64asm.Decode(s.code[at : at+a64Size])
		if err != nil || !harmlessA64(inst) {
			return 0, false
		}
	}
	return 0, false
}

// numberedA64 proves that the word at off is a system call of this code, and no
// data that looks like one: an instruction shortly before it writes w8 or x8.
// Its number need not be known, and who jumps between the two does not matter.
func numberedA64(s part, off int) bool {
	for at := off - a64Size; at >= 0 && off-at < maxBack*a64Size; at -= a64Size {
		inst, err := arm64asm.Decode(s.code[at : at+a64Size])
		if err != nil {
			return false
		}
		if is8(inst.Args[0]) {
			return inst.Op == arm64asm.MOV || inst.Op == arm64asm.MOVZ || inst.Op == arm64asm.ADD || inst.Op == arm64asm.LDR || inst.Op == arm64asm.SXTW
		}
		if !harmlessA64(inst) {
			return false
		}
	}
	return false
}

// harmlessA64 reports whether an instruction goes on with the next one and
// leaves x8 alone.
func harmlessA64(inst arm64asm.Inst) bool {
	switch inst.Op {
	case arm64asm.MOV, arm64asm.MOVZ, arm64asm.MOVN, arm64asm.MOVK, arm64asm.ADD, arm64asm.SUB, arm64asm.ADRP, arm64asm.LDR, arm64asm.LDRSW,
		arm64asm.LDRB, arm64asm.SXTW, arm64asm.ORR, arm64asm.AND, arm64asm.UBFM, arm64asm.SBFM, arm64asm.UBFX, arm64asm.LDP:
		second := inst.Op == arm64asm.LDP && is8(inst.Args[1])
		return !is8(inst.Args[0]) && !second && !writesBack8(inst)
	case arm64asm.STR, arm64asm.STP, arm64asm.STRB, arm64asm.NOP, arm64asm.CMP, arm64asm.CMN, arm64asm.TST:
		return !writesBack8(inst)
	}
	return false
}

// writesBack8 reports whether a load or store changes x8 as its base.
func writesBack8(inst arm64asm.Inst) bool {
	for _, a := range inst.Args {
		if m, ok := a.(arm64asm.MemImmediate); ok && m.Mode != arm64asm.AddrOffset && is8(m.Base) {
			return true
		}
	}
	return false
}

func is8(a arm64asm.Arg) bool {
	switch a := a.(type) {
	case arm64asm.Reg:
		return a == arm64asm.X8 || a == arm64asm.W8
	case arm64asm.RegSP:
		return arm64asm.Reg(a) == arm64asm.X8 || arm64asm.Reg(a) == arm64asm.W8
	}
	return false
}

// The trampoline: what a call changes is kept around it.
const (
	pushPair = 0xa9bf7bfd // stp x29, x30, [sp, #-16]!
	popPair  = 0xa8c17bfd // ldp x29, x30, [sp], #16
	branchOp = 0x14000000
	callOp   = 0x94000000
)

const (
	addX8    = 0x91000108 // add x8, x8, #0
	subX8    = 0xd1000108 // sub x8, x8, #0
	zeroW8   = 0x34000008 // cbz w8, .
	viaShimA = 4          // instructions: the call of the shim, and the way back
)

func (a64) trampolineSize(p patch) int {
	if !p.any {
		return viaShimA * a64Size
	}
	n := len(pathCallsARM64())
	return (2*n + 3 + 2*n + viaShimA) * a64Size
}

func (a a64) trampoline(p patch, addr, entry uint64) ([]byte, error) {
	if p.any {
		return a.anyCall(p, addr, entry)
	}
	return a.viaShim(nil, p, addr, entry)
}

// viaShim appends the call of the shim, and the jump back, to a trampoline at addr.
func (a a64) viaShim(b []byte, p patch, addr, entry uint64) ([]byte, error) {
	b = binary.LittleEndian.AppendUint32(b, pushPair)
	call, err := a.far(callOp, addr+uint64(len(b)), entry)
	if err != nil {
		return nil, err
	}
	b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, call), popPair)
	back, err := a.far(branchOp, addr+uint64(len(b)), p.from+a64Size)
	return binary.LittleEndian.AppendUint32(b, back), err
}

// anyCall is a trampoline that calls the shim if the number in w8 is one of the
// path calls, and else makes the system call right here. No register is free and
// the flags stay, so that x8 itself is counted down and up again:
//
//	sub x8, x8, #first; cbz w8, 1f; sub x8, x8, #(second-first); cbz w8, 2f; …
//	add x8, x8, #last; svc #0; b back
//	1: add x8, x8, #first; b shim   2: …   shim: …
func (a a64) anyCall(p patch, addr, entry uint64) ([]byte, error) {
	calls := pathCallsARM64()
	n := len(calls)
	first, shim := 2*n+3, 2*n+3+2*n // in instructions
	var b []byte
	put := func(w uint32) { b = binary.LittleEndian.AppendUint32(b, w) }
	last := uint32(0)
	for i, c := range calls {
		if c.nr <= last || c.nr >= 1<<12 {
			return nil, fmt.Errorf("%w: calls out of order", ErrUnproven)
		}
		put(subX8 | (c.nr-last)<<10)
		put(zeroW8 | uint32(first+2*i-(2*i+1))<<5)
		last = c.nr
	}
	put(addX8 | last<<10)
	put(svc0)
	back, err := a.far(branchOp, addr+uint64(len(b)), p.from+a64Size)
	if err != nil {
		return nil, err
	}
	put(back)
	for _, c := range calls {
		put(addX8 | c.nr<<10)
		put(branchOp | uint32(shim-len(b)/a64Size))
	}
	return a.viaShim(b, p, addr, entry)
}

func (a a64) jump(p patch, trampoline uint64) ([]byte, error) { return a.branch(p.from, trampoline) }

func (a a64) branch(addr, to uint64) ([]byte, error) {
	w, err := a.far(branchOp, addr, to)
	return binary.LittleEndian.AppendUint32(nil, w), err
}

func (a64) arch() string { return "arm64" }

// far is a branch instruction from addr to another address.
func (a64) far(op uint32, addr, to uint64) (uint32, error) {
	d := int64(to) - int64(addr)
	if d%a64Size != 0 || d < -1<<27 || d >= 1<<27 {
		return 0, fmt.Errorf("%w: %#x is too far from %#x", ErrUnproven, to, addr)
	}
	return op | uint32(d/a64Size)&0x03ffffff, nil
}
