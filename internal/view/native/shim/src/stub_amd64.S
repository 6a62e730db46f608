/*
 * Runs before a program's first instruction, in the loader or in a static
 * program: maps the zone and seals it. Entered from the kernel: rsp points to
 * argc, rdx is what the program is to get. Both are kept, and nothing below rsp
 * is anybody's. Behind the last instruction stands a jump to the original
 * entry. Where it cannot be done, the program ends with 125.
 */
#include "zone.h"
	.section .text.entry, "ax", @progbits
	.globl entry
entry:
	pushq	%rdx
	movl	$9, %eax			/* mmap */
	movl	$ZONE_ADDR, %edi
	movl	$ZONE_SIZE, %esi
	movl	$1, %edx			/* PROT_READ */
	movl	$0x100001, %r10d		/* MAP_SHARED | MAP_FIXED_NOREPLACE */
	movl	$ZONE_FD, %r8d
	xorl	%r9d, %r9d
	syscall
	cmpq	$ZONE_ADDR, %rax
	jne	fail
	movabsq	$ZONE_MAGIC, %rcx
	cmpq	%rcx, ZONE_TABLE
	jne	fail
	movl	$462, %eax			/* mseal */
	movl	$ZONE_ADDR, %edi
	movl	$ZONE_SIZE, %esi
	xorl	%edx, %edx
	syscall
	testq	%rax, %rax
	je	go
	testl	$ZONE_ASK_ALL, ZONE_TABLE + ZONE_FLAGS
	jne	go
fail:
	movl	$231, %eax			/* exit_group */
	movl	$125, %edi
	syscall
	hlt
go:
	popq	%rdx
	.section .note.GNU-stack, "", @progbits
