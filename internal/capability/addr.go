package capability

import (
	"strconv"
	"strings"
)

// Addr is an address of IPv6, or one of IPv4 in the form of IPv6 (::ffff:a.b.c.d),
// in network order. Package net/netip would do; what it does before main begins is
// felt at every start of a cell.
type Addr [16]byte

func v4(a, b, c, d byte) Addr {
	return Addr{10: 0xff, 11: 0xff, 12: a, 13: b, 14: c, 15: d}
}

// AddrFrom4 returns the address of IPv4.
func AddrFrom4(b [4]byte) Addr { return v4(b[0], b[1], b[2], b[3]) }

// Is4 reports whether a is one of IPv4.
func (a Addr) Is4() bool { return a.begins(Addr{10: 0xff, 11: 0xff}, 96) }

// Unspecified reports whether a stands for all addresses of a host.
func (a Addr) Unspecified() bool { return a == Addr{} || a == v4(0, 0, 0, 0) }

// begins reports whether the first bits of a and of b are the same.
func (a Addr) begins(b Addr, bits int) bool { return a.first(bits) == b.first(bits) }

// first returns a with all but its first bits cleared.
func (a Addr) first(bits int) Addr {
	for i := range a {
		if left := bits - 8*i; left < 8 {
			a[i] &= ^byte(0xff >> max(left, 0))
		}
	}
	return a
}

// ParseAddr reads an address: 192.0.2.1 or 2001:db8::1.
func ParseAddr(s string) (Addr, bool) {
	if b, ok := parse4(s); ok {
		return AddrFrom4(b), true
	}
	return parse6(s)
}

// parsePrefix reads an address with or without a length; one of IPv6 stands in
// brackets.
func parsePrefix(s string) (a Addr, bits int, ok bool) {
	text, length, hasLength := strings.Cut(s, "/")
	most := 32
	if six, found := strings.CutPrefix(text, "["); found {
		if six, found = strings.CutSuffix(six, "]"); !found {
			return a, 0, false
		}
		a, ok = parse6(six)
		most = 128
	} else {
		var b [4]byte
		b, ok = parse4(text)
		a = AddrFrom4(b)
	}
	bits = most
	if ok && hasLength {
		n, err := strconv.ParseUint(length, 10, 8)
		if err != nil || int(n) > most || len(length) > 1 && length[0] == '0' {
			return a, 0, false
		}
		bits = int(n)
	}
	return a, bits + 128 - most, ok
}

func parse4(s string) (b [4]byte, ok bool) {
	for i := range b {
		part, rest, more := strings.Cut(s, ".")
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil || len(part) > 1 && part[0] == '0' || more != (i < 3) {
			return b, false
		}
		b[i], s = byte(n), rest
	}
	return b, true
}

// parse6 reads the text forms of RFC 4291, section 2.2, without a zone.
func parse6(s string) (a Addr, ok bool) {
	head, tail, gap := strings.Cut(s, "::")
	front, ok1 := groups(head)
	back, ok2 := groups(tail)
	n := len(front) + len(back)
	if !ok1 || !ok2 || !gap && n != 16 || gap && n > 14 {
		return a, false
	}
	copy(a[:], front)
	copy(a[16-len(back):], back)
	return a, true
}

// groups reads groups of four digits with colons between, of which the last may be
// an address of IPv4.
func groups(s string) (b []byte, ok bool) {
	if s == "" {
		return nil, true
	}
	for more := true; more; {
		var part string
		part, s, more = strings.Cut(s, ":")
		if four, is := parse4(part); is && !more {
			return append(b, four[:]...), true
		}
		n, err := strconv.ParseUint(part, 16, 16)
		if err != nil || len(part) > 4 {
			return nil, false
		}
		b = append(b, byte(n>>8), byte(n))
	}
	return b, len(b) <= 16
}

// String returns the address as people write it, the longest row of zeroes as ::
// (RFC 5952).
func (a Addr) String() string {
	if a.Is4() {
		var parts [4]string
		for i := range parts {
			parts[i] = strconv.Itoa(int(a[12+i]))
		}
		return strings.Join(parts[:], ".")
	}
	group := func(i int) uint64 { return uint64(a[2*i])<<8 | uint64(a[2*i+1]) }
	at, length := 8, 1 // one group of zeroes stays
	for i := 0; i < 8; {
		j := i
		for j < 8 && group(j) == 0 {
			j++
		}
		if j-i > length {
			at, length = i, j-i
		}
		i = max(j, i+1)
	}
	var s strings.Builder
	for i := 0; i < 8; i++ {
		if i == at {
			s.WriteString("::")
			i += length - 1
			continue
		}
		if i > 0 && i != at+length {
			s.WriteByte(':')
		}
		s.WriteString(strconv.FormatUint(group(i), 16))
	}
	return s.String()
}

// prefixText is what parsePrefix reads.
func prefixText(a Addr, bits int) string {
	text, most := a.String(), 128
	if a.Is4() && bits >= 96 {
		bits, most = bits-96, 32
	} else {
		text = "[" + sixText(a) + "]"
	}
	if bits < most {
		text += "/" + strconv.Itoa(bits)
	}
	return text
}

// sixText is the address in the form of IPv6, also one of IPv4.
func sixText(a Addr) string {
	if a.Is4() {
		return "::ffff:" + a.String()
	}
	return a.String()
}
