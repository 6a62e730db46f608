package membrane

import (
	"encoding/binary"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// Calls that name another socket are made in the caller's place: on a copy of its
// descriptor, which is the same socket, with a copy of the address. So what was
// judged is what is done. Two things are judged: that the socket is of the network at
// all (a cell can have one end of a pair, whose other names are paths), and that the
// rules permit the address. The ports of TCP Landlock looks at as well, where the
// rules name them. What nobody else looks at is hosts and datagrams: these rest on
// the supervisor.

// addressMost is the size of struct sockaddr_storage.
const addressMost = 128

// Network says whom the cell's sockets may reach.
type Network struct {
	// Rules have no names but capability.NameServers.
	Rules []capability.Net
	// NameServers returns the host's.
	NameServers func() []capability.Addr
	// Ports says that the cell's Landlock rules name the ports.
	Ports bool
}

// permits reports whether a rule permits traffic with an address and port.
func (w *Network) permits(kind capability.NetKind, a capability.Addr, port uint16) bool {
	for _, r := range w.Rules {
		if r.Permits(kind, a, port) && (!r.Outside || kind == capability.Listen || !isHosts(a)) {
			return true
		}
		if r.Name != capability.NameServers || r.Kind != kind || port < r.From || port > r.To {
			continue
		}
		if slices.Contains(w.NameServers(), a) {
			return true
		}
	}
	return false
}

// isHosts reports whether an address is one of the host's own, at which all its
// services that listen at 0.0.0.0 are reached, or one of a network's broadcasts. That
// the kernel tells a socket of datagrams that is connected, by which nothing is sent:
// traffic with oneself comes from where it goes to, and broadcasts need SO_BROADCAST.
func isHosts(a capability.Addr) bool {
	family, size := unix.AF_INET6, unix.SizeofSockaddrInet6
	if a.Is4() {
		family, size = unix.AF_INET, unix.SizeofSockaddrInet4
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err != unix.EAFNOSUPPORT
	}
	defer unix.Close(fd)
	address := make([]byte, size)
	binary.NativeEndian.PutUint16(address, uint16(family))
	binary.BigEndian.PutUint16(address[2:], 9) // any port
	if a.Is4() {
		copy(address[4:], a[12:])
	} else {
		copy(address[8:], a[:])
	}
	if errno := socketAddress(unix.SYS_CONNECT, fd, address); errno != 0 {
		return errno == unix.EACCES
	}
	name, errno := socketName(fd)
	if errno != 0 {
		return true
	}
	from, _, errno := socketAddr(name)
	return errno != 0 || from == a
}

// socketAddr takes an address and port out of a struct sockaddr_in or sockaddr_in6.
// Where a socket of IPv4 takes one without a family for its own, it is one.
func socketAddr(b []byte) (a capability.Addr, port uint16, errno unix.Errno) {
	if len(b) < 2 {
		return a, 0, unix.EINVAL
	}
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET, unix.AF_UNSPEC:
		if len(b) < unix.SizeofSockaddrInet4 {
			return a, 0, unix.EINVAL
		}
		return capability.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]), 0
	case unix.AF_INET6:
		if len(b) < unix.SizeofSockaddrInet6-4 { // the scope may be missing (RFC 2133)
			return a, 0, unix.EINVAL
		}
		return capability.Addr(b[8:24]), binary.BigEndian.Uint16(b[2:]), 0
	}
	return a, 0, unix.EAFNOSUPPORT
}

// may says whether the cell may have to do with an address: 0, or an errno.
func (m *Membrane) may(kind capability.NetKind, address []byte) unix.Errno {
	a, port, errno := socketAddr(address)
	switch {
	case errno != 0:
		return errno
	case kind == capability.Listen:
		return m.mayBind(a, port)
	case kind == capability.Connect:
		return m.permitted(kind, a, port, capability.Inet)
	}
	return m.permitted(kind, a, port, 0)
}

// mayBind says whether a socket may have an address.
func (m *Membrane) mayBind(a capability.Addr, port uint16) unix.Errno {
	if port == 0 && (a.Unspecified() || !a.Local()) {
		return 0 // the kernel chooses one; listening is judged by itself
	}
	return m.permitted(capability.Listen, a, port, 0)
}

