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
	// Mark, if not nil, is put on the child before anything else, so that it and
	// all that it forks can be found (see Mark); it cannot dump core either, as
	// the host's handler would get the cell's memory.
	Mark *unix.Rlimit
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
// fork and exec nothing may be allocated. Its steps are all the system calls of
// the child, the fork itself being number 0.
type image struct {
	*script
	fprog      sockFprog
	path, dir  *byte
	argv, envv []*byte
	pidfd      int32
	// alone is 1 as long as a vforked child uses this memory, then the kernel
	// writes 0 (CLONE_CHILD_CLEARTID), however the child has left it.
	alone  uint32
	noCore unix.Rlimit

	at                          int // the step that is being made
	filter, exec, failure, exit int // these steps
	asked                       bool
	listener                    uint32
	failed                      int // step that failed; 0: none
	errno                       uint32
	message                     [2]uint32 // what an asked child writes: a step and its result
}

const messageSize = 8

// Spawn starts the program. Unless it is Asked, the program has been executed
// when Spawn returns. Errors of the child are *SpawnError.
//
// Not asked, the child uses the parent's memory while the parent waits in the
// kernel until the program has been executed (vfork), and shares its descriptors,
// so that the listener is the parent's as well; execve gives the child a table
// of its own. Asked, the child is a copy that runs beside the parent, reports
// through a pipe, and the parent fetches the listener from it: it cannot have
// got past execve yet.
func (s *Spawner) Spawn() (*Child, error) {
	c := &Child{PIDFD: -1, Listener: -1, Report: -1}
	report := -1
	if s.Asked {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("make a pipe: %w", err)
		}
		c.Report, report = pipe[0], pipe[1]
		defer unix.Close(report)
	}
	img, err := s.image(report)
	if err != nil {
		unix.Close(c.Report)
		return nil, err
	}
	restoreOpenFiles()
	syscall.ForkLock.Lock()
	pid, errno := spawn(img)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(img)
	if errno != 0 {
		unix.Close(c.Report)
		return nil, fmt.Errorf("fork: %w", errno)
	}
	c.PID, c.PIDFD = int(pid), int(img.pidfd)
	if err := s.begun(c, img); err != nil {
		c.Discard()
		return nil, err
	}
	return c, nil
}

// begun finds the listener, or what went wrong.
func (s *Spawner) begun(c *Child, img *image) error {
	if !s.Asked {
		if img.listener != 0 {
			c.Listener = int(img.listener)
		}
		switch {
		case img.failed != 0:
			return s.explain(img, img.failed, img.errno)
		case img.at < img.exec:
			return errEnded // killed on its way
		}
		return nil
	}
	step, result, err := c.read()
	if err != nil {
		return err
	}
	if step != img.filter {
		return s.explain(img, step, result)
	}
	if c.Listener, err = unix.PidfdGetfd(c.PIDFD, int(result), 0); err != nil {
		return fmt.Errorf("fetch the filter's listener: %w", err)
	}
	return nil
}

// Failure waits until the program of an asked start has been executed, or
// reports why not, and closes c.Report. After an error the child is still to be
// discarded.
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
	img, err := s.image(-1)
	if err != nil {
		return err
	}
	return s.explain(img, step, result)
}

var errEnded = errors.New("the child ended before it was behind the wall")

