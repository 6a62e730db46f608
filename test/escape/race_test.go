package escape

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"nipcells/test/rig"
)

// TestRaces: paths that are changed while the kernel or the supervisor follows
// them, symlinks that turn, and directories that move from one root to another
// lead nowhere but to what the cell may know, and no error tells of anything else.
// The same program outside, without a wall, comes to what is hidden.
func TestRaces(t *testing.T) {
	r := rig.NewRoot(t)
	r.Must("ps") // makes the directories of the root
	above, ids := hideAbove(t, r)
	long := fmt.Sprint(atLength(3*time.Second, time.Minute).Seconds())
	for _, c := range []struct{ kind, rights string }{{"dynamic", "rw"}, {"static", "rw"}, {"static-pie", "rwx"}} {
		name, work := "race-"+c.kind, r.Base+"/work-"+c.kind
		t.Run(c.kind+" "+c.rights, func(t *testing.T) {
			installC(t, r, name, "test/escape/testdata/race.c", c.kind)
			r.Write(work+"/inside", "inside", 0o644)
			before := hiddenNow(t, above...)
			run := r.Command(append([]string{"run", "--deny", "--unveil", work + ":" + c.rights + "c", name, "--", long, r.Base, work, "/Data/apps/" + name, "/tmp"}, ids...)...)
			res := rig.RunFor(t, run, 5*time.Minute)
			n := counts(t, res)
			if res.Code != 0 {
				t.Errorf("exit status %d\n%s%s", res.Code, res.Stdout, res.Stderr)
			}
			for _, what := range []string{"inside", "held", "answered", "refused", "swapped", "turned", "moved", "remapped"} {
				if n[what] < 5 && (what != "remapped" || c.rights == "rw") {
					t.Errorf("only %d times %s: %s", n[what], what, res.Stdout)
				}
			}
			if after := hiddenNow(t, above...); after != before {
				t.Errorf("what is hidden was changed:\n%s", difference(before, after))
			}
			t.Log(strings.TrimSpace(res.Stdout))
		})
	}
	t.Run("control outside", func(t *testing.T) {
		free, work := r.Base+"/free", r.Base+"/free/work"
		gcc(t, "test/escape/testdata/race.c", r.Base+"/race", "static")
		r.Write(work+"/inside", "inside", 0o644)
		ids := append(hide(t, r, free), ids...)
		for _, dir := range []string{"/home", "/tmp"} {
			if err := os.Mkdir(free+dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		control := r.Command()
		control.Path, control.Args = r.Base+"/race", append([]string{"race", "1", free, work, free + "/home", free + "/tmp"}, ids...)
		res := rig.Run(t, control)
		if n := counts(t, res); n["slots"] < 5 || n["reached"]-n["slots"] < 5 || n["inside"] < 5 {
			t.Errorf("the program does not come to what is hidden where nothing holds it: %s", res.Stdout)
		}
		t.Log(strings.TrimSpace(res.Stdout))
	})
}