// permitted says whether the rules permit an address to a cell with a promise, which it
// may lack: the socket was another cell's then.
func (m *Membrane) permitted(kind capability.NetKind, a capability.Addr, port uint16, needs capability.Pledge) unix.Errno {
	w := m.config.Network
	ok := w != nil && m.config.Pledge.Has(needs) && w.permits(kind, a, port)
	m.learnNet(kind, a, port, !ok)
	if !ok {
		return unix.EACCES
	}
	return 0
}

// socketOf copies the caller's socket, which must be one of the network.
func (m *Membrane) socketOf(n *notification) (fd int, errno unix.Errno) {
	if fd, errno = m.copyOf(n, int32(n.args[0])); errno != 0 {
		return -1, unix.EBADF
	}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err == nil && family != unix.AF_INET && family != unix.AF_INET6 {
		err = unix.EOPNOTSUPP
	}
	if err != nil {
		unix.Close(fd)
		return -1, errnoOf(err)
	}
	return fd, 0
}

// kindOf is what a socket of the network sends.
func (m *Membrane) kindOf(fd int) capability.NetKind {
	if !m.config.Pledge.Has(capability.Udp) {
		return capability.Connect
	}
	if t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || t != unix.SOCK_STREAM {
		return capability.Datagram
	}
	return capability.Connect
}

// reach does f, which sends or connects and does not wait, with the rights of the
// caller. Without rules of Landlock about it that takes no other thread.
func (m *Membrane) reach(f func() unix.Errno) unix.Errno {
	if w := m.config.Network; m.current == nil && (w == nil || !w.Ports) {
		return m.look(f)
	}
	return m.act(f)
}

func bind(m *Membrane, n *notification) (int64, unix.Errno) {
	size := int32(n.args[2])
	if size < 0 || size > addressMost {
		return 0, unix.EINVAL
	}
	address, errno := m.readBytes(n, n.args[1], int(size))
	if errno != 0 {
		return 0, errno
	}
	if family(address) == unix.AF_UNIX && m.mayName() {
		fd, errno := m.copyOf(n, int32(n.args[0]))
		if errno != 0 {
			return 0, unix.EBADF
		}
		defer unix.Close(fd)
		if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || domain != unix.AF_UNIX {
			return 0, unix.EAFNOSUPPORT
		}
		return 0, m.bindLocal(n, fd, address)
	}
	fd, errno := m.socketOf(n)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(fd)
	if errno := m.may(capability.Listen, address); errno != 0 {
		return 0, errno
	}
	return 0, m.act(func() unix.Errno { return socketAddress(unix.SYS_BIND, fd, address) })
}

// socketName is getsockname(2).
func socketName(fd int) ([]byte, unix.Errno) {
	b := make([]byte, addressMost)
	size := uint32(len(b))
	if _, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return nil, errno
	}
	return b[:min(int(size), len(b))], 0
}

// listen is judged once more, as a socket without an address gets one by it.
func listen(m *Membrane, n *notification) (int64, unix.Errno) {
	backlog := int(int32(n.args[1]))
	fd, errno := m.copyOf(n, int32(n.args[0]))
	if errno != 0 {
		return 0, unix.EBADF
	}
	defer unix.Close(fd)
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return 0, errnoOf(err)
	}
	name, errno := socketName(fd)
	switch {
	case errno != 0:
		return 0, errno
	case domain == unix.AF_UNIX && len(name) > 2 && name[2] == 0:
		return 0, unix.EACCES // an abstract name, which the kernel has given it (SO_PASSCRED)
	case domain == unix.AF_UNIX && m.mayName(): // it has a name, which was judged, or there is nothing to listen to
		return 0, m.act(func() unix.Errno { return errnoOf(unix.Listen(fd, backlog)) })
	case domain != unix.AF_INET && domain != unix.AF_INET6:
		return 0, unix.EOPNOTSUPP
	}
	a, port, errno := socketAddr(name)
	if errno != 0 {
		return 0, errno
	}
	// Any port, where the kernel chooses it: no rule that names ports permits that.
	if errno := m.permitted(capability.Listen, a, port, capability.Inet); errno != 0 {
		return 0, errno
	}
	if errno := m.act(func() unix.Errno { return errnoOf(unix.Listen(fd, backlog)) }); errno != 0 {
		return 0, errno
	}
	// Others that share the socket could have taken its address away in between.
	name, errno = socketName(fd)
	if errno == 0 {
		nowAt, nowPort, e := socketAddr(name)
		if e == 0 && nowAt == a && (nowPort == port || port == 0) {
			return 0, 0
		}
	}
	_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	return 0, unix.EACCES
}

