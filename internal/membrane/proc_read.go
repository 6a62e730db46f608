package membrane

// What the files of /proc say to a cell.

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procRead returns a file of /proc, open for reading only: the host's own where it
// says nothing of processes, else a memory file with what it says now.
func (m *Membrane) procRead(f *procFile) (int, unix.Errno) {
	if f.pid == 0 && f.change == nil {
		fd, err := unix.Open(f.path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return fd, errnoOf(err)
	}
	src, err := os.Open(f.path)
	if err != nil {
		return -1, unix.EACCES
	}
	defer src.Close()
	b, err := io.ReadAll(io.LimitReader(src, procMost))
	if err != nil {
		return -1, unix.ESRCH
	}
	if f.change != nil {
		b = f.change(m, b)
	}
	fd, err := unix.MemfdCreate("proc", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err != nil {
		return -1, errnoOf(err)
	}
	defer unix.Close(fd)
	for len(b) > 0 {
		wrote, err := unix.Write(fd, b)
		if err != nil {
			return -1, errnoOf(err)
		}
		b = b[wrote:]
	}
	if err := unix.Fchmod(fd, 0o444); err != nil {
		return -1, errnoOf(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		return -1, errnoOf(err)
	}
	reader, err := reopen(fd, unix.O_RDONLY|unix.O_CLOEXEC)
	return reader, errnoOf(err)
}

// renameMaps puts the cell's names into the lines of proc_pid_maps(5).
func (m *Membrane) renameMaps(b []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(b) {
		at := bytes.IndexByte(line, '/')
		if at < 0 || bytes.HasPrefix(line[at:], []byte("/memfd:")) {
			out.Write(line)
			continue
		}
		path := strings.TrimSuffix(string(line[at:]), "\n")
		name, ok := m.names.cellName(path)
		if !ok {
			name = "[" + path[strings.LastIndexByte(path, '/')+1:] + "]" // the loader
		}
		out.Write(line[:at])
		out.WriteString(name + "\n")
	}
	return out.Bytes()
}

// hideProcesses leaves the load of proc_loadavg(5), and takes what it says of
// all processes.
func hideProcesses(_ *Membrane, b []byte) []byte {
	words := bytes.Fields(b)
	if len(words) < 3 {
		return nil
	}
	return append(bytes.Join(words[:3], []byte(" ")), " 1/1 1\n"...)
}

// tellExe answers a program that asks by what name it was executed, if that is
// the call. Every dynamic program does at its start ($ORIGIN), and most ask
// nothing else: they need no table of names, no opener and no thread.
func (m *Membrane) tellExe(n *notification, e *entry) bool {
	at := int(e.link)
	if at < 0 {
		return false
	}
	const link = "/proc/self/exe"
	var path [len(link) + 1]byte
	size := int32(n.args[at+2])
	if got, err := readMemory(int(n.pid), n.args[at], path[:]); err != nil || got != len(path) || string(path[:]) != link+"\x00" || size <= 0 ||
		m.config.Hide == nil || m.config.Count != nil {
		return false
	}
	text, errno := linkText("/proc/" + strconv.Itoa(int(n.pid)) + "/exe")
	if errno != 0 || !strings.HasPrefix(text, m.config.Hide.Programs+"/") {
		return false
	}
	text = text[:min(len(text), int(size))]
	m.reply(n, int64(len(text)), m.writeBytes(n, n.args[at+1], []byte(text)))
	return true
}
