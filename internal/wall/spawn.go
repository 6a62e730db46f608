package wall

import (
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
	// Scheduling, if not nil, is how it is scheduled, and all that it forks.
	Scheduling *unix.SchedAttr
	// FileSize, if not nil, is how long its files may become (RLIMIT_FSIZE). Longer ones
	// are refused with EFBIG alone, as long as no program asks for SIGXFSZ.
	FileSize *unix.Rlimit
	// SmallPages: it gets no huge ones, with which memory grows too quickly to be limited.
	SmallPages bool
	// Session makes it the leader of a session of its own: one without a terminal, and,
	// for the kernel's scheduler, a group of its own (sched(7), autogroup).
	Session bool
	Path    string
	Args    []string // with argv[0]
	Env     []string
	Dir     string // working directory
}

// Child is a process that Spawn made.
type Child struct {
	PID      int
	PIDFD    int // becomes readable when it ends
	Listener int // of its filter
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

	at                 int // the step that is being made
	filter, exec, exit int // these steps
	listener           uint32
	failed             int // step that failed; 0: none
	errno              uint32
}

// Spawn starts the program and returns when it has been executed. Errors of the
// child are *SpawnError.
//
// The child uses the parent's memory while the parent waits in the kernel
// (vfork), and shares its descriptors, so that the listener is the parent's as
// well; execve gives the child a table of its own.
func (s *Spawner) Spawn() (*Child, error) {
	img, err := s.image()
	if err != nil {
		return nil, err
	}
	restoreOpenFiles()
	syscall.ForkLock.Lock()
	pid, errno := spawn(img)
	syscall.ForkLock.Unlock()
	raiseOpenFiles()
	runtime.KeepAlive(img)
	if errno != 0 {
		return nil, fmt.Errorf("fork: %w", errno)
	}
	c := &Child{PID: int(pid), PIDFD: int(img.pidfd), Listener: -1}
	if img.listener != 0 {
		c.Listener = int(img.listener)
	}
	switch {
	case img.failed != 0:
		err = s.explain(img)
	case img.at < img.exec: // killed on its way
		err = errEnded
	default:
		return c, nil
	}
	c.discard()
	return nil, err
}

var errEnded = errors.New("the child ended before it was behind the wall")

