package escape

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/test/rig"
)

// sys is the raw call nr with args, as the attack program reads it.
func sys(nr int, args string) string { return strings.TrimSpace(fmt.Sprintf("sys %d %s", nr, args)) }

// Calls that no cell ever gets. The controls make the same call outside, with
// arguments that reach the kernel and change nothing: it must be the kernel
// that answers. want is its answer to root, user the one to an ordinary user.
func TestKernel(t *testing.T) {
	const (
		nobody = "EPERM" // what an ordinary user is told
		absent = "|ENOSYS"
		newNS  = syscall.CLONE_NEWNS
	)
	var rows []attempt
	for _, call := range []struct {
		name       string
		nr         int
		args       string
		want, user string
	}{
		{"mount", unix.SYS_MOUNT, "text:none text:/nip-escape-none text:tmpfs 0 0", "ENOENT", "ENOENT|EPERM"},
		{"umount2", unix.SYS_UMOUNT2, "text:/nip-escape-none 0", "ENOENT", "ENOENT|EPERM"},
		{"pivot_root", unix.SYS_PIVOT_ROOT, "text:/nip-escape-none text:/nip-escape-none", "ENOENT", nobody},
		{"chroot", unix.SYS_CHROOT, "text:/", "done", nobody},
		{"fsopen", unix.SYS_FSOPEN, "text:tmpfs 0", "done", nobody},
		{"open_tree", unix.SYS_OPEN_TREE, "-100 text:/ 1", "done", nobody},
		{"move_mount", unix.SYS_MOVE_MOUNT, "-1 text: -1 text: 0x44", "EBADF|EINVAL|ENOENT", nobody},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, "-1 text:/nip-escape-none 0 zero 32", "done|EBADF|ENOENT|EINVAL", "done|EPERM|EBADF|ENOENT|EINVAL"},
		{"unshare a user namespace", unix.SYS_UNSHARE, "0x10000000", "done", "done|EPERM"},
		{"unshare a mount namespace", unix.SYS_UNSHARE, fmt.Sprint(newNS), "done", nobody},
		{"setns", unix.SYS_SETNS, "0 0", "EINVAL|EBADF", "EINVAL|EBADF"},
		{"bpf", unix.SYS_BPF, "0 words:0x400000002,0x100000004 72", "done", "done|EPERM"},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, "words:0x7000000001 0 -1 -1 0", "done", "done|EACCES|EPERM"},
		{"userfaultfd", unix.SYS_USERFAULTFD, "1", "done", "done"},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, "1 zero", "done|EPERM", "done|EPERM"},
		{"keyctl", unix.SYS_KEYCTL, "0 -3 1", "done", "done"},
		{"add_key", unix.SYS_ADD_KEY, "text:user text:nip-escape text:x 1 -2", "done", "done"},
		{"request_key", unix.SYS_REQUEST_KEY, "text:user text:nip-escape-none 0 -2", "ENOKEY", "ENOKEY"},
		{"kexec_load", unix.SYS_KEXEC_LOAD, "0 0 0 0xffff", "EINVAL|EPERM" + absent, nobody + absent},
		{"kexec_file_load", unix.SYS_KEXEC_FILE_LOAD, "-1 -1 0 0 0xffff", "EINVAL|EPERM" + absent, nobody + absent},
		{"init_module", unix.SYS_INIT_MODULE, "zero 64 text:", "ENOEXEC|EPERM" + absent, nobody + absent},
		{"finit_module", unix.SYS_FINIT_MODULE, "-1 text: 0", "EBADF|ENOEXEC|EPERM" + absent, nobody + absent},
		{"delete_module", unix.SYS_DELETE_MODULE, "text:nip_escape_none 2048", "ENOENT|EPERM" + absent, nobody + absent},
		{"personality", unix.SYS_PERSONALITY, "0x0040000", "done", "done"},
		{"personality of READ_IMPLIES_EXEC with a high half", unix.SYS_PERSONALITY, "0x100400000", "done", "done"},
		{"quotactl", unix.SYS_QUOTACTL, "0x80000700 text:/nip-escape-none 0 zero", "ENOENT|ENODEV|ENOTBLK" + absent, "ENOENT|ENODEV|ENOTBLK|EPERM" + absent},
		{"swapon", unix.SYS_SWAPON, "text:/nip-escape-none 0", "ENOENT" + absent, nobody + absent},
		{"swapoff", unix.SYS_SWAPOFF, "text:/nip-escape-none", "ENOENT" + absent, nobody + absent},
		{"reboot", unix.SYS_REBOOT, "0 0 0 0", "EINVAL", nobody},
		{"settimeofday", unix.SYS_SETTIMEOFDAY, "0 0", "done", nobody},
		{"clock_settime", unix.SYS_CLOCK_SETTIME, "99 zero", "EINVAL", "EINVAL|EPERM"},
		{"adjtimex", unix.SYS_ADJTIMEX, "words:0x4000", "done|EINVAL", nobody},
		{"sethostname", unix.SYS_SETHOSTNAME, "text:x -1", "EINVAL", nobody},
		{"setdomainname", unix.SYS_SETDOMAINNAME, "text:x -1", "EINVAL", nobody},
		{"acct", unix.SYS_ACCT, "text:/nip-escape-none", "ENOENT" + absent, nobody + absent},
		{"syslog", unix.SYS_SYSLOG, "3 zero 1", "done", "done|EPERM"},
		{"fanotify_init", unix.SYS_FANOTIFY_INIT, "4 0", "done" + absent, "EPERM" + absent},
		{"memfd_secret", 447, "0", "done" + absent, "done" + absent},
		{"process_mrelease", 448, "-1 0", "EBADF", "EBADF"},
		{"migrate_pages", unix.SYS_MIGRATE_PAGES, "0 64 zero zero", "done|EINVAL" + absent, "done|EINVAL" + absent},
		{"name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, "-100 text:/ words:128 zero 0", "done|ENOTSUP|EOPNOTSUPP", "done|ENOTSUP|EOPNOTSUPP"},
		{"ptrace of the parent by its child", unix.SYS_PTRACE, "0 0 0 0", "done", "done"},
	} {
		line := sys(call.nr, call.args)
		rows = append(rows, attempt{name: call.name, args: w(line), control: asked(line, call.want, call.user)})
	}
	for name, flag := range map[string]int{
		"mount": newNS, "user": syscall.CLONE_NEWUSER, "pid": syscall.CLONE_NEWPID, "net": syscall.CLONE_NEWNET,
		"ipc": syscall.CLONE_NEWIPC, "uts": syscall.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP,
	} {
		line := fmt.Sprintf("clone %#x", flag)
		user := "EPERM"
		if name == "user" {
			user = "waitpid|EPERM"
		}
		rows = append(rows, attempt{name: "clone into a new " + name + " namespace", args: w(line), control: asked(line, "waitpid", user)})
	}
	try(t, append(rows,
		attempt{name: "clone3 into a new user namespace", args: w("clone3 0x10000000"), control: asked("clone3 0x10000000", "waitpid", "waitpid|EPERM")},
		attempt{name: "mount in a user namespace", args: w("userns-mount"), control: asked("userns-mount", "done", "done|EPERM")},
		attempt{name: "answer the own notifications", args: w("seccomp-listener"), control: outside("seccomp-listener")},
		attempt{name: "map page zero", args: w("null-page"), control: asked("null-page", "done|EPERM|EACCES", "EPERM|EACCES")},
	))
}

