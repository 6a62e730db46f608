// Probe makes path calls, one for each line that it reads, and prints what they
// gave: an error's name, or what the call is for. The tests run it in a cell and
// in a chroot of the same names and compare.
//
// A line is CALL ARGUMENT…; words have no spaces, "-" is an empty one. With
// arguments it makes that one call.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "bench" {
		bench(os.Args[2])
		return
	}
	if len(os.Args) > 3 && os.Args[1] == "race" {
		race(os.Args[2], os.Args[3])
		return
	}
	unix.Umask(0o027)
	if len(os.Args) > 1 {
		fmt.Println(answer(os.Args[1:]))
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 0 {
			fmt.Println(answer(words))
		}
	}
}

func answer(words []string) string {
	for i := range words {
		if words[i] == "-" {
			words[i] = ""
		}
	}
	return probe(words[0], words[1:])
}

var flags = map[string]int{
	"RDONLY": unix.O_RDONLY, "WRONLY": unix.O_WRONLY, "RDWR": unix.O_RDWR, "CREAT": unix.O_CREAT, "EXCL": unix.O_EXCL,
	"TRUNC": unix.O_TRUNC, "APPEND": unix.O_APPEND, "DIRECTORY": unix.O_DIRECTORY, "NOFOLLOW": unix.O_NOFOLLOW, "PATH": unix.O_PATH,
	"TMPFILE": unix.O_TMPFILE, "NONBLOCK": unix.O_NONBLOCK, "CLOEXEC": unix.O_CLOEXEC,
	"BENEATH": unix.RESOLVE_BENEATH, "IN_ROOT": unix.RESOLVE_IN_ROOT, "NO_SYMLINKS": unix.RESOLVE_NO_SYMLINKS, "NO_MAGICLINKS": unix.RESOLVE_NO_MAGICLINKS,
	"LINK": unix.AT_SYMLINK_FOLLOW, "NOLINK": unix.AT_SYMLINK_NOFOLLOW, "EMPTY": unix.AT_EMPTY_PATH, "REMOVEDIR": unix.AT_REMOVEDIR,
	"NOREPLACE": unix.RENAME_NOREPLACE, "EXCHANGE": unix.RENAME_EXCHANGE, "0": 0,
}

func bits(s string) (n int) {
	for w := range strings.SplitSeq(s, "|") {
		v, ok := flags[w]
		if !ok {
			panic("no flag " + w)
		}
		n |= v
	}
	return n
}

func result(err error) string {
	if err == nil {
		return "ok"
	}
	return unix.ErrnoName(err.(unix.Errno))
}

// probe makes one call.
func probe(call string, a []string) string {
	if f, ok := looks[call]; ok {
		return f(a)
	}
	f, ok := changes[call]
	if !ok {
		panic("no call " + call)
	}
	return result(f(a))
}

// with opens the directory a path call begins at, as a path.
func with(dir string, f func(fd int) string) string {
	if dir == "" {
		return f(unix.AT_FDCWD)
	}
	fd, err := unix.Open(dir, unix.O_PATH, 0)
	if err != nil {
		return "dir " + result(err)
	}
	defer unix.Close(fd)
	return f(fd)
}

