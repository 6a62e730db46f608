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

// Watts is what a cell draws that used what Recent says, and read and wrote so many bytes,
// in the time that has passed.
func (u *Usage) Watts(read, written int64, passed time.Duration) float64 {
	if passed <= 0 {
		return 0
	}
	joules := u.Recent.Seconds()*JoulesPerSecond + float64(read)*JoulesPerByteRead + float64(written)*JoulesPerByteWritten
	return joules/passed.Seconds() + float64(u.Memory)*WattsPerByte
}
