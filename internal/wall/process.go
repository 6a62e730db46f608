package wall

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ProgramName is what /proc calls the process, with anything that could fool a
// terminal taken out.
func ProgramName(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return "?"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.TrimSuffix(string(b), "\n"))
}

// LimitData sets how many bytes of data a process may have (RLIMIT_DATA), no more than
// its hard limit: private memory that can be written, whether it is used or not.
func LimitData(pid int, most uint64) error {
	var l unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_DATA, nil, &l); err != nil {
		return err
	}
	l.Cur = min(most, l.Max)
	return unix.Prlimit(pid, unix.RLIMIT_DATA, &l, nil)
}
