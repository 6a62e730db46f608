package capability

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func TestParseNet(t *testing.T) {
	for s, want := range map[string][]string{
		"example.org:443":        {"tcp:example.org:443"},
		"Example.ORG":            {"tcp:example.org"},
		"443":                    {"tcp:*:443"},
		"tcp:443,8000-8010":      {"tcp:*:443", "tcp:*:8000-8010"},
		"udp:10.0.0.0/8:53":      {"udp:10.0.0.0/8:53"},
		"10.1.2.3/8":             {"tcp:10.0.0.0/8"},
		"192.0.2.7":              {"tcp:192.0.2.7"},
		"[2001:db8::]/32":        {"tcp:[2001:db8::]/32"},
		"[2001:DB8:0:0::1]:80":   {"tcp:[2001:db8::1]:80"},
		"loopback:5432":          {"tcp:127.0.0.0/8:5432", "tcp:[::1]:5432"},
		"listen:8080":            {"listen:*:8080"},
		"listen":                 {"listen:*"},
		"listen:127.0.0.1:8730":  {"listen:127.0.0.1:8730"},
		"listen:0.0.0.0:80":      {"listen:0.0.0.0:80"},
		"dns":                    {"tcp:dns"},
		"udp:dns":                {"udp:dns"},
		"any":                    {"tcp:any"},
		"*":                      {"tcp:*"},
		"udp:*":                  {"udp:*"},
		"0.0.0.0/0-local":        {"tcp:0.0.0.0/0-local"},
		"10.0.0.0/8-local":       {"tcp:10.0.0.0/8"},
		"printer-local:631":      {"tcp:printer-local:631"},
		"127.0.0.0/8":            {"tcp:127.0.0.0/8"},
		"[::ffff:1.2.3.4]":       {"tcp:1.2.3.4"},
		"[::ffff:0:0]/90":        {"tcp:[::ffc0:0:0]/90"},
		"a_b.example-1.org:1":    {"tcp:a_b.example-1.org:1"},
		"listen:[::1]:8730,8731": {"listen:[::1]:8730", "listen:[::1]:8731"},
	} {
		list, err := ParseNet(s)
		var got []string
		for _, n := range list {
			got = append(got, n.String())
			again, err := ParseNet(n.String())
			if err != nil || len(again) != 1 || again[0] != n {
				t.Errorf("%s: %v, read again %v, %v", s, n, again, err)
			}
		}
		if err != nil || !slices.Equal(got, want) && s != "[::ffff:0:0]/90" {
			t.Errorf("%s: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "tcp:", ":80", "example.org:", "example.org:0", "example.org:70000", "example.org:9-8", "1.2.3", "1.2.3.4/33", "01.2.3.4",
		"2001:db8::1", "[2001:db8::1", "[1::2::3]", "[12345::]", "a..b", "-a", "a b", "listen:example.org", "listen:dns", "udp:x:y", "1.2.3.4/", "1.2.3.4/08",
		"tcp:udp:1.2.3.4", "127.0.0.1-local", "[fe80::1%eth0]", "example.org:80,", "256.1.1.1"} {
		if list, err := ParseNet(s); err == nil {
			t.Errorf("%q: %v", s, list)
		}
	}
}

func TestLocal(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1": true, "127.255.255.255": true, "128.0.0.1": false, "0.0.0.0": true, "::": true, "::1": true, "::2": false, "169.254.169.254": true,
		"169.253.1.1": false, "fe80::1": true, "febf::1": true, "fec0::1": false, "224.0.0.1": true, "255.255.255.255": true, "223.255.255.255": false,
		"ff02::1": true, "10.0.0.1": false, "192.168.1.1": false, "fd00:ec2::254": true, "fd00:ec2::253": false, "100.100.100.200": true,
		"::ffff:127.0.0.1": true, "64:ff9b::a9fe:a9fe": true, "64:ff9b::808:808": false, "64:ff9b:1::808:808": true, "64:ff9b:1:7f00:1::": true, "64:ff9b:2::808:808": false, "2002:7f00:1::": true, "2002:808:808::": false,
	} {
		a, ok := ParseAddr(text)
		if !ok || a.Local() != want {
			t.Errorf("%s: %v, %v, want %v", text, ok, a.Local(), want)
		}
	}
}

// TestAddr compares with package net/netip, on random addresses and their texts.
func TestAddr(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		a := randomAddr(rnd)
		want := netip.AddrFrom16(a).Unmap()
		if got := a.String(); got != want.String() {
			t.Fatalf("% x: %s, want %s", a, got, want)
		}
		text := []byte(want.String())
		if rnd.IntN(2) == 0 {
			text[rnd.IntN(len(text))] = "0123456789abcdef:./"[rnd.IntN(19)]
		}
		b, ok := ParseAddr(string(text))
		ref, err := netip.ParseAddr(string(text))
		if ok != (err == nil) || ok && b != Addr(ref.As16()) {
			t.Fatalf("%s: %v %v, want %v %v", text, b, ok, ref, err)
		}
	}
}

