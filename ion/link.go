package ion

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Link is a socket between the two processes of a segment (ABI.md, Links). It brings the
// segment's memory file across, and other descriptors later; and as it closes when the
// other process ends, however that ends, it tells when the other side is gone.
type Link struct {
	segment *Segment
	conn    *os.File
	done    chan struct{} // closed when the reader has ended
	mu      sync.Mutex
	files   map[uint64]*os.File // arrived and not asked for yet
	arrival chan struct{}       // closed and replaced when a file has come
	err     error               // why it ended
}

// Packets of a link.
const (
	packetSize    = 24
	packetSegment = 1 // with the memory file; then who is asked to be which side
	packetFile    = 2 // with a descriptor that has a token

	// maxFiles is how many descriptors may wait to be asked for.
	maxFiles = 64
)

// ErrLink reports that the other process sent what is no packet of a link, or more
// descriptors than may wait.
var ErrLink = errors.New("the other side does not keep to the rules of a link")

type packet struct {
	kind  uint16
	side  Side
	token uint64
}

func (p packet) encode() (b [packetSize]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], Magic)
	le.PutUint16(b[4:], Version)
	le.PutUint16(b[6:], p.kind)
	le.PutUint32(b[8:], uint32(p.side))
	le.PutUint64(b[16:], p.token)
	return b
}

func decodePacket(b []byte) (p packet, err error) {
	le := binary.LittleEndian
	if len(b) != packetSize || le.Uint32(b[0:]) != Magic || le.Uint16(b[4:]) != Version || le.Uint32(b[12:]) != 0 {
		return p, ErrLink
	}
	p = packet{le.Uint16(b[6:]), Side(le.Uint32(b[8:])), le.Uint64(b[16:])}
	if p.kind != packetSegment && p.kind != packetFile || p.side > Guest {
		return p, ErrLink
	}
	return p, nil
}

// Pair makes the two ends of a socket for a link (socketpair(2)): one is for a process that
// inherits it.
func Pair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "link"), nil
}

// Offer hands a segment to the process at the other end of conn, which becomes the other
// side of it: the first time, or in place of one that is gone. conn is an AF_UNIX socket of
// type SOCK_SEQPACKET, and the link's from then on, also if there is an error.
func Offer(conn *os.File, s *Segment) (*Link, error) {
	if s.file == nil {
		conn.Close()
		return nil, fmt.Errorf("offer a segment: %w", ErrDirection)
	}
	l, err := newLink(conn)
	if err != nil {
		return nil, err
	}
	if err := l.send(packet{kind: packetSegment, side: s.side.other()}, s.file); err != nil {
		l.conn.Close()
		return nil, fmt.Errorf("offer a segment: %w", err)
	}
	l.begin(s)
	return l, nil
}

// Accept waits for the segment that the process at the other end of conn offers, and
// attaches to it. The segment's file has been checked as by Attach.
func Accept(conn *os.File, o Options) (*Segment, *Link, error) {
	l, err := newLink(conn)
	if err != nil {
		return nil, nil, err
	}
	p, f, err := l.receive()
	if err == nil && p.kind != packetSegment {
		f.Close()
		err = ErrLink
	}
	var s *Segment
	if err == nil {
		s, err = AttachWith(o, f, p.side)
	}
	if err != nil {
		l.conn.Close()
		return nil, nil, fmt.Errorf("accept a segment: %w", err)
	}
	l.begin(s)
	return s, l, nil
}

func newLink(conn *os.File) (*Link, error) {
	fd, err := unix.FcntlInt(conn.Fd(), unix.F_DUPFD_CLOEXEC, 0) // Fd has made it blocking
	conn.Close()
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("take a socket for a link: %w", err)
	}
	return &Link{
		conn: os.NewFile(uintptr(fd), "link"), done: make(chan struct{}),
		files: make(map[uint64]*os.File), arrival: make(chan struct{}),
	}, nil
}

