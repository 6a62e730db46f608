package escape

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"nipcells/test/rig"
)

// TestRandomOpens: no openat2, whatever its pointer, size, directory and path,
// opens anything but what the cell may know, or ends in another way because there is
// something else.
func TestRandomOpens(t *testing.T) {
	r := rig.NewRoot(t)
	above, ids := hideAbove(t, r)
	work := r.Base + "/work"
	r.Write(work+"/inside", "inside", 0o644)
	length, seed := atLength(2*time.Second, 10*time.Minute), fmt.Sprint(time.Now().UnixNano())
	t.Log("seed", seed)
	t.Run("cell", func(t *testing.T) {
		installC(t, r, "random", "test/escape/testdata/random.c", "dynamic")
		before := hiddenNow(t, above...)
		line := append([]string{"run", "--deny", "--unveil", work + ":rwc", "random", "--", fmt.Sprint(length.Seconds()), seed, r.Base, work, "/Data/apps/random"}, ids...)
		res := rig.RunFor(t, r.Command(line...), length+2*time.Minute)
		n := counts(t, res)
		if res.Code != 0 || n["inside"] < 20 || n["held"] < 20 || n["refused"] < 1000 || n["compared"] < 100 {
			t.Errorf("exit status %d\n%s%s", res.Code, res.Stdout, res.Stderr)
		}
		if after := hiddenNow(t, above...); after != before {
			t.Errorf("what is hidden was changed:\n%s", difference(before, after))
		}
		t.Log(strings.TrimSpace(res.Stdout))
	})
	t.Run("control outside", func(t *testing.T) {
		gcc(t, "test/escape/testdata/random.c", r.Base+"/outside", "static")
		control := r.Command()
		control.Path, control.Args = r.Base+"/outside", append([]string{"random", "1", seed, r.Base, work, r.Path("Data/apps/random")}, ids...)
		res := rig.Run(t, control)
		if n := counts(t, res); n["reached"] < 10 || n["told"] == 0 || n["inside"] < 5 {
			t.Errorf("the program does not come to what is hidden where nothing holds it: %s", res.Stdout)
		}
		t.Log(strings.TrimSpace(res.Stdout))
	})
}