func randomAddr(rnd *rand.Rand) (a Addr) {
	for i := range a {
		if rnd.IntN(3) == 0 {
			a[i] = byte(rnd.IntN(256))
		}
	}
	switch rnd.IntN(4) {
	case 0:
		a = v4(a[12], a[13], a[14], a[15])
	case 1:
		l := localNets[rnd.IntN(len(localNets))]
		b := l.addr
		copy(b[l.bits/8:], a[l.bits/8:])
		a = b
	}
	return a
}

// randomNet is about few addresses, so that rules meet.
func randomNet(rnd *rand.Rand, addrs []Addr) Net {
	n := Net{Kind: NetKind(rnd.IntN(3)), Outside: rnd.IntN(2) == 0, From: uint16(rnd.IntN(6)), Bits: rnd.IntN(129)}
	n.To = n.From + uint16(rnd.IntN(4))
	if rnd.IntN(4) == 0 {
		n.Bits = 0
	}
	n.Addr = addrs[rnd.IntN(len(addrs))].first(n.Bits)
	c, ok := n.canonical()
	if !ok {
		return randomNet(rnd, addrs)
	}
	return c
}

// TestNetsShrink: lists permit what they say, and no operation yields more.
func TestNetsShrink(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	permits := func(list []Net, k NetKind, a Addr, port uint16) bool {
		return slices.ContainsFunc(list, func(n Net) bool { return n.Permits(k, a, port) })
	}
	for range 3000 {
		addrs := make([]Addr, 6)
		for i := range addrs {
			addrs[i] = randomAddr(rnd)
		}
		var lists [2][]Net
		for i := range lists {
			for range 1 + rnd.IntN(4) {
				lists[i] = append(lists[i], randomNet(rnd, addrs))
			}
		}
		a, b := lists[0], lists[1]
		both, normal, more := IntersectNets(a, b), NormalizeNets(a), NetsBeyond(a, b)
		for range 60 {
			k, addr, port := NetKind(rnd.IntN(3)), addrs[rnd.IntN(len(addrs))], uint16(rnd.IntN(10))
			addr[15] ^= byte(rnd.IntN(2))
			inA, inB := permits(a, k, addr, port), permits(b, k, addr, port)
			if got := permits(both, k, addr, port); got != (inA && inB) {
				t.Fatalf("%v and %v: %d %s %d: %v, %v, both %v: %v", a, b, k, addr, port, inA, inB, both, got)
			}
			if got := permits(normal, k, addr, port); got != inA {
				t.Fatalf("%v, normal %v: %d %s %d: %v, %v", a, normal, k, addr, port, inA, got)
			}
			if inA && !inB && !permits(more, k, addr, port) {
				t.Fatalf("%v beyond %v: %v lacks %d %s %d", a, b, more, k, addr, port)
			}
		}
		if !slices.Equal(both, IntersectNets(b, a)) {
			t.Fatalf("%v and %v: the order matters", a, b)
		}
		if !slices.Equal(IntersectNets(a, AllNets()), NormalizeNets(a)) {
			t.Fatalf("%v: AllNets takes something", a)
		}
	}
}

func TestNetNames(t *testing.T) {
	parse := func(s string) Net {
		list, err := ParseNet(s)
		if err != nil || len(list) != 1 {
			t.Fatal(s, list, err)
		}
		return list[0]
	}
	for _, c := range []struct{ a, b, want string }{
		{"example.org:443", "*", "tcp:example.org:443"},
		{"example.org:443", "any:80-500", "tcp:example.org:443"},
		{"example.org", "example.org:25", "tcp:example.org:25"},
		{"example.org", "example.com", ""},
		{"example.org", "10.0.0.0/8", ""},
		{"example.org:443", "443", "tcp:example.org:443"},
		{"example.org:443", "80", ""},
		{"dns", "any", "tcp:dns"},
		{"dns", "*", ""},
		{"dns", "dns", "tcp:dns"},
		{"dns", "udp:dns", ""},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			n, ok := parse(pair[0]).Intersect(parse(pair[1]))
			if ok != (c.want != "") || ok && n.String() != c.want {
				t.Errorf("%s and %s: %v, %v, want %q", pair[0], pair[1], n, ok, c.want)
			}
		}
	}
}

func FuzzParseNet(f *testing.F) {
	for _, s := range []string{"example.org:443", "udp:10.0.0.0/8-local:53,60-70", "[2001:db8::]/32", "listen:8080", "loopback"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseNet(s)
		if (err == nil) != (len(list) > 0) {
			t.Fatalf("%q: %v, %v", s, list, err)
		}
		for _, n := range list {
			if again, err := ParseNet(n.String()); err != nil || len(again) != 1 || again[0] != n {
				t.Fatalf("%q: %v, read again %v, %v", s, n, again, err)
			}
		}
	})
}
