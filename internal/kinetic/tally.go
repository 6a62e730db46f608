package kinetic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tally counts the CPU time of all that descend from a program, also of those that
// ended before anybody saw them and for whom nobody has waited: the kernel adds it up
// (perf_event_open(2), a task clock that is inherited). What the kernel takes from the
// count, programs whose files they may execute but not read, the clocks of processes
// still show.
type Tally struct{ fd int }

// OpenTally counts from the next execve(2) on of the calling thread's children, not
// the thread itself. The caller must be locked to its thread until it has forked.
// Hosts may forbid that to ordinary users (kernel.perf_event_paranoid above 2).
func OpenTally() (*Tally, error) {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK,
		// A task clock counts in the kernel as well; what is excluded are samples.
		Bits: unix.PerfBitDisabled | unix.PerfBitInherit | unix.PerfBitEnableOnExec | unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("count CPU time by perf_event_open: %w", err)
	}
	return &Tally{fd}, nil
}

var errShort = errors.New("a count of less than eight bytes")

// Read returns what has been counted.
func (t *Tally) Read() (time.Duration, error) {
	var b [8]byte
	n, err := unix.Read(t.fd, b[:])
	if err == nil && n != len(b) {
		err = errShort
	}
	if err != nil {
		return 0, fmt.Errorf("read the CPU time: %w", err)
	}
	return time.Duration(binary.NativeEndian.Uint64(b[:])), nil
}

// Close ends the count.
func (t *Tally) Close() { unix.Close(t.fd) }
