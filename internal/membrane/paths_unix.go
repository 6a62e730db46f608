package membrane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// Sockets with names in the file system (promise UNIX). They are bound and connected in
// the cell's own directories alone, HOME, tmp and run: what is unveiled may hold the
// host's. Landlock forbids to make sockets elsewhere as well; that none is connected to
// rests on what a path descriptor leads to, which is judged after it was opened.
// Abstract names are refused: Landlock keeps the opener, whose domain is beside the
// cell's, from them.

// family returns the family of an address, AF_UNSPEC if it has none.
func family(address []byte) uint16 {
	if len(address) < 2 {
		return unix.AF_UNSPEC
	}
	return binary.NativeEndian.Uint16(address)
}

// localName returns the path in a struct sockaddr_un.
func localName(address []byte) (string, unix.Errno) {
	b := address[2:]
	switch {
	case len(b) > 108:
		return "", unix.EINVAL
	case len(b) == 0 || b[0] == 0:
		return "", unix.EPERM
	}
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b), 0
}

// localAddress is the struct sockaddr_un of a short path.
func localAddress(path string) []byte {
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX)
	return append(append(b, path...), 0)
}

// mayName reports whether the cell may have sockets with names at all.
func (m *Membrane) mayName() bool {
	return m.config.Hide != nil && m.config.Pledge.Has(capability.Unix)
}

// ownMark is a bit of the mode that tells the sockets of cells from the host's, which a
// cell could move to its own. It means nothing to the kernel (inode(7)), is set before
// the name exists, and no cell changes it.
const ownMark = unix.S_ISVTX

// isMarked reports whether fd, which may be a path descriptor, is a socket that a cell
// has given its name.
func isMarked(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&(unix.S_IFMT|ownMark) == unix.S_IFSOCK|ownMark
}

// isOwn reports whether fd leads into one of the cell's own directories.
func (m *Membrane) isOwn(fd int) bool {
	host, errno := linkText(procFD(fd))
	if errno != 0 {
		return false
	}
	for _, dir := range m.config.Own {
		if rest, ok := strings.CutPrefix(host, dir); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// bindLocal gives a socket a name. The kernel keeps the name as it is used there, the
// last component alone: that is what getsockname tells.
func (m *Membrane) bindLocal(n *notification, fd int, address []byte) unix.Errno {
	path, errno := localName(address)
	if errno != 0 {
		return errno
	}
	s, errno := m.spot(n, unix.AT_FDCWD, path)
	if errno != 0 {
		return errno
	}
	defer unix.Close(s.fd)
	switch {
	case s.taken:
		return unix.EADDRINUSE
	case !m.isOwn(s.fd):
		return unix.EACCES
	}
	umask, errno := m.umaskOf(n)
	if errno != 0 {
		return errno
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errnoOf(err)
	}
	errno = m.act(func() unix.Errno {
		// The name gets the mode of the socket, less the umask.
		if err := unix.Fchmod(fd, st.Mode&0o777|ownMark); err != nil {
			return errnoOf(err)
		}
		unix.Umask(umask)
		if err := unix.Fchdir(s.fd); err != nil { // the opener's own, see opener.separate
			return errnoOf(err)
		}
		errno := socketAddress(unix.SYS_BIND, fd, localAddress(s.name))
		return errnoOf(errors.Join(asError(errno), unix.Chdir("/")))
	})
	m.learnSpot(&s, true, errno)
	return errno
}

// connectLocal connects a socket to one with a name; it closes fd, or has it closed.
// Who accepts sees the supervisor's process as the peer, with the cell's user.
func (m *Membrane) connectLocal(n *notification, fd int, address []byte) (int64, unix.Errno) {
	at, errno := m.findLocal(n, address)
	if errno != 0 {
		unix.Close(fd)
		return 0, errno
	}
	done := func() {
		unix.Close(at)
		unix.Close(fd)
	}
	to := localAddress(procFD(at))
	connect := func() (errno unix.Errno) {
		_, errno = connectNow(fd, to)
		return errno
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	errno = m.act(connect)
	if errno != unix.EAGAIN || err != nil || flags&unix.O_NONBLOCK != 0 || m.current != nil {
		done()
		return 0, errno
	}
	// The queue of who listens is full. Nothing tells when it is not any more.
	if !m.mayWait(unixHolds) {
		done()
		return 0, unix.EAGAIN
	}
	call := *n
	go func() {
		defer m.waited(unixHolds)
		defer done()
		waiter := opener{alone: true}
		defer waiter.stop()
		for wait := time.Millisecond; m.valid(&call); wait = min(2*wait, 64*time.Millisecond) {
			if errno := waiter.do(m.config.Confine, connect); errno != unix.EAGAIN {
				m.reply(&call, 0, errno)
				return
			}
			time.Sleep(wait)
		}
	}()
	return 0, later
}

// findLocal returns a path descriptor of the socket that an address names.
func (m *Membrane) findLocal(n *notification, address []byte) (fd int, errno unix.Errno) {
	path, errno := localName(address)
	if errno != 0 {
		return -1, errno
	}
	o, errno := m.find(n, unix.AT_FDCWD, path, true)
	if errno != 0 {
		return -1, errno
	}
	switch {
	case o.link, o.file != nil, o.magic, fileType(o.fd) != unix.S_IFSOCK:
		errno = unix.ECONNREFUSED
	case !m.isOwn(o.fd), !isMarked(o.fd):
		errno = unix.EACCES
	}
	if errno != 0 {
		unix.Close(o.fd)
		return -1, errno
	}
	return o.fd, 0
}