// read returns the child's next report, errEnded if there is none.
func (c *Child) read() (step int, result uint32, err error) {
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
		return int(binary.NativeEndian.Uint32(b[:])), binary.NativeEndian.Uint32(b[4:]), nil
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

func (s *Spawner) explain(img *image, step int, result uint32) error {
	errno := unix.Errno(result)
	switch {
	case step == img.filter && errno == unix.EBUSY:
		return &SpawnError{Step: "install the seccomp filter", Err: ErrListener}
	case step > 0 && step < len(img.steps):
		return &SpawnError{Step: img.steps[step].what, Exec: step == img.exec, Err: errno}
	}
	return &SpawnError{Step: "start the program", Err: errno}
}

// image lays out the steps. report is the writing end of the pipe of an asked
// start.
func (s *Spawner) image(report int) (*image, error) {
	n := len(s.Filter) / InstructionSize
	if n == 0 || n > 1<<16-1 || len(s.Filter)%InstructionSize != 0 {
		return nil, fmt.Errorf("filter of %d bytes: not between 1 and 65535 whole instructions", len(s.Filter))
	}
	img := &image{script: s.script(), pidfd: -1, alone: 1, asked: s.Asked, fprog: sockFprog{uint16(n), &s.Filter[0]}}
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
	img.lay(s, uintptr(report))
	return img, nil
}

// lay puts the other steps around the way behind the wall.
func (img *image) lay(s *Spawner, report uintptr) {
	flags := unix.CLONE_PIDFD | uintptr(unix.SIGCHLD)
	if !s.Asked {
		flags |= unix.CLONE_VFORK | unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_CHILD_CLEARTID
	}
	behind := img.steps
	img.steps = make([]step, 0, len(behind)+8)
	add := func(what string, nr uintptr, args ...uintptr) int {
		st := step{what: what, nr: nr}
		copy(st.args[:], args)
		img.steps = append(img.steps, st)
		return len(img.steps) - 1
	}
	message := func() {
		add("report", unix.SYS_WRITE, report, uintptr(unsafe.Pointer(&img.message)), messageSize)
	}
	// The fourth and fifth argument are the address to clear and the thread
	// pointer, in an order that depends on the machine; the latter is not used.
	alone := uintptr(unsafe.Pointer(&img.alone))
	add("fork", unix.SYS_CLONE, flags, 0, uintptr(unsafe.Pointer(&img.pidfd)), alone, alone)
	if s.Mark != nil {
		add(fmt.Sprintf("mark the cell (RLIMIT_MSGQUEUE must allow at least %d)", markHard+1<<16), unix.SYS_PRLIMIT64, 0, unix.RLIMIT_MSGQUEUE, uintptr(unsafe.Pointer(s.Mark)))
		add("forbid core dumps", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, uintptr(unsafe.Pointer(&img.noCore)))
	}
	img.steps = append(img.steps, behind...)
	// If the supervisor dies while the cell is too young to have a guard, the
	// program dies with it. The signal comes when the forking thread ends, and
	// the Go runtime ends none but locked ones. A change of user clears it.
	add("tie the program to its supervisor", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	add("enter "+s.Dir, unix.SYS_CHDIR, uintptr(unsafe.Pointer(img.dir)))
	img.filter = add("install the seccomp filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&img.fprog)))
	if s.Asked {
		message()
	}
	img.exec = add("execute "+s.Path, unix.SYS_EXECVE, uintptr(unsafe.Pointer(img.path)), uintptr(unsafe.Pointer(&img.argv[0])), uintptr(unsafe.Pointer(&img.envv[0])))
	img.failure = len(img.steps)
	if s.Asked {
		message()
	}
	img.exit = add("exit", unix.SYS_EXIT_GROUP, 125)
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

// spawn makes the steps of img. The first is the fork, from which two return.
//
// A vforked child runs on its parent's stack and overwrites what lies below
// this frame, in particular the return address that the parent still needs to
// come back from its own system call. Package syscall solves that in assembly.
// Here all system calls of the child are made from one place in the code: what
// the child leaves on the stack is, to the byte that matters, what the parent
// left there. So there must be one RawSyscall6 in this function and no more,
// and all that must survive it is in img, not in variables.
//
// The child may be killed at any of its steps. Its parent then comes back with
// the position that the child had reached, and must not go on from there: what
// tells the two apart is img.alone, which the kernel clears for the parent.
//
// In the child nothing may be allocated, no stack may grow, no lock be taken.
//
//go:noinline
//go:norace
func spawn(img *image) (pid uintptr, errno unix.Errno) {
	beforeFork()
	for {
		st := &img.steps[img.at]
		result, _, e := syscall.RawSyscall6(st.nr, st.args[0], st.args[1], st.args[2], st.args[3], st.args[4], 0)
		switch {
		case img.at == 0 && result == 0 && e == 0: // the child begins
			afterForkInChild()
		case img.at == 0, img.alone == 0:
			// The parent: of a copy, of nothing, or of a child that has executed
			// the program or ended.
			afterFork()
			return result, e
		case e != 0 && img.at < img.failure:
			img.failed, img.errno = img.at, uint32(e)
			img.message[0], img.message[1] = uint32(img.at), uint32(e)
			img.at = img.failure - 1
		case img.at == img.filter:
			img.listener = uint32(result)
			img.message[0], img.message[1] = uint32(img.at), uint32(result)
		}
		img.at++
	}
}
