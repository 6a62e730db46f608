package membrane

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/view/zone"
	"nipcells/internal/wall"
)

// /proc of a cell that sees only its names: its own processes and a few
// harmless facts. Directories are real ones, on the skeleton, made up to date
// when they are opened, so that listing them is the kernel's work. Files that tell
// of processes are memory files with what the host's say at that moment, in the
// cell's names. Everything else does not exist.

// procFile is a file of /proc; path is the host's, pid the process that it is
// about, if any.
type procFile struct {
	path   string
	pid    int
	change func(m *Membrane, b []byte) []byte // nil: shown as it is
}

// procMost is how much of a file of /proc is shown, in bytes.
const procMost = 16 << 20

// processFiles are those of a process or thread.
func processFiles(name string) (change func(*Membrane, []byte) []byte, ok bool) {
	switch name {
	case "maps":
		return (*Membrane).renameMaps, true
	case "status", "stat", "statm", "cmdline", "comm", "environ", "auxv", "limits", "oom_score_adj":
		return nil, true
	}
	return nil, false
}

var processLinks = []string{"cwd", "exe", "root"}

var processNames = []string{"auxv", "cmdline", "comm", "environ", "limits", "maps", "oom_score_adj", "stat", "statm", "status"}

// procDirs are the directories that do not depend on processes; a name that
// ends with a slash is one itself.
func procDirs(path string) (list []string, ok bool) {
	switch path {
	case "":
		return []string{"cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "sys/", "uptime", "version"}, true
	case "sys":
		return []string{"kernel/", "vm/"}, true
	case "sys/kernel":
		return []string{"cap_last_cap", "ngroups_max", "osrelease", "ostype", "pid_max", "random/", "version"}, true
	case "sys/kernel/random":
		return []string{"boot_id", "uuid"}, true
	case "sys/vm":
		return []string{"max_map_count", "mmap_min_addr", "overcommit_memory"}, true
	}
	return nil, false
}

// procFact reports whether name, below /proc, is that of a file in one of these.
func procFact(name string) bool {
	at := strings.LastIndexByte(name, '/')
	siblings, ok := procDirs(name[:max(at, 0)])
	return ok && slices.Contains(siblings, name[at+1:])
}

// procFind follows path below /proc. If it leads out again, by a magic link
// with more to follow, next is the way on from the root of names. follow says
// whether a last link is followed.
func (m *Membrane) procFind(n *notification, path []string, follow bool) (o object, next []string, errno unix.Errno) {
	m.shed()
	o.fd = -1
	if i := slices.Index(path, ".."); i >= 0 {
		return m.procUp(n, path, i)
	}
	if len(path) > 0 && (path[0] == "self" || path[0] == "thread-self") {
		caller := threadGroup(int(n.pid))
		text := strconv.Itoa(caller)
		if path[0] == "thread-self" {
			text += "/task/" + strconv.Itoa(int(n.pid))
		}
		if len(path) == 1 && !follow {
			return m.procLink("/proc/"+path[0], text)
		}
		path = append(split(text), path[1:]...)
	}
	if len(path) > 0 {
		if pid, err := strconv.Atoi(path[0]); err == nil {
			if strconv.Itoa(pid) != path[0] || !m.member(pid) {
				return o, nil, unix.ENOENT
			}
			return m.procProcess(n, pid, path, 1, follow)
		}
	}
	name := strings.Join(path, "/")
	if _, ok := procDirs(name); ok {
		return m.procDir(path)
	}
	if !procFact(name) {
		return o, nil, unix.ENOENT
	}
	f := &procFile{path: "/proc/" + name}
	if name == "loadavg" {
		f.change = hideProcesses
	}
	return m.procOpenFile(f)
}

// procUp goes one up at number i of path, if what it goes up from is there.
func (m *Membrane) procUp(n *notification, path []string, i int) (object, []string, unix.Errno) {
	o, next, errno := m.procFind(n, path[:i], true)
	if errno != 0 {
		return o, nil, errno
	}
	if next != nil {
		return o, append(next, path[i:]...), 0
	}
	defer unix.Close(o.fd)
	if o.magic {
		at, known := m.names.nameOf(o.fd)
		if !known {
			return object{fd: -1}, nil, unix.ENOENT
		}
		return object{fd: -1}, append(split(at), path[i:]...), 0
	}
	if o.dir == nil {
		return object{fd: -1}, nil, unix.ENOTDIR
	}
	up := slices.Concat([]string{"proc"}, o.dir)
	return object{fd: -1}, append(up[:len(up)-1], path[i+1:]...), 0
}

// procProcess follows path from component at on, below a process's directory
// or one of its threads'.
func (m *Membrane) procProcess(n *notification, pid int, path []string, at int, follow bool) (o object, next []string, errno unix.Errno) {
	o.fd = -1
	host := "/proc/" + strings.Join(path[:at], "/")
	if len(path) == at {
		return m.procDir(path)
	}
	rest := path[at+1:]
	switch name := path[at]; name {
	case "exe", "cwd", "root":
		return m.procMagic(n, pid, host, name, rest, follow)
	case "fd":
		if len(rest) == 0 {
			return m.procDir(path)
		}
		if fd, err := strconv.Atoi(rest[0]); err != nil || strconv.Itoa(fd) != rest[0] {
			return o, nil, unix.ENOENT
		}
		return m.procMagic(n, pid, host, "fd/"+rest[0], rest[1:], follow)
	case "task":
		switch {
		case at > 1:
			return o, nil, unix.ENOENT
		case len(rest) == 0:
			return m.procDir(path)
		}
		if tid, err := strconv.Atoi(rest[0]); err != nil || strconv.Itoa(tid) != rest[0] || unix.Access(host+"/task/"+rest[0], unix.F_OK) != nil {
			return o, nil, unix.ENOENT
		}
		return m.procProcess(n, pid, path, at+2, follow)
	default:
		change, ok := processFiles(name)
		if !ok {
			return o, nil, unix.ENOENT
		}
		if len(rest) > 0 {
			return o, nil, unix.ENOTDIR
		}
		if (name == "maps" || name == "environ" || name == "auxv") && !m.mayLookInto(pid) {
			return o, nil, unix.EACCES
		}
		return m.procOpenFile(&procFile{host + "/" + name, pid, change})
	}
}

// procOpenFile opens the host's file, to be looked at only.
func (m *Membrane) procOpenFile(f *procFile) (object, []string, unix.Errno) {
	fd, err := unix.Open(f.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return object{fd: fd, file: f}, nil, errnoOf(err)
}

func (m *Membrane) procLink(host, text string) (object, []string, unix.Errno) {
	fd, err := unix.Open(host, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return object{fd: fd, link: true, text: text}, nil, errnoOf(err)
}

// procMagic looks at or follows a link of a process: name is exe, cwd, root or
// fd/N, below the process's directory host.
func (m *Membrane) procMagic(n *notification, pid int, host, name string, rest []string, follow bool) (o object, next []string, errno unix.Errno) {
	o.fd = -1
	if !m.mayLookInto(pid) {
		return o, nil, unix.EACCES
	}
	text, errno := m.magicText(pid, host, name)
	if errno == 0 && !m.member(pid) {
		errno = unix.ENOENT
	}
	if errno != 0 {
		return o, nil, errno
	}
	if len(rest) == 0 && !follow {
		return m.procLink(host+"/"+name, text)
	}
	var err error
	switch {
	case name == "root" && m.names.need(m.names.root) != 0:
		err = unnamed
	case name == "root":
		o.fd, err = unix.FcntlInt(uintptr(m.names.root.fd), unix.F_DUPFD_CLOEXEC, 0)
	case name == "cwd":
		o.fd, errno = m.directoryOf(pid)
		err = asError(errno)
	default:
		o.fd, err = unix.Open(host+"/"+name, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	if err == nil && !m.member(pid) { // its number may have become another's
		unix.Close(o.fd)
		err = unix.ENOENT
	}
	if err != nil {
		return object{fd: -1}, nil, errnoOf(err)
	}
	if len(rest) == 0 {
		o.magic = true
		return o, nil, 0
	}
	at, known := m.names.nameOf(o.fd)
	directory := isDir(o.fd)
	unix.Close(o.fd)
	o.fd = -1
	switch {
	case !directory:
		return o, nil, unix.ENOTDIR
	case !known:
		return o, nil, unix.ENOENT
	}
	return o, append(split(at), rest...), 0
}

func asError(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// magicText is what a link of a process says, in the cell's names. A program is
// told by a name that execve(2) takes.
func (m *Membrane) magicText(pid int, host, name string) (string, unix.Errno) {
	switch name {
	case "root":
		return "/", 0
	case "cwd":
		fd, errno := m.directoryOf(pid)
		if errno != 0 {
			return "", errno
		}
		defer unix.Close(fd)
		if at, ok := m.names.nameOf(fd); ok {
			return at, 0
		}
		return "", unix.ENOENT
	}
	text, errno := linkText(host + "/" + name)
	if errno != 0 || !strings.HasPrefix(text, "/") || strings.HasPrefix(text, "/memfd:") {
		return text, errno
	}
	if at, ok := m.names.cellName(text); ok {
		if name == "exe" && strings.HasPrefix(text, m.config.Hide.Programs+"/") {
			return text, 0
		}
		return at, 0
	}
	if fact, ok := strings.CutPrefix(text, "/proc/"); ok && procFact(fact) {
		return text, 0
	}
	var st unix.Stat_t
	if err := unix.Stat(host+"/"+name, &st); err != nil {
		return "", unix.ENOENT
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR { // the terminal that the cell was given
		return text, 0
	}
	return fmt.Sprintf("outside:[%d]", st.Ino), 0
}

// openProc opens what is below /proc. w is the walk that came there.
func (m *Membrane) openProc(n *notification, w *walk, how unix.OpenHow) (int64, unix.Errno) {
	o, next, errno := m.procFind(n, w.todo, w.follow || w.slash)
	if errno != 0 {
		return 0, errno
	}
	if next != nil {
		if w.links++; w.links > maxLinks || w.resolve != 0 {
			return 0, unix.ELOOP
		}
		p, umask := way{base: -1, all: next, slash: w.slash}, -1
		if makes(how.Flags) {
			if umask, errno = m.umaskOf(n); errno != 0 {
				return 0, errno
			}
		}
		fd, again, errno := m.openWay(n, &p, how, umask)
		if again != nil {
			again.links = w.links
			return m.openProc(n, again, how)
		}
		return m.deliver(n, &p, fd, errno, how)
	}
	if w.slash && !isDir(o.fd) {
		unix.Close(o.fd)
		return 0, unix.ENOTDIR
	}
	return m.openObject(n, o, w, how)
}

func (m *Membrane) openObject(n *notification, o object, w *walk, how unix.OpenHow) (int64, unix.Errno) {
	defer unix.Close(o.fd)
	writes := how.Flags&unix.O_ACCMODE != unix.O_RDONLY || how.Flags&unix.O_TRUNC != 0
	switch {
	case how.Flags&unix.O_CREAT != 0 && how.Flags&unix.O_EXCL != 0:
		return 0, unix.EEXIST
	case o.link, o.magic && w.resolve&(unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_SYMLINKS) != 0:
		return 0, unix.ELOOP
	case o.dir != nil && (writes || how.Flags&unix.O_CREAT != 0):
		return 0, unix.EISDIR
	case how.Flags&unix.O_DIRECTORY != 0 && !isDir(o.fd):
		return 0, unix.ENOTDIR
	case o.file != nil && writes:
		return 0, unix.EACCES
	case o.file != nil:
		fd, errno := m.procRead(o.file)
		if errno != 0 {
			return 0, errno
		}
		return m.give(n, fd, how.Flags)
	}
	fd := -1
	errno := m.act(func() unix.Errno {
		var err error
		if o.dir != nil {
			fd, err = unix.Openat(o.fd, ".", int(how.Flags)&^(unix.O_NOFOLLOW|unix.O_CREAT)|unix.O_CLOEXEC, 0)
		} else {
			fd, err = reopen(o.fd, how.Flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
		}
		return errnoOf(err)
	})
	if errno == unix.EACCES && o.magic {
		return m.giveAgain(n, w, how)
	}
	return m.deliver(n, &way{base: -1}, fd, errno, how)
}

// giveAgain duplicates a descriptor that the caller has: Landlock lets it open
// nothing again that was opened for it outside, such as a terminal, or the file
// that its output goes to, but what it has it may have twice. Both share their
// position then.
func (m *Membrane) giveAgain(n *notification, w *walk, how unix.OpenHow) (int64, unix.Errno) {
	own := len(w.todo) == 3 && w.todo[1] == "fd" && (w.todo[0] == "self" || w.todo[0] == strconv.Itoa(threadGroup(int(n.pid))))
	if !own {
		return 0, unix.EACCES
	}
	number, err := strconv.Atoi(w.todo[2])
	if err != nil {
		return 0, unix.EACCES
	}
	fd, errno := m.copyOf(n, int32(number))
	if errno != 0 {
		return 0, unix.EACCES
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	has, wants := uint64(flags)&unix.O_ACCMODE, how.Flags&unix.O_ACCMODE
	if err != nil || flags&unix.O_PATH != 0 || has != unix.O_RDWR && has != wants {
		unix.Close(fd)
		return 0, unix.EACCES
	}
	return m.give(n, fd, how.Flags)
}

// procDir brings a directory of /proc up to date and opens it.
func (m *Membrane) procDir(path []string) (object, []string, unix.Errno) {
	dir := m.config.Hide.Skeleton + "/" + strings.Join(append([]string{"proc"}, path...), "/")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return object{fd: -1}, nil, unix.EACCES
	}
	if err := os.Chmod(dir, 0o755); err != nil { // it stood for itself until now
		return object{fd: -1}, nil, unix.EACCES
	}
	if err := m.refresh(dir, m.procNames(path)); err != nil {
		return object{fd: -1}, nil, unix.EACCES
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if path == nil {
		path = []string{}
	}
	return object{fd: fd, dir: path}, nil, errnoOf(err)
}

// procNames lists what is in a directory of /proc: directories with a slash,
// links with an @ behind their name.
func (m *Membrane) procNames(path []string) []string {
	list, _ := procDirs(strings.Join(path, "/"))
	list = slices.Clone(list)
	switch {
	case len(path) == 0:
		list = append(list, "self@", "thread-self@")
		for _, pid := range m.processes() {
			list = append(list, strconv.Itoa(pid)+"/")
		}
	case list != nil:
	case path[len(path)-1] == "fd" || path[len(path)-1] == "task":
		dir, err := os.ReadDir("/proc/" + strings.Join(path, "/"))
		if err != nil {
			return nil
		}
		kind := map[string]string{"fd": "@", "task": "/"}[path[len(path)-1]]
		for _, e := range dir {
			list = append(list, e.Name()+kind)
		}
	default:
		list = append(list, processNames...)
		list = append(list, "fd/")
		for _, l := range processLinks {
			list = append(list, l+"@")
		}
		if len(path) == 1 {
			list = append(list, "task/")
		}
	}
	return list
}

// refresh makes the directory of the skeleton hold the names and no others.
func (m *Membrane) refresh(dir string, list []string) error {
	want := make(map[string]bool, len(list))
	for _, name := range list {
		want[strings.TrimRight(name, "/@")] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !want[e.Name()] {
			if err := os.RemoveAll(dir + "/" + e.Name()); err != nil {
				return err
			}
		}
	}
	for _, name := range list {
		mode := uint32(unix.S_IFREG)
		switch name[len(name)-1] {
		case '/':
			mode = unix.S_IFDIR
		case '@':
			mode = unix.S_IFLNK
		}
		name = strings.TrimRight(name, "/@")
		if err := put(dir+"/"+name, mode, zone.Placeholder(name)); err != nil {
			return err
		}
	}
	return nil
}

// threadGroup returns the process that a thread belongs to.
func threadGroup(tid int) int {
	if tgid, err := wall.Facts(tid, "status", "Tgid"); err == nil {
		if pid, err := strconv.Atoi(tgid[0]); err == nil {
			return pid
		}
	}
	return tid
}
