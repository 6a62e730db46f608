package kinetic

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// Census keeps the processes and threads of a cell at their limit. It is asked before
// each is made. Its methods are safe for concurrent use.
//
// It counts them only when there may be too many, and knows an upper bound until then:
// what it counted last, and what it has admitted since. Who was admitted may not have
// made anything yet when it counts, so that he is counted for one more until it is
// certain that he has.
type Census struct {
	fiber uint32
	limit int
	tell  func(Event)

	mutex  sync.Mutex
	most   int // there are no more than these, those in flight among them
	flying map[int]*flight
	full   time.Time // when it was last counted and there was no room
}

// flight is what is known of a thread that was let go to make another.
type flight struct {
	ran     int64 // its CPU time when it was first seen to run, in ticks
	running bool
	waits   int64 // its CPU time when it was seen to wait in its call, in ticks
	waiting bool
}

// NewCensus returns the census of a cell that has one thread, of one process. tell is
// told of each refusal, and must be quick.
func NewCensus(fiber uint32, limit int, tell func(Event)) *Census {
	return &Census{fiber: fiber, limit: limit, tell: tell, most: 1, flying: map[int]*flight{}}
}

// hold is how long a refusal is held, and how often a full cell is counted at most: who
// asks in a loop gets no answer more often than that. Refusing at once costs the
// supervisor half a core under a fork bomb.
const hold = 5 * time.Millisecond

// Admit reports whether thread tid may make a process or a thread. wait, if it may not,
// is when to ask again before it is refused; 0 if it has been asked for the last time.
func (c *Census) Admit(tid int, last bool) (admitted bool, wait time.Duration) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.flying, tid) // it has come back from there
	if c.most >= c.limit {
		if since := time.Since(c.full); since < hold && !last {
			return false, hold - since
		}
		c.count()
	}
	if c.most < c.limit {
		c.most++
		c.flying[tid] = &flight{}
		return true, 0
	}
	if !last {
		return false, hold
	}
	c.tell(Event{What: "fibers", PID: tid, Used: int64(min(c.most, c.limit)), Limit: int64(c.limit)})
	return false, 0
}

// Change sets another limit. Who is there stays.
func (c *Census) Change(limit int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.limit, c.full = limit, time.Time{}
}

// count counts what there is. Who has landed is looked at first: what he has made is
// then found, and counted twice at worst if it is not.
func (c *Census) count() {
	for tid, f := range c.flying {
		if f.landed(tid) {
			delete(c.flying, tid)
		}
	}
	n := len(c.flying)
	_ = wall.EachProcess(func(pid int) { // without /proc nobody is admitted who has not been
		if f, ok := wall.MarkOf(pid); ok && f == c.fiber {
			n += threadsOf(pid)
		}
	})
	if c.most = n; n >= c.limit {
		c.full = time.Now()
	}
}

// threadsOf is how many threads a process has: the links of /proc/<pid>/task beyond the
// two of every directory (fs/proc/base.c, proc_task_getattr). What has ended and was not
// waited for is one.
func threadsOf(pid int) int {
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(pid)+"/task", &st) != nil {
		return 0 // it is gone
	}
	return max(int(st.Nlink)-2, 1)
}

// landed reports whether what the thread was let go for is certainly done: it is in
// another call, or none, or gone; it waits for its child (CLONE_VFORK); or it has run for
// so long that it must have come back.
func (f *flight) landed(tid int) bool {
	const sure = 10 // ticks of CPU time, 100 ms
	dir := "/proc/" + strconv.Itoa(tid)
	now, ended := ticksOf(dir + "/task/" + strconv.Itoa(tid))
	if ended {
		return true
	}
	text, _ := os.ReadFile(dir + "/syscall") // a process may forbid that; then its time tells
	call := strings.Fields(string(text))
	running := len(call) < 2 || call[0] == "running"
	if !running && !inFork(call[0]) {
		return true
	}
	if !running && waitsForChild(call) {
		if f.waiting && f.waits == now {
			return true
		}
		f.waiting, f.waits = true, now
		return false
	}
	f.waiting = false
	if !f.running {
		f.running, f.ran = true, now
	}
	return now-f.ran >= sure
}

// inFork reports whether the number, as /proc/<pid>/syscall has it, is of a call that
// makes processes.
func inFork(call string) bool {
	nr, err := strconv.ParseUint(call, 10, 32)
	return err == nil && slices.Contains(wall.Forks, wall.Host().CallName(uint32(nr)))
}

// waitsForChild reports whether the call is one that lasts until its child executes
// something or ends (clone(2), CLONE_VFORK).
func waitsForChild(call []string) bool {
	nr, err := strconv.ParseUint(call[0], 10, 32)
	if err != nil {
		return false
	}
	switch wall.Host().CallName(uint32(nr)) {
	case "vfork":
		return true
	case "clone":
		flags, err := strconv.ParseUint(call[1], 0, 64)
		return err == nil && flags&unix.CLONE_VFORK != 0
	}
	return false
}

// ticksOf is the CPU time of one thread (/proc/<pid>/task/<tid>/stat), unless that has
// ended.
func ticksOf(dir string) (ticks int64, ended bool) {
	text, err := os.ReadFile(dir + "/stat")
	f := wall.StatFields(text)
	if err != nil || len(f) < 13 || f[0] == "Z" || f[0] == "X" {
		return 0, true
	}
	for _, field := range f[11:13] { // in user mode, in the kernel
		n, _ := strconv.ParseInt(field, 10, 64) // the kernel's own numbers
		ticks += n
	}
	return ticks, false
}
