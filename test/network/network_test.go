// Package network tests in real cells what sockets reach.
package network

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nipcells/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// stage is a root with the probe, and servers on loopback that say "pong".
type stage struct {
	*rig.Root
	words map[string]string
	heard map[string]*atomic.Int64 // by the name of a server: what came
}

func newStage(t *testing.T) *stage {
	s := &stage{Root: rig.NewRoot(t), words: map[string]string{}, heard: map[string]*atomic.Int64{}}
	for _, name := range []string{"open", "closed"} {
		s.serve(t, name)
	}
	for _, kind := range []string{"dynamic", "static"} {
		args := []string{"-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", s.Base + "/probe-" + kind, filepath.Join(rig.Source(), "test/network/testdata/probe.c")}
		if kind == "static" {
			args = append(args, "-static", "-Wno-stringop-truncation")
		}
		if text, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v: %s", err, text)
		}
		s.install(t, kind)
	}
	return s
}

// install makes a package of a probe, with the C library that it needs.
func (s *stage) install(t *testing.T, kind string) {
	tree := s.Base + "/tree-" + kind
	copyTo := func(from, to string) {
		t.Helper()
		if text, err := exec.Command("install", "-D", "-m", "755", from, tree+to).CombinedOutput(); err != nil {
			t.Fatalf("install: %v: %s", err, text)
		}
	}
	copyTo(s.Base+"/probe-"+kind, "/bin/probe-"+kind)
	if kind == "dynamic" {
		out, err := exec.Command("ldd", s.Base+"/probe-dynamic").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.Fields(string(out)) {
			if !filepath.IsAbs(word) {
				continue
			}
			file, err := filepath.EvalSymlinks(word)
			if err != nil {
				t.Fatal(err)
			}
			copyTo(file, word)
		}
	}
	npk := s.Base + "/probe-" + kind + ".npk"
	s.Must("graft", "-q", "dir:"+tree, "--name", "probe-"+kind, "--version", "1", "--pledge", "STDIO,RPATH,INET", "-o", npk)
	s.Must("install", "-q", npk)
}

// serve starts a server of TCP and UDP at one port of 127.0.0.1, and one of TCP with a
// full queue.
func (s *stage) serve(t *testing.T, name string) {
	heard := new(atomic.Int64)
	s.heard[name] = heard
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	udp, err := net.ListenPacket("udp4", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			heard.Add(1)
			_, _ = c.Write([]byte("pong"))
			_ = c.Close()
		}
	}()
	go func() {
		b := make([]byte, 64)
		for {
			_, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			heard.Add(1)
			_, _ = udp.WriteTo([]byte("pong"), from)
		}
	}()
	s.words["{"+name+"}"] = fmt.Sprint("127.0.0.1 ", tcp.Addr().(*net.TCPAddr).Port)
	s.words["{"+name+"-port}"] = fmt.Sprint(tcp.Addr().(*net.TCPAddr).Port)
}

// try runs the probe and returns its line.
func (s *stage) try(t *testing.T, kind, flags, args string) string {
	t.Helper()
	for word, is := range s.words {
		flags, args = strings.ReplaceAll(flags, word, is), strings.ReplaceAll(args, word, is)
	}
	words := append([]string{"run"}, strings.Fields(flags)...)
	res := rig.Run(t, s.Command(append(append(words, "probe-"+kind, "--"), strings.Fields(args)...)...))
	if res.Code != 0 || res.Stderr != "" {
		return fmt.Sprintf("status %d: %s%s", res.Code, res.Stdout, res.Stderr)
	}
	_, line, _ := strings.Cut(strings.TrimSpace(res.Stdout), " ")
	return line
}

const (
	withUDP = "--pledge STDIO,RPATH,INET,UDP "
	openTCP = "--net 127.0.0.1:{open-port} "
	openUDP = withUDP + "--net udp:127.0.0.1:{open-port} "
)

