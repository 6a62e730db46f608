package cell

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"nipcells/internal/capability"
	"nipcells/internal/membrane"
	"nipcells/internal/wall"
)

// What a cell's sockets reach is said by addresses. The names in its rules are looked
// up once, before it starts, and its /etc/hosts says the same: so the cell finds what
// it may reach, whatever a name server tells it later.

// ErrNames reports rules with names of hosts where nobody looks names up.
var ErrNames = errors.New("rules of the network name hosts, and nothing here looks names up")

// network is what the cell may reach.
type network struct {
	rules []capability.Net // no names but capability.NameServers
	hosts []host
}

// host is a name of a rule and its addresses.
type host struct {
	name  string
	addrs []capability.Addr
}

// networked reports whether the cell can have sockets of the network.
func (c *cell) networked() bool { return c.pledge&(capability.Inet|capability.Udp) != 0 }

// chooseNetwork takes the rules of the plan, or the person's under the policy, and
// looks up their names.
func (c *cell) chooseNetwork() error {
	if !c.networked() {
		return nil
	}
	rules := c.Plan.Net
	if c.Net != nil {
		rules = capability.IntersectNets(c.Net, c.Plan.NetCaps)
	}
	addrs := map[string][]capability.Addr{}
	for _, r := range rules {
		if r.Name == "" || r.Name == capability.NameServers {
			c.network.rules = append(c.network.rules, r)
			continue
		}
		if _, done := addrs[r.Name]; !done {
			if c.Lookup == nil {
				return ErrNames
			}
			found, err := c.Lookup(r.Name)
			if err != nil {
				c.Report("net " + r.String() + ": closed, as there is no address: " + err.Error())
			}
			addrs[r.Name] = found
			c.network.hosts = append(c.network.hosts, host{r.Name, found})
		}
		for _, a := range addrs[r.Name] {
			if !a.Local() { // a name is not to open what stands behind it only for the cell
				c.network.rules = append(c.network.rules, capability.Net{Kind: r.Kind, Addr: a, Bits: 128, From: r.From, To: r.To})
			}
		}
	}
	return nil
}

// portsMost is how many ports Landlock is told of.
const portsMost = 16

// ports are those to which the cell may connect by TCP, if that can be said by a few.
func (c *cell) ports() []uint16 {
	var ports []uint16
	for _, r := range c.network.rules {
		if r.Kind != capability.Connect {
			continue
		}
		if r.From != r.To || len(ports) == portsMost {
			return nil
		}
		ports = append(ports, r.From)
	}
	return ports
}

// landlockNet is what Landlock knows of it.
func (c *cell) landlockNet() wall.Network {
	return wall.Network{Open: c.pledge.Has(capability.Inet), Ports: c.ports()}
}

// forMembrane is what the Membrane is told.
func (c *cell) forMembrane() *membrane.Network {
	if !c.networked() {
		return nil
	}
	var servers []capability.Addr
	known := false
	return &membrane.Network{Rules: c.network.rules, Ports: len(c.ports()) > 0, NameServers: func() []capability.Addr {
		if !known {
			servers, known = nameServers(), true
		}
		return servers
	}}
}

const resolvConf, hostsFile = "/etc/resolv.conf", "/etc/hosts"

// nameServers returns those of the host (resolv.conf(5)), at most three, as a C
// library does.
func nameServers() (list []capability.Addr) {
	b, err := os.ReadFile(resolvConf)
	if err != nil {
		return []capability.Addr{capability.AddrFrom4([4]byte{127, 0, 0, 1})} // the default
	}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 2 || f[0] != "nameserver" || len(list) == 3 {
			continue
		}
		text, _, _ := strings.Cut(f[1], "%")
		if a, ok := capability.ParseAddr(text); ok {
			list = append(list, a)
		}
	}
	return list
}

// ownFile returns what a file by which names are resolved says in the cell, and false
// if it says what the host's does.
func (c *cell) ownFile(name string) ([]byte, bool) {
	switch {
	case name == resolvConf && !c.pledge.Has(capability.Udp):
		// Without datagrams name servers are asked by TCP.
		b, err := os.ReadFile(resolvConf)
		if err != nil {
			return nil, false
		}
		return append(bytes.TrimRight(b, "\n"), "\noptions use-vc\n"...), true
	case name == hostsFile && len(c.network.hosts) > 0:
		var b bytes.Buffer
		for _, h := range c.network.hosts {
			for _, a := range h.addrs {
				if !a.Local() {
					fmt.Fprintf(&b, "%s %s\n", a, h.name)
				}
			}
		}
		rest, err := os.ReadFile(hostsFile)
		if err != nil {
			rest = []byte("127.0.0.1 localhost\n::1 localhost\n")
		}
		return append(b.Bytes(), rest...), true
	}
	return nil, false
}
