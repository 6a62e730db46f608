package cell

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"nipcells/internal/capability"
	"nipcells/internal/plan"
)

func rules(t *testing.T, texts ...string) (list []capability.Net) {
	t.Helper()
	for _, s := range texts {
		n, err := capability.ParseNet(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n...)
	}
	return list
}

// TestNames: a name stands for its addresses, but never for the host itself, and the
// cell's hosts file says the same.
func TestNames(t *testing.T) {
	address := func(s string) capability.Addr {
		a, ok := capability.ParseAddr(s)
		if !ok {
			t.Fatal(s)
		}
		return a
	}
	var asked, said []string
	known := map[string][]capability.Addr{
		"good.example": {address("192.0.2.7"), address("2001:db8::7")},
		"evil.example": {address("127.0.0.1"), address("169.254.169.254"), address("::1"), address("192.0.2.8")},
	}
	c := &cell{pledge: capability.Stdio | capability.Inet, Options: &Options{
		Plan:   &plan.Plan{Net: rules(t, "good.example:443", "evil.example:80-90", "gone.example", "10.0.0.0/8:22", "dns", "good.example:22"), NetCaps: capability.AllNets()},
		Report: func(s string) { said = append(said, s) },
		Lookup: func(name string) ([]capability.Addr, error) {
			asked = append(asked, name)
			if known[name] == nil {
				return nil, errors.New("no such host")
			}
			return known[name], nil
		},
	}}
	if err := c.chooseNetwork(); err != nil {
		t.Fatal(err)
	}
	want := rules(t, "192.0.2.7:443", "[2001:db8::7]:443", "192.0.2.8:80-90", "10.0.0.0/8:22", "dns", "192.0.2.7:22", "[2001:db8::7]:22")
	if !slices.Equal(c.network.rules, want) {
		t.Errorf("%v, want %v", c.network.rules, want)
	}
	if !slices.Equal(asked, []string{"good.example", "evil.example", "gone.example"}) {
		t.Errorf("asked for %v", asked)
	}
	if len(said) != 1 || !strings.Contains(said[0], "tcp:gone.example") {
		t.Errorf("said %q", said)
	}
	hosts, other := c.ownFile(hostsFile)
	if begin := "192.0.2.7 good.example\n2001:db8::7 good.example\n192.0.2.8 evil.example\n"; !other || !strings.HasPrefix(string(hosts), begin) {
		t.Errorf("%v %q, want it to begin with %q", other, hosts, begin)
	}
	if got, want := c.ports(), []uint16(nil); !slices.Equal(got, want) { // 80 to 90 are too many to tell
		t.Errorf("ports %v", got)
	}
	conf, err := os.ReadFile(resolvConf)
	if err == nil {
		if own, other := c.ownFile(resolvConf); !other || string(own) != strings.TrimRight(string(conf), "\n")+"\noptions use-vc\n" {
			t.Errorf("%v %q", other, own)
		}
		c.pledge |= capability.Udp
		if own, other := c.ownFile(resolvConf); other {
			t.Errorf("with UDP: %q", own)
		}
	}

	// The front, which looks nothing up, starts no such cell.
	c.Lookup, c.network = nil, network{}
	if err := c.chooseNetwork(); !errors.Is(err, ErrNames) {
		t.Errorf("without a way to look names up: %v", err)
	}
	// A person's rules stay below the policy.
	c.Net, c.Plan.NetCaps, c.network = rules(t, "any", "listen"), rules(t, "10.0.0.0/8:443", "listen:80"), network{}
	if err := c.chooseNetwork(); err != nil || !slices.Equal(c.network.rules, rules(t, "10.0.0.0/8:443", "listen:80")) {
		t.Errorf("%v, %v", c.network.rules, err)
	}
	if got := c.ports(); !slices.Equal(got, []uint16{443}) {
		t.Errorf("ports %v", got)
	}
}
