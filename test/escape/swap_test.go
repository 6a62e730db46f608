package escape

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"nipcells/test/rig"
)

const swapSource = "test/escape/testdata/swap.c"

// swapKinds are the calls that swap.c makes while their arguments change.
var swapKinds = strings.Fields(`open write raw-open stat statx readlink chdir link rename create unlink mkdir symlink mknod truncate chmod chown
	times attribute execute connect bind sendto sendmsg sendmmsg inet-connect`)

// swapRows are the rows that TestSwaps makes all at once.
func swapRows() (rows []attempt) {
	for _, kind := range swapKinds {
		rows = append(rows, attempt{name: kind, args: []string{"swap", kind}, control: outside("swap " + kind)})
	}
	return rows
}

// TestSwaps: eight threads swap paths, addresses and headers of messages while calls
// use them, which come to nothing that is hidden for all that. Outside, where
// nothing holds it, each kind of call of the same program does.
func TestSwaps(t *testing.T) {
	r := rig.NewRoot(t)
	r.Must("ps") // makes the directories of the root
	above, ids := hideAbove(t, r)
	sent := packetListener(t, "unixgram", r.Base+"/hidden.s")
	tcp := streamListener(t, "tcp4", "127.0.0.1:0")
	port := tcp.name[strings.LastIndexByte(tcp.name, ':')+1:]
	long := fmt.Sprint(atLength(3*time.Second, time.Minute).Seconds())
	layOut := func(t *testing.T, base, work string) {
		for from, to := range map[string]string{"ten": work + "/ten", "true": base + "/hidden.x"} {
			if err := os.MkdirAll(work, 0o755); err != nil {
				t.Fatal(err)
			}
			os.Remove(to)
			if err := copyFile(rig.Fixture(t, from), to); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct{ kind, rights string }{{"dynamic", "rw"}, {"static", "rwx"}} {
		t.Run(c.kind+" "+c.rights, func(t *testing.T) {
			name, work := "swap-"+c.kind, r.Base+"/work-"+c.kind
			installC(t, r, name, swapSource, c.kind)
			layOut(t, r.Base, work)
			before := hiddenNow(t, above...) + look([]string{r.Base + "/hidden.x", r.Base + "/hidden.s"})
			res := rig.RunFor(t, r.Command(append([]string{"run", "--deny", "--pledge", pledged + ",INET", "--net", "127.0.0.1:" + port, "--unveil", work + ":" + c.rights + "c", name, "--",
				long, r.Base, work, port}, ids...)...), 5*time.Minute)
			if res.Code != 0 {
				t.Errorf("exit status %d\n%s%s", res.Code, res.Stdout, res.Stderr)
			}
			if after := hiddenNow(t, above...) + look([]string{r.Base + "/hidden.x", r.Base + "/hidden.s"}); after != before {
				t.Errorf("what is hidden was changed:\n%s", difference(before, after))
			}
			if got := sent.since(t); len(got) > 0 {
				t.Errorf("the hidden socket was reached: %q", got)
			}
			for kind, n := range swapped(t, res) {
				// Local sockets are never bound or connected, and rw is no right to execute.
				never := kind == "connect" || kind == "bind" || kind == "execute" && c.rights == "rw"
				if n.made < 20 || n.reached != 0 || (n.granted == 0) != never {
					t.Errorf("%s: made %d, granted %d, reached %d", kind, n.made, n.granted, n.reached)
				}
			}
			t.Log(strings.ReplaceAll(strings.TrimSpace(res.Stdout), "\nKIND", ","))
		})
	}
	t.Run("control outside", func(t *testing.T) {
		base, work := r.Base+"/free", r.Base+"/free/work"
		gcc(t, swapSource, r.Base+"/swap", "static")
		layOut(t, base, work)
		control := r.Command()
		control.Path, control.Args = r.Base+"/swap", slices.Concat([]string{"swap", "2", base, work, port}, hide(t, r, base), ids)
		res := rig.Run(t, control)
		for kind, n := range swapped(t, res) {
			if n.reached == 0 && kind != "inet-connect" { // where it may go, everybody may
				t.Errorf("%s does not come to what is hidden where nothing holds it: made %d, granted %d", kind, n.made, n.granted)
			}
		}
		t.Log(strings.ReplaceAll(strings.TrimSpace(res.Stdout), "\nKIND", ","))
	})
}

type swapCount struct{ made, granted, reached int }

// swapped reads what swap.c says of each kind.
func swapped(t *testing.T, res rig.Result) map[string]swapCount {
	t.Helper()
	m := map[string]swapCount{}
	for line := range strings.Lines(res.Stdout) {
		var kind string
		var n swapCount
		if _, err := fmt.Sscanf(line, "KIND %s %d %d %d", &kind, &n.made, &n.granted, &n.reached); err == nil {
			m[kind] = n
		}
	}
	for _, kind := range swapKinds {
		if _, ok := m[kind]; !ok {
			t.Fatalf("nothing is said of %s: exit status %d\n%s%s", kind, res.Code, res.Stdout, res.Stderr)
		}
	}
	return m
}
