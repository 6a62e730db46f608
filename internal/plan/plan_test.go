package plan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"

	"nipcells/internal/capability"
)

func sample() *Plan {
	return &Plan{
		Stamps: []Stamp{{"/a", 7, 9, 1 << 60, ""}, {Path: "/b", Target: "1.0"}},
		Kernel: "6.18 #1", Package: "git", Version: "2.39", Title: "Git", Root: "/", View: "/v", Prefix: "/v/p", Data: "/d", Shortcuts: []Shortcut{{"/v/p", []string{"/p", "/v/p"}}, {Dir: "/v/lib", Names: []string{}}},
		Pledge: capability.Stdio | capability.Wpath, Ceiling: capability.AllPledges, Capped: true,
		Caps:    []capability.Unveil{{Path: "/srv", Rights: capability.Read}},
		Unveil:  []capability.Unveil{{Path: "/srv/x", Rights: capability.Read}},
		Net:     []capability.Net{{Kind: capability.Datagram, Name: capability.NameServers, From: 53, To: 53}, {Addr: capability.Addr{1, 2, 15: 3}, Bits: 128, Outside: true, To: 65535}},
		NetCaps: []capability.Net{},
		Budget:  capability.Budget{Spectrum: "matter", Memory: 1 << 31, Fibers: 3, CPU: 50, Disk: 1, IO: 2},
		Rules:   []Rule{{"/v", 13, false}, {"/dev/null", 6, true}}, Filter: "\x06\x00\x00\x00\x00\x00\x00\x00",
		Env: []string{"A=b", "LANG=C"}, Commands: []Command{{"git", "/v/p/bin/git", []string{"git"}}, {"x", "/x", []string{"sh", "/x"}}}, Default: 0,
	}
}

func TestRoundTrip(t *testing.T) {
	p := sample()
	got, err := Decode(p.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, p) {
		t.Errorf("decode(encode(p)):\n got %+v\nwant %+v", got, p)
	}
}

func TestDamage(t *testing.T) {
	b := sample().Encode()
	for i := range b {
		for _, bit := range []byte{1, 0x80} {
			c := bytes.Clone(b)
			c[i] ^= bit
			if _, err := Decode(c); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d flipped: err = %v, want ErrCorrupt", i, err)
			}
		}
		if _, err := Decode(b[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: err = %v, want ErrCorrupt", i, err)
		}
	}
}

// FuzzDecode gives the parser bodies with a right checksum.
func FuzzDecode(f *testing.F) {
	f.Add(sample().Encode()[headSize:])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append(make([]byte, headSize), body...)
		copy(b, Magic)
		binary.LittleEndian.PutUint32(b[len(Magic):], sum(b[headSize:]))
		p, err := Decode(b)
		if err != nil {
			return
		}
		q, err := Decode(p.Encode())
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("not stable: %v", err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	p := sample()
	p.Filter = strings.Repeat("\x06", 6000)
	data := p.Encode()
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
