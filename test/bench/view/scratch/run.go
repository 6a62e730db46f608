package scratch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/view/zone"
)

// How says how a program is run.
type How int

// Ways to run a program.
const (
	AsIs     How = iota // in the chroot of unchanged programs, without a filter
	Native              // rewritten, with the filter: what is not native is asked
	Counted             // the same, but what is native goes to the listener, too, to be counted
	AllAsked            // unchanged, with the filter: each path call is asked
)

// ProcFD leads to /proc in programs: trees have none.
const ProcFD = 60

// Command is a program to run in a tree.
type Command struct {
	Args []string // the program's path in the tree first
	Dir  string   // in the tree; "" is Home
	// Virtual is the working directory if the supervisor keeps it: as if a
	// program that knows no shim had gone there from Dir.
	Virtual string
	Env     []string
	Stdout  io.Writer
	Stderr  io.Writer
}

// Result is how it went.
type Result struct {
	Exit   int
	Time   time.Duration  // from just before the program is started to its end
	Asked  map[uint32]int // by number of the call
	Native int            // openat2 calls by a slot; counted only by Counted
	By     map[uint32]int // the same by the number that the shim says they are made for
}

// AskedTotal is how many calls were asked.
func (r *Result) AskedTotal() (n int) {
	for _, k := range r.Asked {
		n += k
	}
	return n
}

// order is what the starting process is told.
type order struct {
	Tree Tree
	How  How
	Args []string
	Dir  string
	Env  []string

	Virtual string
}

const orderEnv = "NIP_SCRATCH_ORDER"

// Main turns the process into the program that Run wants started, if it was
// started by Run. Otherwise it returns.
func Main() {
	text, ok := os.LookupEnv(orderEnv)
	if !ok {
		return
	}
	runtime.LockOSThread()
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = o.become()
	}
	fmt.Fprintln(os.Stderr, "start:", err)
	os.Exit(124)
}

// Run runs a program to its end.
func (t *Tree) Run(how How, c Command) (*Result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if c.Dir == "" {
		c.Dir = Home
	}
	for _, root := range []string{t.Native, t.Asked, t.View} { // a cell makes nothing in its "/"
		if err := os.Chmod(root, 0o555); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(order{*t, how, c.Args, c.Dir, c.Env, c.Virtual})
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	defer unix.Close(pair[0])
	cmd := exec.Command(self)
	cmd.Env = []string{orderEnv + "=" + string(text)}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = c.Stdout, c.Stderr, []*os.File{theirs}
	if os.Getuid() != 0 { // chroot(2) needs a user namespace
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
			AmbientCaps: []uintptr{unix.CAP_SYS_CHROOT}}
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, err
	}
	return t.follow(cmd, how, c.Virtual, pair[0])
}

// follow answers for a program until it ends.
func (t *Tree) follow(cmd *exec.Cmd, how How, virtual string, sock int) (*Result, error) {
	listener, err := receive(sock, how != AsIs)
	begin := time.Now()
	r := &Result{Asked: map[uint32]int{}, By: map[uint32]int{}}
	done := make(chan error, 1)
	if listener >= 0 {
		go func() { done <- t.answer(listener, virtual, r) }()
	} else {
		done <- nil
	}
	waited := cmd.Wait()
	r.Time = time.Since(begin)
	answered := <-done
	if listener >= 0 {
		unix.Close(listener)
	}
	var exit *exec.ExitError
	if errors.As(waited, &exit) {
		r.Exit, waited = exit.ExitCode(), nil
	}
	return r, errors.Join(err, waited, answered)
}

