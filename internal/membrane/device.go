package membrane

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The devices that are the same for everybody and take every open are opened by
// whoever takes the notification, also while the cell is young: no thread of a cell's
// rules is needed to judge a name that the supervisor knows by heart. Many programs
// open no other file that is asked.

// devices are their names, on the host as in a cell.
var devices = [...]string{"/dev/null", "/dev/zero", "/dev/urandom"}

// deviceFlags are what an open of one may say without becoming something else.
const deviceFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC | unix.O_APPEND | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NOFOLLOW

// openDevice answers an open of such a device. ok is false if it is none.
func (m *Membrane) openDevice(n *notification, name string, flags uint64) (errno unix.Errno, ok bool) {
	if m.config.Hide == nil || m.config.Count != nil || m.config.Learn != nil || m.domains.table != nil || flags&^deviceFlags != 0 {
		return 0, false
	}
	for _, d := range devices {
		if name != d {
			continue
		}
		fd, err := unix.Open(d, int(flags)&(unix.O_ACCMODE|unix.O_APPEND|unix.O_NONBLOCK)|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return 0, false
		}
		if fileType(fd) != unix.S_IFCHR {
			unix.Close(fd)
			return 0, false
		}
		_, errno = m.give(n, fd, flags)
		return errno, true
	}
	return 0, false
}

// stepDevice is openDevice for Step. The calling thread takes signals, and must not
// while it hands a descriptor over: see Serve.
func (m *Membrane) stepDevice(n *notification, e *entry) bool {
	at := int(e.opens)
	if at < 0 {
		return false
	}
	var path [16]byte
	got, err := readMemory(int(n.pid), n.args[at], path[:])
	if err != nil {
		return false
	}
	end := 0
	for end < got && path[end] != 0 {
		end++
	}
	if end == got {
		return false
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, before := ^uint64(0), uint64(0)
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&before)), 8, 0, 0)
	defer unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&before)), 0, 8, 0, 0)
	errno, ok := m.openDevice(n, string(path[:end]), uint64(uint32(n.args[at+1]))&openKnown)
	if ok && errno != later {
		m.reply(n, 0, errno)
	}
	return ok
}
