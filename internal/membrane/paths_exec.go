package membrane

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// A program can only be executed by the kernel, which takes the path from the
// caller's memory and looks in the host's tree. So an execve goes on if the
// kernel, going by the same string, finds the very file that the cell's name
// means, and so with the interpreter that the file names; else it ends with
// ENOENT, though the cell has such a name. What PATH and /proc/self/exe say are
// names for which that holds.
//
// Between the look and the kernel's own, the program can put another string
// there, or bytes into a file that it may both write and execute. It gains
// nothing to execute, Landlock sees to that; what it can learn is whether a path
// of the host exists, by ENOENT or EACCES.

func execve(m *Membrane, n *notification) (int64, unix.Errno) {
	return m.exec(n, unix.AT_FDCWD, n.args[0], 0)
}

func execveat(m *Membrane, n *notification) (int64, unix.Errno) {
	flags := uint32(n.args[4])
	if flags&^(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW) != 0 {
		return 0, unix.EINVAL
	}
	return m.exec(n, int32(n.args[0]), n.args[1], flags)
}

func (m *Membrane) exec(n *notification, dirfd int32, addr uint64, flags uint32) (int64, unix.Errno) {
	path, errno := m.readString(n, addr, unix.PathMax)
	if errno != 0 {
		return 0, errno
	}
	var o object
	if path == "" && flags&unix.AT_EMPTY_PATH != 0 {
		o.fd, errno = m.copyOf(n, dirfd)
		o.magic = true
	} else {
		o, errno = m.find(n, dirfd, path, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	}
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(o.fd)
	switch fileType(o.fd) {
	case unix.S_IFREG:
	case unix.S_IFLNK:
		return 0, unix.ELOOP
	default:
		return 0, unix.EACCES
	}
	if errno := m.look(func() unix.Errno { return faccess(o.fd, unix.X_OK) }); errno != 0 {
		return 0, errno
	}
	m.learnUse(o.fd, capability.Execute, capability.Rpath, 0)
	if !o.magic && !m.sameOnHost(n, dirfd, path, o.fd) {
		return 0, unix.ENOENT
	}
	if errno := m.interpreter(n, o.fd); errno != 0 {
		return 0, errno
	}
	m.proceed(n)
	return 0, later
}

// sameOnHost reports whether the kernel, in the caller's place, finds the file
// behind fd by the path. Who looks has the caller's rights.
func (m *Membrane) sameOnHost(n *notification, dirfd int32, path string, fd int) bool {
	base := -1
	if !strings.HasPrefix(path, "/") {
		link := "/proc/" + strconv.Itoa(int(n.pid)) + "/cwd"
		if dirfd != unix.AT_FDCWD {
			link = "/proc/" + strconv.Itoa(int(n.pid)) + "/fd/" + strconv.Itoa(int(dirfd))
		}
		var err error
		if base, err = unix.Open(link, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return false
		}
		defer unix.Close(base)
	}
	same := false
	m.look(func() unix.Errno {
		how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
		found, err := unix.Openat2(base, path, &how)
		if err == nil {
			same = sameFile(found, fd)
			unix.Close(found)
		}
		return 0
	})
	return same
}

// interpreter checks what the kernel would look for on its own: the program
// that a script or an ELF file names.
func (m *Membrane) interpreter(n *notification, fd int) unix.Errno {
	head := make([]byte, 4096)
	file := -1
	errno := m.act(func() unix.Errno {
		var err error
		if file, err = reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC); err != nil {
			return errnoOf(err)
		}
		got, err := unix.Pread(file, head, 0)
		head = head[:max(got, 0)]
		return errnoOf(err)
	})
	if file >= 0 {
		defer unix.Close(file)
	}
	if errno != 0 {
		return errno
	}
	path := ""
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		line, _, _ := bytes.Cut(head[2:min(len(head), 256)], []byte("\n"))
		words := bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == 0 })
		if len(words) == 0 {
			return unix.ENOEXEC
		}
		path = string(words[0])
	default:
		path = elfInterpreter(file, head)
	}
	if path == "" || m.mayLoad(path) {
		return 0
	}
	o, errno := m.find(n, unix.AT_FDCWD, path, true)
	if errno != 0 {
		return errno
	}
	defer unix.Close(o.fd)
	if !m.sameOnHost(n, unix.AT_FDCWD, path, o.fd) {
		return unix.ENOENT
	}
	return 0
}

// mayLoad reports whether path is below one of the places of dynamic loaders,
// to which the installer's files lead.
func (m *Membrane) mayLoad(path string) bool {
	rest, ok := strings.CutPrefix(path, m.config.Hide.Loaders+"/")
	return ok && !strings.Contains(rest, "/") && rest != ".."
}

// elfInterpreter returns the PT_INTERP of a 64-bit little-endian ELF file,
// whose beginning head is; "" if there is none that the kernel would take.
func elfInterpreter(file int, head []byte) string {
	const headerSize, entrySize, ptInterp = 64, 56, 3
	if len(head) < headerSize || !bytes.HasPrefix(head, []byte("\x7fELF\x02\x01")) {
		return ""
	}
	le := binary.LittleEndian
	count := int64(le.Uint16(head[56:]))
	table := make([]byte, count*entrySize)
	if _, err := unix.Pread(file, table, int64(le.Uint64(head[32:]))); err != nil {
		return ""
	}
	for ; len(table) >= entrySize; table = table[entrySize:] {
		if le.Uint32(table) != ptInterp {
			continue
		}
		path := make([]byte, min(le.Uint64(table[32:]), unix.PathMax))
		if _, err := unix.Pread(file, path, int64(le.Uint64(table[8:]))); err != nil {
			return ""
		}
		path, _, _ = bytes.Cut(path, []byte{0})
		return string(path)
	}
	return ""
}
