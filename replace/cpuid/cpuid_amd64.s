#include "textflag.h"

// func leaf(eax uint32) (ebx, ecx uint32)
TEXT ·leaf(SB), NOSPLIT, $0-16
	MOVL eax+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL BX, ebx+8(FP)
	MOVL CX, ecx+12(FP)
	RET

// func xcr0() uint32
TEXT ·xcr0(SB), NOSPLIT, $0-4
	XORL CX, CX
	XGETBV
	MOVL AX, ret+0(FP)
	RET
