package kinetic

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nipcells/test/rig"
)

// ranFor is the CPU time of all threads of a process (proc_pid_schedstat(5)).
func ranFor(t *testing.T, pid int) (sum time.Duration) {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(names) == 0 {
		t.Fatalf("process %d has no threads: %v", pid, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n)
	}
	return sum
}

// A cell that does nothing costs nothing, and is held to its budget all the same as soon
// as it does something, by itself or by a process that it makes.
func TestDoze(t *testing.T) {
	r := stage(t)
	t.Run("costs", func(t *testing.T) {
		r.Must("run", "-d", "--budget", "fibers=64,memory=256M,cpu=50%,disk=128M", "load", "idles", "1", "30")
		defer func() { r.Must("stop", "--time", "100ms", "load") }()
		supervisor := cells(t, r, 1)[0].Supervisor
		const most = time.Millisecond
		var cost time.Duration
		rig.Until(t, 15*time.Second, "the meter dozes", func() bool { // beside other tests it takes a while to be sure
			before := ranFor(t, supervisor)
			time.Sleep(time.Second) // what is measured
			cost = ranFor(t, supervisor) - before
			return cost < most
		})
		t.Logf("%v in a second", cost)
	})
	for _, load := range []string{"procs 1", "procs 8", "between 1"} {
		t.Run(load, func(t *testing.T) {
			args := []string{"run", "--budget", "fibers=64,cpu=25%", "--env", "AFTER=2", "load"}
			got := shareOf(t, r.Must(append(append(args, strings.Fields(load)...), seconds())...))
			t.Logf("%.2f %%", got)
			// A tick may pass until somebody is seen to run.
			if got > 28 || got < 12 {
				t.Errorf("%.2f %% of a core, want 25", got)
			}
		})
	}
	for _, load := range []string{"mmap 1", "shared 1", "mmap 8"} {
		t.Run("hog "+load, func(t *testing.T) {
			args := []string{"run", "--budget", "fibers=64,memory=256M", "--env", "AFTER=2", "load/hog"}
			got := r.Run(append(append(args, strings.Fields(load)...), "2048")...)
			var peak, refused, killed, done int
			if n, err := fmt.Sscanf(got.Stdout, "peak %d refused %d killed %d done %d", &peak, &refused, &killed, &done); n != 4 {
				t.Fatalf("%v: %q %s", err, got.Stdout, got.Stderr)
			}
			over := float64(peak)/(1<<20) - 256
			t.Logf("%.1f MB over, refused %d, killed %d", over, refused, killed)
			if most := 192.0; over > most || refused+killed == 0 {
				t.Errorf("%s: %s", got.Stdout, got.Stderr)
			}
		})
	}
}
