package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/spf13/cobra"

	"nipcells/internal/capability"
)

func newMetricsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print what running cells use, for Prometheus",
		Long: `Metrics prints what the running cells below the root use and are held to, in the text
format of Prometheus: for the textfile collector of its node exporter, say.`,
		Example: "  nip metrics\n  nip metrics > /var/lib/prometheus/node-exporter/nip.prom",
		Args:    args(0, 0, ""),
		RunE:    func(*cobra.Command, []string) error { return a.metrics() },
	}
}

// metric is a figure of each cell. limit ones are left out where there is no limit.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(cellUsage, capability.Budget) float64
	limit      bool
}

var metrics = []metric{
	{"nip_cell_cpu_seconds_total", "CPU time of living processes and of those that they have waited for.", prometheus.CounterValue,
		func(u cellUsage, _ capability.Budget) float64 { return u.Seconds }, false},
	{"nip_cell_memory_bytes", "Memory of all processes, shared pages counted once, without files.", prometheus.GaugeValue,
		func(u cellUsage, _ capability.Budget) float64 { return float64(u.Memory) }, false},
	{"nip_cell_processes", "Processes.", prometheus.GaugeValue, func(u cellUsage, _ capability.Budget) float64 { return float64(u.Processes) }, false},
	{"nip_cell_fibers", "Processes and threads.", prometheus.GaugeValue, func(u cellUsage, _ capability.Budget) float64 { return float64(u.Fibers) }, false},
	{"nip_cell_read_bytes_total", "Bytes read from disks by living processes.", prometheus.CounterValue,
		func(u cellUsage, _ capability.Budget) float64 { return float64(u.Read) }, false},
	{"nip_cell_written_bytes_total", "Bytes written for disks by living processes.", prometheus.CounterValue,
		func(u cellUsage, _ capability.Budget) float64 { return float64(u.Written) }, false},
	{"nip_cell_strikes", "Strikes that count now.", prometheus.GaugeValue, func(u cellUsage, _ capability.Budget) float64 { return float64(u.Strikes) }, false},
	{"nip_cell_start_time_seconds", "When the cell was started, since 1970.", prometheus.GaugeValue,
		func(u cellUsage, _ capability.Budget) float64 { return float64(u.Started.UnixMilli()) / 1000 }, false},
	{"nip_cell_limit_cpu_cores", "CPU time that it may use, in cores.", prometheus.GaugeValue,
		func(_ cellUsage, b capability.Budget) float64 { return float64(b.CPU) / 100 }, true},
	{"nip_cell_limit_memory_bytes", "Memory that it may have.", prometheus.GaugeValue, func(_ cellUsage, b capability.Budget) float64 { return float64(b.Memory) }, true},
	{"nip_cell_limit_fibers", "Processes and threads that it may have.", prometheus.GaugeValue, func(_ cellUsage, b capability.Budget) float64 { return float64(b.Fibers) }, true},
	{"nip_cell_limit_disk_bytes", "Disk space that it may take.", prometheus.GaugeValue, func(_ cellUsage, b capability.Budget) float64 { return float64(b.Disk) }, true},
}

// cellCollector has the figures of one look.
type cellCollector []cellUsage

func (c cellCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc()
	}
}

func (m metric) desc() *prometheus.Desc {
	return prometheus.NewDesc(m.name, m.help, []string{"fiber", "package", "spectrum"}, nil)
}

func (c cellCollector) Collect(ch chan<- prometheus.Metric) {
	for _, u := range c {
		budget, err := capability.ParseBudget(u.Budget)
		if err != nil {
			budget = capability.Budget{} // of another version
		}
		for _, m := range metrics {
			if v := m.value(u, budget); v != 0 || !m.limit {
				ch <- prometheus.MustNewConstMetric(m.desc(), m.kind, v, u.Fiber, u.Package, u.Spectrum)
			}
		}
	}
}

func (a *app) metrics() error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	w := watcher{root: root}
	list, err := w.look()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(cellCollector(list)); err != nil {
		return err
	}
	families, err := registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(a.out, f); err != nil {
			return err
		}
	}
	return nil
}
