package capability

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// NetKind is what a Net is about.
type NetKind uint8

// The kinds of traffic. That a cell has the promise for the sockets (INET, UDP) is
// another question.
const (
	Connect  NetKind = iota // TCP connections to an address
	Datagram                // UDP datagrams to an address
	Listen                  // an own address at which TCP connections or datagrams arrive
)

// kindWords are the kinds as people write them.
var kindWords = [...]string{"tcp", "udp", "listen"}

// NameServers is the name that stands for the host's name servers (resolv.conf(5)).
const NameServers = "dns"

// Net permits traffic of one kind with some addresses and ports.
type Net struct {
	Kind NetKind
	// Name is a host, whose addresses are looked up when a cell starts, or NameServers.
	Name string
	// Without a name: the addresses that begin with the first Bits bits of Addr.
	Addr Addr
	Bits int
	// Outside says that addresses which lead to the host itself are not meant (Local).
	// Names mean them never, except NameServers.
	Outside  bool
	From, To uint16 // ports, both included
}

// localNets are the addresses that a cell gets only if a rule means them: what leads
// to the host itself or to what it alone should reach (loopback, "this host",
// link-local addresses with the metadata services of clouds at 169.254.169.254, those
// services where they have another address), and to many at once. RFC 6890, RFC 5771.
var localNets = [...]struct {
	addr Addr
	bits int
}{
	{v4(127, 0, 0, 0), 104}, {v4(0, 0, 0, 0), 104}, {v4(169, 254, 0, 0), 112}, {v4(224, 0, 0, 0), 99},
	{v4(100, 100, 100, 200), 128}, {v4(192, 0, 0, 192), 128}, {v4(168, 63, 129, 16), 128},
	{Addr{}, 127}, {Addr{0xfe, 0x80}, 10}, {Addr{0xff}, 8},
	{Addr{0xfd, 0, 0x0e, 0xc2, 14: 0x02, 15: 0x54}, 128}, {Addr{0xfd, 0x20, 0, 0xce, 14: 0x02, 15: 0x54}, 128},
	{Addr{0xfd, 0, 0x0e, 0xc2, 15: 0x23}, 128},
	// Translators of a network's own (RFC 8215): where in it the address of IPv4 is, it
	// alone knows (RFC 6052).
	{Addr{0, 0x64, 0xff, 0x9b, 0, 1}, 48},
}

// Local reports whether an address is one that rules for all addresses do not mean.
// One of IPv4 that a translator's prefix holds (RFC 6052, RFC 3056) counts as such.
func (a Addr) Local() bool {
	for _, l := range localNets {
		if a.begins(l.addr, l.bits) {
			return true
		}
	}
	if a.begins(Addr{0, 0x64, 0xff, 0x9b}, 96) {
		return v4(a[12], a[13], a[14], a[15]).Local()
	}
	return a.begins(Addr{0x20, 0x02}, 16) && v4(a[2], a[3], a[4], a[5]).Local()
}

// DefaultNets is what is permitted where nobody has written a rule: everything
// outside, and the name servers.
func DefaultNets() []Net {
	return append(outside(true), Net{Kind: Connect, Name: NameServers, From: 53, To: 53}, Net{Kind: Datagram, Name: NameServers, From: 53, To: 53})
}

// AllNets permits everything.
func AllNets() []Net { return outside(false) }

func outside(only bool) []Net {
	list := make([]Net, 0, 2*len(kindWords))
	for k := range kindWords {
		list = append(list, Net{Kind: NetKind(k), Outside: only, To: 1<<16 - 1})
	}
	return list
}

