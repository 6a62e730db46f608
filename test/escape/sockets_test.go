package escape

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

var withInet = w("--pledge STDIO,RPATH,WPATH,EXEC,INET,UDP --net loopback --net udp:loopback --net listen:loopback --unveil {granted}:rwxc")

func TestSockets(t *testing.T) {
	rows := []attempt{
		{name: "connect to a path", args: w("unix-connect {outside}/stream"), control: outside("unix-connect {outside}/stream")},
		{name: "connect to a path with INET", args: w("unix-connect {outside}/stream"), flags: withInet, control: outside("unix-connect {outside}/stream")},
		{name: "connect to a path that may be written", args: w("unix-connect {outside}/stream"), flags: w("--unveil {outside}:rw"),
			control: outside("unix-connect {outside}/stream")},
		{name: "connect to an abstract name", args: w("unix-connect {abstract}"), control: outside("unix-connect {abstract}")},
		{name: "connect to an abstract name with INET", args: w("unix-connect {abstract}"), flags: withInet, control: outside("unix-connect {abstract}")},
		{name: "send to a path", args: w("unix-sendto {outside}/dgram"), control: outside("unix-sendto {outside}/dgram")},
		{name: "send to a path from a pair", args: w("pair-sendto {outside}/dgram"), control: outside("pair-sendto {outside}/dgram")},
		{name: "send a message to a path from a pair", args: w("pair-sendmsg {outside}/dgram"), control: outside("pair-sendmsg {outside}/dgram")},
		{name: "turn a pair to a path", args: w("pair-connect {outside}/dgram"), control: outside("pair-connect {outside}/dgram")},
		{name: "send to an abstract name", args: w("unix-sendto {abstract}-dgram"), control: outside("unix-sendto {abstract}-dgram")},
		{name: "send to an abstract name from a pair", args: w("pair-sendto {abstract}-dgram"), control: outside("pair-sendto {abstract}-dgram")},
		{name: "send to an abstract name from a pair with INET", args: w("pair-sendto {abstract}-dgram"), flags: withInet,
			control: outside("pair-sendto {abstract}-dgram")},
		{name: "bind an abstract name", args: w("unix-bind @nip-escape-bind"), control: outside("unix-bind @nip-escape-bind")},
		{name: "bind a path", args: w("unix-bind {outside}/bound"), control: outside("unix-bind {granted}/bound")},
		{name: "connect to loopback", args: w("tcp-connect {tcpport}"), control: granted("tcp-connect {tcpport}", withInet...)},
		{name: "connect to loopback over IPv6", args: w("tcp6-connect {tcpport}"),
			control: control{args: w("tcp6-connect {tcpport}"), flags: withInet, want: "done|EAFNOSUPPORT|EADDRNOTAVAIL|ENETUNREACH"}},
		{name: "connect to loopback by fast open", args: w("tcp-fastopen {tcpport}"), control: outside("tcp-fastopen {tcpport}")},
		{name: "connect to loopback by fast open with INET", args: w("tcp-fastopen {tcpport}"), flags: withInet, control: outside("tcp-fastopen {tcpport}")},
		{name: "connect a socket that was handed by fast open", args: w("tcp-fastopen {tcpport} 0"), prepare: handSocket,
			control: control{args: w("tcp-fastopen {tcpport} 0"), outside: true, prepare: handSocket}},
		{name: "connect to loopback by MPTCP", args: w("tcp-connect {tcpport} 262"),
			control: asked("tcp-connect {tcpport} 262", "done|EPROTONOSUPPORT", "")},
		{name: "connect to loopback by MPTCP with INET", args: w("tcp-connect {tcpport} 262"), flags: withInet,
			control: granted("tcp-connect {tcpport} 6")},
		{name: "listen on loopback", args: w("tcp-listen"), control: granted("tcp-listen", withInet...)},
		{name: "send to loopback by UDP", args: w("udp-sendto {udpport}"), control: granted("udp-sendto {udpport}", withInet...)},
	}
	for _, family := range []struct{ name, args, want, user string }{
		{"netlink", "socket 16 3 0", "", ""},
		{"packet", "socket 17 3 0x300", "done", "EPERM"},
		{"vsock", "socket 40 1 0", "done|EAFNOSUPPORT", ""},
		{"crypto", "socket 38 5 0", "done|EAFNOSUPPORT", ""},
		{"raw", "socket 2 3 1", "done", "EPERM"},
		{"ping", "socket 2 2 1", "done|EACCES", ""},
		{"bluetooth", "socket 31 3 0", "done|EAFNOSUPPORT|EPROTONOSUPPORT", "done|EAFNOSUPPORT|EPROTONOSUPPORT|EPERM"},
		{"xdp", "socket 44 3 0", "done|EAFNOSUPPORT", "EPERM|EAFNOSUPPORT"},
		{"sctp", "socket 2 1 132", "done|EPROTONOSUPPORT", ""},
	} {
		rows = append(rows,
			attempt{name: "make a " + family.name + " socket", args: w(family.args), control: asked(family.args, family.want, family.user)},
			attempt{name: "make a " + family.name + " socket with INET", args: w(family.args), flags: withInet,
				control: granted("socket 2 1 0", withInet...)})
	}
	try(t, rows)
}

