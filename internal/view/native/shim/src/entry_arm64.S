/*
 * Entry from a patched site, by a call from its trampoline, which has saved x29
 * and x30. Registers are as at an svc instruction: number in x8, arguments in
 * x0 to x5. On return x0 holds the result; everything else is as it was.
 */
	.section .text.entry, "ax", @progbits
	.globl entry
entry:
	stp	x29, x30, [sp, #-176]!
	mov	x29, sp
	stp	x1, x2, [sp, #16]
	stp	x3, x4, [sp, #32]
	stp	x5, x6, [sp, #48]
	stp	x7, x8, [sp, #64]
	stp	x9, x10, [sp, #80]
	stp	x11, x12, [sp, #96]
	stp	x13, x14, [sp, #112]
	stp	x15, x16, [sp, #128]
	stp	x17, x18, [sp, #144]
	mrs	x9, nzcv
	str	x9, [sp, #160]
	mov	x5, x8
	bl	shim
	ldr	x9, [sp, #160]
	msr	nzcv, x9
	ldp	x1, x2, [sp, #16]
	ldp	x3, x4, [sp, #32]
	ldp	x5, x6, [sp, #48]
	ldp	x7, x8, [sp, #64]
	ldp	x9, x10, [sp, #80]
	ldp	x11, x12, [sp, #96]
	ldp	x13, x14, [sp, #112]
	ldp	x15, x16, [sp, #128]
	ldp	x17, x18, [sp, #144]
	ldp	x29, x30, [sp], #176
	ret
	.section .note.GNU-stack, "", @progbits
