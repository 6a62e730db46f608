/*
 * Runs before a program's first instruction, in the loader or in a static
 * program: maps the zone and seals it. Entered from the kernel: sp points to
 * argc and is kept; x0 is what the program is to get. Behind the last
 * instruction stands a jump to the original entry. Where it cannot be done, the
 * program ends with 125.
 *
 * If the supervisor keeps the working directory (a program that knows no shim
 * has executed this one), the kernel's becomes the same: the shim's relative
 * calls do not ask. It would be worse to go on in another directory.
 */
#include "zone.h"
	.section .text.entry, "ax", @progbits
	.globl entry
entry:
	mov	x9, x0
	mov	x8, #222			/* mmap */
	mov	x0, #ZONE_ADDR
	mov	x1, #ZONE_SIZE
	mov	x2, #1				/* PROT_READ */
	mov	x3, #1				/* MAP_SHARED | MAP_FIXED_NOREPLACE */
	movk	x3, #0x10, lsl #16
	mov	x4, #ZONE_FD
	mov	x5, #0
	svc	#0
	mov	x10, #ZONE_ADDR
	cmp	x0, x10
	b.ne	2f
	mov	x10, #(ZONE_TABLE & 0xffff)
	movk	x10, #(ZONE_TABLE >> 16), lsl #16
	ldr	x11, [x10]
	movz	x12, #(ZONE_MAGIC & 0xffff)
	movk	x12, #(ZONE_MAGIC >> 16 & 0xffff), lsl #16
	movk	x12, #(ZONE_MAGIC >> 32 & 0xffff), lsl #32
	movk	x12, #(ZONE_MAGIC >> 48 & 0xffff), lsl #48
	cmp	x11, x12
	b.ne	2f
	ldr	w11, [x10, #ZONE_FLAGS]
	tbnz	w11, #0, 3f			/* ZONE_ASK_ALL: nothing depends on it */
	mov	x12, #0
	mov	x3, #0x11			/* MAP_SHARED | MAP_FIXED */
1:
	mov	x8, #222			/* mmap, the rest as before */
	mov	x0, #ZONE_ADDR
	svc	#0
	cbnz	x12, 4f
	mov	x11, #ZONE_ADDR
	cmp	x0, x11
	b.ne	2f
	mov	x8, #462			/* mseal */
	mov	x2, #0
	svc	#0
	cbnz	x0, 2f
	mov	x2, #1				/* PROT_READ */
	mov	x12, #1
	b	1b
4:
	cmn	x0, #1				/* EPERM */
	b.ne	2f
	sub	sp, sp, #16
	mov	x8, #163			/* getrlimit */
	mov	x0, #10				/* RLIMIT_LOCKS */
	mov	x1, sp
	svc	#0
	ldr	x10, [sp], #16			/* the soft limit */
	cbnz	x0, 2f
	lsr	x11, x10, #40			/* ZONE_VIRTUAL */
	cbz	x11, 3f
	adds	x10, x10, #1			/* RLIM_INFINITY */
	b.eq	3f
	mov	x10, #'.'
	str	x10, [sp, #-16]!
	mov	x8, #56				/* openat */
	mov	x0, #-100			/* AT_FDCWD */
	mov	x1, sp
	mov	x2, #0x4000			/* O_RDONLY | O_DIRECTORY | O_CLOEXEC */
	movk	x2, #0x8, lsl #16
	mov	x3, #0
	svc	#0
	add	sp, sp, #16
	tbnz	x0, #63, 2f
	mov	x10, x0
	mov	x8, #50				/* fchdir, without the mark */
	mov	x1, #0
	svc	#0
	cbnz	x0, 2f
	mov	x8, #57				/* close */
	mov	x0, x10
	svc	#0
	cbz	x0, 3f
2:
	mov	x8, #94				/* exit_group */
	mov	x0, #125
	svc	#0
	brk	#0
3:
	mov	x0, x9
	.section .note.GNU-stack, "", @progbits
