package escape

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

// TestDescriptors hands descriptors to a cell, through a socket that is its standard
// input: each is good for what it is open for, and for nothing else.
func TestDescriptors(t *testing.T) { try(t, descriptorRows()) }

func descriptorRows() []attempt {
	var rows []attempt
	// row is an attempt whose control is the same outside, which says want (done where empty), to a user user.
	row := func(name, line string, hands func(*testing.T, *stage) *os.File, want, user string) {
		rows = append(rows, attempt{name: name, args: w(line), hands: hands, control: asked(line, want, user)})
	}
	dir, file := opened("{outside}", unix.O_RDONLY), opened("{outside}/secret", unix.O_RDONLY)
	path, pathFile := opened("{outside}", unix.O_PATH), opened("{outside}/secret", unix.O_PATH)

	row("open below a directory", "fd-openat received secret", dir, "", "")
	row("open below a path", "fd-openat received secret", path, "", "")
	row("open above a directory", "fd-openat received ../granted/secret", dir, "", "")
	row("walk to a directory", "fd-chdir received secret", dir, "", "")
	row("walk to a path", "fd-chdir received secret", path, "", "")
	row("look beside a directory", "fd-stat received ../granted/secret", dir, "", "")
	row("look beside a path", "fd-stat received sub/../../granted/secret", path, "", "")
	row("make a file in a directory", "fd-create received new", dir, "", "")
	row("make a nameless file in a directory", "fd-tmpfile received", dir, "", "")
	row("make a directory in a directory", "fd-mkdir received new", dir, "", "")
	row("remove from a directory", "fd-unlink received secret", dir, "", "")
	row("make a symlink in a directory", "fd-symlink received new", dir, "", "")
	row("rename out of a directory", "fd-rename received spare", dir, "", "")
	row("open a file again, for writing", "fd-reopen received", file, "", "")
	row("open a path as a file", "fd-reopen received", pathFile, "", "")
	row("truncate a file that is open for reading", "fd-truncate received", file, "", "")
	row("name a file", "fd-link received", file, "", "")
	row("name a path", "fd-link received", pathFile, "", "")
	for _, change := range []string{"chmod", "chown", "times", "attribute", "lock", "lease"} {
		row(change+" a file that is open for reading", "fd-"+change+" received", file, "", "")
	}
	row("chmod a directory", "fd-chmod received 0711", dir, "", "")
	row("hear of changes in a directory", "fd-dnotify received", dir, "", "")
	row("watch a directory", "fd-watch received", dir, "", "")
	row("watch another directory", "fd-add-watch received {outside}", watcher, "", "")
	row("take a handle of a file", "fd-handle received", file, "done|ENOTSUP|EOPNOTSUPP", "")
	row("run a program", "fd-execute received executed", opened("{outside}/program", unix.O_RDONLY), "", "")
	row("run a path", "fd-execute received executed", opened("{outside}/program", unix.O_PATH), "", "")
	row("run a script", "fd-script received", opened("{outside}/script", unix.O_RDONLY), "exit status 10", "")
	row("enter a namespace", "fd-setns received", opened("/proc/self/ns/mnt", unix.O_RDONLY), "done|EINVAL", "EPERM|EINVAL")
	row("enter a network", "fd-setns received", opened("/proc/self/ns/net", unix.O_RDONLY), "done", "EPERM")
	row("look for who owns a namespace", "fd-namespace received", opened("/proc/self/ns/net", unix.O_RDONLY), "", "")
	row("signal a process", "fd-signal received 23", process, "", "")
	row("take a descriptor of a process", "fd-take received", process, "", "EPERM|done")
	row("ask about a process", "fd-process received", process, "done|ENOTTY|EINVAL", "")
	row("signal the other end of a socket", "fd-peer-signal received 23", pair, "done|ENOPROTOOPT", "")
	row("be another process to the other end of a socket", "fd-claim received 1", pair, "done", "EPERM")
	row("send from a connected socket to a path", "fd-sendto received {outside}/stream", pair, "EISCONN|EOPNOTSUPP", "")
	row("clone a tree", "fd-tree received", dir, "done", "EPERM")
	rows = append(rows,
		attempt{name: "have a process signalled", args: w("fd-owner received {victim}"), hands: fifo, silent: true, control: outside("fd-owner received {victim}")},
		attempt{name: "connect a socket that is connected to nothing", args: w("fd-connect 0 {tcpport}"), prepare: unconnected,
			refusedBy: "a socket that can be aimed elsewhere", control: control{args: w("fd-connect 0 {tcpport}"), outside: true, prepare: unconnected}},
		attempt{name: "let the kernel work for who made a ring", args: w("fd-ring RING"), prepare: ring,
			refusedBy: "no file", control: control{args: w("fd-ring RING"), outside: true, prepare: ring, want: "done|ENODEV|EPERM|ENOSYS"}},
	)
	if os.Getuid() == 0 { // nobody else gets one
		row("mount a tree", "fd-mount received /nip-escape-none", tree, "ENOENT", "")
		row("make a file system", "fd-configure received", context, "", "")
	}
	return rows
}

