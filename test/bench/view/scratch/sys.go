package scratch

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/view/zone"
)

// mapZone maps the zone into this process, which makes calls with its empty
// string before its program has a zone of its own.
func mapZone() error {
	// mmap(2) by number: package unix cannot map at a fixed address without a pointer to it.
	at, _, errno := unix.RawSyscall6(unix.SYS_MMAP, zone.Addr, zone.Size, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED_NOREPLACE, zone.FD, 0)
	if errno != 0 || at != zone.Addr {
		return fmt.Errorf("map zone: %w", errno)
	}
	return nil
}

// execveat runs the program that fd leads to, as a native call if the zone is mapped.
func execveat(fd int, argv, envp []*byte, zoned bool) error {
	own := [1]byte{}
	empty := uintptr(unsafe.Pointer(&own[0]))
	if zoned {
		empty = zone.EmptyAddr
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), empty, uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}

// struct seccomp_notif and seccomp_notif_resp (linux/seccomp.h).
type notif struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// ioctls of a listener (linux/seccomp.h).
const (
	notifRecv     = 0xc0502100
	notifSend     = 0xc0182101
	notifSetFlags = 0x40082104
	syncWakeUp    = 1
	goOn          = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

// answer counts what is asked and lets it go on in the program's own tree, until
// no process with the filter is left.
func (t *Tree) answer(listener int, r *Result) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifSetFlags, syncWakeUp); errno != 0 {
		return fmt.Errorf("listen: %w", errno)
	}
	poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return nil
		}
		var n notif
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifRecv, uintptr(unsafe.Pointer(&n))); errno != 0 {
			continue // it was interrupted meanwhile
		}
		resp := t.decide(&n, r)
		// ENOENT: the caller is gone.
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifSend, uintptr(unsafe.Pointer(&resp))); errno != 0 && errno != unix.ENOENT {
			return fmt.Errorf("answer: %w", errno)
		}
	}
}

func (t *Tree) decide(n *notif, r *Result) response {
	resp := response{id: n.id, flags: goOn}
	if n.nr != unix.SYS_OPENAT2 {
		r.Asked[uint32(n.nr)]++
		if n.nr == unix.SYS_GETCWD {
			return t.getcwd(n)
		}
		return resp
	}
	inZone := n.args[2] >= zone.Addr && n.args[2] <= uint64(zone.LastSlot()) && n.args[2]%zone.SlotSize == 0 && n.args[3] == zone.HowSize
	if inZone {
		r.Native++
		return resp
	}
	r.Asked[uint32(n.nr)]++
	return response{id: n.id, err: -int32(unix.ENOSYS)}
}

// getcwd tells a program the name that it knows its directory by.
func (t *Tree) getcwd(n *notif) response {
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", n.pid))
	if err != nil {
		return response{id: n.id, err: -int32(unix.ENOENT)}
	}
	for _, root := range []string{t.View, t.Asked, t.Native} {
		if rest, ok := strings.CutPrefix(name, root); ok && (rest == "" || rest[0] == '/') {
			name = rest
		}
	}
	if name == "" {
		name = "/"
	}
	b := append([]byte(name), 0)
	if uint64(len(b)) > n.args[1] {
		return response{id: n.id, err: -int32(unix.ERANGE)}
	}
	local := []unix.Iovec{{Base: &bytes.Clone(b)[0]}}
	local[0].SetLen(len(b))
	if _, err := unix.ProcessVMWritev(int(n.pid), local, []unix.RemoteIovec{{Base: uintptr(n.args[0]), Len: len(b)}}, 0); err != nil {
		return response{id: n.id, err: -int32(unix.EFAULT)}
	}
	return response{id: n.id, val: int64(len(b))}
}
