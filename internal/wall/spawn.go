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
	// Asked says that the filter asks the listener about execve, so that the
	// program starts only when the caller of Spawn answers.
	Asked bool
	Path  string
	Args  []string // with argv[0]
	Env   []string
	Dir   string // working directory
}

// Child is a process that Spawn made.
type Child struct {
	PID      int
	PIDFD    int // becomes readable when it ends
	Listener int // of its filter
	// Report is, for an asked start, the end of a pipe that is closed when the
	// program has been executed and else tells why not (see Spawner.Failure).
	Report int
}

// SpawnError reports which step in the child failed.
type SpawnError struct {
	Step string
	Exec bool // the step was execve itself
	Err  error
}

func (e *SpawnError) Error() string { return e.Step + ": " + e.Err.Error() }
func (e *SpawnError) Unwrap() error { return e.Err }

// sockFprog is struct sock_fprog (linux/filter.h).
type sockFprog struct {
	len    uint16
	filter *byte
}

// image is everything that the child needs, laid out before the fork: between
// fork and exec nothing may be allocated.
type image struct {
	*script
	fprog      sockFprog
	path, dir  *byte
	argv, envv []*byte
	report     uintptr   // the pipe's writing end
	message    [2]uint32 // what the child writes: a step and its result
	flags      uintptr
	pidfd      int32
}

// Numbers of the steps that are not in the script. After stepFilter the child
// reports the listener's descriptor; all other reports are errors.
const (
	stepFilter = 1000 + iota
	stepListener
	stepDir
	stepExec
)

const messageSize = 8

// Spawn starts the program. Unless it is Asked, the program has been executed
// when Spawn returns. Errors of the child are *SpawnError.
//
// Not asked, the parent waits in the kernel until the child has executed the
// program (CLONE_VFORK) and shares its descriptors with it (CLONE_FILES), so
// that the listener is the parent's as well; execve gives the child a table of
// its own. Asked, the two run side by side, and the parent fetches the listener
// from the child, which cannot have got past execve yet.
func (s *Spawner) Spawn() (*Child, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	img, err := s.image(pipe[1])
	if err != nil {
		unix.Close(pipe[0])
		unix.Close(pipe[1])
		return nil, err
	}
	restoreOpenFiles()
	syscall.ForkLock.Lock()
	pid, errno := spawn(img)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(img)
	unix.Close(pipe[1])
	if errno != 0 {
		unix.Close(pipe[0])
		return nil, fmt.Errorf("fork: %w", errno)
	}
	c := &Child{PID: int(pid), PIDFD: int(img.pidfd), Listener: -1, Report: pipe[0]}
	if err := s.begun(c, img); err != nil {
		c.Discard()
		return nil, err
	}
	if !s.Asked {
		if err := s.Failure(c); err != nil {
			c.Discard()
			return nil, err
		}
	}
	return c, nil
}

// begun reads the listener from the child's first report.
func (s *Spawner) begun(c *Child, img *image) error {
	step, result, err := c.read()
	switch {
	case err != nil:
		return err
	case step != stepListener:
		return s.explain(img.script, step, result)
	case !s.Asked:
		c.Listener = int(result)
		return nil
	}
	if c.Listener, err = unix.PidfdGetfd(c.PIDFD, int(result), 0); err != nil {
		return fmt.Errorf("fetch the filter's listener: %w", err)
	}
	return nil
}

// Failure waits until the program has been executed, or reports why not, and
// closes c.Report. After an error the child is still to be discarded.
func (s *Spawner) Failure(c *Child) error {
	step, result, err := c.read()
	unix.Close(c.Report)
	c.Report = -1
	switch {
	case errors.Is(err, errEnded):
		return nil
	case err != nil:
		return err
	}
	return s.explain(s.script(), step, result)
}

var errEnded = errors.New("the child ended before it was behind the wall")

