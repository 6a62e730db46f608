package escape

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/test/rig"
)

// sys is the raw call nr with args, as the attack program reads it.
func sys(nr int, args string) string { return strings.TrimSpace(fmt.Sprintf("sys %d %s", nr, args)) }

// call is a raw call that no cell ever gets. Its control makes the same outside, with
// arguments that reach the kernel and change nothing: it must be the kernel that
// answers, root with want, an ordinary user with user (want where empty).
func call(name string, nr int, args, want, user string) attempt {
	line := sys(nr, args)
	return attempt{name: name, args: w(line), control: asked(line, want, user)}
}

// TestKernel makes calls that would give a process, or the machine, other rights.
func TestKernel(t *testing.T) { try(t, kernelRows()) }

func kernelRows() []attempt {
	const (
		nobody = "EPERM" // what an ordinary user is told
		absent = "|ENOSYS"
		newNS  = syscall.CLONE_NEWNS
	)
	rows := []attempt{
		call("unshare a user namespace", unix.SYS_UNSHARE, "0x10000000", "done", "done|EPERM"),
		call("unshare a mount namespace", unix.SYS_UNSHARE, fmt.Sprint(newNS), "done", nobody),
		call("setns", unix.SYS_SETNS, "0 0", "EINVAL|EBADF", "EINVAL|EBADF"),
		call("bpf", unix.SYS_BPF, "0 words:0x400000002,0x100000004 72", "done", "done|EPERM"),
		call("perf_event_open", unix.SYS_PERF_EVENT_OPEN, "words:0x7000000001 0 -1 -1 0", "done", "done|EACCES|EPERM"),
		call("userfaultfd", unix.SYS_USERFAULTFD, "1", "done", "done"),
		call("io_uring_setup", unix.SYS_IO_URING_SETUP, "1 zero", "done|EPERM", "done|EPERM"),
		call("keyctl", unix.SYS_KEYCTL, "0 -3 1", "done", "done"),
		call("add_key", unix.SYS_ADD_KEY, "text:user text:nip-escape text:x 1 -2", "done", "done"),
		call("request_key", unix.SYS_REQUEST_KEY, "text:user text:nip-escape-none 0 -2", "ENOKEY", "ENOKEY"),
		call("kexec_load", unix.SYS_KEXEC_LOAD, "0 0 0 0xffff", "EINVAL|EPERM"+absent, nobody+absent),
		call("kexec_file_load", unix.SYS_KEXEC_FILE_LOAD, "-1 -1 0 0 0xffff", "EINVAL|EPERM"+absent, nobody+absent),
		call("init_module", unix.SYS_INIT_MODULE, "zero 64 text:", "ENOEXEC|EPERM"+absent, nobody+absent),
		call("finit_module", unix.SYS_FINIT_MODULE, "-1 text: 0", "EBADF|ENOEXEC|EPERM"+absent, nobody+absent),
		call("delete_module", unix.SYS_DELETE_MODULE, "text:nip_escape_none 2048", "ENOENT|EPERM"+absent, nobody+absent),
		call("personality", unix.SYS_PERSONALITY, "0x0040000", "done", "done"),
		call("personality of READ_IMPLIES_EXEC with a high half", unix.SYS_PERSONALITY, "0x100400000", "done", "done"),
		call("quotactl", unix.SYS_QUOTACTL, "0x80000700 text:/nip-escape-none 0 zero", "ENOENT|ENODEV|ENOTBLK"+absent, "ENOENT|ENODEV|ENOTBLK|EPERM"+absent),
		call("reboot", unix.SYS_REBOOT, "0 0 0 0", "EINVAL", nobody),
		call("settimeofday", unix.SYS_SETTIMEOFDAY, "0 0", "done", nobody),
		call("clock_settime", unix.SYS_CLOCK_SETTIME, "99 zero", "EINVAL", "EINVAL|EPERM"),
		call("adjtimex", unix.SYS_ADJTIMEX, "words:0x4000", "done|EINVAL", nobody),
		call("sethostname", unix.SYS_SETHOSTNAME, "text:x -1", "EINVAL", nobody),
		call("setdomainname", unix.SYS_SETDOMAINNAME, "text:x -1", "EINVAL", nobody),
		call("syslog", unix.SYS_SYSLOG, "3 zero 1", "done", "done|EPERM"),
		call("fanotify_init", unix.SYS_FANOTIFY_INIT, "4 0", "done"+absent, "EPERM"+absent),
		call("memfd_secret", 447, "0", "done"+absent, "done"+absent),
		call("process_mrelease", 448, "-1 0", "EBADF", "EBADF"),
		call("migrate_pages", unix.SYS_MIGRATE_PAGES, "0 64 zero zero", "done|EINVAL"+absent, "done|EINVAL"+absent),
		call("name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, "-100 text:/ words:128 zero 0", "done|ENOTSUP|EOPNOTSUPP", "done|ENOTSUP|EOPNOTSUPP"),
		call("ptrace of the parent by its child", unix.SYS_PTRACE, "0 0 0 0", "done", "done"),
		call("lsm_list_modules", 461, "zero words:4096 0", "done|ENOSYS|EOPNOTSUPP", ""),
		call("lsm_set_self_attr", 460, "100 zero 32 0", "EOPNOTSUPP|ENOSYS|EINVAL", ""),
		call("io_setup", unix.SYS_IO_SETUP, "1 zero", "done|EAGAIN", ""),
		call("mbind", unix.SYS_MBIND, "0 0 0 0 0 0", "done|EINVAL"+absent, ""),
		call("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, "-100 words:8 0", "ESTALE|EINVAL|EBADF|ENOTSUP", "ESTALE|EINVAL|EBADF|EPERM|ENOTSUP"),
		call("process_vm_readv", unix.SYS_PROCESS_VM_READV, "1 zero 0 zero 0 0", "done", "done|EPERM"),
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
	return append(rows,
		attempt{name: "clone3 into a new user namespace", args: w("clone3 0x10000000"), control: asked("clone3 0x10000000", "waitpid", "waitpid|EPERM")},
		attempt{name: "answer the own notifications", args: w("seccomp-listener"), control: outside("seccomp-listener")},
		attempt{name: "map page zero", args: w("null-page"), control: asked("null-page", "done|EPERM|EACCES", "EPERM|EACCES")},
	)
}

// TestEntries takes the other ways into the kernel: they number the calls
// differently, so that a filter for one architecture would misread them.
func TestEntries(t *testing.T) { try(t, entryRows()) }

func entryRows() []attempt {
	// The control of each is the ordinary entry with the same call.
	return []attempt{
		{name: "32-bit entry", args: w("int80 20 0"), control: granted(sys(unix.SYS_GETPID, ""))},
		{name: "32-bit socketcall", args: w("int80 359 16"), control: granted(sys(unix.SYS_GETPID, ""))},
		{name: "x32 getpid", args: w(sys(0x40000000+unix.SYS_GETPID, "")), control: granted(sys(unix.SYS_GETPID, ""))},
		{name: "x32 mount", args: w(sys(0x40000000+unix.SYS_MOUNT, "0 0 0 0 0")), control: granted(sys(unix.SYS_GETPID, ""))},
		{name: "number with a high half", args: w(sys(unix.SYS_CHROOT|1<<32, "text:/")), control: asked(sys(unix.SYS_CHROOT, "text:/"), "done", "EPERM")},
		{name: "netlink with a high half", args: w(sys(unix.SYS_SOCKET, "0x100000010 3 0")), control: outside(sys(unix.SYS_SOCKET, "0x100000010 3 0"))},
		{name: "internet with a high half", args: w(sys(unix.SYS_SOCKET, "0x100000002 1 0")), unless: capability.Inet, control: outside(sys(unix.SYS_SOCKET, "0x100000002 1 0"))},
		{name: "the mark's limit with a high half", args: w(sys(unix.SYS_SETRLIMIT, "0x10000000c words:1,1")),
			control: granted(sys(unix.SYS_SETRLIMIT, "7 words:64,64"))},
		{name: "a securebits prctl with a high half", args: w(sys(unix.SYS_PRCTL, "0x10000001c 0 0 0 0")),
			control: asked(sys(unix.SYS_PRCTL, "28 0 0 0 0"), "done", "EPERM|done")},
	}
}

// TestTerminal types into the terminal that a cell was given: what it types
// would be read by the shell that nip returns to.
func TestTerminal(t *testing.T) {
	s := newStage(t)
	for _, a := range terminalRows() {
		t.Run(strings.ReplaceAll(a.name, " ", "-"), func(t *testing.T) {
			s.set(t)
			if a.names("{victim}") {
				v := s.startVictim(t)
				s.words["victim"] = strconv.Itoa(v.PID)
			}
			attemptOn, controlOn := newTerminal(t), newTerminal(t)
			c := s.inCell(t, grant, a.args)
			attemptOn.give(c)
			said := s.attempt(t, a, c)
			if typed := attemptOn.typed(t); typed != 0 {
				t.Errorf("%d bytes were typed into the terminal", typed)
			}
			a.control.prepare = func(_ *testing.T, _ *stage, c *exec.Cmd) { controlOn.give(c) }
			t.Logf("%s: %s; control: %s", a.name, said, s.control(t, a))
		})
	}
}

func terminalRows() []attempt {
	return []attempt{
		{name: "TIOCSTI", args: w("tty-ioctl 0x5412"), control: asked("tty-ioctl 0x5412", "done|EIO", "")},
		{name: "TIOCSTI with a high half", args: w("tty-ioctl 0x100005412"), control: asked("tty-ioctl 0x100005412", "done|EIO", "")},
		{name: "TIOCLINUX", args: w("tty-ioctl 0x541c"), control: asked("tty-ioctl 0x541c", "ENOTTY|EINVAL|EPERM", "")},
		{name: "TIOCSETD", args: w("tty-ioctl 0x5423"), control: asked("tty-ioctl 0x5423", "done|EINVAL|EPERM", "")},
		{name: "keep others from the terminal", args: w("tty-ioctl 0x540c"), control: outside("tty-ioctl 0x540c")},
		// Outside, the machine's console would be turned to the test's terminal: asking for the window's size, in a cell, shows that the terminal is one.
		{name: "TIOCCONS", args: w("tty-ioctl 0x541d"), control: granted("tty-ioctl 0x5413")},
		{name: "send signals by the terminal", args: w("tty-ioctl 0x40045436"), control: asked("tty-ioctl 0x40045436", "ENOTTY|EINVAL|EIO|done", "")},
		{name: "take the terminal for a group elsewhere", args: w("terminal-group {victim}"), control: outside("terminal-group child")},
		{name: "take the terminal for the group of the supervisor's parent", args: w("terminal-group 1"), control: outside("terminal-group child")},
	}
}

// terminal is a pseudo-terminal of the test's own.
type terminal struct{ master, slave *os.File }

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, slave := rig.Terminal(t)
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
