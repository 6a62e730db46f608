package wall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Spawner starts one program behind a wall. Spawn forks; the child goes behind
// the wall by itself and executes the program, so that no thread of this
// process is ever in the cell's Landlock domain.
type Spawner struct {
	Confinement
	Filter []byte // from Filter.Bytes
	Path   string
	Args   []string // with argv[0]
	Env    []string
	Dir    string // working directory

	listener, failure [2]int // pipes: reading end, writing end
}

// SpawnError reports which step in the child failed.
type SpawnError struct {
	Step string
	Exec bool // the step was execve itself
	Err  error
}

func (e *SpawnError) Error() string { return e.Step + ": " + e.Err.Error() }
func (e *SpawnError) Unwrap() error { return e.Err }

// Prepare makes the pipes on which the child reports. It comes before Listener
// and Spawn, which then may run at the same time.
func (s *Spawner) Prepare() error {
	if err := unix.Pipe2(s.listener[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	if err := unix.Pipe2(s.failure[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		unix.Close(s.listener[0])
		unix.Close(s.listener[1])
		return fmt.Errorf("make a pipe: %w", err)
	}
	return nil
}

// ErrNoListener reports that the child ended before it had a filter.
var ErrNoListener = errors.New("the program was not started")

// Listener waits for the descriptor of the filter's listener. The child shares
// this process's descriptors until it executes the program, so the number that
// it tells is one of ours.
func (s *Spawner) Listener() (int, error) {
	defer unix.Close(s.listener[0])
	var b [4]byte
	for {
		n, err := unix.Read(s.listener[0], b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != len(b) {
			return -1, ErrNoListener
		}
		return int(binary.NativeEndian.Uint32(b[:])), nil
	}
}

// sockFprog is struct sock_fprog (linux/filter.h).
type sockFprog struct {
	len    uint16
	filter *byte
}

// image is everything that the child needs, laid out before the fork: between
// fork and exec nothing may be allocated.
type image struct {
	*script
	fprog            sockFprog
	path, dir        *byte
	argv, envv       []*byte
	listener, failed uintptr
	answer           [2]uint32 // what the child writes: step, errno
	fd               uint32
}

// Numbers of the steps that are not in the script.
const (
	stepFilter = 1000 + iota
	stepReport
	stepDir
	stepExec
)

// Spawn starts the program and returns its pid when it has been executed.
// Errors of the child are *SpawnError.
func (s *Spawner) Spawn() (pid int, err error) {
	defer unix.Close(s.failure[0])
	img, err := s.image()
	if err != nil {
		unix.Close(s.listener[1])
		unix.Close(s.failure[1])
		return 0, err
	}
	restoreOpenFiles()
	syscall.ForkLock.Lock()
	n, errno := spawn(img)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(img)
	unix.Close(s.listener[1])
	unix.Close(s.failure[1])
	if errno != 0 {
		return 0, fmt.Errorf("fork: %w", errno)
	}
	var answer [8]byte
	if k, err := unix.Read(s.failure[0], answer[:]); err == nil && k == len(answer) {
		var ws unix.WaitStatus
		for {
			if _, err := unix.Wait4(int(n), &ws, 0, nil); err != unix.EINTR {
				break
			}
		}
		return 0, img.explain(binary.NativeEndian.Uint32(answer[:]), unix.Errno(binary.NativeEndian.Uint32(answer[4:])), s)
	}
	return int(n), nil
}

func (img *image) explain(step uint32, errno unix.Errno, s *Spawner) error {
	switch {
	case step == stepExec:
		return &SpawnError{Step: "execute " + s.Path, Exec: true, Err: errno}
	case step == stepDir:
		return &SpawnError{Step: "enter " + s.Dir, Err: errno}
	case step == stepFilter && errno == unix.EBUSY:
		return &SpawnError{Step: "install the seccomp filter", Err: ErrListener}
	case step == stepFilter:
		return &SpawnError{Step: "install the seccomp filter", Err: errno}
	case int(step) < len(img.steps):
		return &SpawnError{Step: img.steps[step].what, Err: errno}
	}
	return &SpawnError{Step: "start the program", Err: errno}
}

func (s *Spawner) image() (*image, error) {
	img := &image{script: s.script(), listener: uintptr(s.listener[1]), failed: uintptr(s.failure[1]),
		fprog: sockFprog{uint16(len(s.Filter) / InstructionSize), &s.Filter[0]}}
	var err error
	if img.path, err = unix.BytePtrFromString(s.Path); err != nil {
		return nil, fmt.Errorf("program %q: %w", s.Path, err)
	}
	if img.dir, err = unix.BytePtrFromString(s.Dir); err != nil {
		return nil, fmt.Errorf("directory %q: %w", s.Dir, err)
	}
	if img.argv, err = syscall.SlicePtrFromStrings(s.Args); err != nil {
		return nil, fmt.Errorf("arguments: a NUL byte: %w", err)
	}
	if img.envv, err = syscall.SlicePtrFromStrings(s.Env); err != nil {
		return nil, fmt.Errorf("environment: a NUL byte: %w", err)
	}
	return img, nil
}

// restoreOpenFiles gives RLIMIT_NOFILE back the value that the caller had: the
// Go runtime raises it when a program starts, and package syscall alone knows
// the old one. syscall.Exec restores it before it tries the path, and this path
// cannot be executed.
func restoreOpenFiles() { _ = syscall.Exec("", nil, nil) }

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// spawn is the fork. The parent waits until the child has executed the program
// or ended (CLONE_VFORK), but does not share its memory with it: only that
// makes a child safe without assembly. They share descriptors (CLONE_FILES), so
// that the listener is the parent's; execve gives the child its own table.
//
// In the child nothing may be allocated, no stack may grow and no lock be
// taken: it makes raw system calls on what img holds.
//
//go:noinline
//go:norace
func spawn(img *image) (pid uintptr, errno unix.Errno) {
	var (
		i  int
		e  syscall.Errno
		fd uintptr
		st *step
	)
	const write, exit = unix.SYS_WRITE, unix.SYS_EXIT_GROUP
	beforeFork()
	pid, _, e = syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VFORK|unix.CLONE_FILES|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 || pid != 0 {
		afterFork()
		return pid, e
	}
	afterForkInChild()

	for i = 0; i < len(img.steps); i++ {
		st = &img.steps[i]
		_, _, e = syscall.RawSyscall6(st.nr, st.args[0], st.args[1], st.args[2], st.args[3], st.args[4], 0)
		if e != 0 {
			goto fail
		}
	}
	i = stepDir
	if _, _, e = syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(img.dir)), 0, 0); e != 0 {
		goto fail
	}
	i = stepFilter
	fd, _, e = syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&img.fprog)))
	if e != 0 {
		goto fail
	}
	img.fd = uint32(fd)
	i = stepReport
	if _, _, e = syscall.RawSyscall(write, img.listener, uintptr(unsafe.Pointer(&img.fd)), unsafe.Sizeof(img.fd)); e != 0 {
		goto fail
	}
	i = stepExec
	_, _, e = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(img.path)), uintptr(unsafe.Pointer(&img.argv[0])), uintptr(unsafe.Pointer(&img.envv[0])))

fail:
	img.answer[0], img.answer[1] = uint32(i), uint32(e)
	syscall.RawSyscall(write, img.failed, uintptr(unsafe.Pointer(&img.answer)), unsafe.Sizeof(img.answer))
	for {
		syscall.RawSyscall(exit, 125, 0, 0)
	}
}
