/*
 * evil32.S: evil.c as a 32-bit program, which goes over to 64 bits at once: no
 * file says so, and the kernel asks nobody. It ends with 10 if HIDDEN gives another
 * result than ABSENT.
 */
	.globl _start
	.code32
_start:	movl 8(%esp), %ebx	/* argv[1] */
	movl 12(%esp), %ebp	/* argv[2] */
	ljmp $0x33, $long
	.code64
long:	movl $9, %eax		/* mmap(0x10000, 0x10000, read and write, private, anonymous and fixed, -1, 0) */
	movl $0x10000, %edi
	movl $0x10000, %esi
	movl $3, %edx
	movl $0x32, %r10d
	movq $-1, %r8
	xorl %r9d, %r9d
	syscall
	movl $12, %r12d
	cmpq $0x10000, %rax
	jne end
	movq $0x200000, 0x10000	/* O_PATH */
	movl %ebx, %esi
	call try
	movq %rax, %r13
	movl %ebp, %esi
	call try
	movl $11, %r12d
	cmpq %rax, %r13
	je end
	movl $10, %r12d
end:	movl $231, %eax		/* exit_group */
	movl %r12d, %edi
	syscall
try:	movl $437, %eax		/* openat2(AT_FDCWD, path, 0x10000, 24) */
	movq $-100, %rdi
	movl $0x10000, %edx
	movl $24, %r10d
	syscall
	ret
	.section .note.GNU-stack,"",@progbits