// ParseNet reads [tcp:|udp:|listen:]HOST[:PORTS], for example example.org:443,
// udp:10.0.0.0/8:53, listen:8000-8010, [2001:db8::]/32, loopback:5432. HOST is an
// address, a prefix, a name, "loopback", "dns" (the host's name servers, at port
// 53), "any", or "*", which is any but those of the host itself; "-local" behind a
// prefix takes them from that. PORTS are numbers and ranges with commas; without
// them all are meant. It returns a rule for each range. The error is a *SyntaxError.
func ParseNet(s string) ([]Net, error) {
	fail := func(why string) ([]Net, error) { return nil, &SyntaxError{What: "net", Text: s, Why: why} }
	n, rest := Net{To: 1<<16 - 1}, s
	for k, word := range kindWords {
		if r, ok := strings.CutPrefix(s, word+":"); ok {
			n.Kind, rest = NetKind(k), r
		} else if s == word {
			n.Kind, rest = NetKind(k), "*"
		}
	}
	host, ports, both := rest, "", false
	if end := strings.LastIndexByte(rest, ']'); strings.IndexByte(rest[end+1:], ':') >= 0 {
		i := strings.LastIndexByte(rest, ':')
		host, ports, both = rest[:i], rest[i+1:], true
	} else if rest != "" && strings.Trim(rest, "0123456789,-") == "" {
		host, ports, both = "*", rest, true
	}
	if both && ports == "" {
		return fail("no port behind the colon")
	}
	hosts, why := n.hosts(host)
	if why != "" {
		return fail(why)
	}
	if !both {
		return hosts, nil
	}
	var list []Net
	for item := range strings.SplitSeq(ports, ",") {
		from, to, isRange := strings.Cut(item, "-")
		if !isRange {
			to = from
		}
		f, err := strconv.ParseUint(from, 10, 16)
		t, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil || f > t || f == 0 {
			return fail("want ports from 1 to 65535: 443, or 8000-8010, with commas")
		}
		for _, h := range hosts {
			h.From, h.To = uint16(f), uint16(t)
			list = append(list, h)
		}
	}
	return list, nil
}

// hosts returns n for what HOST means, or why it means nothing.
func (n Net) hosts(host string) (list []Net, why string) {
	switch host {
	case "":
		return nil, "no host"
	case "any":
		return []Net{n}, ""
	case "*":
		n.Outside = true
		return []Net{n}, ""
	case "loopback", "localhost":
		n.Addr, n.Bits = v4(127, 0, 0, 0), 104
		six := n
		six.Addr, six.Bits = Addr{15: 1}, 128
		return []Net{n, six}, ""
	case NameServers:
		if n.Name = host; n.Kind == Listen {
			return nil, "nobody listens at the addresses of name servers"
		}
		n.From, n.To = 53, 53
		return []Net{n}, ""
	}
	prefix, without := strings.CutSuffix(host, "-local")
	if addr, bits, ok := parsePrefix(prefix); ok {
		n.Addr, n.Bits, n.Outside = addr.first(bits), bits, without
		if n, ok = n.canonical(); !ok {
			return nil, "all of these addresses are local"
		}
		return []Net{n}, ""
	}
	switch {
	case n.Kind == Listen:
		return nil, "want an own address, or * for all"
	case !hostName(host):
		return nil, "neither an address nor the name of a host (an IPv6 address stands in brackets)"
	}
	n.Name, n.Outside = strings.ToLower(host), true
	return []Net{n}, ""
}

