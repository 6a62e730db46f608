package wall

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Guise lets a thread look at files with the eyes of a cell's user: with its file
// system user and group (setfsuid(2)), no other groups, and of the capabilities that
// are effective only the one to look at the cell's processes, which says nothing
// about files. Landlock has no part in it: it says nothing about looking.
type Guise struct {
	identity Identity
	own      capSets // the thread's capabilities
	worn     capSets // those that are left
	on       bool
}

// NewGuise prepares the calling thread, which must be locked to its goroutine, and
// takes its supplementary groups away. A caller that is an ordinary user is the
// cell's user already.
func NewGuise(id Identity) (*Guise, error) {
	g := &Guise{identity: id}
	if !id.Change {
		return g, nil
	}
	// Of this thread alone: the kernel knows no process-wide groups.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return nil, fmt.Errorf("drop supplementary groups: %w", errno)
	}
	g.own.version = unix.LINUX_CAPABILITY_VERSION_3
	if errno := g.own.call(unix.SYS_CAPGET); errno != 0 {
		return nil, fmt.Errorf("look at the capability sets: %w", errno)
	}
	g.worn = g.own
	for i := range g.worn.sets {
		g.worn.sets[i].effective = 0
	}
	g.worn.sets[0].effective = g.own.sets[0].effective & (1 << unix.CAP_SYS_PTRACE)
	return g, nil
}

// Wear puts the guise on, unless it is on already. Where it fails the thread may
// wear half of it, and must not be used any more.
func (g *Guise) Wear() unix.Errno {
	if g.on || !g.identity.Change {
		return 0
	}
	if errno := g.files(g.identity.UID, g.identity.GID); errno != 0 {
		return errno
	}
	errno := g.worn.call(unix.SYS_CAPSET)
	g.on = errno == 0
	return errno
}

// Shed takes it off, unless it is off already.
func (g *Guise) Shed() unix.Errno {
	if !g.on {
		return 0
	}
	g.on = false
	if errno := g.own.call(unix.SYS_CAPSET); errno != 0 {
		return errno
	}
	return g.files(0, 0)
}

// files sets the file system user and group. The calls do not say whether they
// worked: asking for one that there cannot be tells which is set.
func (g *Guise) files(uid, gid int) unix.Errno {
	if g.identity.UID == 0 && g.identity.GID == 0 {
		return 0
	}
	for _, c := range []struct{ nr, id uintptr }{{unix.SYS_SETFSGID, uintptr(gid)}, {unix.SYS_SETFSUID, uintptr(uid)}} {
		unix.RawSyscall(c.nr, c.id, 0, 0)
		if now, _, _ := unix.RawSyscall(c.nr, ^uintptr(0), 0, 0); now != c.id {
			return unix.EPERM
		}
	}
	return 0
}

// call is capget(2) or capset(2) of the calling thread.
func (c *capSets) call(nr uintptr) unix.Errno {
	_, _, errno := unix.RawSyscall(nr, uintptr(unsafe.Pointer(c)), uintptr(unsafe.Pointer(&c.sets)), 0)
	return errno
}
