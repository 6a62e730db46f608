package kinetic

import (
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// What a spectrum means (SPEC section 5) for a cell's turn beside other programs.
// Slices are how long a process that has waited runs before others that wait
// (sched_runtime, Linux 6.12; an older kernel ignores them): short ones come to their
// turn sooner.
var spectrums = map[string]struct {
	window time.Duration
	policy uint32
	nice   int32
	slice  time.Duration
}{
	"photon":  {2 * time.Millisecond, unix.SCHED_NORMAL, 0, 500 * time.Microsecond},
	"matter":  {10 * time.Millisecond, unix.SCHED_NORMAL, 0, 3 * time.Millisecond},
	"gravity": {50 * time.Millisecond, unix.SCHED_BATCH, 10, 5 * time.Millisecond},
	"void":    {50 * time.Millisecond, unix.SCHED_IDLE, 0, 0},
}

// windowOf is how often a budget of CPU time is renewed; that of matter where no
// spectrum is named.
func windowOf(spectrum string) time.Duration {
	if s, ok := spectrums[spectrum]; ok {
		return s.window
	}
	return spectrums["matter"].window
}

// Scheduling is how processes of a cell with a budget are scheduled; nil where it names
// no spectrum and nothing else that a meter watches over. What is metered has a longer
// slice than the meter, which is woken at once then.
// It needs no privilege as long as nothing is raised, and is inherited by what they
// fork; the filter lets no process change another's, and nobody his own back up.
func Scheduling(b capability.Budget) *unix.SchedAttr {
	s, ok := spectrums[b.Spectrum]
	switch {
	case !ok && !Needed(b):
		return nil
	case !ok:
		s = spectrums["matter"]
	}
	return &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: s.policy, Nice: s.nice, Runtime: uint64(s.slice)}
}
