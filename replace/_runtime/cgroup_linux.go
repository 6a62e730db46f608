// This file takes the place of the one of that name in Go's package runtime when
// the front of nip is built (build.sh). The original looks up the processor limit
// of the control group at every start, to which end the kernel writes the whole
// /proc/self/mountinfo: 0.1 ms, a twentieth of a `nip run`. And for each of the
// goroutines that the runtime starts for itself it would start a thread: as much
// again.

package runtime

func defaultGOMAXPROCSInit() {}

func defaultGOMAXPROCSUpdateGODEBUG() {}

// defaultGOMAXPROCS returns 1: a young cell's supervisor has one thing to do after
// the other. One that grows up asks for more (package cell).
func defaultGOMAXPROCS(int32) int32 { return 1 }
