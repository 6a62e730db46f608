package cell

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// KillMarked sends SIGKILL to every process that carries the mark of fiber and
// reports how many there were. Those of other users cannot be seen.
//
// It goes through /proc in the order of process numbers and kills what it meets
// at once; at the end it looks again and again for what has come behind. A
// process that forks a successor and ends, again and again, lives too shortly to
// be on a list that was made before, but its successors have the highest
// numbers: they are met there.
func KillMarked(fiber uint32) (met int) {
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(proc)
	load, err := unix.Open("/proc/loadavg", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(load)
	var next int64 // where the numbers behind the last one begin
	last, chased := 0, 0
	for look := 0; look < looksBehind; look++ {
		for {
			n, off := killBatch(proc, fiber)
			if off == 0 {
				break
			}
			met, next = met+n, off
		}
		if pid := wall.NewestProcess(load); pid != last && pid > 0 {
			last, look = pid, max(0, look-1) // go on as long as processes are made
			if signalExactly(pid, fiber, unix.SIGKILL) {
				met++
			}
			if chased++; chased > chaseMost {
				break
			}
		}
		if _, err := unix.Seek(proc, next, unix.SEEK_SET); err != nil {
			break
		}
	}
	return met
}

// chaseMost bounds the looks on a host where others make processes all the time.
const chaseMost = 2000

// looksBehind is how often KillMarked looks behind the highest number; a look
// takes a few microseconds, a life between two forks some hundred.
const looksBehind = 64

// killBatch reads some names of /proc, kills the marked ones, and returns the
// place behind the last name that is a number; 0 if there was none.
func killBatch(proc int, fiber uint32) (met int, next int64) {
	next = wall.SomeProcesses(proc, func(pid int) {
		if f, ok := wall.MarkOf(pid); ok && f == fiber && signalExactly(pid, fiber, unix.SIGKILL) {
			met++
		}
	})
	return met, next
}

// quietPasses is how many passes must meet nothing before a cell without a
// supervisor counts as ended: one alone may miss what forks and ends all the
// time. A supervisor needs no such guess: it has no child left then.
const quietPasses, passWait = 24, 500 * time.Microsecond

// busyPasses is how many there must be for a guard, who has time, where somebody on the
// host makes processes meanwhile: it could be one of the cell, and where many others want
// the processors, or have died and are still there, a pass misses him more often than not.
const busyPasses = 400

// endPatience is how long a nip command goes on with the end of a dead cell: a
// process that hangs in the kernel must not make every command hang. A guard has
// nothing else to do and goes on for ever.
const endPatience = 15 * time.Second

// errUndead reports processes that do not die.
var errUndead = errors.New("some of its processes do not die")

// newestProcess is the process number that the host has given out last; 0 if it does not
// say.
func newestProcess() int {
	load, err := unix.Open("/proc/loadavg", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(load)
	return wall.NewestProcess(load)
}

// killAll kills until nothing of the cell is left and reports how many there
// were.
func killAll(fiber uint32, patience time.Duration) (killed int, err error) {
	begin := time.Now()
	newest, busy, guards := newestProcess(), false, patience == 0
	for quiet := 0; quiet < quietPasses || busy && guards && quiet < busyPasses; quiet++ {
		if n := KillMarked(fiber); n > 0 {
			killed, quiet, busy = killed+n, 0, false
		}
		if pid := newestProcess(); pid != newest {
			newest, busy = pid, true
		}
		if patience > 0 && time.Since(begin) > patience {
			return killed, errUndead
		}
		time.Sleep(passWait) // the killed need a moment to be gone
	}
	return killed, nil
}
