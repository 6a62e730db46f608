package scratch

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/view/zone"
)

// The filter is that of a cell with native views as far as these programs need
// it: what it decides about path calls and about the zone's descriptors. All
// else is allowed.

// Offsets in struct seccomp_data, and verdicts (linux/seccomp.h).
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16

	retAllow = 0x7fff0000
	retAsk   = 0x7fc00000
	retErrno = 0x00050000

	fioclex = 0x5451 // asm-generic/ioctls.h
)

// Operations of classic BPF (linux/bpf_common.h).
const (
	bpfLoad = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfJeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfJge  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	bpfJgt  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	bpfJset = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	bpfRet  = unix.BPF_RET | unix.BPF_K
)

// rule is a block of the program for one call: tests that all must hold, the
// verdict then, and the verdict otherwise.
type rule struct {
	nr              uint32
	tests           []test
	then, otherwise uint32
}

// test is: the low or high half of an argument lies in [from, to] and has none
// of the bits set.
type test struct {
	arg      int
	high     bool
	from, to uint32
	bits     uint32
}

func equal(arg int, value uint32) test { return test{arg: arg, from: value, to: value} }
func zeroHigh(arg int) test            { return test{arg: arg, high: true} }

// rules returns the filter's. asked is the verdict of what is not native, native
// that of what is: openat2 by a slot.
func rules(native, asked uint32) []rule {
	slots := []test{zeroHigh(2), {arg: 2, from: zone.Addr, to: zone.LastSlot(), bits: zone.SlotSize - 1}, equal(3, zone.HowSize), zeroHigh(3)}
	empty := []test{equal(1, zone.EmptyAddr), zeroHigh(1)}
	kept := func(arg int) test { return test{arg: arg, from: zone.PackageFD, to: zone.FD} }
	list := []rule{
		{unix.SYS_OPENAT2, slots, native, asked},
		{unix.SYS_CLOSE, []test{kept(0)}, retErrno, retAllow},
		{sysNewfstatat, empty, retAllow, asked},
		{unix.SYS_STATX, empty, retAllow, asked},
		{unix.SYS_FACCESSAT2, empty, retAllow, asked},
		{unix.SYS_READLINKAT, empty, retAllow, asked},
		{unix.SYS_EXECVEAT, empty, retAllow, asked},
		{unix.SYS_FCHDIR, []test{equal(1, zone.FchdirMark), zeroHigh(1)}, retAllow, asked},
		// A sealed mapping can still be kept from children, who would have room
		// for one of their own in its place.
		{unix.SYS_MADVISE, []test{equal(2, unix.MADV_DONTFORK)}, retErrno | uint32(unix.EINVAL), retAllow},
		{unix.SYS_PROCESS_MADVISE, nil, retErrno | uint32(unix.EPERM), 0},
		{unix.SYS_DUP3, []test{kept(1)}, retErrno | uint32(unix.EBADF), retAllow},
		{unix.SYS_FCNTL, []test{kept(0), equal(1, unix.F_SETFD)}, retErrno, retAllow},
		{unix.SYS_IOCTL, []test{kept(0), equal(1, fioclex)}, retErrno, retAllow},
		{unix.SYS_CLOSE_RANGE, []test{{arg: 0, to: zone.FD}, {arg: 1, from: zone.PackageFD, to: 1<<32 - 1}}, retErrno | uint32(unix.EPERM), retAllow},
	}
	for _, nr := range pathCalls() {
		list = append(list, rule{nr: nr, then: asked})
	}
	return append(list, moreRules(kept, asked)...)
}

// program assembles the rules.
func program(native, asked uint32) []unix.SockFilter {
	p := []unix.SockFilter{
		{Code: bpfLoad, K: dataArch},
		{Code: bpfJeq, K: auditArch, Jt: 1},
		{Code: bpfRet, K: retErrno | uint32(unix.ENOSYS)},
		{Code: bpfLoad, K: dataNr},
	}
	for _, r := range rules(native, asked) {
		var body []unix.SockFilter
		for _, t := range r.tests {
			at := uint32(dataArgs + 8*t.arg)
			if t.high {
				at += 4
			}
			body = append(body, unix.SockFilter{Code: bpfLoad, K: at})
			fails := []unix.SockFilter{{Code: bpfJge, K: t.from, Jt: 1}, {}, {Code: bpfJgt, K: t.to, Jf: 1}, {}}
			if t.bits != 0 {
				fails = append(fails, unix.SockFilter{Code: bpfJset, K: t.bits, Jf: 1}, unix.SockFilter{})
			}
			for i := range fails {
				if fails[i].Code == 0 {
					fails[i] = unix.SockFilter{Code: bpfRet, K: r.otherwise}
				}
			}
			body = append(body, fails...)
		}
		body = append(body, unix.SockFilter{Code: bpfRet, K: r.then})
		p = append(p, unix.SockFilter{Code: bpfJeq, K: r.nr, Jf: uint8(len(body))})
		p = append(p, body...)
	}
	return append(p, unix.SockFilter{Code: bpfRet, K: retAllow})
}

// install gives the calling thread the filter and returns its listener.
func install(p []unix.SockFilter) (int, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, fmt.Errorf("prctl: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	// seccomp(2): the kernel copies what prog points to before it returns.
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return -1, fmt.Errorf("seccomp: %w", errno)
	}
	return int(fd), nil
}