// TestEntries takes the other ways into the kernel: they number the calls
// differently, so that a filter for one architecture would misread them.
func TestEntries(t *testing.T) {
	// The control of each is the ordinary entry with the same call.
	try(t, []attempt{
		{name: "32-bit entry", args: w("int80 20 0"), control: granted(sys(unix.SYS_GETPID, ""))},
		{name: "32-bit socketcall", args: w("int80 359 16"), control: granted(sys(unix.SYS_GETPID, ""))},
		{name: "x32 getpid", args: w(sys(0x40000000+unix.SYS_GETPID, "")), control: granted(sys(unix.SYS_GETPID, ""))},
		{name: "x32 mount", args: w(sys(0x40000000+unix.SYS_MOUNT, "0 0 0 0 0")), control: granted(sys(unix.SYS_GETPID, ""))},
		{name: "number with a high half", args: w(sys(unix.SYS_CHROOT|1<<32, "text:/")), control: asked(sys(unix.SYS_CHROOT, "text:/"), "done", "EPERM")},
		{name: "netlink with a high half", args: w(sys(unix.SYS_SOCKET, "0x100000010 3 0")), control: outside(sys(unix.SYS_SOCKET, "0x100000010 3 0"))},
		{name: "internet with a high half", args: w(sys(unix.SYS_SOCKET, "0x100000002 1 0")), control: outside(sys(unix.SYS_SOCKET, "0x100000002 1 0"))},
		{name: "the mark's limit with a high half", args: w(sys(unix.SYS_SETRLIMIT, "0x10000000c words:1,1")),
			control: granted(sys(unix.SYS_SETRLIMIT, "7 words:64,64"))},
		{name: "a securebits prctl with a high half", args: w(sys(unix.SYS_PRCTL, "0x10000001c 0 0 0 0")),
			control: asked(sys(unix.SYS_PRCTL, "28 0 0 0 0"), "done", "EPERM|done")},
	})
}

