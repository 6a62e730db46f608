package network

import (
	"net"

	"golang.org/x/sys/unix"
)

// shorten makes the queue of a listener so short that it is full with one connection.
func shorten(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.Listen(int(fd), 0) })
	if err != nil {
		return err
	}
	return failed
}
