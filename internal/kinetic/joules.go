package kinetic

import (
	"fmt"
	"strings"
	"time"
)

// What a cell uses costs energy, so that things that have no common measure can be
// compared. The prices are round figures of what a small server draws, not a
// measurement: a core at work some 10 W, a solid-state disk that reads 2 GB/s or writes
// 1 GB/s some 5 W, memory some 0.4 W for a gigabyte, and a fork as much as the 100 us of
// CPU time that it takes.
const (
	JoulesPerSecond      = 10.0   // of CPU time, on one core
	JoulesPerFiber       = 0.001  // for each process or thread that is made
	JoulesPerByteRead    = 2.5e-9 // from a disk
	JoulesPerByteWritten = 5e-9   // to a disk
	WattsPerByte         = 0.4e-9 // of memory, as long as it is held
)

// Prices is the table for people.
func Prices() string {
	var b strings.Builder
	for _, row := range []struct {
		what  string
		price float64
		unit  string
	}{
		{"a second of CPU time", JoulesPerSecond, "J"},
		{"a process or thread made", JoulesPerFiber * 1e3, "mJ"},
		{"a megabyte read from a disk", JoulesPerByteRead * 1e6 * 1e3, "mJ"},
		{"a megabyte written to a disk", JoulesPerByteWritten * 1e6 * 1e3, "mJ"},
		{"a gigabyte of memory held for a second", WattsPerByte * 1e9, "J"},
	} {
		fmt.Fprintf(&b, "  %-40s %6.4g %s\n", row.what, row.price, row.unit)
	}
	return b.String()
}

// drawn is what a meter has charged of a cell's energy.
type drawn struct {
	met    int           // processes
	memory int64         // bytes that it had at the last look
	looked time.Duration // when that was; 0: never
}

// watts is what a cell may draw.
func (m *Meter) watts() float64 { return float64(m.config.Budget.Energy) / 1000 }

// draw takes the energy of what was used in a time that has passed. Memory is looked at
// once a second, as that is slow; and it draws at most nine tenths of what a cell may, who
// would never go on otherwise.
func (m *Meter) draw(passed, used time.Duration, flow traffic) {
	if m.power.percent == 0 {
		return
	}
	const often, part = time.Second, 0.9
	d, t := &m.drawn, &m.table
	if d.looked == 0 || t.now-d.looked > often {
		d.looked, d.memory = t.now, 0
		for _, p := range t.all {
			d.memory += exactMemoryOf(p.pid)
		}
	}
	joules := used.Seconds()*JoulesPerSecond + float64(t.met-d.met)*JoulesPerFiber +
		float64(flow.read)*JoulesPerByteRead + float64(flow.written)*JoulesPerByteWritten +
		min(float64(d.memory)*WattsPerByte, part*m.watts())*passed.Seconds()
	d.met = t.met
	m.power.pass(passed, time.Duration(joules/m.watts()*float64(time.Second)))
}

// Watts is what a cell draws that used what Recent says, and read and wrote so many bytes,
// in the time that has passed.
func (u *Usage) Watts(read, written int64, passed time.Duration) float64 {
	if passed <= 0 {
		return 0
	}
	joules := u.Recent.Seconds()*JoulesPerSecond + float64(read)*JoulesPerByteRead + float64(written)*JoulesPerByteWritten
	return joules/passed.Seconds() + float64(u.Memory)*WattsPerByte
}
