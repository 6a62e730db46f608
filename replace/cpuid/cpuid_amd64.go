package cpuid

import "sync/atomic"

// Bits of CPUID leaf 1 (ECX) and leaf 7 (EBX), and of XCR0: Intel SDM volume 2A,
// CPUID, and volume 1, 13.3.
const (
	bitSSE41   = 1 << 19
	bitOSXSAVE = 1 << 27
	bitAVX     = 1 << 28
	bitAVX2    = 1 << 5
	stateAVX   = 1<<1 | 1<<2 // XMM and YMM registers are kept
)

// leaf returns EBX and ECX of CPUID for leaf eax and sub-leaf 0.
func leaf(eax uint32) (ebx, ecx uint32)

// xcr0 returns the low half of XCR0. Only with OSXSAVE.
func xcr0() uint32

// features is ECX of leaf 1 once somebody asked, never zero then: each CPUID may
// leave a virtual machine, which takes 15 us.
var features atomic.Uint32

func leaf1() uint32 {
	if f := features.Load(); f != 0 {
		return f
	}
	_, ecx := leaf(1)
	features.Store(ecx)
	return ecx
}

func hasSSE4() bool { return leaf1()&bitSSE41 != 0 }

// hasAVX2 may read leaf 7 without asking for the highest leaf first: a processor
// with AVX has leaf 13, which describes its XSAVE area.
func hasAVX2() bool {
	const both = bitOSXSAVE | bitAVX
	if leaf1()&both != both || xcr0()&stateAVX != stateAVX {
		return false
	}
	ebx, _ := leaf(7)
	return ebx&bitAVX2 != 0
}
