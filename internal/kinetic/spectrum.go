package kinetic

import (
	"errors"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/wall"
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
	// group is the nice value of a session of its own beside others (sched(7), autogroup):
	// between these, nothing else counts.
	group int
}

var spectrums = map[string]spectrum{
	"photon":  {2 * time.Millisecond, unix.SCHED_NORMAL, 0, 500 * time.Microsecond, 0},
	"matter":  {10 * time.Millisecond, unix.SCHED_NORMAL, 0, 3 * time.Millisecond, 0},
	"gravity": {50 * time.Millisecond, unix.SCHED_BATCH, 10, 5 * time.Millisecond, 10},
	"void":    {50 * time.Millisecond, unix.SCHED_IDLE, 0, 0, 19},
}

// spectrumName is what a budget's spectrum is called, matter where it names none.
func spectrumName(b capability.Budget) string {
	if _, ok := spectrums[b.Spectrum]; ok {
		return b.Spectrum
	}
	return "matter"
}

func spectrumOf(b capability.Budget) spectrum { return spectrums[spectrumName(b)] }

// Window is how long a window of a budget's spectrum is.
func Window(b capability.Budget) time.Duration { return spectrumOf(b).window }

// Reschedule has all threads of a cell scheduled as its budget's spectrum says. None can
// be raised without a privilege; who has ended meanwhile does not matter.
func Reschedule(fiber uint32, b capability.Budget) {
	attr := Scheduling(b)
	if attr == nil {
		return
	}
	const twice = 2 // threads come while we look
	for range twice {
		_ = wall.EachProcess(func(pid int) { // without /proc there is nobody
			if f, ok := wall.MarkOf(pid); !ok || f != fiber {
				return
			}
			threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
			if err != nil {
				return
			}
			for _, t := range threads {
				if tid, err := strconv.Atoi(t.Name()); err == nil {
					_ = unix.SchedSetAttr(tid, attr, 0)
				}
			}
		})
	}
}

// Regroup has the scheduler treat the session that a process of the cell leads as the
// budget's spectrum says, where it makes groups of sessions. It needs no privilege, as it
// raises nothing, but the kernel lets ordinary users do that ten times a second at most, all
// together; so it goes on for a while.
func Regroup(pid int, b capability.Budget) {
	nice := spectrumOf(b).group
	if nice == 0 {
		return
	}
	f, err := os.OpenFile("/proc/"+strconv.Itoa(pid)+"/autogroup", os.O_WRONLY, 0)
	if err != nil {
		return // there are no groups, or it has ended
	}
	go func() { // what it writes to is this process, also if another has its number by then
		defer f.Close()
		const tries, pause = 50, 120 * time.Millisecond
		for range tries {
			if _, err := f.WriteString(strconv.Itoa(nice)); !errors.Is(err, unix.EAGAIN) {
				return // done, or it has ended
			}
			time.Sleep(pause)
		}
	}()
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
