package kinetic

import (
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// Usage is what a cell uses, as anybody can see who may look at its processes.
type Usage struct {
	Processes int           // what was not waited for is one, too
	Fibers    int           // processes and threads
	CPU       time.Duration // of the living, and of the children for whom they have waited
	Memory    int64         // bytes in memory, pages that several share counted once, without files
	Read      int64         // bytes that came from a disk
	Written   int64         // bytes that were made dirty for one
	Recent    time.Duration // CPU time since the Sampler's last look
}

// Sampler looks at cells again and again. Its zero value has not looked yet.
type Sampler struct {
	clocks map[int]time.Duration // of processes, at the last look
}

// Look returns what each cell uses that has a process which the caller may look at, by
// its fiber-id.
func (s *Sampler) Look() (map[uint32]*Usage, error) {
	cells, clocks := map[uint32]*Usage{}, map[int]time.Duration{}
	err := wall.EachProcess(func(pid int) {
		fiber, ok := wall.MarkOf(pid)
		if !ok {
			return
		}
		u := cells[fiber]
		if u == nil {
			u = &Usage{}
			cells[fiber] = u
		}
		u.Processes++
		u.Fibers += threadsOf(pid)
		clock, err := clockOf(pid)
		if err != nil {
			return // it has ended
		}
		clocks[pid] = clock
		u.CPU += clock + childrenOf(pid)
		u.Recent += clock
		if before, ok := s.clocks[pid]; ok && before <= clock {
			u.Recent -= before
		}
		u.Memory += exactMemoryOf(pid)
		flow := trafficOf(pid)
		u.Read, u.Written = u.Read+flow.read, u.Written+flow.written
	})
	s.clocks = clocks
	return cells, err
}

// childrenOf is the CPU time of the children that a process has waited for.
func childrenOf(pid int) time.Duration {
	fd, err := openOf(pid, "stat")
	if err != nil {
		return 0 // it has ended
	}
	defer unix.Close(fd)
	s, err := statusOf(fd)
	if err != nil {
		return 0
	}
	return s.children
}
