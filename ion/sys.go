package ion

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a memory file must not do any more before it is mapped: shrink, as an access behind
// its end is a SIGBUS; grow, as its size is checked once; and be unsealed from that.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// memfdPrefix begins the name of a segment's memory file, as /proc/<pid>/fd shows it.
const memfdPrefix = "ion:"

// newMemory makes a sealed memory file (memfd_create(2)) that nobody can execute.
func newMemory(name string, size uint64) (*os.File, error) {
	fd, err := unix.MemfdCreate(memfdPrefix+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err != nil {
		return nil, fmt.Errorf("make a memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), memfdPrefix+name)
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("size a memory file: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal a memory file: %w", err)
	}
	return f, nil
}

// checkMemory returns the size of a memory file that somebody else has made. Order counts:
// the size is good for ever only once the seals are there.
//
// Files with such seals are memory files; those of huge pages are refused, as an access
// can end in SIGBUS where there are no more huge pages.
func checkMemory(fd int) (size uint64, err error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, fmt.Errorf("look at a memory file: %w", err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return 0, malformed("the file is no memory file")
	}
	got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return 0, malformed("the file has no seals: %v", err)
	}
	if got&seals != seals {
		return 0, malformed("the memory file can be truncated: seals %#x, want %#x", got, seals)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("look at a memory file: %w", err)
	}
	if st.Size < lanesStart || st.Size > MaxSegment {
		return 0, malformed("a memory file of %d bytes", st.Size)
	}
	return uint64(st.Size), nil
}

// mapShared maps a checked memory file (mmap(2)).
func mapShared(fd int, size uint64, write bool) ([]byte, error) {
	prot := unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	mem, err := unix.Mmap(fd, 0, int(size), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map a segment of %d bytes: %w", size, err)
	}
	return mem, nil
}

// controlAt is the control block at an offset that lay computed, which is a multiple of
// line: mappings begin on a page, so that the words in it are aligned.
func controlAt(mem []byte, at uint64) *control {
	_ = mem[at+controlSize-1]
	return (*control)(unsafe.Pointer(&mem[at]))
}

// sideAt is the block of a side.
func sideAt(mem []byte, s Side) *peerBlock {
	at := sideOffset(s)
	_ = mem[at+line-1]
	return (*peerBlock)(unsafe.Pointer(&mem[at]))
}

// aligned reports whether memory begins where the words of a segment can be accessed.
func aligned(mem []byte) bool { return uintptr(unsafe.Pointer(&mem[0]))%line == 0 }

// monotonic is CLOCK_MONOTONIC, which all processes of a host share, in ns.
func monotonic() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // the clock exists
	return uint64(t.Nano())
}

// Operations of futex(2), on memory that processes share: without FUTEX_PRIVATE_FLAG.
const (
	futexWaitOp = 0
	futexWakeOp = 1
)

// futexWait sleeps while *word is value, at most d; d < 0 is without end. It may return
// early.
func futexWait(word *uint32, value uint32, d time.Duration) {
	var timeout *unix.Timespec
	if d >= 0 {
		t := unix.NsecToTimespec(int64(d))
		timeout = &t
	}
	// EAGAIN: the word has changed; EINTR, ETIMEDOUT: the caller looks again.
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWaitOp, uintptr(value), uintptr(unsafe.Pointer(timeout)), 0, 0)
}

// futexWake wakes all who sleep on word. It does not block.
func futexWake(word *uint32) {
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWakeOp, 1<<30, 0, 0, 0)
}