// opened opens what a word names.
func opened(name string, flags int) func(*testing.T, *stage) *os.File {
	return func(t *testing.T, s *stage) *os.File {
		t.Helper()
		path := s.expand(t, []string{name})[0]
		if path == s.words["outside"]+"/script" {
			s.Write(path, "#!/bin/sh\nexit 10\n", 0o755)
		}
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		return fileOf(t, fd, err)
	}
}

func fileOf(t *testing.T, fd int, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "handed")
}

// process is the victim, or the test itself where there is none.
func process(t *testing.T, s *stage) *os.File {
	t.Helper()
	pid := os.Getpid()
	if n, err := strconv.Atoi(s.words["victim"]); err == nil {
		pid = n
	}
	fd, err := unix.PidfdOpen(pid, 0)
	return fileOf(t, fd, err)
}

// pair is one end of a pair whose other end the test has.
func pair(t *testing.T, _ *stage) *os.File {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	return fileOf(t, fds[0], nil)
}

func watcher(t *testing.T, _ *stage) *os.File {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	return fileOf(t, fd, err)
}

// fifo is both ends of one: who writes to it makes it readable.
func fifo(t *testing.T, s *stage) *os.File {
	t.Helper()
	path := s.Base + "/fifo"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	return fileOf(t, fd, err)
}

func tree(t *testing.T, s *stage) *os.File {
	t.Helper()
	fd, err := unix.OpenTree(unix.AT_FDCWD, s.words["outside"], unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	return fileOf(t, fd, err)
}

func context(t *testing.T, _ *stage) *os.File {
	t.Helper()
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	return fileOf(t, fd, err)
}

// unconnected makes standard input a TCP socket that nobody has connected yet.
func unconnected(t *testing.T, _ *stage, c *exec.Cmd) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	input(t, c, fileOf(t, fd, err))
}

// ring makes standard input an io_uring whose kernel thread takes what is written
// into it without any call, and RING what the attack must know: the number of a file
// of ours that is open for writing, and where in the ring tail, array and answers are.
// Where the kernel has no io_uring, standard input is something of the same kind.
func ring(t *testing.T, s *stage, c *exec.Cmd) {
	t.Helper()
	var params [30]uint32
	params[2], params[4] = 2, 1000 // IORING_SETUP_SQPOLL; milliseconds that it stays awake
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		n, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		fd = uintptr(n)
	}
	file, err := os.OpenFile(s.words["outside"]+"/secret", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	args := []string{"0", fmt.Sprint(file.Fd()), fmt.Sprint(params[11]), fmt.Sprint(params[16]), fmt.Sprint(params[21])}
	for i, word := range c.Args { // they are known only now
		if word == "RING" {
			c.Args = append(append(c.Args[:i:i], args...), c.Args[i+1:]...)
			break
		}
	}
	input(t, c, os.NewFile(fd, "ring"))
}

func input(t *testing.T, c *exec.Cmd, f *os.File) {
	t.Cleanup(func() { f.Close() })
	c.Stdin = f
}

// send makes standard input of c a socket through which files come, in order.
func send(t *testing.T, c *exec.Cmd, files ...*os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(fds[0]), "ours")
	t.Cleanup(func() { ours.Close() })
	input(t, c, os.NewFile(uintptr(fds[1]), "theirs"))
	for _, f := range files {
		if err := unix.Sendmsg(fds[0], []byte{0}, unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// TestReceivedDirectory: a directory that a cell is sent is as good for it as one
// that it opens itself. Of one that it could not open it can see the names, which
// who sends it has granted, and no more (descriptorRows).
func TestReceivedDirectory(t *testing.T) {
	s := newStage(t)
	c := s.inCell(t, grant, w("fd-openat received secret"))
	send(t, c, opened("{granted}", unix.O_RDONLY)(t, s))
	if res := rig.Run(t, c); res.Code != attackDone {
		t.Errorf("a received directory that is granted: %d %s%s", res.Code, res.Stdout, res.Stderr)
	}
}
