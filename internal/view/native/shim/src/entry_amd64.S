/*
 * Entry from a patched site, by a call from its trampoline, which has stepped
 * over the red zone. Registers are as at a syscall instruction: number in rax,
 * arguments in rdi, rsi, rdx, r10, r8, r9. On return rax holds the result; rcx
 * and r11 are changed, as the instruction does; everything else is as it was.
 */
	.section .text.entry, "ax", @progbits
	.globl entry
entry:
	pushfq
	pushq	%rdi
	pushq	%rsi
	pushq	%rdx
	pushq	%r10
	pushq	%r8
	pushq	%r9
	pushq	%rbp
	movq	%rsp, %rbp
	andq	$-16, %rsp
	cld
	movq	%r10, %rcx
	movq	%rax, %r9
	call	shim
	movq	%rbp, %rsp
	popq	%rbp
	popq	%r9
	popq	%r8
	popq	%r10
	popq	%rdx
	popq	%rsi
	popq	%rdi
	popfq
	ret
	.section .note.GNU-stack, "", @progbits