// TestTerminal types into the terminal that a cell was given: what it types
// would be read by the shell that nip returns to.
func TestTerminal(t *testing.T) {
	s := newStage(t)
	for _, request := range []struct{ name, args, want string }{
		{"TIOCSTI", "tty-ioctl 0x5412", "done|EIO"},
		{"TIOCSTI with a high half", "tty-ioctl 0x100005412", "done|EIO"},
		{"TIOCLINUX", "tty-ioctl 0x541c", "ENOTTY|EINVAL|EPERM"},
		{"TIOCSETD", "tty-ioctl 0x5423", "done|EINVAL|EPERM"},
		{"TIOCCONS", "tty-ioctl 0x541d", "done|EPERM|EBUSY"},
	} {
		t.Run(strings.ReplaceAll(request.name, " ", "-"), func(t *testing.T) {
			attemptOn := newTerminal(t)
			c := s.inCell(t, grant, w(request.args))
			attemptOn.give(c)
			said := s.attempt(t, attempt{}, c)
			if typed := attemptOn.typed(t); typed != 0 {
				t.Errorf("%d bytes were typed into the terminal", typed)
			}
			if request.name == "TIOCCONS" {
				t.Logf("%s: %s", request.name, said)
				return // outside, the machine's console would be turned to the test's terminal
			}
			controlOn := newTerminal(t)
			a := attempt{control: control{args: w(request.args), outside: true, want: request.want,
				prepare: func(_ *testing.T, _ *stage, c *exec.Cmd) { controlOn.give(c) }}}
			t.Logf("%s: %s; control: %s", request.name, said, s.control(t, a))
		})
	}
	t.Run("ordinary-use", func(t *testing.T) {
		// The control of all of them in the cell: asking for the window's size is granted.
		tty := newTerminal(t)
		c := s.inCell(t, grant, w("tty-ioctl 0x5413"))
		tty.give(c)
		if res := rig.Run(t, c); res.Code != attackDone {
			t.Errorf("TIOCGWINSZ ended with %d: %s%s", res.Code, res.Stdout, res.Stderr)
		}
	})
}

// terminal is a pseudo-terminal of the test's own.
type terminal struct{ master, slave *os.File }

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return &terminal{master, slave}
}

// give makes the terminal the standard input and the controlling terminal of c.
func (tty *terminal) give(c *exec.Cmd) {
	c.Stdin = tty.slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
}

// typed returns how many bytes wait to be read from the terminal. Raw mode
// makes them readable without a newline.
func (tty *terminal) typed(t *testing.T) int {
	t.Helper()
	fd := int(tty.slave.Fd())
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	mode.Lflag &^= unix.ICANON
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, mode); err != nil {
		t.Fatal(err)
	}
	var n int32
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCINQ, uintptr(unsafe.Pointer(&n))); errno != 0 {
		t.Fatal(errno)
	}
	return int(n)
}