// connect does not wait on the listener's thread: a socket that would make it wait is
// told not to for the moment of the call, which others of the cell could see, and
// then waited for elsewhere. A cell that tells it otherwise in that moment keeps its
// own listener waiting.
func connect(m *Membrane, n *notification) (int64, unix.Errno) {
	size := int32(n.args[2])
	if size < 0 || size > addressMost {
		return 0, unix.EINVAL
	}
	// What kind of socket it is need not be known: the address is one of the network,
	// and no other socket takes such a one.
	fd, errno := m.copyOf(n, int32(n.args[0]))
	if errno != 0 {
		return 0, unix.EBADF
	}
	// If the caller has gone since, this is another's, and permitted all the same.
	address := make([]byte, size)
	if got, err := readMemory(int(n.pid), n.args[1], address); err != nil || got != len(address) {
		unix.Close(fd)
		return 0, unix.EFAULT
	}
	if len(address) < 2 {
		unix.Close(fd)
		return 0, unix.EINVAL
	}
	if family(address) == unix.AF_UNIX && m.mayName() {
		return m.connectLocal(n, fd, address)
	}
	if family(address) != unix.AF_UNSPEC { // which undoes a connection
		if errno := m.may(m.kindOf(fd), address); errno != 0 {
			unix.Close(fd)
			return 0, errno
		}
	}
	var waits bool
	errno = m.reach(func() (errno unix.Errno) {
		waits, errno = connectNow(fd, address)
		return errno
	})
	if !waits {
		unix.Close(fd)
		return 0, errno
	}
	if !m.mayWait(connectHolds) {
		unix.Close(fd)
		return 0, unix.EAGAIN
	}
	call := *n
	go func() {
		defer m.waited(connectHolds)
		defer unix.Close(fd)
		if !m.ready(&call, fd) {
			m.reply(&call, 0, unix.EINPROGRESS)
			return
		}
		// The second call of its kind says what has become of the first.
		_, errno := connectNow(fd, address)
		m.reply(&call, 0, errno)
	}()
	return 0, later
}

// connectNow connects as far as that can be done at once. waits says that the caller
// meant to wait for the rest.
func connectNow(fd int, address []byte) (waits bool, errno unix.Errno) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		return false, socketAddress(unix.SYS_CONNECT, fd, address)
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK)
	errno = socketAddress(unix.SYS_CONNECT, fd, address)
	if errno == unix.EINPROGRESS { // on the same host it is done already
		errno = socketAddress(unix.SYS_CONNECT, fd, address)
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	return errno == unix.EINPROGRESS || errno == unix.EALREADY, errno
}

func poll(fd int, events int16, milliseconds int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: events}}
	n, err := unix.Poll(p, milliseconds)
	return err == nil && n > 0
}

// ready waits until a socket can be written to, for as long as SO_SNDTIMEO says, or
// until its caller goes away, and reports whether it can.
func (m *Membrane) ready(n *notification, fd int) bool {
	const step = 50 * time.Millisecond
	var end time.Time
	if t, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO); err == nil && t.Nano() > 0 {
		end = time.Now().Add(time.Duration(t.Nano()))
	}
	for !poll(fd, unix.POLLOUT, int(step.Milliseconds())) {
		if !m.valid(n) || !end.IsZero() && time.Now().After(end) {
			return false
		}
	}
	return true
}
