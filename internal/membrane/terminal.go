package membrane

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// Terminals of the cell's own (promise TTY): /dev/ptmx makes a pair, whose other end
// the program opens as /dev/pts/N. Other terminals of the host lie beside it, so N is
// only one that the cell has made, by a path descriptor that was opened before the cell
// could know the number: the same number later is another file.

// terminalsMost is how many pairs a cell can have at a time.
const terminalsMost = 64

// terminalFlags are those of an open of a terminal. None becomes somebody's controlling
// terminal by it: that takes TIOCSCTTY.
const terminalFlags = unix.O_ACCMODE | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOFOLLOW

// openTerminal answers an open of a terminal. ok is false if the path is of none.
func (m *Membrane) openTerminal(n *notification, path string, flags uint64) (errno unix.Errno, ok bool) {
	name, found := strings.CutPrefix(path, "/dev/")
	if !found || m.config.Hide == nil || m.current != nil || !m.config.Pledge.Has(capability.Tty) || flags&^terminalFlags != 0 {
		return 0, false
	}
	if name == "ptmx" || name == "pts/ptmx" {
		fd, errno := m.makeTerminal(flags)
		if errno == 0 {
			errno = m.handOver(n, fd, flags)
		}
		return errno, true
	}
	name, found = strings.CutPrefix(name, "pts/")
	number, err := strconv.ParseUint(name, 10, 31)
	if !found || err != nil {
		return 0, false
	}
	at, known := m.terminals[int(number)]
	if !known || unlinked(at) {
		return unix.ENOENT, true
	}
	fd := -1
	errno = m.look(func() unix.Errno {
		fd, err = unix.Open(procFD(at), int(flags)&(unix.O_ACCMODE|unix.O_NONBLOCK)|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		return errnoOf(err)
	})
	if errno == 0 {
		errno = m.handOver(n, fd, flags)
	}
	return errno, true
}

// makeTerminal opens a new pair as the cell's user, whose the other end becomes.
func (m *Membrane) makeTerminal(flags uint64) (fd int, errno unix.Errno) {
	for number, at := range m.terminals {
		if unlinked(at) {
			unix.Close(at)
			delete(m.terminals, number)
		}
	}
	if len(m.terminals) >= terminalsMost {
		return -1, unix.ENOSPC
	}
	errno = m.look(func() (errno unix.Errno) {
		var err error
		fd, err = unix.Open("/dev/ptmx", int(flags)&(unix.O_ACCMODE|unix.O_NONBLOCK)|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		return errnoOf(err)
	})
	if errno != 0 {
		return -1, errno
	}
	number, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	at := -1
	if err == nil {
		at, err = unix.Open("/dev/pts/"+strconv.Itoa(int(number)), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err == nil && fileType(at) != unix.S_IFCHR {
		unix.Close(at)
		err = unix.EIO
	}
	if err != nil {
		unix.Close(fd)
		return -1, errnoOf(err)
	}
	if m.terminals == nil {
		m.terminals = map[int]int{}
	}
	if old, ok := m.terminals[int(number)]; ok {
		unix.Close(old)
	}
	m.terminals[int(number)] = at
	return fd, 0
}

// unlinked reports whether the file of a path descriptor has no name any more.
func unlinked(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) != nil || st.Nlink == 0
}