// opened says what a descriptor is good for.
func opened(fd int, err error) string {
	if err != nil {
		return result(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return result(err)
	}
	state, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	descriptor, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return fmt.Sprintf("ok type %o mode %o flags %x %d", st.Mode&unix.S_IFMT, st.Mode&0o7777, state&(unix.O_ACCMODE|unix.O_APPEND|unix.O_NONBLOCK), descriptor)
}

func described(st *unix.Stat_t, err error) string {
	if err != nil {
		return result(err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Sprintf("ok directory %o", st.Mode&0o7777)
	}
	if st.Mode&0o200 == 0 { // of a package: other blobs may be linked as often, and programs are of any size
		return fmt.Sprintf("ok type %o mode %o", st.Mode&unix.S_IFMT, st.Mode&0o7777)
	}
	return fmt.Sprintf("ok type %o mode %o size %d links %d", st.Mode&unix.S_IFMT, st.Mode&0o7777, st.Size, st.Nlink)
}

// letters are those of the types of files, by number as in struct dirent.
const letters = "?pc?d?b?-?l?s???"

func kindOf(e os.DirEntry) int {
	switch m := e.Type(); {
	case m.IsRegular():
		return unix.DT_REG
	case m.IsDir():
		return unix.DT_DIR
	case m&os.ModeSymlink != 0:
		return unix.DT_LNK
	case m&os.ModeCharDevice != 0:
		return unix.DT_CHR
	case m&os.ModeNamedPipe != 0:
		return unix.DT_FIFO
	}
	return unix.DT_UNKNOWN
}

// listing prints what say makes of each name in a directory.
func listing(dir string, say func(os.DirEntry) string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return result(err.(*os.PathError).Err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, say(e))
	}
	return strings.Join(list, " ")
}

// realpath is realpath(3) by lstat and readlink.
func realpath(path string) string {
	if path == "" {
		return "ENOENT"
	}
	at, links := "", 0
	if path[0] != '/' {
		var b [4096]byte
		n, err := unix.Getcwd(b[:])
		if err != nil {
			return result(err)
		}
		at = strings.TrimSuffix(string(b[:n-1]), "/")
	}
	for path != "" {
		c, rest, more := strings.Cut(path, "/")
		path = rest
		switch c {
		case "", ".":
			continue
		case "..":
			at = at[:max(strings.LastIndexByte(at, '/'), 0)]
			continue
		}
		var st unix.Stat_t
		if err := unix.Lstat(at+"/"+c, &st); err != nil {
			return result(err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			if at += "/" + c; more {
				if err := unix.Stat(at+"/", &st); err != nil {
					return result(err)
				}
			}
			continue
		}
		var b [4096]byte
		n, err := unix.Readlink(at+"/"+c, b[:])
		if err != nil {
			return result(err)
		}
		if links++; links > 40 {
			return "ELOOP"
		}
		if b[0] == '/' {
			at = ""
		}
		path = string(b[:n])
		if more {
			path += "/" + rest
		}
	}
	if at == "" {
		at = "/"
	}
	return "ok " + at
}

// spawn starts a program and says what it printed.
func spawn(a []string) string {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	defer r.Close()
	pid, err := syscall.ForkExec(a[0], a, &syscall.ProcAttr{Files: []uintptr{0, w.Fd(), 2}})
	w.Close()
	if err != nil {
		return result(err)
	}
	text, _ := io.ReadAll(r)
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || status != 0 {
		return fmt.Sprintf("status %x", int(status))
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return "ok " + line
}

func pointer(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	return uintptr(unsafe.Pointer(p))
}

var looks = map[string]func(a []string) string{
	"open": func(a []string) string { return opened(unix.Open(a[0], bits(a[1]), 0o666)) },
	"openat": func(a []string) string {
		return with(a[0], func(fd int) string { return opened(unix.Openat(fd, a[1], bits(a[2]), 0o666)) })
	},
	"fopen": func(a []string) string { return opened(unix.Open(a[0], unix.O_RDONLY, 0)) },
	"openat2": func(a []string) string {
		how := unix.OpenHow{Flags: uint64(bits(a[2])), Resolve: uint64(bits(a[3]))}
		if how.Flags&unix.O_CREAT != 0 {
			how.Mode = 0o666
		}
		return with(a[0], func(fd int) string { return opened(unix.Openat2(fd, a[1], &how)) })
	},
	"stat": func(a []string) string {
		var st unix.Stat_t
		return described(&st, unix.Stat(a[0], &st))
	},
	"lstat": func(a []string) string {
		var st unix.Stat_t
		return described(&st, unix.Lstat(a[0], &st))
	},
	"fstatat": func(a []string) string {
		var st unix.Stat_t
		return with(a[0], func(fd int) string { return described(&st, unix.Fstatat(fd, a[1], &st, bits(a[2]))) })
	},
	"statx": func(a []string) string {
		var st unix.Statx_t
		return with(a[0], func(fd int) string {
			err := unix.Statx(fd, a[1], bits(a[2]), unix.STATX_BASIC_STATS, &st)
			if err != nil {
				return result(err)
			}
			return fmt.Sprintf("ok type %o mode %o", st.Mode&unix.S_IFMT, st.Mode&0o7777)
		})
	},
	"readlink": func(a []string) string {
		return with(a[0], func(fd int) string {
			var b [4096]byte
			n, err := unix.Readlinkat(fd, a[1], b[:])
			return result(err) + " " + string(b[:max(n, 0)])
		})
	},
	"getcwd": func([]string) string {
		var b [4096]byte
		n, err := unix.Getcwd(b[:])
		return result(err) + " " + strings.TrimRight(string(b[:max(n, 0)]), "\x00")
	},
	"statfs": func(a []string) string {
		var st unix.Statfs_t
		return result(unix.Statfs(a[0], &st))
	},
	"getxattr": func(a []string) string {
		b := make([]byte, 64)
		n, err := unix.Getxattr(a[0], a[1], b)
		return result(err) + " " + string(b[:max(n, 0)])
	},
	"listxattr": func(a []string) string {
		_, err := unix.Listxattr(a[0], make([]byte, 1024))
		return result(err)
	},
	"list": func(a []string) string {
		return listing(a[0], func(e os.DirEntry) string { return e.Name() })
	},
	"kinds": func(a []string) string {
		return listing(a[0], func(e os.DirEntry) string {
			var st unix.Stat_t
			seen := "!"
			if unix.Lstat(a[0]+"/"+e.Name(), &st) == nil {
				seen = string(letters[st.Mode>>12&15])
			}
			return e.Name() + ":" + string(letters[kindOf(e)]) + seen
		})
	},
	"read": func(a []string) string {
		b, err := os.ReadFile(a[0])
		if err != nil {
			return result(err.(*os.PathError).Err)
		}
		return strconv.Quote(string(b))
	},
	"spawn":    spawn,
	"fork":     spawn,
	"realpath": func(a []string) string { return realpath(a[0]) },
	"exec": func(a []string) string {
		_, _, errno := unix.Syscall(unix.SYS_EXECVE, pointer(a[0]), 0, 0)
		return result(errno)
	},
	"handle": func(a []string) string {
		_, _, err := unix.NameToHandleAt(unix.AT_FDCWD, a[0], 0)
		return result(err)
	},
}

func at(dir string, f func(fd int) error) error {
	if dir == "" {
		return f(unix.AT_FDCWD)
	}
	fd, err := unix.Open(dir, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

var changes = map[string]func(a []string) error{
	"access":   func(a []string) error { return unix.Access(a[0], uint32(a[1][0]-'0')) },
	"faccess2": func(a []string) error { return unix.Faccessat2(unix.AT_FDCWD, a[0], unix.R_OK, bits(a[1])) },
	"rawchdir": func(a []string) error { return unix.Chdir(a[0]) },
	"syschdir": func(a []string) error { return unix.Chdir(a[0]) },
	"chdir":    func(a []string) error { return unix.Chdir(a[0]) },
	"fchdir":   func(a []string) error { return at(a[0], unix.Fchdir) },
	"truncate": func(a []string) error { return unix.Truncate(a[0], 3) },
	"mkdir":    func(a []string) error { return unix.Mkdir(a[0], 0o777) },
	"mkdirat":  func(a []string) error { return at(a[0], func(fd int) error { return unix.Mkdirat(fd, a[1], 0o777) }) },
	"mkfifo":   func(a []string) error { return unix.Mknod(a[0], unix.S_IFIFO|0o666, 0) },
	"mkfile":   func(a []string) error { return unix.Mknod(a[0], unix.S_IFREG|0o666, 0) },
	"mkdev":    func(a []string) error { return unix.Mknod(a[0], unix.S_IFCHR|0o666, 0x103) },
	"rmdir":    func(a []string) error { return unix.Rmdir(a[0]) },
	"unlink":   func(a []string) error { return unix.Unlink(a[0]) },
	"unlinkat": func(a []string) error {
		return at(a[0], func(fd int) error { return unix.Unlinkat(fd, a[1], bits(a[2])) })
	},
	"symlink": func(a []string) error { return unix.Symlink(a[0], a[1]) },
	"link":    func(a []string) error { return unix.Link(a[0], a[1]) },
	"linkat":  func(a []string) error { return unix.Linkat(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], bits(a[2])) },
	"rename":  func(a []string) error { return unix.Rename(a[0], a[1]) },
	"rename2": func(a []string) error {
		return unix.Renameat2(unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], uint(bits(a[2])))
	},
	"chmod":    func(a []string) error { return unix.Chmod(a[0], 0o640) },
	"chown":    func(a []string) error { return unix.Lchown(a[0], -1, -1) },
	"utime":    func(a []string) error { return unix.Utime(a[0], &unix.Utimbuf{Modtime: 1e9}) },
	"setxattr": func(a []string) error { return unix.Setxattr(a[0], a[1], []byte("value"), 0) },
	"write": func(a []string) error {
		fd, err := unix.Open(a[0], unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o666)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, []byte(a[1]))
		return err
	},
	"watch": func(a []string) error {
		fd, err := unix.InotifyInit1(0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.InotifyAddWatch(fd, a[0], unix.IN_ALL_EVENTS)
		return err
	},
}

// bench prints the nanoseconds that calls on file take.
func bench(file string) {
	const times = 4000
	clock := func(name string, f func()) {
		f()
		begin := time.Now()
		for range times {
			f()
		}
		fmt.Printf("%s %d\n", name, time.Since(begin).Nanoseconds()/times)
	}
	clock("open+close", func() {
		if fd, err := unix.Open(file, unix.O_RDONLY, 0); err == nil {
			unix.Close(fd)
		}
	})
	var st unix.Stat_t
	clock("stat", func() { _ = unix.Stat(file, &st) })
	clock("stat-missing", func() { _ = unix.Stat(file+"-missing", &st) })
	clock("access", func() { _ = unix.Access(file, unix.R_OK) })
	var b [4096]byte
	clock("getcwd", func() { _, _ = unix.Getcwd(b[:]) })
}

// race opens, again and again, a path that another thread swaps between two of
// the same length, and prints what it read from which file it was.
func race(good, bad string) {
	if len(good) != len(bad) {
		panic("paths of different lengths")
	}
	path := append([]byte(good), 0)
	p := uintptr(unsafe.Pointer(&path[0]))
	for range 3 {
		go func() {
			for {
				copy(path, bad)
				copy(path, good)
			}
		}()
	}
	seen := map[string]int{}
	at := int(unix.AT_FDCWD)
	var st unix.Stat_t
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), p, unix.O_RDONLY, 0, 0, 0)
		if errno != 0 {
			seen["open "+unix.ErrnoName(errno)]++
		} else {
			var b [64]byte
			n, _ := unix.Read(int(fd), b[:])
			unix.Close(int(fd))
			seen[fmt.Sprintf("read %q", b[:max(n, 0)])]++
		}
		_, _, errno = unix.Syscall6(unix.SYS_NEWFSTATAT, uintptr(at), p, uintptr(unsafe.Pointer(&st)), 0, 0, 0)
		seen[fmt.Sprintf("stat %s %d", unix.ErrnoName(errno), st.Size)]++
		st.Size = 0
		_, _, errno = unix.Syscall(unix.SYS_CHDIR, p, 0, 0)
		seen["chdir "+unix.ErrnoName(errno)]++
	}
	for what := range seen {
		fmt.Println(what)
	}
}
