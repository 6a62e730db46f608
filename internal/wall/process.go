package wall

import (
	"os"
	"strconv"
	"strings"
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
