// Package cell is the life of an application cell: from a launch plan to the
// program's exit status. It composes wall, membrane, hier and ledger; the
// process that calls Run is the cell's supervisor, there is no other.
//
// Invariants: no process of a cell outlives Run; what the supervisor holds open
// never reaches the program; /Cell/<fiber-id> is gone when Run returns.
package cell

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/ledger"
	"nipcells/internal/membrane"
	"nipcells/internal/plan"
	"nipcells/internal/wall"
)

// Options say what to run and what the person allows beyond the plan.
type Options struct {
	Root    *hier.Root // the caller's own: /Cell, /Data and ledger are below it
	Plan    *plan.Plan
	Command string // of the package; empty: its default
	Args    []string
	Unveil  []capability.Unveil // added to the plan's; absolute paths
	Pledge  capability.Pledge   // replaces the plan's if Replace is set
	Replace bool
	Budget  capability.Budget // narrows the plan's
	Net     []capability.Net  // replaces the plan's rules, under the policy, unless it is nil
	// Lookup finds the addresses of a host. Without it a cell whose rules name hosts
	// does not start (ErrNames).
	Lookup func(name string) ([]capability.Addr, error)
	Env    []string       // added to the cell's
	User   *wall.Identity // nil: the caller's
	Cwd    string         // working directory; empty: the caller's if it is visible, else HOME
	Deny   bool           // faults give EPERM instead of killing
	Hide   bool           // nothing exists for the cell but its own names
	// Count, if set, is told of each path call that is asked, and of each that is
	// native, which are slower then. It runs while a program waits.
	Count func(call string, native bool)
	// Learn, if set, is told after the end what the cell used of what it was given
	// and what it lacked. All path calls are asked then, and Deny is meant.
	Learn func(Lesson)
	// Degraded accepts a kernel whose Landlock is older than wall.MinABI.
	Degraded bool
	// Detached says that no terminal is in front of the cell.
	Detached bool
	// Prepared, if set, is told the fiber-id before the program starts; Started
	// when it runs and can be seen and stopped.
	Prepared func(fiber string) error
	Started  func(fiber string)
	// Report receives lines for the person who started the cell.
	Report func(line string)
	// Guard is the argument vector that makes this program a guard (see Guard).
	Guard []string
}

// ErrInside reports that the caller runs in a cell itself.
var ErrInside = errors.New("nip cannot run inside a cell")

// CommandError reports a command that the package does not have, or that was
// not named though there are several (or none).
type CommandError struct {
	Package, Command string
	Have             []string
}

func (e *CommandError) Error() string {
	if len(e.Have) == 0 {
		return fmt.Sprintf("package %s has no commands", e.Package)
	}
	if e.Command == "" {
		return fmt.Sprintf("package %s has several commands and none is called %s", e.Package, e.Package)
	}
	return fmt.Sprintf("package %s has no command %s", e.Package, e.Command)
}

// Run starts the command, waits for it and cleans up. It returns the program's
// exit status: its own, or 128+n if signal n killed it. An error means that the
// program did not start.
func Run(o Options) (status int, err error) {
	c, err := prepare(&o)
	if err != nil {
		return 0, err
	}
	defer c.remove()
	if o.Prepared != nil {
		if err := o.Prepared(c.state.fiber); err != nil {
			return 0, err
		}
	}
	if err := c.start(); err != nil {
		c.recordFailure(err)
		return 0, err
	}
	status = c.wait()
	if c.learner != nil {
		o.Learn(c.lesson())
	}
	return status, nil
}

// cell is a cell that this process supervises.
type cell struct {
	*Options
	state    *state
	ledger   *ledger.Ledger
	command  *plan.Command
	pledge   capability.Pledge
	identity wall.Identity
	unveil   []capability.Unveil
	home     string
	cwd      string
	abi      int
	ruleset  int
	child    *wall.Child
	busy     bool // the membrane has a notification that needs its own thread
	hasGrown bool // it has had that thread
	started  time.Time
	guard    guard
	faults   faults
	membrane *membrane.Membrane
	sight    wall.Sight
	unveilFD []int // path descriptors, one for each of unveil
	punched  []string
	resolver []string // files of the host by which names are resolved
	network  network
	learner  *learner          // nil: nobody wants to know
	budget   capability.Budget // at the start; see budgetNow
	economy  economy
}

