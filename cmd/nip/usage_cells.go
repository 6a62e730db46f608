package main

import (
	"time"

	"nipcells/internal/capability"
	"nipcells/internal/cell"
	"nipcells/internal/hier"
	"nipcells/internal/kinetic"
)

// cellUsage is a running cell and what it uses.
type cellUsage struct {
	cell.Info
	Spectrum  string  `json:"spectrum"`
	Processes int     `json:"processes"`
	Fibers    int     `json:"fibers"`       // processes and threads
	CPU       float64 `json:"cpu_percent"`  // of one core
	Seconds   float64 `json:"cpu_seconds"`  // in all
	Memory    int64   `json:"memory_bytes"` // pages that several share counted once, without files
	Read      int64   `json:"read_bytes"`
	Written   int64   `json:"written_bytes"`
	ReadRate  float64 `json:"read_bytes_per_second"`
	WriteRate float64 `json:"written_bytes_per_second"`
	Watts     float64 `json:"watts"`
	Window    float64 `json:"joules_per_window"`
}

// watcher looks at the cells below a root, again and again.
type watcher struct {
	root    *hier.Root
	sampler kinetic.Sampler
	last    time.Time
	before  map[string]cellUsage // by fiber-id
}

// look returns the running cells; rates are since the last look, 0 at the first.
func (w *watcher) look() ([]cellUsage, error) {
	cells, err := cell.List(w.root)
	if err != nil {
		return nil, err
	}
	used, err := w.sampler.Look()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	passed := now.Sub(w.last)
	list, seen := make([]cellUsage, 0, len(cells)), map[string]cellUsage{}
	for _, c := range cells {
		if c.Dead {
			continue
		}
		u := cellUsage{Info: c, Spectrum: "-"}
		budget, err := capability.ParseBudget(c.Budget)
		if err == nil && budget.Spectrum != "" {
			u.Spectrum = budget.Spectrum
		}
		if k := used[c.ID()]; k != nil {
			u.Processes, u.Fibers, u.Memory, u.Read, u.Written = k.Processes, k.Fibers, k.Memory, k.Read, k.Written
			u.Seconds = k.CPU.Seconds()
			if before, ok := w.before[c.Fiber]; ok && passed > 0 {
				read, written := max(0, u.Read-before.Read), max(0, u.Written-before.Written)
				u.CPU = 100 * k.Recent.Seconds() / passed.Seconds()
				u.ReadRate, u.WriteRate = float64(read)/passed.Seconds(), float64(written)/passed.Seconds()
				u.Watts = k.Watts(read, written, passed)
				u.Window = u.Watts * kinetic.Window(budget).Seconds()
			}
		}
		seen[c.Fiber] = u
		list = append(list, u)
	}
	w.last, w.before = now, seen
	return list, nil
}
