package wall

import (
	"slices"
	"strings"
	"testing"

	"nipcells/internal/capability"
)

// TestLearnedIsStricter: a cell that learns asks more than one that asks about
// paths, and may do nothing more; what it asks beyond that is free to go on, which
// nothing is that the other may not do.
func TestLearnedIsStricter(t *testing.T) {
	paths, learnt := strings.Fields(pathCalls+" "+narrowing()[0].names), 0 // answered by the supervisor
	pledges := []capability.Pledge{0, capability.AllPledges}
	for bit := capability.Stdio; bit <= capability.AllPledges; bit <<= 1 {
		pledges = append(pledges, capability.Stdio|bit, capability.AllPledges&^bit)
	}
	for _, a := range machines(t) {
		for _, pledge := range pledges {
			asked, learned := Compile(a, pledge, Asked), Compile(a, pledge, Learned)
			if len(learned) > 4096 {
				t.Fatalf("%s %s: %d instructions, the kernel takes 4096", a.Name, pledge, len(learned))
			}
			for _, c := range a.calls {
				for _, v := range edges(c.name) {
					d := data{nr: c.nr, arch: a.audit, args: [6]uint64{v, v, v, v, v, v}}
					was, err := asked.execute(&d)
					if err != nil {
						t.Fatal(err)
					}
					is, err := learned.execute(&d)
					if err != nil {
						t.Fatal(err)
					}
					by, free := Permitting(a, pledge, c.nr, d.args)
					switch {
					case was == Allow && by != 0 && by != capability.Stdio && c.name != "fork" && c.name != "vfork" && c.name != "clone":
						if is != Ask || !free {
							t.Fatalf("%s %s: %s%#x of %s gets %#x, free is %v", a.Name, pledge, c.name, d.args, by, is, free)
						}
						learnt++
					case is != was:
						t.Fatalf("%s %s: %s%#x gets %#x, one that asks %#x", a.Name, pledge, c.name, d.args, is, was)
					case free && was != Allow && !slices.Contains(paths, c.name):
						t.Fatalf("%s %s: %s%#x is said to be free, and gets %#x", a.Name, pledge, c.name, d.args, was)
					}
					if by != 0 && (!pledge.Has(by) || meant(a, pledge, &d) != Allow && meant(a, pledge, &d) != ask) {
						t.Fatalf("%s %s: %s%#x is said to be permitted by %s", a.Name, pledge, c.name, d.args, by)
					}
				}
			}
		}
	}
	if learnt < 500 {
		t.Errorf("only %d calls were learnt of", learnt)
	}
}
