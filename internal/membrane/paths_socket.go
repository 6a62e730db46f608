package membrane

import (
	"time"

	"golang.org/x/sys/unix"
)

// Addresses of sockets are asked for because of one family: the name of a local
// socket is a path. No cell can make such a socket, but it can have one end of
// a pair, and binding or connecting that would tell which names exist. All
// others are bound and connected on a copy of the caller's descriptor, which is
// the same socket, with a copy of the address, behind the cell's Landlock rules.

// addressMost is the size of struct sockaddr_storage.
const addressMost = 128

// socketOf copies the caller's socket and address.
func (m *Membrane) socketOf(n *notification) (fd int, address []byte, errno unix.Errno) {
	size := int32(n.args[2])
	if size < 0 || size > addressMost {
		return -1, nil, unix.EINVAL
	}
	if fd, errno = m.copyOf(n, int32(n.args[0])); errno != 0 {
		return -1, nil, unix.EBADF
	}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err == nil && family != unix.AF_INET && family != unix.AF_INET6 {
		err = unix.EOPNOTSUPP
	}
	if err == nil {
		address, errno = m.readBytes(n, n.args[1], int(size))
		err = asError(errno)
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, address, errnoOf(err)
}

func bind(m *Membrane, n *notification) (int64, unix.Errno) {
	fd, address, errno := m.socketOf(n)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(fd)
	return 0, m.act(func() unix.Errno { return socketAddress(unix.SYS_BIND, fd, address) })
}

// connect waits, if it has to, on a thread that is kept for such calls. One that
// waits for a caller that has gone ends as soon as the copy of the socket is shut down.
func connect(m *Membrane, n *notification) (int64, unix.Errno) {
	fd, address, errno := m.socketOf(n)
	if errno != 0 {
		return 0, errno
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_NONBLOCK != 0 {
		defer unix.Close(fd)
		return 0, m.act(func() unix.Errno { return socketAddress(unix.SYS_CONNECT, fd, address) })
	}
	if m.waiting.Add(1) > maxWaiting {
		m.waiting.Add(-1)
		unix.Close(fd)
		return 0, unix.EAGAIN
	}
	confine, release := m.confinement()
	call, w, keep := *n, &opener{alone: true}, m.current == nil
	if keep {
		w = m.waiters.take()
	}
	errno = w.post(confine, func() {
		done := make(chan struct{})
		watch := time.AfterFunc(connectPatience, func() {
			m.whenGone(&call, done, func() { _ = unix.Shutdown(fd, unix.SHUT_RDWR) })
		})
		errno := socketAddress(unix.SYS_CONNECT, fd, address)
		watch.Stop()
		close(done)
		m.reply(&call, 0, errno)
		unix.Close(fd)
		m.waiting.Add(-1)
		if keep {
			m.waiters.put(w)
		} else {
			w.stop()
		}
	})
	release() // the thread has the caller's rules, or there is none
	if errno != 0 {
		unix.Close(fd)
		m.waiting.Add(-1)
		return 0, errno
	}
	return 0, later
}

// connectPatience is after what time somebody looks whether the caller of a connect
// is still there. Most take less.
const connectPatience = 50 * time.Millisecond
