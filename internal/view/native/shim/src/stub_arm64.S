/*
 * Runs before a program's first instruction, in the loader or in a static
 * program: maps the zone and seals it. Entered from the kernel: sp points to
 * argc and is kept; x0 is what the program is to get. Behind the last
 * instruction stands a jump to the original entry. Where it cannot be done, the
 * program ends with 125.
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
	mov	x8, #462			/* mseal */
	mov	x0, #ZONE_ADDR
	mov	x1, #ZONE_SIZE
	mov	x2, #0
	svc	#0
	cbz	x0, 3f
	ldr	w11, [x10, #ZONE_FLAGS]
	tbnz	w11, #0, 3f			/* ZONE_ASK_ALL */
2:
	mov	x8, #94				/* exit_group */
	mov	x0, #125
	svc	#0
	brk	#0
3:
	mov	x0, x9
	.section .note.GNU-stack, "", @progbits
