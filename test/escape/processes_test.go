package escape

import (
	"testing"
)

// The supervisor is the parent of a cell's first process: there is no pid
// namespace, so that the cell can name it, and everybody else.
func TestProcesses(t *testing.T) { try(t, processRows()) }

func processRows() []attempt {
	// A Go program is linked at 0x400000, and its heap begins at 0xc000000000.
	return []attempt{
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
		// EACCES: some process of the user (a cell of a low spectrum) is nicer already.
		{name: "slow the user down", args: w("priority-of 2 0"), control: asked("priority-of 2 0", "done", "done|EPERM|EACCES")},
		{name: "slow the user down by number", args: w("priority-of 2 {uid}"), control: asked("priority-of 2 {uid}", "done", "done|EPERM|EACCES")},
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
		{name: "cool a process's memory", args: w("madvise-of {victim}"), control: control{args: w("madvise-of child"), outside: true, want: "done|ENOSYS", user: "done|ENOSYS|EPERM"}},
		{name: "cool the supervisor's memory", args: w("madvise-of parent"), control: control{args: w("madvise-of child"), outside: true, want: "done|ENOSYS", user: "done|ENOSYS|EPERM"}},
		{name: "release a process's memory", args: w("release-of {victim}"), control: control{args: w("release-of child"), outside: true, want: "done|EAGAIN|ENOSYS|ESRCH"}},
		{name: "enter a process's namespaces", args: w("setns-of {victim} 0x40000000"), control: asked("setns-of child 0x40000000", "done", "EPERM")},
		{name: "offer a process to the killer of processes", args: w("proc-write {victim} oom_score_adj 1000"), control: outside("proc-write child oom_score_adj 1000")},
		{name: "rename a process", args: w("proc-write {victim} comm attacked"), control: outside("proc-write self comm attacked")},
		{name: "rename the supervisor", args: w("proc-write parent comm attacked"), control: outside("proc-write self comm attacked")},
		{name: "open what a process has open", args: w("proc-descriptor {victim} 0"), control: outside("proc-descriptor child 2")},
		{name: "open what the supervisor has open", args: w("proc-descriptor parent 0"), control: outside("proc-descriptor child 2")},
		{name: "share a core with a process", args: w("core-cookie {victim}"), control: control{args: w("core-cookie child"), outside: true, want: "done|EINVAL|ENODEV"}},
		{name: "wait for a process", args: w("wait-for {victim}"), control: granted("wait-for child")},
		{name: "reschedule a process by parameters", args: w("sched-parameters {victim}"), control: outside("sched-parameters child")},
		{name: "hide the own memory", args: w("dumpable"), control: outside("dumpable")},
		{name: "go before everybody", args: w("realtime"), control: asked("realtime", "done|EPERM", "EPERM|done")},
		{name: "be nicer to oneself", args: w("nicer"), control: asked("nicer", "done", "EACCES|EPERM|done")},
	}
}
