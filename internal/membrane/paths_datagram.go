package membrane

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// In a cell with the promise UDP every sendmsg is asked, and every sendto that has an
// address: any socket may be one of datagrams. All that such a call points to is
// copied once, judged, and sent from the copy.

const (
	// messageMost is how many bytes of a message are copied. A stream takes the first
	// part of a longer one, as it may at any time.
	messageMost = 1 << 18
	controlMost = 4096
	vectorsMost = 1024 // UIO_MAXIOV

	iovecSize  = 16
	msghdrSize = 56
)

// message is what a call sends.
type message struct {
	to      []byte // a struct sockaddr; nil: where the socket is connected to
	data    []byte
	control []byte
	files   []int // copies of descriptors that control sends along
	flags   int
	cut     bool // data is not all
}

func (msg *message) close() {
	for _, fd := range msg.files {
		unix.Close(fd)
	}
}

// messageFlags are those that mean the same for a copy.
const messageFlags = unix.MSG_CONFIRM | unix.MSG_DONTROUTE | unix.MSG_DONTWAIT | unix.MSG_EOR | unix.MSG_MORE | unix.MSG_NOSIGNAL | unix.MSG_OOB

func sendto(m *Membrane, n *notification) (int64, unix.Errno) {
	size := int32(n.args[5])
	if size < 0 || size > addressMost {
		return 0, unix.EINVAL
	}
	msg := message{flags: int(int32(n.args[3]))}
	var errno unix.Errno
	if msg.to, errno = m.readBytes(n, n.args[4], int(size)); errno != 0 {
		return 0, errno
	}
	length := min(n.args[2], messageMost)
	msg.cut = length < n.args[2]
	if msg.data, errno = m.readBytes(n, n.args[1], int(length)); errno != 0 {
		return 0, errno
	}
	return m.send(n, &msg)
}

func sendmsg(m *Membrane, n *notification) (int64, unix.Errno) {
	h, errno := m.readBytes(n, n.args[1], msghdrSize)
	if errno != 0 {
		return 0, errno
	}
	word := func(at int) uint64 { return binary.NativeEndian.Uint64(h[at:]) }
	name, nameSize := word(0), int32(binary.NativeEndian.Uint32(h[8:]))
	vectors, count, control, controlSize := word(16), word(24), word(32), word(40)
	switch {
	case nameSize < 0:
		return 0, unix.EINVAL
	case count > vectorsMost:
		return 0, unix.EMSGSIZE
	case controlSize > controlMost:
		return 0, unix.ENOBUFS
	}
	msg := message{flags: int(int32(n.args[2]))}
	if name != 0 && nameSize > 0 {
		if msg.to, errno = m.readBytes(n, name, min(int(nameSize), addressMost)); errno != 0 {
			return 0, errno
		}
	}
	if errno := m.gather(n, &msg, vectors, int(count)); errno != 0 {
		return 0, errno
	}
	if controlSize > 0 {
		if msg.control, errno = m.readBytes(n, control, int(controlSize)); errno != 0 {
			return 0, errno
		}
	}
	return m.send(n, &msg)
}

// gather copies what an array of struct iovec points to.
func (m *Membrane) gather(n *notification, msg *message, vectors uint64, count int) unix.Errno {
	v, errno := m.readBytes(n, vectors, count*iovecSize)
	if errno != 0 {
		return errno
	}
	for ; len(v) > 0 && !msg.cut; v = v[iovecSize:] {
		size := binary.NativeEndian.Uint64(v[8:])
		if size > 1<<63-1 {
			return unix.EINVAL
		}
		if left := uint64(messageMost - len(msg.data)); size > left {
			size, msg.cut = left, true
		}
		part, errno := m.readBytes(n, binary.NativeEndian.Uint64(v), int(size))
		if errno != 0 {
			return errno
		}
		msg.data = append(msg.data, part...)
	}
	return 0
}

