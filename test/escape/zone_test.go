package escape

import (
	"os"
	"testing"

	"nipcells/test/rig"
)

// zoneAttack is the program that attacks the zone, its descriptors and the view
// from inside; package native runs the same in trees of its own.
const zoneAttack = "internal/view/native/testdata/attack.c"

// TestZone: in real cells, nothing that a program can do to its own memory and
// descriptors changes the zone, makes the filter take something else for a slot,
// or leads out of a root.
func TestZone(t *testing.T) {
	r := rig.NewRoot(t)
	work := r.Base + "/work"
	r.Write(r.Base+"/hidden", "hidden", 0o644)
	r.Write(r.Path("System/Views/hidden"), "hidden", 0o644)
	for _, kind := range []string{"dynamic", "static", "static-pie"} {
		t.Run(kind, func(t *testing.T) {
			name := "zone-" + kind
			installC(t, r, name, zoneAttack, kind)
			for _, dir := range []string{work, r.Path("Data/apps", name)} {
				if err := rig.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			r.Write(work+"/inside", "inside", 0o644)
			for link, target := range map[string]string{"out": "..", "abs": r.Base + "/hidden", "chain": "out/../hidden"} {
				if err := os.Symlink(target, work+"/"+link); err != nil {
					t.Fatal(err)
				}
			}
			// What no promise permits is refused, so that the program goes on.
			res := rig.Run(t, r.Command("run", "--deny", "--unveil", work+":rw", name))
			attempts, controls := rig.Told(t, res.Stdout)
			if res.Code != 0 || attempts < 126 || controls < 9 {
				t.Errorf("exit status %d, %d attempts, %d controls\n%s", res.Code, attempts, controls, res.Stderr)
			}
		})
	}
}

// TestZoneWithoutRoom: whatever a program leaves of limits, descriptors and
// addresses, before it executes the next one or in that one, what stands in the
// zone's place is the zone, or there is no next program.
func TestZoneWithoutRoom(t *testing.T) {
	r := rig.NewRoot(t)
	for _, kind := range []string{"dynamic", "static", "static-pie"} {
		t.Run(kind, func(t *testing.T) {
			installC(t, r, "exhaust-"+kind, "test/escape/testdata/exhaust.c", kind)
			res := rig.Run(t, r.Command("run", "--deny", "exhaust-"+kind))
			attempts, controls := rig.Told(t, res.Stdout)
			if res.Code != 0 || attempts < 35 || controls < 4 {
				t.Errorf("exit status %d, %d attempts, %d controls\n%s", res.Code, attempts, controls, res.Stderr)
			}
		})
	}
}