// prepare does all that can fail on somebody's mistake, in the order of the
// architecture's steps 1 and 2: plan, then fiber-id and /Cell/<id>.
func prepare(o *Options) (*cell, error) {
	c := &cell{started: time.Now(), Options: o, pledge: o.Plan.Pledge, budget: o.Plan.Budget.Intersect(o.Budget), ruleset: -1}
	if _, inside := wall.OwnMark(); inside {
		return nil, ErrInside
	}
	if err := c.checkKernel(); err != nil {
		return nil, err
	}
	if err := c.checkDescriptors(); err != nil {
		return nil, err
	}
	// Before anything else is opened, which could get one of the numbers.
	if err := c.reserve(); err != nil {
		return nil, err
	}
	if o.Replace {
		c.pledge = o.Pledge & o.Plan.Ceiling
	}
	if err := c.findCommand(); err != nil {
		return nil, err
	}
	if !c.pledge.Has(capability.Stdio) {
		return nil, ErrNoStdio
	}
	if err := c.chooseUser(); err != nil {
		return nil, err
	}
	if err := c.chooseUnveil(); err != nil {
		return nil, err
	}
	if err := c.makeHome(); err != nil {
		return nil, err
	}
	if err := c.chooseCwd(); err != nil {
		return nil, err
	}
	if err := c.chooseNetwork(); err != nil {
		return nil, err
	}
	c.chooseResolver()
	c.sight = c.chooseSight()
	var err error
	c.state, err = newState(o.Root, c.identity, describe(o.Plan.Package, o.Plan.Version, c.command.Name, c.started))
	return c, err
}

// ErrNoStdio reports a pledge that no program can live with.
var ErrNoStdio = errors.New("a pledge without STDIO lets no program run")

// KernelError reports a kernel that cannot hold a cell, and what it lacks.
type KernelError struct {
	ABI   int // Landlock's version, 0 for none
	Lacks []string
}

func (e *KernelError) Error() string {
	if e.ABI == 0 {
		return wall.ErrNoLandlock.Error()
	}
	return fmt.Sprintf("the kernel's Landlock is version %d, a cell needs %d", e.ABI, wall.MinABI)
}

// checkKernel refuses a kernel whose Landlock is too old, unless that was
// accepted; then it says what is missing. No Landlock at all is never accepted.
func (c *cell) checkKernel() error {
	v, err := wall.LandlockABI()
	if err != nil {
		return &KernelError{Lacks: wall.Lacks(0)}
	}
	c.abi = v
	if v >= wall.MinABI {
		return nil
	}
	if !c.Degraded {
		return &KernelError{ABI: v, Lacks: wall.Lacks(v)}
	}
	for _, l := range wall.Lacks(v) {
		c.Report("degraded: this cell has no " + l)
	}
	return nil
}

// DescriptorError reports a descriptor among 0-2 that must not enter a cell.
type DescriptorError struct {
	FD   int
	What string
}

func (e *DescriptorError) Error() string {
	return fmt.Sprintf("give descriptor %d to the cell: it is %s", e.FD, e.What)
}