// send judges a message and sends it by a copy of the caller's socket.
func (m *Membrane) send(n *notification, msg *message) (int64, unix.Errno) {
	if msg.flags&^messageFlags != 0 {
		return 0, unix.EOPNOTSUPP
	}
	fd, errno := m.copyOf(n, int32(n.args[0]))
	if errno != 0 {
		return 0, unix.EBADF
	}
	errno = m.judge(n, fd, msg)
	if errno != 0 {
		unix.Close(fd)
		msg.close()
		return 0, errno
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	patient := err == nil && flags&unix.O_NONBLOCK == 0 && msg.flags&unix.MSG_DONTWAIT == 0
	var sent int
	errno = m.reach(func() (errno unix.Errno) {
		sent, errno = msg.send(fd)
		return errno
	})
	if errno != unix.EAGAIN || !patient {
		unix.Close(fd)
		msg.close()
		return int64(sent), errno
	}
	weight := int32(1 + len(msg.files)) // each is a descriptor of the supervisor's
	if !m.mayWait(weight) {
		unix.Close(fd)
		msg.close()
		return 0, unix.ENOBUFS
	}
	call := *n
	go func() {
		defer m.waited(weight)
		defer unix.Close(fd)
		defer msg.close()
		for m.ready(&call, fd) {
			if sent, errno := msg.send(fd); errno != unix.EAGAIN {
				m.reply(&call, int64(sent), errno)
				return
			}
		}
		m.reply(&call, 0, unix.EAGAIN)
	}()
	return 0, later
}

// judge says whether a message may be sent by a socket, and makes it one that the
// supervisor can send.
func (m *Membrane) judge(n *notification, fd int, msg *message) unix.Errno {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case err != nil:
		return errnoOf(err)
	case err2 != nil:
		return errnoOf(err2)
	case family == unix.AF_UNIX && msg.to != nil && kind == unix.SOCK_DGRAM:
		return unix.EPERM // none of a cell's sockets is one
	case family == unix.AF_UNIX && msg.to != nil:
		return unix.EISCONN
	case family == unix.AF_UNIX && msg.cut && kind != unix.SOCK_STREAM:
		return unix.EMSGSIZE
	case family == unix.AF_UNIX:
		return m.passFiles(n, msg)
	case family != unix.AF_INET && family != unix.AF_INET6:
		return unix.EOPNOTSUPP
	case kind == unix.SOCK_STREAM:
		msg.to, msg.control = nil, nil // they count for nothing
		return 0
	case msg.cut:
		return unix.EMSGSIZE
	}
	if !m.harmlessControl(msg.control) {
		return unix.EINVAL
	}
	if msg.to != nil {
		return m.may(capability.Datagram, msg.to)
	}
	return 0
}

// harmlessOptions are the control messages of datagrams that say nothing of where
// they go: by level and type (ip(7), ipv6(7), udp(7)).
var harmlessOptions = [][2]int32{
	{unix.SOL_IP, unix.IP_TOS}, {unix.SOL_IP, unix.IP_TTL}, {unix.SOL_IP, unix.IP_PKTINFO},
	{unix.SOL_IPV6, unix.IPV6_PKTINFO}, {unix.SOL_IPV6, unix.IPV6_HOPLIMIT}, {unix.SOL_IPV6, unix.IPV6_TCLASS}, {unix.SOL_IPV6, unix.IPV6_DONTFRAG},
	{unix.SOL_UDP, unix.UDP_SEGMENT},
}

// harmlessControl reports whether all control messages are well-formed and harmless,
// and the address that a message shall seem to come from is one that could be bound.
func (m *Membrane) harmlessControl(b []byte) bool {
	for len(b) > 0 {
		h, data, rest, ok := controlMessage(b)
		if !ok || !slices.Contains(harmlessOptions, [2]int32{h.Level, h.Type}) {
			return false
		}
		from := capability.Addr{} // any
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO: // struct in_pktinfo
			if len(data) < unix.SizeofInet4Pktinfo {
				return false
			}
			from = capability.AddrFrom4([4]byte(data[4:8]))
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO: // struct in6_pktinfo
			if len(data) < unix.SizeofInet6Pktinfo {
				return false
			}
			from = capability.Addr(data[:16])
		}
		if m.mayBind(from, 0) != 0 {
			return false
		}
		b = rest
	}
	return true
}

