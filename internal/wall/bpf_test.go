package wall

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"nipcells/internal/capability"
)

// data is struct seccomp_data (linux/seccomp.h).
type data struct {
	nr, arch uint32
	args     [6]uint64
}

// word is the 32-bit word at an offset, as a filter loads it on a
// little-endian machine.
func (d *data) word(offset uint32) (uint32, error) {
	switch {
	case offset%4 != 0 || offset >= 64:
	case offset == dataNr:
		return d.nr, nil
	case offset == dataArch:
		return d.arch, nil
	case offset >= dataArgs:
		return uint32(d.args[(offset-dataArgs)/8] >> (offset % 8 * 8)), nil
	default:
		return 0, nil // the instruction pointer: no filter of ours may care
	}
	return 0, fmt.Errorf("load at %d", offset)
}

// execute runs a filter as the kernel does: classic BPF, of which it checks
// what seccomp_check_filter and bpf_check_classic check.
func (p Filter) execute(d *data) (Verdict, error) {
	var acc uint32
	for pc := 0; pc < len(p); pc++ {
		in := p[pc]
		holds := false
		switch in.Code {
		case opLoad:
			var err error
			if acc, err = d.word(in.K); err != nil {
				return 0, fmt.Errorf("instruction %d: %w", pc, err)
			}
			continue
		case opAnd:
			acc &= in.K
			continue
		case opRet:
			return Verdict(in.K), nil
		case opJa:
			if uint64(pc)+1+uint64(in.K) >= uint64(len(p)) {
				return 0, fmt.Errorf("instruction %d jumps out of the filter", pc)
			}
			pc += int(in.K)
			continue
		case opJeq:
			holds = acc == in.K
		case opJge:
			holds = acc >= in.K
		case opJgt:
			holds = acc > in.K
		default:
			return 0, fmt.Errorf("instruction %d: operation %#x", pc, in.Code)
		}
		if pc+1+int(max(in.Jt, in.Jf)) >= len(p) {
			return 0, fmt.Errorf("instruction %d jumps out of the filter", pc)
		}
		if holds {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	return 0, fmt.Errorf("ran off the end of %d instructions", len(p))
}

// holds says what a test means, without BPF.
func (t test) holds(d *data) bool {
	v := uint32(d.args[t.arg])
	if t.high {
		v = uint32(d.args[t.arg] >> 32)
	}
	v &= t.mask
	in := false
	for _, s := range t.values {
		in = in || s.from <= v && v <= s.to
	}
	return in != t.not
}

// ask is the verdict of a row that asks, told apart from a fault: the filter
// itself sends both to the listener.
const ask Verdict = 1

// meant says what the rows mean for a call, without BPF.
func meant(a Arch, pledge capability.Pledge, d *data) Verdict {
	if d.arch != a.audit {
		return Fault
	}
	for _, r := range rowsOf()[a.CallName(d.nr)] {
		if !pledge.Has(r.bit) {
			continue
		}
		ok := true
		for _, t := range r.tests {
			ok = ok && t.holds(d)
		}
		if ok && r.verdict == Ask {
			return ask
		}
		if ok {
			return r.verdict
		}
	}
	return Fault
}

// rowOf is a row for one call, with the promise it belongs to.
type rowOf struct {
	row
	bit capability.Pledge
}

// rowsOf are the rows by the names of their calls, in order.
var rowsOf = sync.OnceValue(func() map[string][]rowOf {
	rows := make(map[string][]rowOf)
	for _, p := range promises() {
		for _, r := range p.rows {
			for name := range strings.FieldsSeq(r.names) {
				rows[name] = append(rows[name], rowOf{r, p.bit})
			}
		}
	}
	return rows
})

// machines are the two that cells run on.
func machines(t testing.TB) []Arch {
	t.Helper()
	var list []Arch
	for _, name := range []string{"amd64", "arm64"} {
		a, err := ArchOf(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}

// allPledges are all masks that can be.
func allPledges() []capability.Pledge {
	var list []capability.Pledge
	for p := capability.Pledge(0); p <= capability.AllPledges; p++ {
		if capability.AllPledges.Has(p) {
			list = append(list, p)
		}
	}
	return list
}

// edges are the argument values at which the rows for a call change their mind,
// and their neighbours.
func edges(name string) []uint64 {
	list := []uint64{0, 1, 1 << 31, 1 << 32, ^uint64(0)}
	for _, r := range rowsOf()[name] {
		for _, t := range r.tests {
			for _, s := range t.values {
				for _, v := range []uint32{s.from, s.to} {
					list = append(list, uint64(v), uint64(v+1), uint64(v-1), uint64(v)|0xdead<<32, uint64(v|^t.mask))
				}
			}
			list = append(list, uint64(t.mask))
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return list
}

// TestFiltersMeanTheirRows compares every compiled filter with what its rows
// say, at and beside every value that a row names.
func TestFiltersMeanTheirRows(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, a := range machines(t) {
		values := make(map[string][]uint64)
		for _, c := range a.calls {
			values[c.name] = edges(c.name)
		}
		for _, pledge := range allPledges() {
			p := Compile(a, pledge, Bare)
			if len(p) > 4096 {
				t.Fatalf("%s %s: %d instructions, the kernel takes 4096", a.Name, pledge, len(p))
			}
			for _, c := range a.calls {
				values := values[c.name]
				for range 8 {
					d := a.random(rnd, c.nr, values)
					got, err := p.execute(&d)
					if err != nil {
						t.Fatalf("%s %s: %s%#x: %v", a.Name, pledge, c.name, d.args, err)
					}
					want := meant(a, pledge, &d)
					if want == ask {
						want = Ask
					}
					if got != want {
						t.Fatalf("%s %s: %s%#x: verdict %#x, want %#x", a.Name, pledge, c.name, d.args, got, want)
					}
				}
			}
		}
	}
}

// TestBytes decodes what the kernel gets.
func TestBytes(t *testing.T) {
	b := Filter{{Code: 0x1234, Jt: 5, Jf: 6, K: 0x789abcde}}.Bytes()
	if want := "\x34\x12\x05\x06\xde\xbc\x9a\x78"; string(b) != want {
		t.Errorf("encoded as %x, want %x", b, want)
	}
}

// random is a call with arguments of values.
func (a Arch) random(rnd *rand.Rand, nr uint32, values []uint64) data {
	d := data{nr: nr, arch: a.audit}
	for i := range d.args {
		d.args[i] = values[rnd.IntN(len(values))]
	}
	return d
}
