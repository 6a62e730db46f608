package wall

import (
	"encoding/binary"
	"testing"

	"nipcells/internal/capability"
)

// TestPass checks that without the promise to execute an execve passes with all
// 192 bits of the pass and with no other value, also not with the words that
// stand for it before the filter is armed.
func TestPass(t *testing.T) {
	const pledge = capability.Stdio
	for _, name := range []string{"amd64", "arm64"} {
		a, err := ArchOf(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newPass()
		if err != nil {
			t.Fatal(err)
		}
		filter := decode(p.arm(Compile(a, pledge, Bare).Bytes()))
		nr, _ := a.Number("execve")
		verdict := func(pass [3]uint64) Verdict {
			v, err := filter.execute(&data{nr: nr, arch: a.audit, args: [6]uint64{1, 2, 3, pass[0], pass[1], pass[2]}})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if v := verdict(p); v != Allow {
			t.Errorf("%s: with the pass: %#x", name, v)
		}
		words := [3]uint64{}
		for i := range words {
			words[i] = uint64(passWord+2*i) | uint64(passWord+2*i+1)<<32
		}
		if v := verdict(words); v != Fault {
			t.Errorf("%s: with the words of an unarmed filter: %#x", name, v)
		}
		for bit := range 192 {
			wrong := p
			wrong[bit/64] ^= 1 << (bit % 64)
			if v := verdict(wrong); v != Fault {
				t.Errorf("%s: with bit %d wrong: %#x", name, bit, v)
			}
		}
	}
}

// TestPassIsNew checks that no two starts have the same pass.
func TestPassIsNew(t *testing.T) {
	a, errA := newPass()
	b, errB := newPass()
	if errA != nil || errB != nil || a == b || a == (pass{}) {
		t.Errorf("passes %x, %v and %x, %v", a, errA, b, errB)
	}
}

func decode(b []byte) Filter {
	var f Filter
	for ; len(b) > 0; b = b[InstructionSize:] {
		f = append(f, Instruction{binary.LittleEndian.Uint16(b), b[2], b[3], binary.LittleEndian.Uint32(b[4:])})
	}
	return f
}
