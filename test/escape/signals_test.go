package escape

import "testing"

// TestSignals has signals sent to processes outside, by calls and by what the kernel
// sends for somebody. The victim counts SIGURG, which is 23.
func TestSignals(t *testing.T) { try(t, signalRows()) }

func signalRows() []attempt {
	return []attempt{
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
		{name: "let the kernel signal a thread", args: w("sigio-thread {victim} 23"), silent: true, control: outside("sigio-thread child 9")},
		{name: "let the kernel signal a thread of the supervisor", args: w("sigio-thread parent 9"), silent: true, control: outside("sigio-thread child 9")},
		{name: "let the kernel signal a group", args: w("sigio-group {victim} 23"), silent: true, control: outside("sigio-group child 9")},
		{name: "own a socket for a process", args: w("socket-owner {victim}"), control: outside("socket-owner child")},
		{name: "have a process told of urgent data", args: w("urgent {victim}"), silent: true, control: granted("urgent self")},
		{name: "have the supervisor told of urgent data", args: w("urgent parent"), silent: true, control: granted("urgent self")},
		{name: "make a timer for a thread outside", args: w("timer-thread {victim} 23"), control: granted("timer-thread self 23")},
		{name: "make a timer for the supervisor", args: w("timer-thread parent 9"), control: granted("timer-thread self 23")},
		{name: "signal the group of a process from within", args: w("join-group {victim} 23"), silent: true, control: outside("join-group {victim} 23")},
		{name: "signal a group by pidfd", args: w("pidfd-group {victim} 23"), silent: true, control: granted("pidfd-group child 9")},
		{name: "signal a process by its directory", args: w("procfd-signal {victim} 23"), control: outside("procfd-signal child 9")},
		{name: "end with a signal to the supervisor", args: w("exit-signal 9"), control: outside("exit-signal 23")},
		{name: "forge a signal of the kernel", args: w("forged-queue {victim} 23"), control: outside("forged-queue self 23")},
		{name: "forge a signal of the kernel to the supervisor", args: w("forged-queue parent 9"), control: outside("forged-queue self 23")},
	}
}