// receive waits until the program is about to start.
func receive(sock int, wantListener bool) (int, error) {
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(sock, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 || !wantListener {
		return -1, err
	}
	list, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(list) != 1 {
		return -1, fmt.Errorf("no listener: %w", err)
	}
	fds, err := unix.ParseUnixRights(&list[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// become makes the process the program. It returns only if that did not work.
func (o *order) become() error {
	const sock = 3
	unix.CloseOnExec(sock)
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open /proc: %w", err)
	}
	if err := unix.Dup3(proc, ProcFD, 0); err != nil {
		return err
	}
	root := o.Tree.Native
	if o.How == Native || o.How == Counted {
		root = o.Tree.Asked
		if err := o.descriptors(); err != nil {
			return err
		}
	}
	// 1. In the chroot, so that what goes on there finds the tree's files.
	if err := unix.Chroot(root); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	if err := unix.Chdir(o.Dir); err != nil {
		return fmt.Errorf("chdir: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: o.locks(), Max: unix.RLIM_INFINITY}); err != nil {
		return err
	}
	fd, err := unix.Open(o.Args[0], unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", o.Args[0], err)
	}
	argv, err := syscall.SlicePtrFromStrings(o.Args)
	if err != nil {
		return err
	}
	envp, err := syscall.SlicePtrFromStrings(o.Env)
	if err != nil {
		return err
	}
	// 2. No capabilities, as in a cell, for what has mode 0 is to be closed.
	if err := o.powerless(); err != nil {
		return err
	}
	// 3. The filter. After it only calls that it lets through, or that the
	// parent answers once it has the listener.
	var rights []byte
	if o.How != AsIs {
		native := uint32(retAllow)
		if o.How == Counted {
			native = retAsk
		}
		listener, err := install(program(native, retAsk))
		if err != nil {
			return err
		}
		unix.CloseOnExec(listener)
		rights = unix.UnixRights(listener)
	}
	if err := unix.Sendmsg(sock, []byte{1}, rights, nil, 0); err != nil {
		return fmt.Errorf("tell the parent: %w", err)
	}
	// 4. The program.
	return fmt.Errorf("execveat: %w", execveat(fd, argv, envp, root == o.Tree.Asked))
}

// locks is the program's soft RLIMIT_LOCKS.
func (o *order) locks() uint64 {
	if o.Virtual != "" {
		return zone.VirtualCwd
	}
	return unix.RLIM_INFINITY
}

// powerless gives up all capabilities for good.
func (o *order) powerless() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	var none [2]unix.CapUserData
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// descriptors puts the zone and the roots where they belong.
func (o *order) descriptors() error {
	var roots []zone.Root
	var dirs []zone.Dir
	for _, r := range []struct {
		prefix, path string
		fd           int
		flags        zone.RootFlags
	}{
		{"/", o.Tree.View, zone.ViewFD, zone.InRoot},
		{"/tmp", o.Tree.Asked + "/tmp", zone.TmpFD, 0},
		{Home, o.Tree.Asked + Home, zone.HomeFD, 0},
		{Work, o.Tree.Asked + Work, zone.FirstFD, zone.Unseen},
		{Deep, o.Tree.Asked + Deep, zone.FirstFD + 1, zone.Unseen},
	} {
		fd, err := unix.Open(r.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", r.path, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if err := unix.Dup3(fd, r.fd, 0); err != nil {
			return err
		}
		roots = append(roots, zone.Root{Prefix: r.prefix, FD: r.fd, Flags: r.flags})
		dirs = append(dirs, zone.Dir{Dev: uint64(st.Dev), Ino: st.Ino, Name: r.prefix})
	}
	for _, name := range []string{"/proc", "/dev", File, Link} {
		roots = append(roots, zone.Root{Prefix: name, FD: zone.Ask, Flags: zone.Unseen})
	}
	for name, flags := range map[string]zone.RootFlags{"/": 0, "/home": zone.Unseen, "/home/user": zone.Unseen} {
		roots = append(roots, zone.Root{Prefix: name, FD: zone.Ask, Flags: zone.Exact | flags})
	}
	for fd := zone.PackageFD; fd < zone.FD; fd++ { // no number is free
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			continue
		}
		if err := unix.Dup3(zone.ViewFD, fd, 0); err != nil {
			return err
		}
	}
	table, err := zone.BuildTable(roots, dirs)
	if err != nil {
		return err
	}
	fd, err := zone.Create(table)
	if err != nil {
		return err
	}
	if err := unix.Dup3(fd, zone.FD, 0); err != nil {
		return err
	}
	return mapZone()
}