// read returns the child's next report, errEnded if there is none.
func (c *Child) read() (step, result uint32, err error) {
	var b [messageSize]byte
	for {
		n, err := unix.Read(c.Report, b[:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, 0, fmt.Errorf("read the child's report: %w", err)
		case n != len(b):
			return 0, 0, errEnded
		}
		return binary.NativeEndian.Uint32(b[:]), binary.NativeEndian.Uint32(b[4:]), nil
	}
}

// Discard ends and reaps a child that did not become the program.
func (c *Child) Discard() {
	_ = unix.PidfdSendSignal(c.PIDFD, unix.SIGKILL, nil, 0) // it may be gone already
	for {
		if _, err := unix.Wait4(c.PID, nil, 0, nil); err != unix.EINTR {
			break
		}
	}
	for _, fd := range []int{c.PIDFD, c.Listener, c.Report} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (s *Spawner) explain(steps *script, step, result uint32) error {
	errno := unix.Errno(result)
	switch {
	case step == stepExec:
		return &SpawnError{Step: "execute " + s.Path, Exec: true, Err: errno}
	case step == stepDir:
		return &SpawnError{Step: "enter " + s.Dir, Err: errno}
	case step == stepFilter && errno == unix.EBUSY:
		return &SpawnError{Step: "install the seccomp filter", Err: ErrListener}
	case step == stepFilter:
		return &SpawnError{Step: "install the seccomp filter", Err: errno}
	case int(step) < len(steps.steps):
		return &SpawnError{Step: steps.steps[step].what, Err: errno}
	}
	return &SpawnError{Step: "start the program", Err: errno}
}

func (s *Spawner) image(report int) (*image, error) {
	img := &image{script: s.script(), report: uintptr(report), pidfd: -1, flags: unix.CLONE_PIDFD | uintptr(unix.SIGCHLD),
		fprog: sockFprog{uint16(len(s.Filter) / InstructionSize), &s.Filter[0]}}
	if !s.Asked {
		img.flags |= unix.CLONE_VFORK | unix.CLONE_FILES
	}
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

// spawn is the fork. The child does not share the parent's memory: only that
// makes it safe without assembly. In it nothing may be allocated, no stack may
// grow and no lock be taken: it makes raw system calls on what img holds.
//
//go:noinline
//go:norace
func spawn(img *image) (pid uintptr, errno unix.Errno) {
	var (
		i      uint32
		e      syscall.Errno
		result uintptr
		st     *step
	)
	const write, exit = unix.SYS_WRITE, unix.SYS_EXIT_GROUP
	beforeFork()
	pid, _, e = syscall.RawSyscall6(unix.SYS_CLONE, img.flags, 0, uintptr(unsafe.Pointer(&img.pidfd)), 0, 0, 0)
	if e != 0 || pid != 0 {
		afterFork()
		return pid, e
	}
	afterForkInChild()

	for i = 0; int(i) < len(img.steps); i++ {
		st = &img.steps[i]
		_, _, e = syscall.RawSyscall6(st.nr, st.args[0], st.args[1], st.args[2], st.args[3], st.args[4], 0)
		if e != 0 {
			goto fail
		}
	}
	// If the supervisor dies while the cell is too young to have a guard, the
	// program dies with it. The signal comes when the forking thread ends, and
	// the Go runtime ends none but locked ones. A change of user clears it: set after.
	syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	i = stepDir
	if _, _, e = syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(img.dir)), 0, 0); e != 0 {
		goto fail
	}
	i = stepFilter
	result, _, e = syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&img.fprog)))
	if e != 0 {
		goto fail
	}
	img.message[0], img.message[1] = stepListener, uint32(result)
	syscall.RawSyscall(write, img.report, uintptr(unsafe.Pointer(&img.message)), messageSize)
	i = stepExec
	_, _, e = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(img.path)), uintptr(unsafe.Pointer(&img.argv[0])), uintptr(unsafe.Pointer(&img.envv[0])))

fail:
	img.message[0], img.message[1] = i, uint32(e)
	syscall.RawSyscall(write, img.report, uintptr(unsafe.Pointer(&img.message)), messageSize)
	for {
		syscall.RawSyscall(exit, 125, 0, 0)
	}
}
