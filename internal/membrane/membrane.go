// Package membrane is the supervisor's side of a cell: it takes the system
// calls that the cell's filter does not decide by itself, answers those it has
// a handler for, and treats every other as a capability fault.
//
// What it decides, it decides on copies: a path is read from the cell's memory
// once, a descriptor is fetched with pidfd_getfd, and the deed is done on that
// copy by a thread that carries the cell's own Landlock rules, its user and no
// capability (the opener). Nothing continues in the kernel on the strength of a
// string or number that the cell can still change.
//
// Sources: seccomp_unotify(2), pidfd_getfd(2), process_vm_readv(2).
package membrane

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/view/zone"
	"nipcells/internal/wall"
)

// Config describes the cell that a Membrane serves.
type Config struct {
	Listener int // of the cell's filter; the Membrane closes it when it is abandoned
	Arch     wall.Arch
	Pledge   capability.Pledge
	Deny     bool // answer faults with EPERM instead of killing
	// Writable are the directories and files, as resolved host paths, below
	// which modes, times and extended attributes may be changed and files
	// locked; Readable those in which changes may also be watched.
	Writable, Readable []string
	// Network says whom sockets may reach; nil: nobody.
	Network *Network
	// Own are those of Writable that are the cell's own: where its sockets have names.
	Own []string
	// Hide, if not nil, says what alone exists for the cell. The filter's sight is
	// not wall.Bare then.
	Hide *Hide
	// Count, if not nil, is told of each call that the listener takes, on its
	// thread: native says that it is one that a cell with native views makes
	// without asking, and call is what the program meant by it.
	Count func(call string, native bool)
	// Learn, if not nil, is told on the same thread what the cell uses and wants. Its
	// sight is wall.Learned then, and First the process that the cell began with.
	Learn func(Use)
	First int
	// Admit, if not nil, says whether a thread may make another, or a process: the
	// filter asks for these calls then. wait says that it is to be asked again after
	// that time, and then for the last one.
	Admit func(tid int, last bool) (admitted bool, wait time.Duration)
	// Disk, if not nil, limits what the cell takes there. The filter asks for fallocate
	// and ftruncate then.
	Disk Disk
	// Confine puts the cell's rules around an opener's thread.
	Confine func() error
	// Identity is the cell's user.
	Identity wall.Identity
	// OnFault is told of each fault before the process is killed. It runs on
	// the listener's thread: the cell's process waits meanwhile.
	OnFault func(Fault)
	// OnError is told, on the same thread, what the supervisor could not do.
	OnError func(error)
}

// Disk is what a cell may take on the disk. Its methods are called on the listener's
// thread.
type Disk interface {
	// Room reports whether the cell may take n bytes more at once; n is 0: whether it may
	// make files.
	Room(n int64) bool
	// Lengthen lets process pid have files of that many bytes, most of which may be holes.
	Lengthen(pid int, length int64)
	// Removing says that a file may lose a name now, or have none from its beginning.
	Removing()
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
	config    Config
	listener  int
	handlers  []entry // by number of the call
	opener    opener
	guise     *wall.Guise   // nil: nobody has looked yet
	terminals map[int]int   // path descriptors of the other ends, by number
	last      thread        // whose descriptor was fetched last
	looking   bool          // the call that is answered only looks
	pending   *notification // taken by Step, left to Serve
	waiting   atomic.Int32  // descriptors that are held for callers that wait
	waitMost  int32
	pagesize  uint64
	names     *names // nil: not needed yet, or the cell sees the host's names
	early     *early // what is known of them before that
	cwds      cwds
	known     map[uint32]bool // threads that learnCall has seen
	file      Use             // what is being opened, where that is learnt of
	domains   domains
	current   *domain // of the caller that is answered; nil: the cell's rules
}

// handler answers one call. It returns the call's result, or a nonzero errno,
// or later if it has taken care of the answer itself.
type handler func(m *Membrane, n *notification) (value int64, errno unix.Errno)

// entry is what is done about a call.
type entry struct {
	handle handler // nil: it is a fault
	looks  bool    // it only looks (see look)
	link   int8    // which argument is a path whose link it reads, or -1
	opens  int8    // which is one that it opens, flags following, or -1
}

// later as an errno says that the handler answers, or has answered, by itself.
const later = unix.Errno(1<<16 - 1)

// New returns a Membrane that does nothing yet: while a cell is young its
// supervisor calls Step, so that a program which ends at once costs no thread;
// then it starts Serve.
func New(c Config) *Membrane {
	// Wake-ups on the caller's own core: 25 us a call instead of 200. A kernel
	// that refuses (older than 6.6) is only slower.
	_ = setSyncWakeUp(c.Listener)
	m := &Membrane{config: c, listener: c.Listener, pagesize: uint64(unix.Getpagesize()), waitMost: waitMost()}
	m.opener.alone = c.Hide != nil
	return m
}

// Step takes one notification, which must be there (the listener is readable),
// and answers it if that can be done at once. busy reports that it could not:
// then it is kept, and Serve must be started.
func (m *Membrane) Step() (busy bool) {
	var n notification
	if receive(m.listener, &n) != nil {
		return false // its caller was killed meanwhile
	}
	if e := m.entry(n.nr); n.arch == m.config.Arch.Audit() && e.handle != nil {
		if m.tellExe(&n, e) || m.stepDevice(&n, e) {
			return false
		}
		m.pending = &n
		return true
	}
	m.fault(&n)
	return false
}

