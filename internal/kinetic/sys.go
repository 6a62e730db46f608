package kinetic

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// processClock is the clock of a process: the complement of its number, shifted by
// three, and CPUCLOCK_SCHED (clock_getcpuclockid(3)).
func processClock(pid int) uintptr {
	const sched = 2 // linux/posix-timers_types.h
	return uintptr(int32(^pid<<3 | sched))
}

// clockOf is the CPU time of a process and of all threads that it has had. It fails for a
// process that is gone.
func clockOf(pid int) (time.Duration, error) {
	var t unix.Timespec
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, processClock(pid), uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0, errno
	}
	return time.Duration(t.Nano()), nil
}

// beQuick asks for a short slice for all threads of the supervisor, and those that they
// will make: who has one is woken sooner (sched(7), sched_runtime of sched_setattr(2),
// Linux 6.12; 0.1 ms is the least). All, because Go may need any of them to let the
// meter go on. An older kernel ignores it.
func beQuick() {
	quick := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Runtime: 100_000}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.SchedSetAttr(tid, &quick, 0) // it has ended, or stays slow
		}
	}
}

// pollFor is ppoll(2) on one descriptor. Go's scheduler is not told that the thread
// waits: it would give the processor to others and take it back, hundreds of times a
// second, and wake a thread that looks after such waits each 20 us. Where it wants all
// threads to stop, or another goroutine to run, its signal interrupts the wait.
func pollFor(fd *unix.PollFd, d time.Duration) (ready int) {
	for end := time.Now().Add(d); ; d = time.Until(end) { // where it may stop us
		t := unix.NsecToTimespec(max(0, int64(d)))
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(fd)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			return 0 // ENOMEM: it comes again
		}
	}
}

// sigaction is struct kernel_sigaction (asm-generic/signal.h); x86-64 has the restorer.
type sigaction struct {
	handler, flags, restorer, mask uintptr
}

// hearNoStops asks the kernel not to signal the supervisor when its child, the
// program, is stopped and continued: that would be twice a window, and each time a
// thread of the runtime would wake up for nothing.
func hearNoStops() {
	const noStops = 1 // SA_NOCLDSTOP
	var a sigaction
	const size = unsafe.Sizeof(a.mask)
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&a)), size, 0, 0); errno != 0 {
		return
	}
	a.flags |= noStops
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&a)), 0, size, 0, 0) // only costs
}

// status is what /proc/<pid>/stat says (proc_pid_stat(5)).
type status struct {
	state    byte
	parent   int
	terminal bool // it has one
	threads  int
	children time.Duration // CPU time of children that it has waited for
}

var errStat = errors.New("not as proc_pid_stat(5) says")

// tick is a clock tick of /proc: USER_HZ is 100 on all machines that we run on.
const tick = time.Second / 100

// openOf opens a file of /proc/<pid>.
func openOf(pid int, name string) (int, error) {
	return unix.Open("/proc/"+strconv.Itoa(pid)+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// statusOf reads an open /proc/<pid>/stat.
func statusOf(fd int) (s status, err error) {
	var b [1024]byte
	n, err := unix.Pread(fd, b[:], 0)
	if err != nil {
		return s, err // ESRCH: the process is gone
	}
	f := wall.StatFields(b[:n])
	if len(f) < 18 || len(f[0]) != 1 {
		return s, errStat
	}
	s.state = f[0][0]
	s.parent, err = strconv.Atoi(f[1])
	s.terminal = f[4] != "0"
	user, err1 := strconv.ParseInt(f[13], 10, 64)
	system, err2 := strconv.ParseInt(f[14], 10, 64)
	threads, err3 := strconv.Atoi(f[17])
	s.threads = threads
	s.children = time.Duration(user+system) * tick
	return s, errors.Join(err, err1, err2, err3)
}

// pendingStop returns the signal that stops a process as soon as it goes on, by a key
// of its terminal, say; 0 if there is none. settled says that our own SIGSTOP has
// arrived, and one that waits is somebody else's.
func pendingStop(pid int, settled bool) unix.Signal {
	pending := signals(pid, "SigPnd", "ShdPnd")
	for _, s := range []unix.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU} {
		if s == unix.SIGSTOP && !settled {
			continue
		}
		if pending>>(s-1)&1 != 0 {
			return s
		}
	}
	return 0
}

// signals is the union of some sets of proc_pid_status(5), signal 1 in bit 0.
func signals(pid int, sets ...string) (all uint64) {
	values, err := wall.Facts(pid, "status", sets...)
	if err != nil { // it is gone
		return 0
	}
	for _, value := range values {
		bits, _ := strconv.ParseUint(value, 16, 64) // the kernel's own numbers
		all |= bits
	}
	return all
}

// waitsForStops reports whether a process of one thread waits for children that end or
// stop (waitpid(2) with WUNTRACED), or does not let that be seen
// (/proc/<pid>/syscall of proc(5): the number of the call, and its arguments).
func waitsForStops(pid int) bool {
	fd, err := openOf(pid, "syscall")
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	var b [256]byte
	n, err := unix.Read(fd, b[:])
	if err != nil || n == 0 {
		return true
	}
	f := strings.Fields(string(b[:n]))
	if len(f) == 0 {
		return true
	}
	options := 0
	switch f[0] {
	case strconv.Itoa(unix.SYS_WAIT4):
		options = 3
	case strconv.Itoa(unix.SYS_WAITID):
		options = 4
	}
	if options == 0 || options >= len(f) {
		return false
	}
	bits, err := strconv.ParseUint(f[options], 0, 64)
	return err != nil || bits&unix.WUNTRACED != 0
}

// memoryOf reads an open /proc/<pid>/statm (proc_pid_statm(5)): bytes in memory, and
// bytes of data and stack. Nothing is left of a process that is gone.
func memoryOf(fd int) (resident, data int64) {
	var b [256]byte
	n, err := unix.Pread(fd, b[:], 0)
	if err != nil {
		return 0, 0
	}
	var f [6]int64
	for i, word := range strings.Fields(string(b[:n])) {
		if i < len(f) {
			f[i], _ = strconv.ParseInt(word, 10, 64) // the kernel's own numbers
		}
	}
	page := int64(unix.Getpagesize())
	return f[1] * page, f[5] * page
}

// exactMemoryOf is how many bytes a process has for itself, and its part of those that
// it shares, without files (proc_pid_smaps_rollup(5)).
func exactMemoryOf(pid int) (sum int64) {
	values, err := wall.Facts(pid, "smaps_rollup", "Pss_Anon", "Pss_Shmem")
	if err != nil { // it is gone
		return 0
	}
	for _, value := range values {
		n, _ := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64) // the kernel's own numbers
		sum += n << 10
	}
	return sum
}

// napFor sleeps for a moment that is too short to tell Go's scheduler of.
func napFor(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0) // EINTR: a shorter one
}
