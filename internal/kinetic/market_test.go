package kinetic

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFairShare(t *testing.T) {
	on := func(mask uint64, rank, wants uint32) offer {
		return offer{rank: rank, wants: wants, mask: [maskWords]uint64{mask}}
	}
	tests := []struct {
		name    string
		mine    offer
		others  []offer
		want    uint32
		limited bool
	}{
		{"alone", on(1, 3, 5000), nil, 950, true},
		{"alone, satisfied", on(3, 3, 1900), nil, 0, false},
		{"two on one", on(1, 3, 2000), []offer{on(1, 3, 1000)}, 475, true},
		{"the other wants little", on(1, 3, 2000), []offer{on(1, 3, 100)}, 850, true},
		{"I want little", on(1, 3, 100), []offer{on(1, 3, 1000)}, 0, false},
		{"enough for both", on(3, 3, 1000), []offer{on(3, 3, 900)}, 0, false},
		{"three on two", on(3, 3, 2000), []offer{on(3, 3, 2000), on(3, 3, 300)}, 825, true},
		{"elsewhere", on(1, 3, 900), []offer{on(2, 3, 1000)}, 0, false},
		{"another spectrum", on(1, 3, 900), []offer{on(1, 2, 1000)}, 0, false},
		{"I want nothing", on(1, 3, 0), []offer{on(1, 3, 1000)}, 0, false},
	}
	for _, test := range tests {
		got, limited := fairShare(test.mine, test.others)
		if limited != test.limited || limited && got != test.want {
			t.Errorf("%s: %d %v, want %d %v", test.name, got, limited, test.want, test.limited)
		}
	}
}

func TestMarket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "market")
	open := func() *market {
		m, err := openMarket(path)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	tell := func(m *market, o offer) []offer {
		others, err := m.tell(o)
		if err != nil {
			t.Fatal(err)
		}
		return others
	}
	a, b := open(), open()
	if a.place == b.place {
		t.Fatalf("both have place %d", a.place)
	}
	mask := [maskWords]uint64{5, maskWords - 1: 7}
	first := offer{fiber: 1, rank: 3, at: 1000, used: 17, wants: 23, mask: mask}
	if others := tell(a, first); len(others) != 0 {
		t.Errorf("others: %v", others)
	}
	if others := tell(b, offer{fiber: 2, at: 2000}); len(others) != 1 || others[0] != first {
		t.Errorf("others: %v, want %v", others, first)
	}
	if others := tell(a, offer{fiber: 1, at: 2000 + int64(staleTime)}); len(others) != 0 {
		t.Errorf("others that are too old: %v", others)
	}
	a.close()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	c := open()
	if c.place != a.place {
		t.Errorf("place %d is free, %d was taken", a.place, c.place)
	}
	b.close()
	c.close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
}
