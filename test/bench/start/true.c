/* The smallest program that starts and ends: what every launcher is timed with. */
#if defined(__x86_64__)
__attribute__((noreturn)) void _start(void)
{
	__asm__ volatile("xor %%edi, %%edi\n\tmov $231, %%eax\n\tsyscall" ::: "memory");
	__builtin_unreachable();
}
#elif defined(__aarch64__)
__attribute__((noreturn)) void _start(void)
{
	__asm__ volatile("mov x0, #0\n\tmov x8, #94\n\tsvc #0" ::: "memory");
	__builtin_unreachable();
}
#else
#error "no start code for this architecture"
#endif