// hostName reports whether s has the form of a host's name (RFC 1123, section 2.1).
// What ends in a number is an address that went wrong.
func hostName(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for _, c := range []byte(l) {
			if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	last := labels[len(labels)-1]
	return len(s) <= 253 && strings.Trim(last, "0123456789") != ""
}

// String returns the form that ParseNet reads.
func (n Net) String() string {
	host := n.Name
	switch {
	case n.Name != "":
	case n.Bits == 0 && n.Outside:
		host = "*"
	case n.Bits == 0:
		host = "any"
	default:
		host = prefixText(n.Addr, n.Bits)
		if n.Outside {
			host += "-local"
		}
	}
	ports := ":" + strconv.Itoa(int(n.From))
	switch {
	case n.From == 0 && n.To == 1<<16-1, n.Name == NameServers && n.From == 53 && n.To == 53:
		ports = ""
	case n.From != n.To:
		ports += "-" + strconv.Itoa(int(n.To))
	}
	return kindWords[n.Kind] + ":" + host + ports
}

// Intersect returns what both rules permit. Which addresses a name has is not known
// here: nothing is left of it beside a rule for some addresses.
func (n Net) Intersect(m Net) (Net, bool) {
	if n.Name == "" {
		n, m = m, n // if one has a name it is n
	}
	switch {
	case n.Kind != m.Kind:
		return Net{}, false
	case n.Name != "" && m.Name == "" && m.Bits > 0, m.Name != "" && m.Name != n.Name:
		return Net{}, false
	case n.Name == NameServers && m.Name == "" && m.Outside:
		return Net{}, false // they may be the host itself
	}
	if n.Name == "" {
		if n.Bits < m.Bits {
			n.Addr, n.Bits, m.Addr, m.Bits = m.Addr, m.Bits, n.Addr, n.Bits
		}
		if !n.Addr.begins(m.Addr, m.Bits) {
			return Net{}, false
		}
		n.Outside = n.Outside || m.Outside
	}
	n.From, n.To = max(n.From, m.From), min(n.To, m.To)
	n, some := n.canonical()
	return n, some && n.From <= n.To
}

// canonical returns n with Outside only where that takes something from it; some is
// false if it takes all.
func (n Net) canonical() (_ Net, some bool) {
	if n.Name != "" || !n.Outside || n.Bits == 0 {
		return n, true
	}
	n.Outside = false
	for _, l := range localNets {
		switch {
		case n.Addr.begins(l.addr, l.bits) && n.Bits >= l.bits:
			if n.Kind == Listen && n.Addr.Unspecified() { // see Permits
				n.Bits = 128
				return n, true
			}
			return n, false
		case l.addr.begins(n.Addr, n.Bits):
			n.Outside = true
		}
	}
	return n, true
}

// covers reports whether n permits all that m permits.
func (n Net) covers(m Net) bool {
	both, ok := n.Intersect(m)
	return ok && both == m
}

// Permits reports whether n, which has no name, permits traffic with an address and
// port. Who listens at all addresses of a host does not listen at a local one.
func (n Net) Permits(kind NetKind, a Addr, port uint16) bool {
	if n.Name != "" || n.Kind != kind || port < n.From || port > n.To || !a.begins(n.Addr, n.Bits) {
		return false
	}
	return !n.Outside || !a.Local() || kind == Listen && a.Unspecified()
}

// NormalizeNets returns the canonical list that permits the same: sorted, and
// without rules that others cover.
func NormalizeNets(list []Net) []Net {
	all := slices.Clone(list)
	slices.SortFunc(all, Net.compare)
	all = slices.Compact(all)
	var out []Net
	for i, n := range all {
		covered := slices.ContainsFunc(all[:i], func(m Net) bool { return m.covers(n) }) ||
			slices.ContainsFunc(all[i+1:], func(m Net) bool { return m.covers(n) })
		if !covered {
			out = append(out, n)
		}
	}
	return out
}

func (n Net) compare(m Net) int {
	order := func(outside bool) int {
		if outside {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(n.Kind, m.Kind), strings.Compare(n.Name, m.Name), slices.Compare(n.Addr[:], m.Addr[:]), cmp.Compare(n.Bits, m.Bits),
		cmp.Compare(order(n.Outside), order(m.Outside)), cmp.Compare(n.From, m.From), cmp.Compare(n.To, m.To))
}

// IntersectNets returns the canonical list that permits what both lists permit.
func IntersectNets(a, b []Net) []Net {
	var both []Net
	for _, n := range a {
		for _, m := range b {
			if r, ok := n.Intersect(m); ok {
				both = append(both, r)
			}
		}
	}
	return NormalizeNets(both)
}

// NetsBeyond returns the rules of a that no rule of b covers.
func NetsBeyond(a, b []Net) []Net {
	var more []Net
	for _, n := range a {
		if !slices.ContainsFunc(b, func(m Net) bool { return m.covers(n) }) {
			more = append(more, n)
		}
	}
	return more
}