// Serve takes notifications until the last process of the cell is gone. It runs
// on a thread of its own, which blocks every signal: an interrupted ADDFD with
// the SEND flag would hand the program descriptor 0.
func (m *Membrane) Serve() {
	runtime.LockOSThread()
	blockSignals()
	m.opener.near = true
	defer unix.Close(m.listener)
	defer m.closeAll()
	if m.pending != nil {
		m.answer(m.pending)
	}
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

// entry returns what is done about a call. The table is made when it is first needed.
func (m *Membrane) entry(nr uint32) *entry {
	if m.handlers == nil {
		m.makeTable()
	}
	if nr >= uint32(len(m.handlers)) {
		return &m.handlers[len(m.handlers)-1] // of no call
	}
	return &m.handlers[nr]
}

func (m *Membrane) makeTable() {
	table := handlers(m.config.Arch, m.config.Pledge)
	if m.config.Hide != nil {
		m.addPathHandlers(table)
	}
	if m.config.Admit != nil {
		m.addForks(table)
	}
	if m.config.Disk != nil {
		m.addRoom(table)
	}
	last := uint32(0)
	for nr := range table {
		last = max(last, nr)
	}
	m.handlers = make([]entry, last+2)
	for nr := range m.handlers {
		m.handlers[nr] = entry{handle: table[uint32(nr)], link: -1, opens: -1}
		if m.handlers[nr].handle == nil && m.config.Learn != nil {
			m.handlers[nr].handle = goOn
		}
	}
	if m.config.Hide != nil {
		m.markLooks()
	}
}

func (m *Membrane) answer(n *notification) {
	e := m.entry(n.nr)
	if m.looking = e.looks; !e.looks {
		m.shed()
	}
	if e.handle == nil || n.arch != m.config.Arch.Audit() {
		m.fault(n)
		return
	}
	m.learnCall(n)
	if m.counted(n) || m.tellExe(n, e) {
		return
	}
	var errno unix.Errno
	m.current = nil
	if m.current, errno = m.domainOf(int(n.pid)); errno != 0 {
		m.reply(n, 0, errno)
		return
	}
	value, errno := e.handle(m, n)
	for errno == unnamed {
		if err := m.name(); err != nil {
			m.config.OnError(err)
			m.reply(n, 0, unix.EIO)
			return
		}
		value, errno = e.handle(m, n)
	}
	if errno == later {
		return
	}
	m.reply(n, value, errno)
}

// counted counts the call if somebody wants that, and lets it go on if it is one
// that only came to be counted: the filter has the same test, on the registers,
// and what they point to is sealed.
func (m *Membrane) counted(n *notification) bool {
	if m.config.Count == nil {
		return false
	}
	name := m.config.Arch.CallName(n.nr)
	native := name == "openat2" && n.args[2] >= zone.Addr && n.args[2] <= uint64(zone.LastSlot()) && n.args[2]%zone.SlotSize == 0 && n.args[3] == zone.HowSize
	if native {
		name = m.config.Arch.CallName(uint32(n.args[4]))
		m.proceed(n)
	}
	m.config.Count(name, native)
	return native
}

// name makes what a call needs of the names, with the supervisor's rights: the
// table, which most programs never need, or a node of it.
func (m *Membrane) name() (err error) {
	m.shed()
	if m.names == nil {
		m.names, err = newNames(m.config.Hide)
		return err
	}
	if err := m.names.make(m.names.wanted); err != nil {
		return fmt.Errorf("name %s of the cell: %w", m.names.wanted.path, err)
	}
	return nil
}

func (m *Membrane) closeAll() {
	for _, fd := range m.terminals {
		unix.Close(fd)
	}
	m.dropLast()
	for _, d := range m.domains.table {
		d.opener.stop()
		unix.Close(d.ruleset)
	}
	if m.names != nil {
		m.names.root.close()
	}
	if m.early != nil {
		m.early.close()
	}
}

// reply gives the call its result. A caller that is gone (ENOENT) needs none.
func (m *Membrane) reply(n *notification, value int64, errno unix.Errno) {
	_ = respond(m.listener, response{id: n.id, val: value, errno: -int32(errno)})
}

// fault tells of the call and kills the process that made it, or refuses it.
func (m *Membrane) fault(n *notification) {
	m.shed() // the cell's user could neither record it nor kill
	f := Fault{
		PID: int(n.pid), Program: wall.ProgramName(int(n.pid)), Call: m.config.Arch.CallName(n.nr), Args: n.args,
		Missing: wall.Missing(m.config.Arch, m.config.Pledge, n.nr, n.args), Killed: !m.config.Deny,
	}
	if n.arch != m.config.Arch.Audit() {
		f.Call, f.Missing = fmt.Sprintf("call %d of another architecture", n.nr), 0
	}
	caller, err := unix.PidfdOpen(int(n.pid), unix.PIDFD_THREAD)
	if err == nil {
		defer unix.Close(caller)
	}
	if !m.valid(n) {
		return // killed meanwhile: the number may be another process's now
	}
	m.config.OnFault(f)
	if f.Killed {
		m.kill(n, caller)
	}
	m.reply(n, 0, unix.EPERM)
}

// kill kills the process of a caller. caller is a descriptor of its thread, made
// while the caller was blocked; -1 if it could not be made. The thread can be
// gone by now (others of its process may have executed a program), and its
// number another process's: the descriptor cannot.
func (m *Membrane) kill(n *notification, caller int) {
	if unix.PidfdSendSignal(caller, unix.SIGKILL, nil, unix.PIDFD_SIGNAL_THREAD_GROUP) != nil && m.valid(n) {
		_ = unix.Kill(int(n.pid), unix.SIGKILL)
	}
}

// valid reports whether the caller still waits for the answer to n, so that
// what was read from its memory and descriptors was really its own.
func (m *Membrane) valid(n *notification) bool { return stillValid(m.listener, n.id) }