// controlMessage takes the first message from b (cmsg(3)).
func controlMessage(b []byte) (h unix.Cmsghdr, data, rest []byte, ok bool) {
	if len(b) < unix.SizeofCmsghdr {
		return h, nil, nil, false
	}
	h.Len, h.Level, h.Type = binary.NativeEndian.Uint64(b), int32(binary.NativeEndian.Uint32(b[8:])), int32(binary.NativeEndian.Uint32(b[12:]))
	if h.Len < unix.SizeofCmsghdr || h.Len > uint64(len(b)) {
		return h, nil, nil, false
	}
	return h, b[unix.SizeofCmsghdr:h.Len], b[min(unix.CmsgSpace(int(h.Len)-unix.SizeofCmsghdr), len(b)):], true
}

// maxPassed is how many descriptors a message can carry: SCM_MAX_FD (unix(7)).
const maxPassed = 253

// passFiles puts copies of the descriptors that a message of a pair sends along in
// their places. Credentials are left out: they would be the supervisor's. Others than
// the caller's own are refused, as the kernel does.
func (m *Membrane) passFiles(n *notification, msg *message) unix.Errno {
	b := msg.control
	msg.control = nil
	for len(b) > 0 {
		h, data, rest, ok := controlMessage(b)
		if !ok {
			return unix.EINVAL
		}
		b = rest
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_CREDENTIALS && !m.ownCredentials(n, data) {
			return unix.EPERM
		}
		if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_RIGHTS {
			continue
		}
		var files []int
		for ; len(data) >= 4; data = data[4:] {
			if len(msg.files) == maxPassed {
				return unix.EINVAL
			}
			fd, err := m.fetch(n.pid, int(int32(binary.NativeEndian.Uint32(data))))
			if err != nil || !m.valid(n) {
				if err == nil {
					unix.Close(fd)
				}
				return unix.EBADF
			}
			msg.files, files = append(msg.files, fd), append(files, fd)
			if canBeAimed(fd) { // the filter of a cell without UDP asks nobody where it sends to
				return unix.EPERM
			}
		}
		msg.control = append(msg.control, unix.UnixRights(files...)...)
	}
	return 0
}

// canBeAimed reports whether fd is a socket that sends to any address it is given.
func canBeAimed(fd int) bool {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || family != unix.AF_INET && family != unix.AF_INET6 {
		return false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err != nil || kind != unix.SOCK_STREAM
}

// ownCredentials reports whether a struct ucred is the caller's.
func (m *Membrane) ownCredentials(n *notification, b []byte) bool {
	if len(b) < unix.SizeofUcred {
		return false
	}
	word := func(at int) int { return int(int32(binary.NativeEndian.Uint32(b[at:]))) }
	return word(0) == threadGroup(int(n.pid)) && word(4) == m.config.Identity.UID && word(8) == m.config.Identity.GID
}

// send is sendmsg(2), without waiting. The supervisor is not to die of SIGPIPE.
func (msg *message) send(fd int) (int, unix.Errno) {
	var none byte
	base := &none
	if len(msg.data) > 0 {
		base = &msg.data[0]
	}
	vector := unix.Iovec{Base: base, Len: uint64(len(msg.data))}
	h := unix.Msghdr{Iov: &vector, Iovlen: 1}
	if len(msg.to) > 0 {
		h.Name, h.Namelen = &msg.to[0], uint32(len(msg.to))
	}
	if len(msg.control) > 0 {
		h.Control, h.Controllen = &msg.control[0], uint64(len(msg.control))
	}
	sent, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&h)), uintptr(msg.flags|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL))
	if errno != 0 {
		return 0, errno
	}
	return int(sent), 0
}