// discard ends and reaps a child that did not become the program.
func (c *Child) discard() {
	_ = unix.PidfdSendSignal(c.PIDFD, unix.SIGKILL, nil, 0) // it may be gone already
	for {
		if _, err := unix.Wait4(c.PID, nil, 0, nil); err != unix.EINTR {
			break
		}
	}
	for _, fd := range []int{c.PIDFD, c.Listener} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (s *Spawner) explain(img *image) error {
	err := error(unix.Errno(img.errno))
	if img.failed == img.filter && err == unix.EBUSY {
		err = ErrListener
	}
	return &SpawnError{Step: img.steps[img.failed].what, Exec: img.failed == img.exec, Err: err}
}

// image lays out the steps.
func (s *Spawner) image() (*image, error) {
	n := len(s.Filter) / InstructionSize
	if n == 0 || n > 1<<16-1 || len(s.Filter)%InstructionSize != 0 {
		return nil, fmt.Errorf("filter of %d bytes: not between 1 and 65535 whole instructions", len(s.Filter))
	}
	pass, err := newPass()
	if err != nil {
		return nil, err
	}
	filter := pass.arm(s.Filter)
	img := &image{script: s.script(), pidfd: -1, alone: 1, fprog: sockFprog{uint16(n), &filter[0]}}
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
	img.lay(s, pass)
	return img, nil
}

// ignored is struct kernel_sigaction (asm-generic/signal.h) of SIG_IGN.
var ignored = [4]uintptr{1}

// lay puts the other steps around the way behind the wall.
func (img *image) lay(s *Spawner, pass pass) {
	const flags = unix.CLONE_VFORK | unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_CHILD_CLEARTID | unix.CLONE_PIDFD | uintptr(unix.SIGCHLD)
	behind := img.steps
	img.steps = make([]step, 0, len(behind)+13)
	add := func(what string, nr uintptr, args ...uintptr) int {
		st := step{what: what, nr: nr}
		copy(st.args[:], args)
		img.steps = append(img.steps, st)
		return len(img.steps) - 1
	}
	// The fourth and fifth argument are the address to clear and the thread
	// pointer, in an order that depends on the machine; the latter is not used.
	alone := uintptr(unsafe.Pointer(&img.alone))
	add("fork", unix.SYS_CLONE, flags, 0, uintptr(unsafe.Pointer(&img.pidfd)), alone, alone)
	if s.Mark != nil {
		add(fmt.Sprintf("mark the cell (RLIMIT_MSGQUEUE must allow at least %d)", markHard+1<<16), unix.SYS_PRLIMIT64, 0, unix.RLIMIT_MSGQUEUE, uintptr(unsafe.Pointer(s.Mark)))
		add("forbid core dumps", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, uintptr(unsafe.Pointer(&img.noCore)))
	}
	if s.Scheduling != nil { // before privileges that it may need are gone
		add("set the scheduling", unix.SYS_SCHED_SETATTR, 0, uintptr(unsafe.Pointer(s.Scheduling)), 0)
	}
	if s.FileSize != nil {
		add("limit the length of files", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_FSIZE, uintptr(unsafe.Pointer(s.FileSize)))
		add("ignore SIGXFSZ", unix.SYS_RT_SIGACTION, uintptr(unix.SIGXFSZ), uintptr(unsafe.Pointer(&ignored)), 0, 8)
	}
	if s.Session {
		add("begin a session", unix.SYS_SETSID)
	}
	if s.SmallPages {
		add("do without huge pages", unix.SYS_PRCTL, unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	}
	img.steps = append(img.steps, behind...)
	// If the supervisor dies while the cell is too young to have a guard, the
	// program dies with it. The signal comes when the forking thread ends, and
	// the Go runtime ends none but locked ones. A change of user clears it.
	add("tie the program to its supervisor", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	add("enter "+s.Dir, unix.SYS_CHDIR, uintptr(unsafe.Pointer(img.dir)))
	img.filter = add("install the seccomp filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&img.fprog)))
	img.exec = add("execute "+s.Path, unix.SYS_EXECVE, uintptr(unsafe.Pointer(img.path)), uintptr(unsafe.Pointer(&img.argv[0])), uintptr(unsafe.Pointer(&img.envv[0])),
		uintptr(pass[0]), uintptr(pass[1]), uintptr(pass[2]))
	img.exit = add("exit", unix.SYS_EXIT_GROUP, 125)
}

// restoreOpenFiles gives RLIMIT_NOFILE back the value that the caller had: the
// Go runtime raises it when a program starts, and package syscall alone knows
// the old one. syscall.Exec restores it before it tries the path, and this path
// cannot be executed.
func restoreOpenFiles() { _ = syscall.Exec("", nil, nil) }

// raiseOpenFiles lets the supervisor have as many descriptors as it may: a cell whose
// calls wait holds some of them.
func raiseOpenFiles() {
	var limit unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit) == nil && limit.Cur < limit.Max {
		limit.Cur = limit.Max
		_ = unix.Prlimit(0, unix.RLIMIT_NOFILE, &limit, nil)
	}
}

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
		result, _, e := syscall.RawSyscall6(st.nr, st.args[0], st.args[1], st.args[2], st.args[3], st.args[4], st.args[5])
		switch {
		case img.at == 0 && result == 0 && e == 0: // the child begins
			afterForkInChild()
		case img.at == 0, img.alone == 0:
			// The parent: of nothing, or of a child that has executed the program
			// or ended.
			afterFork()
			return result, e
		case e != 0:
			img.failed, img.errno = img.at, uint32(e)
			img.at = img.exit - 1
		case img.at == img.filter:
			img.listener = uint32(result)
		}
		img.at++
	}
}