// handSocket starts nip with a TCP socket as standard input that is connected to nothing.
func handSocket(t *testing.T, _ *stage, c *exec.Cmd) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { socket.Close() })
	c.Stdin = socket
}

// TestQueues reaches for shared memory, messages and semaphores that the host
// lets everybody use.
func TestQueues(t *testing.T) {
	s := newStage(t)
	shm, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o666)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := unix.SysvShmAttach(shm, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.SysvShmDetach(memory)
		unix.SysvShmCtl(shm, unix.IPC_RMID, nil)
	})
	messages := sysv(t, unix.SYS_MSGGET, unix.SYS_MSGCTL, 1, unix.IPC_PRIVATE, unix.IPC_CREAT|0o666)
	semaphores := sysv(t, unix.SYS_SEMGET, unix.SYS_SEMCTL, 2, unix.IPC_PRIVATE, 1, unix.IPC_CREAT|0o666)
	file, err := os.CreateTemp("/dev/shm", "nip-escape-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(file.Name()) })
	file.Close()

	for _, row := range []struct{ name, args string }{
		{"shared memory", fmt.Sprintf("shm-attach %d", shm)},
		{"new shared memory", "shm-get 0"},
		{"messages", fmt.Sprintf("message-send %d", messages)},
		{"semaphores", fmt.Sprintf("semaphore %d", semaphores)},
		{"a message queue", "queue-send " + posixQueue(t)},
		{"a shared file", "shm-open " + file.Name()[len("/dev/shm"):]},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := attempt{args: w(row.args), control: outside(row.args)}
			memory[0] = 0
			said := s.attempt(t, a, s.inCell(t, grant, a.args))
			if memory[0] != 0 {
				t.Error("the shared memory was written")
			}
			t.Logf("%s: %s; control: %s", row.args, said, s.control(t, a))
			if row.name == "shared memory" && memory[0] != 'x' {
				t.Error("the control did not write the shared memory")
			}
		})
	}
}

// sysv makes a System V queue or semaphore by the call get, to be removed by ctl.
// remove is the place of IPC_RMID among ctl's arguments.
func sysv(t *testing.T, get, ctl uintptr, remove int, args ...uintptr) int {
	t.Helper()
	for len(args) < 3 {
		args = append(args, 0)
	}
	id, _, errno := unix.Syscall(get, args[0], args[1], args[2])
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() {
		last := [3]uintptr{id, 0, 0}
		last[remove] = unix.IPC_RMID
		unix.Syscall(ctl, last[0], last[1], last[2])
	})
	return int(id)
}

// posixQueue makes a message queue that everybody may write, and returns its name.
func posixQueue(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("nip-escape-%d", os.Getpid())
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		t.Fatal(err)
	}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(p)), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o666, 0, 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() {
		unix.Close(int(fd))
		unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)), 0, 0)
	})
	return "/" + name
}

// TestReceivedDirectory has a process outside send the cell a descriptor of a
// directory: having it must not be enough to open what is below.
func TestReceivedDirectory(t *testing.T) {
	s := newStage(t)
	send := func(t *testing.T, c *exec.Cmd, dir string) {
		t.Helper()
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		d, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := unix.Sendmsg(fds[0], []byte{0}, unix.UnixRights(int(d.Fd())), nil, 0); err != nil {
			t.Fatal(err)
		}
		c.Stdin = theirs
	}
	line := w("receive-openat secret")
	c := s.inCell(t, grant, line)
	send(t, c, s.words["outside"])
	said := s.attempt(t, attempt{args: line}, c)
	t.Logf("a received directory outside: %s", said)

	c = s.inCell(t, grant, line)
	send(t, c, s.words["granted"])
	if res := rig.Run(t, c); res.Code != attackDone {
		t.Errorf("a received directory that is granted: %d %s%s", res.Code, res.Stdout, res.Stderr)
	}
}
