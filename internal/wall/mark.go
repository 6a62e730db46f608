package wall

import "golang.org/x/sys/unix"

// The mark of a cell is its RLIMIT_MSGQUEUE: inherited by fork and exec, shed
// by nobody (the filter refuses to change it), readable from outside with
// prlimit(2). Both limits together carry the 32 bits of the fiber-id:
//
//	soft = 0x10000 + low half, hard = 0x20000 + high half
//
// Both stay below the usual hard limit of 819,200 bytes; what they limit,
// POSIX message queues, no cell may use.
const (
	markSoft = 0x10000
	markHard = 0x20000
)

// Mark returns the resource limits that say fiber (see Spawner.Mark). An
// ordinary user's hard limit must allow at least 0x30000 bytes.
func Mark(fiber uint32) unix.Rlimit {
	return unix.Rlimit{Cur: markSoft + uint64(fiber&0xffff), Max: markHard + uint64(fiber>>16)}
}

// FiberOf reads a mark.
func FiberOf(l unix.Rlimit) (fiber uint32, ok bool) {
	if l.Cur < markSoft || l.Cur >= markSoft+1<<16 || l.Max < markHard || l.Max >= markHard+1<<16 {
		return 0, false
	}
	return uint32(l.Cur-markSoft) | uint32(l.Max-markHard)<<16, true
}

// OwnMark reports the cell that the calling process runs in, if it does.
func OwnMark() (fiber uint32, ok bool) {
	var l unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, nil, &l); err != nil {
		return 0, false
	}
	return FiberOf(l)
}

// MarkOf reports the cell that process pid runs in. ok is false for processes
// of other users, which may not be looked at.
func MarkOf(pid int) (fiber uint32, ok bool) {
	var l unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_MSGQUEUE, nil, &l); err != nil {
		return 0, false
	}
	return FiberOf(l)
}