// begin starts the reader, which Close waits for.
func (l *Link) begin(s *Segment) {
	l.segment = s
	s.PeerBack()
	go l.read()
}

func (l *Link) read() {
	defer close(l.done)
	for {
		p, f, err := l.receive()
		if err == nil {
			err = l.keep(p, f)
		}
		if err != nil {
			l.mu.Lock()
			l.err = err
			close(l.arrival)
			l.mu.Unlock()
			l.conn.Close() // the other side shall notice, too
			l.segment.PeerGone()
			return
		}
	}
}

// keep puts a file where File finds it.
func (l *Link) keep(p packet, f *os.File) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, twice := l.files[p.token]; twice || p.kind != packetFile || len(l.files) >= maxFiles {
		f.Close()
		return ErrLink
	}
	l.files[p.token] = f
	close(l.arrival)
	l.arrival = make(chan struct{})
	return nil
}

// receive reads one packet and its descriptor (recvmsg(2)).
func (l *Link) receive() (p packet, f *os.File, err error) {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return p, nil, err
	}
	var b [packetSize + 1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	var n, oobn, flags int
	rerr := raw.Read(func(fd uintptr) bool {
		n, oobn, flags, _, err = unix.Recvmsg(int(fd), b[:], oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if err := errors.Join(rerr, err); err != nil {
		return p, nil, err
	}
	fds := descriptors(oob[:oobn])
	if n == 0 && len(fds) == 0 {
		return p, nil, io.EOF
	}
	p, err = decodePacket(b[:n])
	if err != nil || len(fds) != 1 || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return p, nil, ErrLink
	}
	return p, os.NewFile(uintptr(fds[0]), "descriptor"), nil
}

// descriptors are those that came with a packet; there is room for two.
func descriptors(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, more...)
		}
	}
	return fds
}

func (l *Link) send(p packet, f *os.File) error {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	b, rights := p.encode(), unix.UnixRights(int(f.Fd()))
	werr := raw.Control(func(fd uintptr) {
		for {
			// What does not fit is not waited for: the other side may never read.
			if err = unix.Sendmsg(int(fd), b[:], rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	return errors.Join(werr, err)
}

// SendFile hands a descriptor to the other process, which finds it by the token; a message
// of a ring can name it. Tokens of descriptors that wait must differ, and at most 64 may
// wait: more end the link. f stays the caller's.
//
// EAGAIN says that the other process does not read.
func (l *Link) SendFile(token uint64, f *os.File) error {
	if err := l.send(packet{kind: packetFile, token: token}, f); err != nil {
		return fmt.Errorf("send a descriptor: %w", err)
	}
	return nil
}

// File waits for the descriptor with a token that the other process sends. What it is open
// for, and whether reads of it block, is the other side's choice: check. ErrPeerGone says
// that it will not come.
func (l *Link) File(token uint64) (*os.File, error) {
	for {
		l.mu.Lock()
		f, ok := l.files[token]
		delete(l.files, token)
		err, arrival := l.err, l.arrival
		l.mu.Unlock()
		switch {
		case ok:
			return f, nil
		case err != nil:
			return nil, fmt.Errorf("receive a descriptor: %w", ErrPeerGone)
		}
		<-arrival
	}
}

// Done is closed when the link is: the other process has ended, has closed it, or does not
// keep to the rules. The segment has been told (PeerGone).
func (l *Link) Done() <-chan struct{} { return l.done }

// Err says why the link is closed: io.EOF if the other process has ended or closed it,
// ErrLink if it broke the rules, os.ErrClosed after Close; nil while it is open.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close closes the socket and the descriptors that nobody asked for. The other process takes
// this one for gone. The segment stays.
func (l *Link) Close() error {
	err := l.conn.Close()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	for token, f := range l.files {
		f.Close()
		delete(l.files, token)
	}
	if errors.Is(err, os.ErrClosed) { // the reader did
		return nil
	}
	return err
}
