/*
 * Runs before a program's first instruction, in the loader or in a static
 * program: maps the zone and seals it. Entered from the kernel: rsp points to
 * argc, rdx is what the program is to get. Both are kept, and nothing below rsp
 * is anybody's; other registers mean nothing. Behind the last instruction stands a jump to the original
 * entry. Where it cannot be done, the program ends with 125.
 *
 * A seccomp filter that the program inherited may have mseal return 0 without
 * being made. So the zone is mapped a second time, now in its own place, and
 * after the seal a third time, by the same instruction with the same arguments:
 * what let the second through lets the third through, too, and it must fail.
 *
 * If the supervisor keeps the working directory (a program that knows no shim
 * has executed this one), the kernel's becomes the same: the shim's relative
 * calls do not ask. It would be worse to go on in another directory.
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
	testl	$ZONE_ASK_ALL, ZONE_TABLE + ZONE_FLAGS
	jne	go				/* nothing depends on it */
	xorl	%ebx, %ebx
	movl	$0x11, %r10d			/* MAP_SHARED | MAP_FIXED */
again:
	movl	$9, %eax			/* mmap, the rest as before */
	syscall
	testl	%ebx, %ebx
	jne	sealed
	cmpq	$ZONE_ADDR, %rax
	jne	fail
	movl	$462, %eax			/* mseal */
	movl	$ZONE_SIZE, %esi
	xorl	%edx, %edx
	syscall
	testq	%rax, %rax
	jne	fail
	movl	$1, %edx			/* PROT_READ */
	incl	%ebx
	jmp	again
sealed:
	cmpq	$-1, %rax			/* EPERM */
	jne	fail
	subq	$16, %rsp
	movl	$97, %eax			/* getrlimit */
	movl	$10, %edi			/* RLIMIT_LOCKS */
	movq	%rsp, %rsi
	syscall
	popq	%rcx				/* the soft limit */
	popq	%rdx
	testq	%rax, %rax
	jne	fail
	movq	%rcx, %rdx
	shrq	$40, %rdx			/* ZONE_VIRTUAL */
	je	go
	incq	%rcx				/* RLIM_INFINITY */
	je	go
	pushq	$'.'
	movl	$257, %eax			/* openat */
	movl	$-100, %edi			/* AT_FDCWD */
	movq	%rsp, %rsi
	movl	$0x90000, %edx			/* O_RDONLY | O_DIRECTORY | O_CLOEXEC */
	xorl	%r10d, %r10d
	syscall
	popq	%rcx
	testq	%rax, %rax
	js	fail
	movl	%eax, %edi
	movl	$81, %eax			/* fchdir, without the mark */
	xorl	%esi, %esi
	syscall
	testq	%rax, %rax
	jne	fail
	movl	$3, %eax			/* close */
	syscall
	testq	%rax, %rax
	je	go
fail:
	movl	$231, %eax			/* exit_group */
	movl	$125, %edi
	syscall
	hlt
go:
	popq	%rdx
	.section .note.GNU-stack, "", @progbits