// checkDescriptors closes the caller's descriptors above 2 to the program and
// refuses what would be a hole among 0-2: a directory leads to everything below
// it, a path descriptor likewise, a socket that sends datagrams or is not connected
// yet can be aimed anywhere, and what is no file at all (an io_uring, say) may have
// the kernel act for who made it.
func (c *cell) checkDescriptors() error {
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("mark inherited descriptors: %w", err)
	}
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			if err := openNull(fd); err != nil { // closed by the caller: no file of ours may get the number
				return err
			}
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && flags&unix.O_PATH != 0 {
			return &DescriptorError{fd, "a path descriptor"}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			return &DescriptorError{fd, "a directory"}
		case unix.S_IFBLK:
			return &DescriptorError{fd, "a block device"}
		case unix.S_IFSOCK:
			if canBeAimed(fd) {
				return &DescriptorError{fd, "a socket that can be aimed elsewhere"}
			}
		case 0:
			return &DescriptorError{fd, "no file, pipe, device or socket"}
		}
	}
	return nil
}

// canBeAimed reports whether a socket can send to an address that its caller says:
// TCP connects by sendto alone (MSG_FASTOPEN), if it has not been yet.
func canBeAimed(fd int) bool {
	if t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || t != unix.SOCK_STREAM && t != unix.SOCK_SEQPACKET {
		return true
	}
	if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listens != 0 {
		return false
	}
	// The name may be of a family that x/sys does not know; what counts is that there is one.
	_, err := unix.Getpeername(fd)
	return err == unix.ENOTCONN
}

func openNull(fd int) error {
	null, err := unix.Open("/dev/null", unix.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	if null == fd {
		return nil
	}
	defer unix.Close(null)
	return unix.Dup3(null, fd, 0)
}

// findCommand picks the program by name, or the package's default.
func (c *cell) findCommand() error {
	p := c.Plan
	if c.Command == "" && p.Default >= 0 {
		c.command = &p.Commands[p.Default]
		return nil
	}
	names := make([]string, len(p.Commands))
	for i := range p.Commands {
		if p.Commands[i].Name == c.Command {
			c.command = &p.Commands[i]
			return nil
		}
		names[i] = p.Commands[i].Name
	}
	return &CommandError{p.Package, c.Command, names}
}

// ErrNotRoot reports --user by somebody who cannot become another user.
var ErrNotRoot = errors.New("only root can run a cell as another user")

// ErrSetID reports a nip with a set-user-id or set-group-id bit: its cells could
// change to the other user and be out of its reach.
var ErrSetID = errors.New("nip does not run set-user-id or set-group-id")

func (c *cell) chooseUser() error {
	uid := unix.Geteuid()
	switch {
	case unix.Getuid() != uid || unix.Getgid() != unix.Getegid():
		return ErrSetID
	case c.User != nil && uid != 0:
		return ErrNotRoot
	case c.User != nil:
		c.identity = *c.User
		c.identity.Change = true
	default:
		c.identity = wall.Identity{UID: uid, GID: unix.Getegid(), Change: uid == 0}
	}
	return nil
}

// makeHome makes /Data/apps/<app> at the first start.
func (c *cell) makeHome() error {
	c.home = c.Plan.Data
	if c.identity.Change && c.identity.UID != 0 {
		if err := c.letThrough(); err != nil {
			return err
		}
	}
	err := unix.Mkdir(c.home, 0o700)
	if errors.Is(err, unix.ENOENT) {
		if err = c.Root.Make("Data/apps"); err == nil {
			err = unix.Mkdir(c.home, 0o700)
		}
	}
	switch {
	case err == nil && c.identity.Change && c.identity.UID != 0:
		if err := unix.Lchown(c.home, c.identity.UID, c.identity.GID); err != nil {
			return fmt.Errorf("give %s to user %d: %w", c.home, c.identity.UID, err)
		}
	case err != nil && !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("make %s: %w", c.home, err)
	}
	return nil
}

// letThrough lets the cell's other user pass to its own directories. It cannot
// list those on the way.
func (c *cell) letThrough() error {
	for _, dir := range []string{"Cell", "Data/apps"} {
		if err := c.Root.Make(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{"Cell", "Data", "Data/apps"} {
		if err := unix.Chmod(c.Root.Path()+"/"+dir, 0o711); err != nil {
			return fmt.Errorf("let user %d through %s: %w", c.identity.UID, dir, err)
		}
	}
	return nil
}
