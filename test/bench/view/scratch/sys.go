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

// struct seccomp_notif_addfd.
type addfd struct {
	id                            uint64
	flags, srcfd, newfd, newflags uint32
}

// ioctls of a listener (linux/seccomp.h).
const (
	notifAddFD    = 0x40182103
	addfdSend     = 2 // SECCOMP_ADDFD_FLAG_SEND
	notifRecv     = 0xc0502100
	notifSend     = 0xc0182101
	notifSetFlags = 0x40082104
	syncWakeUp    = 1
	goOn          = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

// answer counts what is asked and lets it go on in the program's own tree, until
// no process with the filter is left.
func (t *Tree) answer(listener int, virtual string, r *Result) error {
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
		resp, given := t.decide(listener, &n, virtual, r)
		if given {
			continue
		}
		// ENOENT: the caller is gone.
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifSend, uintptr(unsafe.Pointer(&resp))); errno != 0 && errno != unix.ENOENT {
			return fmt.Errorf("answer: %w", errno)
		}
	}
}

// decide answers a call. given reports that the call has its answer already.
func (t *Tree) decide(listener int, n *notif, virtual string, r *Result) (resp response, given bool) {
	resp = response{id: n.id, flags: goOn}
	if n.nr == unix.SYS_OPENAT2 {
		if bySlot(n) {
			r.Native++
			r.By[uint32(n.args[4])]++
			return resp, false
		}
		r.Asked[uint32(n.nr)]++
		return response{id: n.id, err: -int32(unix.ENOSYS)}, false
	}
	r.Asked[uint32(n.nr)]++
	switch {
	case n.nr == unix.SYS_GETCWD:
		return t.getcwd(n), false
	case virtual != "" && n.nr == unix.SYS_OPENAT && kept(n):
		return t.openVirtual(listener, n, virtual)
	case virtual != "" && n.nr == unix.SYS_FCHDIR && kept(n):
		var l unix.Rlimit
		err := unix.Prlimit(int(n.pid), unix.RLIMIT_LOCKS, nil, &l)
		if l.Cur = unix.RLIM_INFINITY; err == nil {
			err = unix.Prlimit(int(n.pid), unix.RLIMIT_LOCKS, &l, nil)
		}
		if err != nil {
			return response{id: n.id, err: -int32(unix.EACCES)}, false
		}
	}
	return resp, false
}

func bySlot(n *notif) bool {
	return n.args[2] >= zone.Addr && n.args[2] <= uint64(zone.LastSlot()) && n.args[2]%zone.SlotSize == 0 && n.args[3] == zone.HowSize
}

// kept reports whether the caller's working directory is one that is kept for it.
func kept(n *notif) bool {
	var l unix.Rlimit
	err := unix.Prlimit(int(n.pid), unix.RLIMIT_LOCKS, nil, &l)
	return err == nil && l.Cur >= zone.VirtualCwd && l.Cur != unix.RLIM_INFINITY
}

// openVirtual opens the directory that is kept for the caller, as the answer to
// its openat(2) of ".".
func (t *Tree) openVirtual(listener int, n *notif, virtual string) (resp response, given bool) {
	fd, err := unix.Open(t.Asked+virtual, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return response{id: n.id, err: -int32(err.(unix.Errno))}, false
	}
	defer unix.Close(fd)
	add := addfd{id: n.id, flags: addfdSend, srcfd: uint32(fd), newflags: unix.O_CLOEXEC}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifAddFD, uintptr(unsafe.Pointer(&add))); errno != 0 {
		return response{id: n.id, err: -int32(errno)}, false
	}
	return resp, true
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
