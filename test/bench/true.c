/* The smallest program that starts and ends: what every launcher is timed with. */
#ifndef STATUS
#define STATUS 0
#endif

__attribute__((noreturn)) void _start(void)
{
#if defined(__x86_64__)
	register long number __asm__("rax") = 231; /* exit_group */
	register long status __asm__("rdi") = STATUS;

	__asm__ volatile("syscall" ::"r"(number), "r"(status) : "memory");
#elif defined(__aarch64__)
	register long number __asm__("x8") = 94;
	register long status __asm__("x0") = STATUS;

	__asm__ volatile("svc #0" ::"r"(number), "r"(status) : "memory");
#else
#error "no start code for this architecture"
#endif
	__builtin_unreachable();
}
