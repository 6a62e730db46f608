// Package ion is the Go side of ION rings: messages and data between two sides that share
// memory and do not trust each other. ABI.md has every byte of it, for whoever writes
// another side; ion.h is the same for C and the kernel.
//
// A Segment is the shared memory: a sealed memory file between processes, a window of RAM
// between a guest and its host. It holds channels. A Ring is one side's end of a channel:
// Send and Recv pass messages of at most one slot, in order, without a lock, and without a
// system call while both sides are busy. Larger data lies in the arena of a channel, in
// buffers that a message grants to the other side and that come back.
//
//	seg, err := ion.Create("files", ion.Duplex(0x2000, ion.Lane{SlotSize: 64, Slots: 256})...)
//	ring, err := seg.Ring(0x2000)
//	err = ring.Send(message)
//
// # What holds whatever the other side does
//
// Every field of the shared memory is read once, into private memory, checked there, and
// used from there. What must not change is never read again after Create or Attach: each
// side keeps its own copy of where things lie. Whoever breaks the rules gets a
// ViolationError on that channel, which is closed; other channels go on. Nothing the other
// side writes makes this package panic, touch memory outside of the segment, loop without
// end or grow. A segment that can be truncated is not mapped, as the next access would end
// the process (SIGBUS).
//
// What the other side can do is to lie in its own messages, to send nothing, to take
// nothing, and to change the contents of a buffer while they are read: copy what lies
// in a buffer before you check it.
//
// # Concurrency
//
// A Ring has one sender and one receiver: Send and its kin may be called by one goroutine
// at a time, Recv and its kin by one other. Close may be called by any. Of each side of a
// segment there is at most one process at a time.
package ion
