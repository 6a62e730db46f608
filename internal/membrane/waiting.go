package membrane

import "golang.org/x/sys/unix"

// How many descriptors the supervisor holds for a call that waits: its file, and what it
// needs to wait in.
const (
	lockHolds    = 1
	connectHolds = 1
	openerHolds  = 4 // two pipes
	fifoHolds    = 3 + openerHolds
	unixHolds    = 2 + openerHolds
)

// mayWait reports whether the supervisor may hold so many descriptors more for calls that
// wait: one without descriptors could not even end its cell. waited gives them back.
func (m *Membrane) mayWait(descriptors int32) bool {
	if m.waiting.Add(descriptors) <= m.waitMost {
		return true
	}
	m.waited(descriptors)
	return false
}

func (m *Membrane) waited(descriptors int32) { m.waiting.Add(-descriptors) }

// waitMost is how many descriptors may be held for calls that wait: a quarter of those
// that the supervisor may have.
func waitMost() int32 {
	const part, most = 4, 1024
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return int32(min(l.Cur/part, most))
}
