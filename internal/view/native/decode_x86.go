package native

import "golang.org/x/arch/x86/x86asm"

// decodeX86 decodes the instruction at the beginning of b. Of those that
// x86asm does not know (AVX, AVX-512 and other late ones) it returns the length
// and an empty Inst, or one that has only a reference relative to rip: none of
// them is a jump.
func decodeX86(b []byte) (n int, inst x86asm.Inst, ok bool) {
	if len(b) == 0 || b[0] == 0xc4 || b[0] == 0xc5 || b[0] == 0x62 { // x86asm takes some of their bytes for operands
		return lateX86(b)
	}
	if inst, err := x86asm.Decode(b, 64); err == nil && inst.Op != 0 && inst.Len > 0 && inst.Len <= len(b) {
		return inst.Len, inst, true
	}
	if n, inst, ok := lateX86(b); ok {
		return n, inst, true
	}
	inst, err := x86asm.Decode(b, 64) // a prefix by itself
	return inst.Len, x86asm.Inst{}, err == nil && inst.Len > 0 && inst.Len <= len(b)
}

// lateX86 decodes what x86asm does not know: VEX and EVEX instructions, and
// those of the two-byte map that it has no entry for.
func lateX86(b []byte) (n int, inst x86asm.Inst, ok bool) {
	i := 0
	for i < len(b) && i < 4 && (b[i] == 0x66 || b[i] == 0xf3 || b[i] == 0xf2 || b[i] == 0x2e || b[i] == 0x3e) {
		i++
	}
	at := func(k int) byte {
		if k < len(b) {
			return b[k]
		}
		return 0
	}
	opcodeMap, vex := 0, true
	switch {
	case i == 0 && at(0) == 0xc5:
		opcodeMap, i = 1, 2
	case i == 0 && at(0) == 0xc4:
		opcodeMap, i = int(at(1)&0x1f), 3
	case i == 0 && at(0) == 0x62 && at(1)&0x08 == 0:
		opcodeMap, i = int(at(1)&0x07), 4
	default:
		vex = false
		if at(i)&0xf0 == 0x40 { // REX
			i++
		}
		if at(i) != 0x0f {
			return 0, inst, false
		}
		opcodeMap, i = 1, i+1
		if at(i) == 0x38 || at(i) == 0x3a {
			opcodeMap, i = 2+int(at(i)-0x38)/2, i+1
		}
	}
	op := at(i)
	i++
	if !vex && opcodeMap == 1 && !lateTwoByte(op) || opcodeMap < 1 || opcodeMap > 3 {
		return 0, inst, false
	}
	if vex && opcodeMap == 1 && op == 0x77 { // vzeroupper, vzeroall
		return i, inst, i <= len(b)
	}
	modrm := i
	fits, mem := modrmX86(b, &i)
	if !fits {
		return 0, inst, false
	}
	if opcodeMap == 3 || opcodeMap == 1 && vex && immediate(op) {
		i++
	}
	if mem {
		disp := int64(int32(uint32(at(modrm+1)) | uint32(at(modrm+2))<<8 | uint32(at(modrm+3))<<16 | uint32(at(modrm+4))<<24))
		inst.Args[0] = x86asm.Mem{Base: x86asm.RIP, Disp: disp}
	}
	return i, inst, i <= len(b)
}

// lateTwoByte lists the opcodes of the two-byte map, all with a ModRM byte, that
// x86asm lacks in some form: hint NOPs (endbr64, rdssp), prefetchw, CET, xsavec, popcnt's
// neighbours, rdpid.
func lateTwoByte(op byte) bool {
	switch op {
	case 0x0d, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x01, 0xae, 0xb8, 0xbc, 0xbd, 0xc7:
		return true
	}
	return false
}

// immediate reports whether a VEX or EVEX instruction of the two-byte map has a
// byte behind its operands.
func immediate(op byte) bool {
	return op >= 0x70 && op <= 0x73 || op == 0xc2 || op == 0xc4 || op == 0xc5 || op == 0xc6
}

// modrmX86 steps over a ModRM byte at *i, its SIB byte and displacement. ripped
// reports whether it is relative to rip.
func modrmX86(b []byte, i *int) (ok, ripped bool) {
	if *i >= len(b) {
		return false, false
	}
	mod, rm := b[*i]>>6, b[*i]&7
	*i++
	if mod == 3 {
		return true, false
	}
	if rm == 4 {
		if *i >= len(b) {
			return false, false
		}
		if mod == 0 && b[*i]&7 == 5 {
			*i += 4
		}
		*i++
	}
	switch {
	case mod == 0 && rm == 5:
		*i += 4
		ripped = true
	case mod == 1:
		*i++
	case mod == 2:
		*i += 4
	}
	return *i <= len(b), ripped
}
