package kinetic

import (
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// spectrum is what a spectrum means (SPEC section 5) for a cell's turn beside other
// programs.
type spectrum struct {
	window time.Duration // how often a budget of CPU time is renewed
	policy uint32
	nice   int32
	// slice is how long a process that has waited runs before others that wait
	// (sched_runtime, Linux 6.12; an older kernel ignores it): with a short one it comes
	// to its turn sooner.
	slice time.Duration
}

var spectrums = map[string]spectrum{
	"photon":  {2 * time.Millisecond, unix.SCHED_NORMAL, 0, 500 * time.Microsecond},
	"matter":  {10 * time.Millisecond, unix.SCHED_NORMAL, 0, 3 * time.Millisecond},
	"gravity": {50 * time.Millisecond, unix.SCHED_BATCH, 10, 5 * time.Millisecond},
	"void":    {50 * time.Millisecond, unix.SCHED_IDLE, 0, 0},
}

// spectrumOf is a budget's spectrum, matter where it names none.
func spectrumOf(b capability.Budget) spectrum {
	if s, ok := spectrums[b.Spectrum]; ok {
		return s
	}
	return spectrums["matter"]
}

// Scheduling is how processes of a cell with a budget are scheduled; nil where it names
// no spectrum and nothing else that a meter watches over. What is metered has a longer
// slice than the meter, which is woken at once then.
// It needs no privilege as long as nothing is raised, and is inherited by what they
// fork; the filter lets no process change another's, and nobody his own back up.
func Scheduling(b capability.Budget) *unix.SchedAttr {
	if b.Spectrum == "" && !Needed(b) {
		return nil
	}
	s := spectrumOf(b)
	return &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: s.policy, Nice: s.nice, Runtime: uint64(s.slice)}
}
