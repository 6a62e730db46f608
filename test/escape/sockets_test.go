package escape

import (
	"fmt"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSockets reaches for local sockets of the host.
func TestSockets(t *testing.T) { try(t, socketRows()) }

func socketRows() []attempt {
	return []attempt{
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
		{name: "bind an end of a pair to an abstract name", args: w("pair-bind @nip-escape-pair"), control: outside("pair-bind @nip-escape-pair")},
		{name: "bind an end of a pair to an abstract name with INET", args: w("pair-bind @nip-escape-pair"), flags: withInet,
			control: outside("pair-bind @nip-escape-pair")},
		{name: "bind an end of a pair to a path with INET", args: w("pair-bind {outside}/bound"), flags: withInet, control: outside("pair-bind {granted}/bound")},
		{name: "send many messages from a pair", args: w("pair-sendmmsg {outside}/dgram"), control: outside("pair-sendmmsg {outside}/dgram")},
		{name: "connect a socket for packets", args: w("seqpacket-connect {outside}/packets"),
			control: asked("seqpacket-connect {outside}/stream", "EPROTOTYPE", "")},
		{name: "be another process on a pair", args: w("forged-credentials 1"), control: asked("forged-credentials 1", "done", "EPERM")},
		{name: "be the supervisor on a pair", args: w("forged-credentials parent"), control: asked("forged-credentials 1", "done", "EPERM")},
		{name: "have the kernel cipher", args: w("crypto"), control: asked("crypto", "done|EAFNOSUPPORT|ENOENT", "")},
		{name: "connect to the host of the machine", args: w("vsock-connect 1"), control: asked("vsock-connect 1", "done|EINPROGRESS|ENODEV|EAFNOSUPPORT|ECONNRESET|ENETUNREACH|EACCES|EHOSTUNREACH|ETIMEDOUT|ECONNREFUSED", "")},
	}
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

	for _, a := range queueRows(shm, messages, semaphores, posixQueue(t), file.Name()[len("/dev/shm"):]) {
		t.Run(a.name, func(t *testing.T) {
			memory[0] = 0
			said := s.attempt(t, a, s.inCell(t, grant, a.args))
			if memory[0] != 0 {
				t.Error("the shared memory was written")
			}
			t.Logf("%s: %s; control: %s", a.args, said, s.control(t, a))
			if a.name == "shared memory" && memory[0] != 'x' {
				t.Error("the control did not write the shared memory")
			}
		})
	}
}

// queueRows are the attempts at what has these names. The last control removes the shared memory.
func queueRows(shm, messages, semaphores int, queue, file string) (rows []attempt) {
	for _, row := range []struct{ name, args string }{
		{"shared memory", fmt.Sprintf("shm-attach %d", shm)},
		{"new shared memory", "shm-get 0"},
		{"messages", fmt.Sprintf("message-send %d", messages)},
		{"messages of others", fmt.Sprintf("message-receive %d", messages)},
		{"semaphores", fmt.Sprintf("semaphore %d", semaphores)},
		{"a message queue", "queue-send " + queue},
		{"news of a message queue", "queue-notify " + queue},
		{"a shared file", "shm-open " + file},
		{"shared memory to remove", fmt.Sprintf("shm-remove %d", shm)},
	} {
		rows = append(rows, attempt{name: row.name, args: w(row.args), control: outside(row.args)})
	}
	return rows
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
