package network

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

const withUnix = "--pledge STDIO,RPATH,WPATH,FATTR,UNIX --unveil {host}:rw "

// serveLocal listens at a name of the host and counts who comes.
func (s *stage) serveLocal(t *testing.T, name string) *atomic.Int64 {
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	heard := new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			heard.Add(1)
			_, _ = c.Write([]byte("pong"))
			_ = c.Close()
		}
	}()
	return heard
}

// TestNamedSockets: sockets have names in the cell's own directories and nowhere else.
func TestNamedSockets(t *testing.T) {
	s := newStage(t)
	host := s.Base + "/host"
	s.words["{host}"] = host
	s.Write(host+"/file", "x", 0o644)
	abstract := fmt.Sprintf("@nip-network-%d", os.Getpid())
	outside := []*atomic.Int64{s.serveLocal(t, host+"/socket"), s.serveLocal(t, abstract)}
	for _, c := range []struct{ name, flags, args, want string }{
		{"without the promise", "", "unix-serve /tmp/s", "EAFNOSUPPORT"},
		{"in tmp", withUnix, "unix-serve /tmp/s", "done pong"},
		{"in run", withUnix, "unix-serve /Cell/self/run/s", "done pong"},
		{"in HOME", withUnix, "unix-serve /Data/apps/probe-KIND/s", "done pong"},
		{"where it is", withUnix, "unix-serve s", "done pong"},
		{"a queue that is full", withUnix, "unix-full /tmp/s", "EAGAIN"},
		{"the host's, unveiled", withUnix, "unix-connect {host}/socket", "EACCES"},
		{"the host's", "--pledge STDIO,RPATH,WPATH,UNIX", "unix-connect {host}/socket", "ENOENT"},
		{"the host's, by an abstract name", withUnix, "unix-connect " + abstract, "EPERM"},
		{"the host's, by a link beside the cell's own", withUnix, "unix-link {host}/socket /tmp/link", "EPERM"},
		{"the host's, moved to the cell's own", withUnix, "unix-rename {host}/socket /tmp/moved", "EACCES"},
		{"the host's, marked as a cell's", withUnix, "unix-mark {host}/socket /tmp/moved", "EACCES"},
		{"a directory of the host's with sockets, moved", withUnix, "unix-rename {host} /tmp/moved", "EBUSY"},
		{"a file", withUnix, "unix-connect {host}/file", "ECONNREFUSED"},
		{"a name in what is unveiled", withUnix, "unix-bind {host}/new", "EACCES"},
		{"a name in the view", withUnix, "unix-bind /bin/new", "EACCES"},
		{"a name above all", withUnix, "unix-bind /new", "EACCES"},
		{"an abstract name", withUnix, "unix-bind @new", "EPERM"},
		{"a name that leads out", withUnix, "unix-bind /tmp/../{host}/new", "EACCES"},
		{"datagrams", withUnix, "unix-datagram x", "EPROTONOSUPPORT"},
	} {
		for _, kind := range []string{"dynamic", "static"} {
			if got := s.try(t, kind, c.flags, strings.ReplaceAll(c.args, "KIND", kind)); got != c.want {
				t.Errorf("%s, %s: %s, want %s", c.name, kind, got, c.want)
			}
			os.Remove(s.Path("Data/apps/probe-"+kind, "s"))
		}
	}
	if got := s.try(t, "static", withUnix, "unix-race /tmp/s {host}/socket"); got != "done often" {
		t.Errorf("race: %s", got)
	}
	for i, heard := range outside {
		if n := heard.Load(); n != 0 {
			t.Errorf("%d came to the host's socket number %d", n, i)
		}
	}
	if names, err := os.ReadDir(host); err != nil || len(names) != 2 {
		t.Errorf("%v in what was unveiled, %v", names, err)
	}
	// The control: outside, the program comes to both.
	for i, name := range []string{host + "/socket", abstract} {
		c := s.Command()
		c.Path, c.Args = s.Base+"/probe-static", []string{"probe", "unix-connect", name}
		if res := rig.Run(t, c); res.Stdout != "unix-connect done pong\n" || outside[i].Load() != 1 {
			t.Errorf("control: %q, %d came", res.Stdout, outside[i].Load())
		}
	}
}

// TestTerminals: a cell has terminals of its own, and comes to no others.
func TestTerminals(t *testing.T) {
	s := newStage(t)
	const withTTY = "--pledge STDIO,RPATH,TTY"
	for _, kind := range []string{"dynamic", "static"} {
		for flags, want := range map[string]string{withTTY: "done both", "": "ENOENT"} {
			if got := s.try(t, kind, flags, "terminal -own"); got != want {
				t.Errorf("%s %s: %s, want %s", kind, flags, got, want)
			}
		}
		if got := s.try(t, kind, withTTY, "terminal -narrowed"); got != "ENOENT" {
			t.Errorf("%s: a terminal for who is narrowed: %s", kind, got)
		}
		pair, number := hostTerminal(t)
		if got := s.try(t, kind, withTTY, fmt.Sprint("terminal ", number)); got != "ENOENT" {
			t.Errorf("%s: the host's terminal: %s", kind, got)
		}
		c := s.Command()
		c.Path, c.Args = s.Base+"/probe-static", []string{"probe", "terminal", strconv.Itoa(number)}
		if res := rig.Run(t, c); res.Stdout != "terminal done\n" {
			t.Errorf("control: %q", res.Stdout)
		}
		unix.Close(pair)
		s.recycled(t, kind, withTTY)
	}
}

// hostTerminal makes a pair outside.
func hostTerminal(t *testing.T) (fd, number int) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd, int(n)
}

// recycled: the number of a terminal that the cell has closed is nothing to it when
// somebody else has it.
func (s *stage) recycled(t *testing.T, kind, flags string) {
	t.Helper()
	c := s.Command(append(append([]string{"run"}, strings.Fields(flags)...), "probe-"+kind, "--", "terminal", "-")...)
	in, lines := rig.Talk(t, c)
	lines.Scan()
	want, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "number "))
	if err != nil {
		t.Fatal(lines.Text())
	}
	rig.Until(t, 10*time.Second, "somebody else to have its number", func() bool {
		fd, got := hostTerminal(t) // the lowest that is free
		t.Cleanup(func() { unix.Close(fd) })
		return got == want
	})
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if lines.Scan(); lines.Text() != "terminal ENOENT" {
		t.Errorf("%s: a number that is another's now: %s", kind, lines.Text())
	}
}
