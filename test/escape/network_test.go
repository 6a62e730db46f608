package escape

import (
	"testing"

	"nipcells/internal/capability"
)

var withInet = w("--pledge STDIO,RPATH,WPATH,EXEC,INET,UDP --net loopback --net udp:loopback --net listen:loopback --unveil {granted}:rwxc")

// TestNetwork reaches for the network, and for what is heard of it. Rows with
// unless are what INET is for, the others no cell may without a rule that means loopback.
func TestNetwork(t *testing.T) { try(t, networkRows()) }

func networkRows() []attempt {
	local := func(name, line string) attempt {
		return attempt{name: name, args: w(line), control: granted(line, withInet...)}
	}
	inet := func(name, line string) attempt {
		a := local(name, line)
		a.unless = capability.Inet
		return a
	}
	rows := []attempt{
		{name: "connect to loopback", args: w("tcp-connect {tcpport}"), control: granted("tcp-connect {tcpport}", withInet...)},
		{name: "connect to loopback over IPv6", args: w("tcp6-connect {tcpport}"),
			control: control{args: w("tcp6-connect {tcpport}"), flags: withInet, want: "done|EAFNOSUPPORT|EADDRNOTAVAIL|ENETUNREACH"}},
		{name: "connect to loopback by fast open", args: w("tcp-fastopen {tcpport}"), control: outside("tcp-fastopen {tcpport}")},
		{name: "connect to loopback by MPTCP", args: w("tcp-connect {tcpport} 262"),
			control: asked("tcp-connect {tcpport} 262", "done|EPROTONOSUPPORT", "")},
		{name: "connect to loopback by MPTCP with INET", args: w("tcp-connect {tcpport} 262"), flags: withInet,
			control: granted("tcp-connect {tcpport} 6")},
		{name: "listen on loopback", args: w("tcp-listen"), control: granted("tcp-listen", withInet...)},
		{name: "send to loopback by UDP", args: w("udp-sendto {udpport}"), control: granted("udp-sendto {udpport}", withInet...)},
		local("send to loopback by a connected UDP socket", "udp-connect {udpport}"),
		local("send a message to loopback by UDP", "udp-sendmsg {udpport}"),
		{name: "send many messages to loopback by UDP", args: w("udp-sendmmsg {udpport}"), control: outside("udp-sendmmsg {udpport}")},
		{name: "send to loopback by UDP over IPv6", args: w("udp6-sendto {udpport}"),
			control: control{args: w("udp6-sendto {udpport}"), flags: withInet, want: "done|EAFNOSUPPORT|EADDRNOTAVAIL|ENETUNREACH"}},
		local("connect to loopback without waiting", "tcp-later {tcpport}"),
		{name: "connect to loopback by a message", args: w("fastopen-message {tcpport}"), control: outside("fastopen-message {tcpport}")},
		{name: "connect to loopback by a write", args: w("fastopen-write {tcpport}"), control: outside("fastopen-write {tcpport}")},
		local("connect to loopback again", "tcp-again {tcpport}"),
		{name: "listen on a port that nobody has asked for", args: w("listen-unbound"), unless: capability.Inet, control: granted("listen-unbound", w("--pledge STDIO,RPATH,INET")...)},
		{name: "ping loopback", args: w("ping"), control: asked("ping", "done|EACCES", "")},
		{name: "ping loopback with INET", args: w("ping"), flags: withInet, control: granted("udp-sendto {udpport}")},
		{name: "send a packet with a forged address", args: w("raw-send {udpport}"), control: asked("raw-send {udpport}", "done", "EPERM")},
		{name: "listen to all of loopback", args: w("packet-listen"), control: asked("packet-listen", "done", "EPERM")},
		{name: "list the interfaces", args: w("netlink-links"), control: outside("netlink-links")},
		{name: "list the interfaces with INET", args: w("netlink-links"), flags: withInet, control: outside("netlink-links")},
		{name: "list the sockets of everybody", args: w("netlink-sockets"), control: asked("netlink-sockets", "done|ENOENT", "")},
		{name: "hear of the machine's devices", args: w("netlink-events"), control: outside("netlink-events")},
		inet("name an interface", "interfaces"),
		{name: "make an interface", args: w("tunnel"), control: asked("tunnel", "done|ENOENT|ENODEV", "EPERM|ENOENT|ENODEV|EACCES|done")},
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
	return rows
}
