package cell

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/kinetic"
	"nipcells/internal/wall"
)

// watch is how a guard watches over a supervisor: it waits for its end, and where the cell
// is held to a budget also for the beats of its meter. Where these stay away:
//
//   - a supervisor that is stopped, by job control or whoever may, takes its cell along: it
//     is stopped, and goes on when the supervisor does;
//   - one that runs, or waits for a processor, works, on files that are many, say, and one
//     that waits for a disk may do so for a while;
//   - any other hangs, and is killed; and with it its cell.
//
// While the meter dozes, since nobody in the cell runs, the guard sleeps.
type watch struct {
	fiber      uint32
	supervisor int
	pidfd      int
	pulse      *kinetic.Pulse // nil: it waits for the end alone
}

const (
	// between is how far apart two looks at the beats are, and missed at how many in turn
	// there must have been none; slow, where the supervisor waits for a disk. A meter beats
	// fifty times a second at least.
	between      = 250 * time.Millisecond
	missed, slow = 3, 12
	// stops is how often a stopped supervisor is looked at.
	stops = 20 * time.Millisecond
)

// over returns when the supervisor is gone, or is not the caller's parent.
func (w *watch) over() error {
	misses, before := 0, signs{}
	for unix.Getppid() == w.supervisor { // else the number may be another process's by now
		beats, resting := uint32(0), true
		if w.pulse != nil {
			beats, resting = w.pulse.Beats()
		}
		if resting {
			misses = 0
			if ended, err := w.wait(-1); ended || err != nil {
				return err
			}
			continue
		}
		began := time.Now()
		if ended, err := w.wait(between); ended || err != nil {
			return err
		}
		now, resting := w.pulse.Beats()
		if now != beats || resting || time.Since(began) > 2*between { // or nobody has run, this process neither
			misses = 0
			continue
		}
		if stateOf(procOf(w.supervisor)) == 'T' {
			misses = 0
			if ended, err := w.pause(); ended || err != nil {
				return err
			}
			continue
		}
		after := w.signs()
		if misses == 0 || after.running || after.spent != before.spent {
			misses, before = 1, after
			continue
		}
		if misses++; misses >= missed && !after.blocked || misses >= slow {
			return unix.PidfdSendSignal(w.pidfd, unix.SIGKILL, nil, 0)
		}
	}
	return nil
}

// signs of life of a supervisor.
type signs struct {
	spent   time.Duration // of its threads on processors, and waiting for them
	running bool          // one of them runs, or would
	blocked bool          // one waits for a disk
}

// signs looks at all threads (proc_pid_stat(5), proc_pid_schedstat(5)).
func (w *watch) signs() (s signs) {
	tasks, err := filepath.Glob(procOf(w.supervisor) + "/task/*")
	if err != nil {
		return s
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task + "/schedstat")
		if f := strings.Fields(string(text)); err == nil && len(f) > 1 {
			for _, number := range f[:2] {
				ns, _ := strconv.ParseInt(number, 10, 64) // the kernel's own
				s.spent += time.Duration(ns)
			}
		}
		state := stateOf(task)
		s.running, s.blocked = s.running || state == 'R', s.blocked || state == 'D'
	}
	return s
}

// wait waits for the supervisor's end, for at most d, or, where that is negative, until
// its meter beats again.
func (w *watch) wait(d time.Duration) (ended bool, err error) {
	fds := []unix.PollFd{{Fd: int32(w.pidfd), Events: unix.POLLIN}, {Fd: -1, Events: unix.POLLIN}}
	ms := int(d / time.Millisecond)
	if d < 0 {
		if ms = -1; w.pulse != nil {
			_, f := w.pulse.Files()
			fds[1].Fd = int32(f.Fd())
		}
	}
	if _, err := unix.Poll(fds, ms); err != nil && !errors.Is(err, unix.EINTR) {
		return false, err
	}
	if fds[1].Revents != 0 {
		w.pulse.Forget()
	}
	return fds[0].Revents != 0, nil
}

// pause stops the cell for as long as its supervisor is stopped. Who is stopped already
// stays what he is.
func (w *watch) pause() (ended bool, err error) {
	held := map[int]bool{}
	defer func() {
		for pid := range held {
			signalExactly(pid, w.fiber, unix.SIGCONT)
		}
	}()
	for stateOf(procOf(w.supervisor)) == 'T' {
		_ = wall.EachProcess(func(pid int) { // also who was forked meanwhile
			if id, ok := wall.MarkOf(pid); ok && id == w.fiber && !held[pid] && stateOf(procOf(pid)) != 'T' && signalExactly(pid, id, unix.SIGSTOP) {
				held[pid] = true
			}
		})
		if ended, err := w.wait(stops); ended || err != nil {
			return ended, err
		}
	}
	return false, nil
}

// procOf is a process's directory.
func procOf(pid int) string { return "/proc/" + strconv.Itoa(pid) }

// stateOf is the state of the process or thread with that directory (proc_pid_stat(5)); 0
// if it is gone.
func stateOf(dir string) byte {
	text, err := os.ReadFile(dir + "/stat")
	if f := wall.StatFields(text); err == nil && len(f) > 0 && f[0] != "" {
		return f[0][0]
	}
	return 0
}
