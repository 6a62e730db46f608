package membrane

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif with its struct seccomp_data
// (linux/seccomp.h), 80 bytes.
type notification struct {
	id    uint64
	pid   uint32 // of the calling thread
	flags uint32
	nr    uint32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp, 24 bytes.
type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// addfd is struct seccomp_notif_addfd, 24 bytes.
type addfd struct {
	id              uint64
	flags           uint32
	srcfd           uint32
	newfd, newflags uint32
}

// Requests and flags of linux/seccomp.h.
const (
	ioctlRecv     = 0xc0502100
	ioctlSend     = 0xc0182101
	ioctlIDValid  = 0x40082102
	ioctlAddFD    = 0x40182103
	ioctlSetFlags = 0x40082104

	flagContinue = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE
	addFDSend    = 2 // SECCOMP_ADDFD_FLAG_SEND
	syncWakeUp   = 1 // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
)

// receive waits for a notification. It is the one call that blocks, so it goes
// through the scheduler; the struct must be zero.
func receive(fd int, n *notification) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlRecv, uintptr(unsafe.Pointer(n)))
	if errno != 0 {
		return errno
	}
	return nil
}

func respond(fd int, r response) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), ioctlSend, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errno
	}
	return nil
}

// giveFD installs our descriptor src in the caller and makes its number the
// result of the call. The thread must take no signals: one that comes while the
// kernel waits for the caller takes the descriptor back, but not the answer, and
// the caller goes on with descriptor 0 (kernel/seccomp.c, seccomp_notify_addfd).
func giveFD(fd int, id uint64, src int, cloexec bool) error {
	a := addfd{id: id, flags: addFDSend, srcfd: uint32(src)}
	if cloexec {
		a.newflags = unix.O_CLOEXEC
	}
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), ioctlAddFD, uintptr(unsafe.Pointer(&a)))
	if errno != 0 {
		return errno
	}
	return nil
}

func stillValid(fd int, id uint64) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), ioctlIDValid, uintptr(unsafe.Pointer(&id)))
	return errno == 0
}

// setSyncWakeUp takes its flags by value, not by pointer.
func setSyncWakeUp(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), ioctlSetFlags, syncWakeUp)
	if errno != 0 {
		return errno
	}
	return nil
}

// abandoned reports whether no process has the listener's filter any more: then
// receiving fails at once, for ever.
func abandoned(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&unix.POLLHUP != 0
}

// blockSignals blocks every signal of the calling thread but those by which the
// runtime finds a mistake of ours: blocked, they would end the supervisor without a
// word.
func blockSignals() {
	set := ^uint64(0)
	for _, s := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP} {
		set &^= 1 << (s - 1)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&set)), 0, 8, 0, 0)
}

// readMemory copies len(dst) bytes from address addr of process pid.
func readMemory(pid int, addr uint64, dst []byte) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	local := unix.Iovec{Base: &dst[0], Len: uint64(len(dst))}
	remote := unix.RemoteIovec{Base: uintptr(addr), Len: len(dst)}
	n, _, errno := unix.RawSyscall6(unix.SYS_PROCESS_VM_READV, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// writeMemory copies src to address addr of process pid, as far as the process
// could write there itself.
func writeMemory(pid int, addr uint64, src []byte) (int, error) {
	if len(src) == 0 {
		return 0, nil
	}
	local := unix.Iovec{Base: &src[0], Len: uint64(len(src))}
	remote := unix.RemoteIovec{Base: uintptr(addr), Len: len(src)}
	n, _, errno := unix.RawSyscall6(unix.SYS_PROCESS_VM_WRITEV, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// thread is a thread of the cell, and a descriptor of it, which no other thread with
// the same number can take over.
type thread struct {
	pid   uint32
	pidfd int
}

// fetch duplicates a descriptor of a thread into this process, on the listener's own
// thread, which most often hears of the same one again. It is the same open file
// description: locks taken on it are the cell's.
func (m *Membrane) fetch(pid uint32, fd int) (int, error) {
	for {
		fresh := m.last.pidfd <= 0 || m.last.pid != pid
		if fresh {
			m.dropLast()
			p, err := unix.PidfdOpen(int(pid), unix.PIDFD_THREAD)
			if err != nil {
				return -1, err
			}
			m.last = thread{pid, p}
		}
		own, err := unix.PidfdGetfd(m.last.pidfd, fd, 0)
		if err != unix.ESRCH || fresh {
			return own, err
		}
		m.dropLast() // it was another thread of that number
	}
}

func (m *Membrane) dropLast() {
	if m.last.pidfd > 0 {
		unix.Close(m.last.pidfd)
	}
	m.last = thread{}
}

// fchmodat2 changes the mode of the file behind fd, which may be a path
// descriptor (fchmodat2(2), Linux 6.6).
func fchmodat2(fd int, mode uint32) error {
	var empty byte
	_, _, errno := unix.RawSyscall6(unix.SYS_FCHMODAT2, uintptr(fd), uintptr(unsafe.Pointer(&empty)), uintptr(mode), unix.AT_EMPTY_PATH, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// socketAddress is bind(2) or connect(2) with an address as the caller gave it. It is
// not to wait, but the runtime is told that it might: whoever shares the socket can
// take O_NONBLOCK away from it at any moment.
func socketAddress(call uintptr, fd int, address []byte) unix.Errno {
	var none byte
	at := &none
	if len(address) > 0 {
		at = &address[0]
	}
	_, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(at)), uintptr(len(address)))
	return errno
}

// currentCPU is getcpu(2).
func currentCPU() int {
	var cpu uint32
	unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	return int(cpu)
}

func sameFile(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}