// TestReach: what is not permitted is refused, and beside it what is works.
func TestReach(t *testing.T) {
	s := newStage(t)
	for _, c := range []struct {
		name, flags, args string
		want              string
		allow             string // flags with which it is done
		done              string // what it says then; "": done pong
	}{
		{"loopback is closed", "", "connect {closed}", "EACCES", "--net loopback", ""},
		{"loopback is closed to who does not wait", "", "connect-later {closed}", "EACCES", "--net loopback:{closed-port}", ""},
		{"loopback is closed to who connects when he sends", "", "connect-deferred {closed}", "EACCES", "--net loopback", ""},
		{"loopback has many addresses", "", "connect 127.8.9.1 {closed-port}", "EACCES", "--net loopback", "ECONNREFUSED"},
		{"loopback is closed by its other name", "", "connect 0.0.0.0 {closed-port}", "EACCES", "--net any", ""},
		{"loopback is closed in the form of IPv6", "", "connect ::ffff:127.0.0.1 {closed-port}", "EACCES", "--net loopback", ""},
		{"loopback of IPv6 is closed", "", "connect ::1 {closed-port}", "EACCES", "--net loopback", "ECONNREFUSED|EADDRNOTAVAIL|ENETUNREACH"},
		{"the metadata service is closed", "", "connect-later 169.254.169.254 80", "EACCES", "--net 169.254.169.254", "EAGAIN|ENETUNREACH|EHOSTUNREACH|ECONNREFUSED|ENOTCONN|done.*"},
		{"a rule for all addresses does not mean loopback", "--net *", "connect {closed}", "EACCES", "--net any", ""},
		{"one address", openTCP, "connect 127.0.0.2 {open-port}", "EACCES", "--net 127.0.0.0/30", "ECONNREFUSED"},
		{"one port", openTCP, "connect {closed}", "EACCES", openTCP + "--net loopback:{closed-port}", ""},
		{"no port", "--net loopback:1-1023", "connect {closed}", "EACCES", "--net loopback:1024-65535", ""},
		{"connecting twice", openTCP, "connect-again {closed}", "EACCES", "--net loopback", ""},
		{"fast open by sendto", openTCP, "fastopen-sendto {open}", "EOPNOTSUPP", openTCP, "EOPNOTSUPP"},
		{"fast open by sendmsg", openTCP, "fastopen-sendmsg {open}", "EOPNOTSUPP", openTCP, "EOPNOTSUPP"},
		{"fast open by sendmmsg", openTCP, "fastopen-sendmmsg {open}", "EOPNOTSUPP", openTCP, "EOPNOTSUPP"},
		{"source routes", openTCP, "source-route {open}", "EPERM", openTCP, "EPERM"},
		{"listening where nothing is said of it", openTCP, "listen 127.0.0.1 0", "EACCES", "--net listen:127.0.0.1", "done"},
		{"listening at loopback", "", "listen 127.0.0.1 0", "EACCES", "--net listen:loopback", "done"},
		{"listening at another port", "--net listen:loopback:1", "listen 127.0.0.1 {open-port}", "EACCES", "--net listen:loopback", "EADDRINUSE"},
		{"listening at a port that the kernel chooses", "--net listen:80", "listen-unbound 127.0.0.1 0", "EACCES", "--net listen", "done"},
		{"listening at all addresses", "--net listen:loopback", "listen 0.0.0.0 0", "EACCES", "--net listen:0.0.0.0", "done"},
		{"datagrams without the promise", "--net udp:any", "udp-connect {open}", "EACCES", openUDP, ""},
		{"datagrams to loopback", withUDP, "udp-connect {closed}", "EACCES", withUDP + "--net udp:loopback", ""},
		{"datagrams that are sent to an address", openUDP, "udp-sendto {closed}", "EACCES", withUDP + "--net udp:loopback", ""},
		{"datagrams that are sent without a family", openUDP, "udp-unspec {closed}", "EACCES", withUDP + "--net udp:loopback", ""},
		{"messages that are sent to an address", openUDP, "udp-sendmsg {closed}", "EACCES", withUDP + "--net udp:loopback", ""},
		{"messages with an option", openUDP, "udp-tos {closed}", "EACCES", withUDP + "--net udp:loopback", ""},
		{"messages with a source route", openUDP, "udp-options {open}", "EINVAL", openUDP, "EINVAL"},
		{"many messages at once", openUDP, "udp-sendmmsg {open}", "ENOSYS", openUDP, "ENOSYS"},
		{"datagrams to many", withUDP, "udp-sendto 255.255.255.255 {open-port}", "EACCES", withUDP + "--net udp:any", "EACCES|ENETUNREACH|EAGAIN"},
		{"datagrams where TCP is open", withUDP + openTCP, "udp-sendto {open}", "EACCES", openUDP, ""},
		{"receiving datagrams", openUDP, "udp-bind 127.0.0.1 {closed-port}", "EACCES", withUDP + "--net listen:loopback", "EADDRINUSE"},
		{"a port that the program chooses without naming it", withUDP + "--net udp:192.0.2.1", "udp-range 127.0.0.1 {open-port}", "ENOPROTOOPT", openUDP, "ENOPROTOOPT"},
		{"an address of the host, without a port", withUDP + "--net udp:192.0.2.1", "udp-bind 127.0.0.1 0", "EACCES", withUDP + "--net listen:loopback", "done"},
		{"an address of the host, to come from", "--net 192.0.2.1", "listen 127.0.0.1 0", "EACCES", "--net listen:loopback", "done"},
		{"a socket that another cell could aim", openUDP, "udp-passed {open}", "EPERM", openUDP, "EPERM"},
		{"no rule and no promise", "--pledge STDIO,RPATH,UDP --net loopback", "udp-connect {closed}", "EACCES", openUDP + "--net udp:loopback", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, kind := range []string{"dynamic", "static"} {
				before := s.heard["closed"].Load()
				if got := s.try(t, kind, c.flags, c.args); got != c.want {
					t.Errorf("%s, %s: %s, want %s", kind, c.args, got, c.want)
				}
				if n := s.heard["closed"].Load() - before; n != 0 {
					t.Errorf("%s: %d times something came all the same", kind, n)
				}
				done := c.done
				if done == "" {
					done = "done pong"
				}
				got := s.try(t, kind, c.allow, c.args)
				if !fits(got, done) {
					t.Errorf("control, %s, with %s: %s, want %s", kind, c.allow, got, done)
				}
			}
		})
	}
}

