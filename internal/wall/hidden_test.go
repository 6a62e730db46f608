package wall

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestHiddenIsStricter compares the filters of cells that see only their names
// with those of others: path calls are asked, nothing else is easier.
func TestHiddenIsStricter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	paths := strings.Fields(pathCalls)
	asked := 0
	for _, a := range machines(t) {
		values := make(map[string][]uint64)
		for _, c := range a.calls {
			values[c.name] = append(edges(c.name), 10) // RLIMIT_LOCKS
		}
		for _, pledge := range allPledges() {
			plain, hidden := Compile(a, pledge), CompileHidden(a, pledge)
			if len(hidden) > 4096 {
				t.Fatalf("%s %s: %d instructions, the kernel takes 4096", a.Name, pledge, len(hidden))
			}
			for _, c := range a.calls {
				values := values[c.name]
				for range 4 {
					d := data{nr: c.nr, arch: a.audit}
					for i := range d.args {
						d.args[i] = values[rnd.IntN(len(values))]
					}
					was, err := plain.execute(&d)
					if err != nil {
						t.Fatal(err)
					}
					is, err := hidden.execute(&d)
					if err != nil {
						t.Fatal(err)
					}
					want := was
					switch {
					case was == Allow && slices.Contains(paths, c.name):
						want = Ask
						asked++
					case c.name == "openat2" && pledge&1 != 0:
						want = Ask
					case c.name == "setrlimit" && uint32(d.args[0]) == 10 || c.name == "prlimit64" && uint32(d.args[1]) == 10 && d.args[2] != 0:
						want = Errno(eperm)
					}
					if is != want {
						t.Fatalf("%s %s: %s%#x: verdict %#x, want %#x; plain %#x", a.Name, pledge, c.name, d.args, is, want, was)
					}
				}
			}
		}
	}
	if asked < 1000 {
		t.Errorf("only %d path calls were asked", asked)
	}
}

// TestHiddenPass lets the launching child execute the program, and nobody else.
func TestHiddenPass(t *testing.T) {
	for _, a := range machines(t) {
		for _, pledge := range allPledges() {
			p, err := newPass()
			if err != nil {
				t.Fatal(err)
			}
			filter := decode(p.arm(CompileHidden(a, pledge).Bytes()))
			nr, _ := a.Number("execve")
			d := data{nr: nr, arch: a.audit}
			copy(d.args[passArgs:], p[:])
			if got, err := filter.execute(&d); err != nil || got != Allow {
				t.Fatalf("%s %s: with the pass: %#x %v", a.Name, pledge, got, err)
			}
			d.args[passArgs] ^= 1 << 40
			if got, err := filter.execute(&d); err != nil || got != Ask {
				t.Fatalf("%s %s: with another: %#x %v", a.Name, pledge, got, err)
			}
		}
	}
}
