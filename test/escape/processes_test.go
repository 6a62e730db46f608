package escape

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The supervisor is the parent of a cell's first process: there is no pid
// namespace, so that the cell can name it, and everybody else.
func TestProcesses(t *testing.T) {
	// A Go program is linked at 0x400000, and its heap begins at 0xc000000000.
	try(t, []attempt{
		{name: "kill a process", args: w("kill {victim} 9"), control: granted("kill child 9")},
		{name: "look for a process", args: w("kill {victim} 0"), control: granted("kill child 0")},
		{name: "kill the supervisor", args: w("kill parent 9"), control: granted("kill child 9")},
		{name: "stop the supervisor", args: w("kill parent 19"), control: granted("kill child 19")},
		{name: "signal pid 1", args: w("kill 1 0"), control: asked("kill 1 0", "done", "EPERM")},
		{name: "signal everybody", args: w("kill-everyone 23"), silent: true, control: outside("kill {victim} 23")},
		{name: "tkill a process", args: w("tkill {victim} 9"), control: granted("tkill child 9")},
		{name: "tkill the supervisor", args: w("tkill parent 9"), control: granted("tkill child 9")},
		{name: "tgkill a process", args: w("tgkill {victim} 9"), control: granted("tgkill child 9")},
		{name: "tgkill every thread of the supervisor", args: w("tgkill parent 9"), control: granted("tgkill child 9")},
		{name: "signal a process by pidfd", args: w("pidfd-signal {victim} 9"), control: granted("pidfd-signal child 9")},
		{name: "signal the supervisor by pidfd", args: w("pidfd-signal parent 9"), control: granted("pidfd-signal child 9")},
		{name: "queue a signal to a process", args: w("sigqueue {victim} 9"), control: granted("sigqueue child 9")},
		{name: "queue a signal to the supervisor", args: w("sigqueue parent 9"), control: granted("sigqueue child 9")},
		{name: "queue a signal to a thread", args: w("tgsigqueue {victim} 9"), control: granted("tgsigqueue child 9")},
		{name: "let the kernel signal a process", args: w("setown {victim}"), silent: true, control: granted("setown child")},
		{name: "let the kernel signal the supervisor", args: w("setown parent"), silent: true, control: granted("setown child")},
		{name: "let the kernel signal a group", args: w(sys(unix.SYS_FCNTL, "1 8 -1")), control: outside(sys(unix.SYS_FCNTL, "1 8 -1"))},
		{name: "let the kernel signal a group by another call", args: w(sys(unix.SYS_FCNTL, "1 15 words:0x100000002")),
			control: outside(sys(unix.SYS_FCNTL, "1 15 words:0x100000002"))},
		{name: "attach to a process", args: w("ptrace-attach {victim}"), control: outside("ptrace-attach child")},
		{name: "attach to the supervisor", args: w("ptrace-attach parent"), control: outside("ptrace-attach child")},
		{name: "seize a process", args: w("ptrace-seize {victim}"), control: outside("ptrace-seize child")},
		{name: "seize the supervisor", args: w("ptrace-seize parent"), control: outside("ptrace-seize child")},
		{name: "read a process's memory", args: w("vm-read {victim} 0x400000"), control: outside("vm-read child 0x400000")},
		{name: "read the supervisor's memory", args: w("vm-read parent 0x400000"), control: outside("vm-read child 0x400000")},
		{name: "write a process's memory", args: w("vm-write {victim} own"), control: outside("vm-write child own")},
		{name: "write the supervisor's memory", args: w("vm-write parent 0xc000000000"), control: outside("vm-write child own")},
		{name: "take a descriptor of a process", args: w("pidfd-getfd {victim} 0"), control: outside("pidfd-getfd child 0")},
		{name: "take a descriptor of the supervisor", args: w("pidfd-getfd parent 0"), control: outside("pidfd-getfd child 0")},
		{name: "limit a process", args: w("prlimit {victim}"), control: outside("prlimit child")},
		{name: "limit the supervisor", args: w("prlimit parent"), control: outside("prlimit child")},
		{name: "slow a process down", args: w("priority {victim}"), control: outside("priority child")},
		{name: "slow the supervisor down", args: w("priority parent"), control: outside("priority child")},
		{name: "slow the own group down", args: w("priority-of 1 0"), control: asked("priority-of 1 0", "done", "done|EPERM")},
		{name: "slow the user down", args: w("priority-of 2 0"), control: asked("priority-of 2 0", "done", "done|EPERM")},
		{name: "slow the user down by number", args: w("priority-of 2 {uid}"), control: asked("priority-of 2 {uid}", "done", "done|EPERM")},
		{name: "pin a process", args: w("affinity {victim}"), control: outside("affinity child")},
		{name: "pin the supervisor", args: w("affinity parent"), control: outside("affinity child")},
		{name: "reschedule a process", args: w("scheduler {victim}"), control: outside("scheduler child")},
		{name: "reschedule the supervisor", args: w("sched-attributes parent"), control: outside("sched-attributes child")},
		{name: "change a process's disk priority", args: w("ioprio {victim}"), control: outside("ioprio child")},
		{name: "change the group's disk priority", args: w("ioprio-of 2 0"), control: asked("ioprio-of 2 0", "done", "done|EPERM")},
		{name: "change the user's disk priority", args: w("ioprio-of 3 0"), control: asked("ioprio-of 3 0", "done", "done|EPERM")},
		{name: "move a process to another group", args: w("setpgid {victim}"), control: granted("setpgid child")},
		{name: "compare with a process", args: w("kcmp {victim}"), control: outside("kcmp child")},
		{name: "move a process's pages", args: w("move-pages {victim}"), control: control{args: w("move-pages child"), outside: true, want: "done|ENOSYS"}},
		{name: "look into a process's robust list", args: w("robust-list {victim}"), control: outside("robust-list child")},
	})
}