// fits reports whether a result is one of a list; one with .* at its end is a beginning.
func fits(got, want string) bool {
	for w := range strings.SplitSeq(want, "|") {
		if begin, ok := strings.CutSuffix(w, ".*"); got == w || ok && strings.HasPrefix(got, begin) {
			return true
		}
	}
	return false
}

// TestFaultAfterLook: what a cell of another user's may not do ends it and is recorded,
// also right after a call that the supervisor answered as that user.
func TestFaultAfterLook(t *testing.T) {
	s := newStage(t)
	flags := "--pledge STDIO,RPATH"
	if os.Getuid() == 0 {
		flags += " --user 65534"
	}
	got := s.try(t, "static", flags, "after-look 127.0.0.1 1")
	if !strings.HasPrefix(got, "status 137: ") || strings.Contains(got, "denied") || strings.Contains(got, "after-look E") {
		t.Errorf("%s", got)
	}
	if out := s.Must("ledger"); !strings.Contains(out, "connect") {
		t.Errorf("the ledger does not tell: %s", out)
	}
}

// TestHostsAddresses: the host's services are as closed by its other addresses, and by
// those of everybody in its networks, as by loopback.
func TestHostsAddresses(t *testing.T) {
	s := newStage(t)
	all, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	port := all.Addr().(*net.TCPAddr).Port
	all.Close()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range list {
		prefix, ok := one.(*net.IPNet)
		if !ok || prefix.IP.IsLoopback() || prefix.IP.IsLinkLocalUnicast() {
			continue
		}
		closed := fmt.Sprintf("connect %s %d", prefix.IP, port)
		for _, kind := range []string{"dynamic", "static"} {
			for _, flags := range []string{"", "--net *"} {
				if got := s.try(t, kind, flags, closed); got != "EACCES" {
					t.Errorf("%s, %s, %s: %s", kind, flags, closed, got)
				}
			}
			if got := s.try(t, kind, "--net any", closed); got != "ECONNREFUSED" {
				t.Errorf("control, %s, %s: %s", kind, closed, got)
			}
		}
		four := prefix.IP.To4()
		if ones, bits := prefix.Mask.Size(); four == nil || bits-ones < 2 {
			continue
		}
		for i := range four {
			four[i] |= ^prefix.Mask[len(prefix.Mask)-4+i]
		}
		if got := s.try(t, "static", withUDP, fmt.Sprintf("udp-sendto %s %d", four, port)); got != "EACCES" {
			t.Errorf("broadcast at %s: %s", four, got)
		}
	}
}

