package wall

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
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

// Facts returns the values of some lines "Name:	value" of a file of /proc/<pid>, in the
// order of the names. The error says that the process is gone, or a line missing.
func Facts(pid int, file string, names ...string) ([]string, error) {
	text, err := read("/proc/" + strconv.Itoa(pid) + "/" + file)
	if err != nil {
		return nil, err
	}
	values, found := make([]string, len(names)), 0
	for line := range bytes.Lines(text) {
		name, value, _ := bytes.Cut(line, []byte{':'})
		if i := slices.Index(names, string(name)); i >= 0 {
			values[i] = string(bytes.TrimSpace(value))
			found++
		}
	}
	if found < len(names) {
		return nil, fmt.Errorf("/proc/%d/%s does not say all of %s", pid, file, strings.Join(names, ", "))
	}
	return values, nil
}

// read is os.ReadFile for what is read many times a second: it asks for nothing that
// files of /proc do not have.
func read(name string) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	const enough = 4096
	text := make([]byte, 0, enough)
	for {
		n, err := unix.Read(fd, text[len(text):cap(text)])
		if err != nil || n == 0 {
			return text, err
		}
		if text = text[:len(text)+n]; len(text) == cap(text) {
			text = slices.Grow(text, enough)
		}
	}
}

// StatFields splits what /proc/<pid>/stat says, from the third field on
// (proc_pid_stat(5)): the second, a name in parentheses, may hold any byte. There are
// none without it.
func StatFields(text []byte) []string {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return nil
	}
	return strings.Fields(string(text[end+1:]))
}

// Limit sets a process's soft limit of a resource (prlimit(2)), to no more than its hard
// one. RLIMIT_DATA is private memory that can be written, whether it is used or not.
func Limit(pid, resource int, most uint64) error {
	var l unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &l); err != nil {
		return err
	}
	l.Cur = min(most, l.Max)
	return unix.Prlimit(pid, resource, &l, nil)
}

// NewestProcess reads from an open /proc/loadavg the process number that was given out
// last, the fifth field of proc_loadavg(5); 0 if it cannot be read. Where numbers begin
// anew at the low end, it is found so and not behind the highest.
func NewestProcess(fd int) int {
	var b [128]byte
	n, err := unix.Pread(fd, b[:], 0)
	if err != nil {
		return 0
	}
	line := strings.TrimSpace(string(b[:n]))
	pid, _ := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:]) // 0: no number
	return pid
}

// EachProcess calls f for the number of each process, in their order.
func EachProcess(f func(pid int)) error {
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	for {
		if next := SomeProcesses(proc, f); next == 0 {
			return nil
		}
	}
}

// SomeProcesses reads some names of an open /proc and calls f for those that are numbers of
// processes. It returns the place behind the last of them, 0 if there was none.
func SomeProcesses(proc int, f func(pid int)) (next int64) {
	var buf [2048]byte
	n, err := unix.Getdents(proc, buf[:])
	if err != nil {
		return 0
	}
	// struct linux_dirent64: inode (8), next place (8), length (2), type (1), name.
	const head = 19
	for b := buf[:n]; len(b) > head; {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= head || size > len(b) {
			break
		}
		name := b[head:size]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		next = int64(binary.NativeEndian.Uint64(b[8:]))
		if pid, err := strconv.Atoi(string(name)); err == nil && pid > 0 {
			f(pid)
		}
		b = b[size:]
	}
	return next
}
