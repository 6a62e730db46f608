// Package membrane is the supervisor's side of a cell: it takes the system
// calls that the cell's filter does not decide by itself, answers those it has
// a handler for, and treats every other as a capability fault.
//
// What it decides, it decides on copies: a path is read from the cell's memory
// once, a descriptor is fetched with pidfd_getfd, and the deed is done on that
// copy by a thread that carries the cell's own Landlock rules, its user and no
// capability (the opener). Nothing continues in the kernel on the strength of a
// string or number that the cell can still change, with one exception, before
// the cell's first instruction: the execve that starts the program.
// New processes are asked for, too, and go on in the kernel if the cell is not
// about to end: what counts there are registers, which cannot change.
//
// Sources: seccomp_unotify(2), pidfd_getfd(2), process_vm_readv(2).
package membrane

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/wall"
)

// Config describes the cell that a Membrane serves.
type Config struct {
	// Listener waits for the filter's listener, which the Membrane then closes.
	Listener func() (int, error)
	Arch     wall.Arch
	Pledge   capability.Pledge
	Deny     bool // answer faults with EPERM instead of killing
	// Writable are the directories and files, as resolved host paths, below
	// which modes, times and extended attributes may be changed and files
	// locked; Readable those in which changes may also be watched.
	Writable, Readable []string
	// Confine puts the cell's rules around an opener's thread.
	Confine func() error
	// OnFault is told of each fault before the process is killed. It runs on
	// the listener's thread: the cell's process waits meanwhile.
	OnFault func(Fault)
}

// Fault is a system call that the cell's pledge does not permit.
type Fault struct {
	PID     int    // of the thread
	Program string // its name, as the process set it: untrusted
	Call    string
	Args    [6]uint64
	Missing capability.Pledge // promise that would permit the call; 0: none does
	Killed  bool
}

// Membrane serves one listener.
type Membrane struct {
	config   Config
	listener int
	handlers map[uint32]handler
	opener   opener
	launched bool        // the program's first execve has passed
	ending   atomic.Bool // no new processes
	pagesize uint64
}

// handler answers one call. It returns the call's result, or a nonzero errno,
// or later if it has taken care of the answer itself.
type handler func(m *Membrane, n *notification) (value int64, errno unix.Errno)

// later as an errno says that the handler answers, or has answered, by itself.
const later = unix.Errno(1<<16 - 1)

// Start serves the listener, on a thread of its own, until the last process of
// the cell is gone.
func Start(c Config) *Membrane {
	m := &Membrane{config: c, pagesize: uint64(unix.Getpagesize())}
	go m.serve()
	return m
}

// End refuses the cell all further processes. Those that are being made while
// End is called belong to callers that can be killed, which undoes them.
func (m *Membrane) End() { m.ending.Store(true) }

// serve takes notifications one by one. The thread blocks every signal: an
// interrupted ADDFD with the SEND flag would hand the program descriptor 0.
func (m *Membrane) serve() {
	runtime.LockOSThread()
	blockSignals()
	m.handlers = handlers(m.config.Arch, m.config.Pledge)
	var err error
	if m.listener, err = m.config.Listener(); err != nil {
		return // the program was not started; who started it knows why
	}
	defer unix.Close(m.listener)
	// Wake-ups on the caller's own core: 25 us a call instead of 200. A kernel
	// that refuses (older than 6.6) is only slower.
	_ = setSyncWakeUp(m.listener)
	for {
		var n notification
		switch err := receive(m.listener, &n); {
		case errors.Is(err, unix.ENOENT) && !abandoned(m.listener), errors.Is(err, unix.EINTR):
			continue // the caller was killed before we took it
		case err != nil:
			return // the last process is gone
		}
		m.answer(&n)
	}
}

func (m *Membrane) answer(n *notification) {
	if m.launching(n) {
		m.proceed(n)
		return
	}
	h, ok := m.handlers[n.nr]
	if !ok || n.arch != m.config.Arch.Audit() {
		m.fault(n)
		return
	}
	value, errno := h(m, n)
	if errno == later {
		return
	}
	m.reply(n, value, errno)
}

// reply gives the call its result. A caller that is gone (ENOENT) needs none.
func (m *Membrane) reply(n *notification, value int64, errno unix.Errno) {
	_ = respond(m.listener, response{id: n.id, val: value, errno: -int32(errno)})
}

// proceed lets the kernel carry out the call as it stands in the caller's
// registers. It is for calls whose
// pointers, if any, decide nothing.
func (m *Membrane) proceed(n *notification) {
	_ = respond(m.listener, response{id: n.id, flags: flagContinue})
}

// newProcess handles fork, vfork and clone.
func newProcess(m *Membrane, n *notification) (int64, unix.Errno) {
	if m.ending.Load() {
		return 0, unix.EAGAIN
	}
	m.proceed(n)
	return 0, later
}

// launching reports whether n is the execve that starts the program. Until
// then only our own code has run behind the filter, so nothing there can be
// changed by the cell.
func (m *Membrane) launching(n *notification) bool {
	if m.launched || n.arch != m.config.Arch.Audit() || m.config.Arch.CallName(n.nr) != "execve" {
		return false
	}
	m.launched = true
	return true
}

// fault tells of the call and kills the process that made it, or refuses it.
func (m *Membrane) fault(n *notification) {
	f := Fault{
		PID: int(n.pid), Program: programName(int(n.pid)), Call: m.config.Arch.CallName(n.nr), Args: n.args,
		Missing: wall.Missing(m.config.Arch, m.config.Pledge, n.nr), Killed: !m.config.Deny,
	}
	if n.arch != m.config.Arch.Audit() {
		f.Call, f.Missing = fmt.Sprintf("call %d of another architecture", n.nr), 0
	}
	if !m.valid(n) {
		return // killed meanwhile: the number may be another process's now
	}
	m.config.OnFault(f)
	if f.Killed && m.valid(n) {
		// A thread's number kills its whole process. The caller stays blocked
		// in the call until then, so the number is still its own.
		_ = unix.Kill(int(n.pid), unix.SIGKILL)
	}
	m.reply(n, 0, unix.EPERM)
}

// valid reports whether the caller still waits for the answer to n, so that
// what was read from its memory and descriptors was really its own.
func (m *Membrane) valid(n *notification) bool { return stillValid(m.listener, n.id) }
