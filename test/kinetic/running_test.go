package kinetic

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"nipcells/test/rig"
)

// used is what nip top says of a cell.
type used struct {
	Fiber    string
	Spectrum string
	Fibers   int
	CPU      float64 `json:"cpu_percent"`
	Memory   int64   `json:"memory_bytes"`
	Budget   string
}

func top(t *testing.T, r *rig.Root) used {
	t.Helper()
	var list []used
	if err := json.Unmarshal([]byte(r.Must("top", "--json", "--every", "2s")), &list); err != nil || len(list) != 1 {
		t.Fatalf("%v: %v", err, list)
	}
	return list[0]
}

// A running cell's budget can be changed, within what its package is given, and people
// can see what it uses.
func TestRunning(t *testing.T) {
	r := stage(t)
	fiber := strings.TrimSpace(r.Must("run", "-d", "--budget", "cpu=40%,fibers=8,memory=64M", "load", "procs", "4", "60"))
	defer r.Run("stop", "--time", "100ms", fiber)
	rig.Until(t, 5*time.Second, "the program runs", func() bool {
		return strings.Contains(r.Must("ps", "--json"), `"budget": "memory=64M,fibers=8,cpu=40%"`)
	})
	if got := top(t, r); got.Fiber != fiber || got.CPU > 43 || got.CPU < 20 || got.Fibers != 5 || got.Memory < 1 || got.Memory > 64<<20 || got.Spectrum != "-" {
		t.Errorf("%+v", got)
	}
	for _, test := range []struct{ change, want string }{
		{"cpu=10%", "is held to memory=64M,fibers=8,cpu=10%\n"},
		{"cpu=20%,memory=1G", "is held to memory=1G,fibers=8,cpu=20%\n"}, // the package has no limit
		{"cpu=10%,spectrum=gravity", "is held to memory=1G,fibers=8,cpu=10%,spectrum=gravity\n"},
		{"spectrum=photon", "can be lowered only"},
		{"disk=1G", "nip: change the budget of "},
		{"cpu=0", "nip: budget \"cpu=0\": must be more than 0"},
		{"", "is held to memory=1G,fibers=8,cpu=10%,spectrum=gravity\n"},
	} {
		got := r.Run("budget", fiber, test.change)
		if !strings.Contains(got.Stdout+got.Stderr, test.want) || (got.Code == 0) != strings.HasPrefix(test.want, "is held") {
			t.Errorf("%q: status %d, %q, %q", test.change, got.Code, got.Stdout, got.Stderr)
		}
	}
	if got := top(t, r); got.CPU > 13 || got.CPU < 5 || got.Spectrum != "gravity" {
		t.Errorf("after the change: %+v", got)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(r.Must("metrics")))
	if err != nil {
		t.Fatal(err)
	}
	for name, least := range map[string]float64{
		"nip_cell_cpu_seconds_total": 0.5, "nip_cell_memory_bytes": 1, "nip_cell_fibers": 5, "nip_cell_limit_cpu_cores": 0.1,
		"nip_cell_limit_memory_bytes": 1 << 30, "nip_cell_limit_fibers": 8, "nip_cell_start_time_seconds": 1e9, "nip_cell_strikes": 0,
	} {
		f := families[name]
		if f == nil || len(f.Metric) != 1 {
			t.Errorf("no %s", name)
			continue
		}
		value := f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
		if value < least || value > max(60*least, 2e9) {
			t.Errorf("%s is %v", name, value)
		}
		if labels := f.Metric[0].Label; len(labels) != 3 || labels[0].GetValue() != fiber || labels[1].GetValue() != "load" || labels[2].GetValue() != "gravity" {
			t.Errorf("%s has %v", name, labels)
		}
	}
}

// A package's own budget is the most that a running cell gets.
func TestRunningAtMost(t *testing.T) {
	r := stage(t)
	r.Must("policy", "set", "load", "--budget", "cpu=30%")
	fiber := strings.TrimSpace(r.Must("run", "-d", "--budget", "cpu=10%", "load", "procs", "1", "60"))
	defer r.Run("stop", "--time", "100ms", fiber)
	rig.Until(t, 5*time.Second, "the program runs", func() bool { return strings.Contains(r.Must("ps", "--json"), `"budget": "cpu=10%"`) })
	if got := r.Run("budget", fiber, "cpu=31%"); got.Code != 1 || !strings.Contains(got.Stderr, "package load is given cpu=30%") {
		t.Errorf("status %d, %q", got.Code, got.Stderr)
	}
	if got := r.Run("budget", fiber, "cpu=30%"); got.Code != 0 || !strings.Contains(got.Stderr, "is held to cpu=30%") {
		t.Errorf("status %d, %q", got.Code, got.Stderr)
	}
	if got := r.Must("budget", "load"); got != "cpu=30%\n" {
		t.Errorf("%q", got)
	}
}