// TestPolicyCaps: what the host's policy does not permit no flag opens.
func TestPolicyCaps(t *testing.T) {
	s := newStage(t)
	s.Write(s.Path("Nexus/policy.kdl"), "net \"loopback:"+s.words["{open-port}"]+"\"\n", 0o644)
	for args, want := range map[string]string{"connect {open}": "done pong", "connect {closed}": "EACCES"} {
		if got := s.try(t, "dynamic", "--net any", args); got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}

// TestRace: an address that changes while it is used leads nowhere else.
func TestRace(t *testing.T) {
	s := newStage(t)
	for _, flags := range []string{openTCP, openUDP + openTCP} {
		s.heard["closed"].Store(0)
		s.heard["open"].Store(0)
		if got := s.try(t, "static", flags, "race {open} {closed}"); got != "done often" {
			t.Errorf("%s: %s", flags, got)
		}
		if s.heard["closed"].Load() != 0 || s.heard["open"].Load() == 0 {
			t.Errorf("%s: %d came to where they may, %d to where not", flags, s.heard["open"].Load(), s.heard["closed"].Load())
		}
	}
	if got := s.try(t, "static", openUDP+"--net loopback --net udp:loopback", "race {open} {closed}"); got != "done often" || s.heard["closed"].Load() == 0 {
		t.Errorf("control: %s, %d came", got, s.heard["closed"].Load())
	}
}

// TestHang: who waits for a connection makes nobody else wait, and waits no longer
// than he wants.
func TestHang(t *testing.T) {
	s := newStage(t)
	full, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if err := shorten(full.(*net.TCPListener)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	got := s.try(t, "static", "--net loopback", fmt.Sprint("hang 127.0.0.1 ", full.Addr().(*net.TCPAddr).Port))
	if took := time.Since(begin); got != "EINPROGRESS" || took < time.Second || took > 10*time.Second {
		t.Errorf("%s after %v", got, took)
	}
}

// TestResolver: name servers are asked in the way that is open.
func TestResolver(t *testing.T) {
	if _, err := os.Stat("/etc/resolv.conf"); err != nil {
		t.Skip("this host has no resolv.conf")
	}
	s := newStage(t)
	for flags, want := range map[string]string{"": "done by TCP", withUDP: "done by UDP", "--pledge STDIO,RPATH": "ENOENT"} {
		for _, kind := range []string{"dynamic", "static"} {
			if got := s.try(t, kind, flags, "resolver 127.0.0.1 1"); got != want {
				t.Errorf("%s %s: %s, want %s", kind, flags, got, want)
			}
		}
	}
}

// TestPass: in a cell whose messages are all asked, pairs still pass files on.
func TestPass(t *testing.T) {
	s := newStage(t)
	for _, kind := range []string{"dynamic", "static"} {
		for _, flags := range []string{"", withUDP} {
			if got := s.try(t, kind, flags, "pass 127.0.0.1 1"); got != "done ping" {
				t.Errorf("%s%s: %s", flags, kind, got)
			}
		}
	}
}
