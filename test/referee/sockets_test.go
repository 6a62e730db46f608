package referee

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

// B and C are the rights to bind and to connect; {p} and {q} are ports where somebody
// listens, {swapped} is {p} in the other order of bytes.
var ports = []row{
	{name: "ports", steps: "sock=s connect={q} layer=BC,{p}:C sock=s connect={p} sock=s connect={q} sock=s bind=0", want: "sock ok|connect ok|layer ok|sock ok|connect ok|sock ok|connect EACCES|sock ok|bind EACCES"},
	{name: "layers of ports", steps: "layer=BC,{p}:B,{p}:C,{q}:C sock=s connect={q} layer=BC,{p}:BC sock=s connect={p} sock=s connect={q} layer=BC,{p}:BC,{q}:BC sock=s connect={p} sock=s connect={q}",
		want: "layer ok|sock ok|connect ok|layer ok|sock ok|connect ok|sock ok|connect EACCES|layer ok|sock ok|connect ok|sock ok|connect EACCES"},
	{name: "layers that handle more", steps: "layer=B,0:B sock=s connect={q} sock=s bind=0 layer=BC,{p}:C,0:B sock=s connect={p} sock=s connect={q} sock=s bind=0 listen layer=BC,{p}:C sock=s bind=0 sock=s connect={p}",
		want: "layer ok|sock ok|connect ok|sock ok|bind ok|layer ok|sock ok|connect ok|sock ok|connect EACCES|sock ok|bind ok|listen ok|layer ok|sock ok|bind EACCES|sock ok|connect ok"},
	{name: "addresses of no family", steps: "sock=s bind=unspec:0 sock=s connect={p} layer=BC connect=none connect={p} sock=s bind=unspec:0", want: "sock ok|bind ok|sock ok|connect ok|layer ok|connect ok|connect EACCES|sock ok|bind EACCES"},
	{name: "UDP", steps: "layer=BC sock=d connect={p} sock=d bind=0 sock=s connect={p}", want: "layer ok|sock ok|connect ok|sock ok|bind ok|sock ok|connect EACCES"},
	{name: "ports and files", steps: "layer=rlB,{1}:rl,0:B sock=s bind=0 read={1}/f list={2} sock=s bind={p} sock=s connect={p}", want: "layer ok|sock ok|bind ok|read ok|list EACCES|sock ok|bind EACCES|sock ok|connect ok"},
	{name: "port numbers", steps: "layer=C,65536:C layer=C,4294967296:C layer=C,65535:C,{p}:C sock=s connect={p} sock=s connect={q}", want: "layer EINVAL|layer EINVAL|layer ok|sock ok|connect ok|sock ok|connect EACCES"},
	{name: "the order of bytes", steps: "layer=C,{swapped}:C sock=s connect={p} layer=r", want: "layer ok|sock ok|connect EACCES|layer ok"},
	{name: "ports of the system", steps: "sock=s bind=1023 bind=0", want: "sock ok|bind EACCES|bind ok"},
	{name: "rules for nothing", steps: "layer=C,{p}: layer=C,{p}:B sock=s connect={p}", want: "layer ENOMSG|layer EINVAL|sock ok|connect ok"},
	{name: "a child's connection", steps: "layer=C,{p}:C inchild sock=s connect={p} sock=s connect={q}", want: "layer ok|inchild ok|sock ok|connect ok|sock ok|connect EACCES"},
}

// TestPorts: rules of a program for TCP ports hold in a cell, where others bind and connect for it.
func TestPorts(t *testing.T) {
	s := newStage(t)
	var numbers []int
	for range 2 {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		numbers = append(numbers, ln.Addr().(*net.TCPAddr).Port)
	}
	swapped := numbers[0]>>8 | numbers[0]&0xff<<8
	s.words = append(s.words, "{p}", strconv.Itoa(numbers[0]), "{q}", strconv.Itoa(numbers[1]), "{swapped}", strconv.Itoa(swapped))
	if swapped == numbers[0] {
		t.Fatalf("port %d reads the same both ways: run the test again", swapped)
	}
	rows := ports
	if start, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil && strings.TrimSpace(string(start)) != "1024" {
		rows = slices.DeleteFunc(slices.Clone(ports), func(r row) bool { return r.name == "ports of the system" }) // everybody's here
	}
	s.compare(t, rows)
}

// TestHandedSockets: no cell gets a socket as standard input that is connected to
// nothing: some can be aimed with each message, and a kernel may connect the others by
// calls that are not connect.
func TestHandedSockets(t *testing.T) {
	s := newStage(t)
	s.set(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	name := fmt.Sprintf("@nip-referee-%d", os.Getpid())
	local, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	for _, r := range []struct {
		family, kind int
		steps        string
		outside      string
	}{
		{unix.AF_INET, unix.SOCK_STREAM, "connect=" + port, "connect ok"},
		{unix.AF_INET, unix.SOCK_STREAM, "bind=0 listen", "bind ok|listen ok"},
		{unix.AF_INET, unix.SOCK_STREAM, "fastopen=" + port, "fastopen ok"},
		{unix.AF_UNIX, unix.SOCK_STREAM, "connect=" + name, "connect ok"},
		{unix.AF_UNIX, unix.SOCK_STREAM, "bind=" + name + "-own", "bind ok"},
		{unix.AF_INET, unix.SOCK_DGRAM, "sendto=" + port, "sendto ok"},
		{unix.AF_UNIX, unix.SOCK_DGRAM, "bind=" + name + "-own", "bind ok"},
	} {
		for place, want := range map[string]string{"outside": r.outside, "INET": "", "STDIO": ""} {
			fd, err := unix.Socket(r.family, r.kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			socket := os.NewFile(uintptr(fd), "socket")
			c := s.Outside("try", strings.Fields(r.steps)...)
			if place != "outside" {
				c = s.InCell([]string{"--deny", "--pledge", "STDIO,RPATH," + place}, "try", strings.Fields(r.steps)...)
			}
			c.Stdin = socket
			if want == "" {
				if res := rig.Run(t, c); res.Code != 125 || !strings.Contains(res.Stderr, "aimed elsewhere") {
					t.Errorf("%s, %s: exit status %d: %s%s", r.steps, place, res.Code, res.Stdout, res.Stderr)
				}
			} else {
				s.say(t, r.steps+", "+place, c, want)
			}
			socket.Close()
		}
	}
}
