package membrane

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// opener is the thread that acts on the cell's behalf: confined by the cell's
// Landlock rules in a domain beside the cell's own, with its user and without
// capabilities. It is started when it is first needed, so that a program that
// changes no metadata does not pay for it.
//
// Work goes to it and back through two pipes. Waking a processor that idles takes
// longer than all the rest, so a listener's opener is kept on the processor on
// which the listener is, and the listener there while it waits.
type opener struct {
	// alone gives the thread a umask of its own, for a cell whose files it makes.
	alone bool
	// near says that do is only called by one thread, the listener's.
	near  bool
	tid   int
	cpu   int         // the opener's, -1: any
	all   unix.CPUSet // where the listener may be
	once  sync.Once
	mutex sync.Mutex // over the following; held while work is done
	work  func() unix.Errno
	errno unix.Errno
	to    [2]int
	from  [2]int
	err   error
}

// do runs f on the opener's thread and waits for it. It fails with EPERM if
// the thread could not be confined: what cannot be walled in is not done.
func (o *opener) do(confine func() error, f func() unix.Errno) unix.Errno {
	o.once.Do(func() { o.start(confine) })
	if o.err != nil {
		return unix.EPERM
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.work = f
	if o.near {
		defer o.gather()()
	}
	if !tell(o.to[1]) || !hear(o.from[0]) {
		return unix.EPERM
	}
	return o.errno
}

func (o *opener) start(confine func() error) {
	if o.err = unix.Pipe2(o.to[:], unix.O_CLOEXEC); o.err != nil {
		return
	}
	if o.err = unix.Pipe2(o.from[:], unix.O_CLOEXEC); o.err != nil {
		unix.Close(o.to[0])
		unix.Close(o.to[1])
		return
	}
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		blockSignals()         // see Membrane.Serve
		o.tid, o.cpu = unix.Gettid(), -1
		err := o.separate()
		if err == nil {
			err = confine()
		}
		// A pipe says that it is done, too: a goroutine that a channel wakes is run
		// by this thread's processor of the runtime, which the next call keeps for
		// up to ten milliseconds.
		for o.err = err; tell(o.from[1]) && err == nil && hear(o.to[0]); {
			o.errno = o.work()
		}
		unix.Close(o.to[0])
		unix.Close(o.from[1])
	}()
	if !hear(o.from[0]) {
		o.err = unix.EPERM
	}
	if o.err != nil {
		unix.Close(o.to[1])
		unix.Close(o.from[0])
	}
}

// gather brings the two threads to the processor that the caller is on, and
// returns what lets the caller go again. That it fails costs time only.
func (o *opener) gather() (scatter func()) {
	cpu := currentCPU()
	var one unix.CPUSet
	one.Set(cpu)
	if o.all.Count() == 0 && unix.SchedGetaffinity(0, &o.all) != nil {
		return func() {}
	}
	if cpu != o.cpu && unix.SchedSetaffinity(o.tid, &one) == nil {
		o.cpu = cpu
	}
	_ = unix.SchedSetaffinity(0, &one)
	return func() { _ = unix.SchedSetaffinity(0, &o.all) }
}

// tell and hear pass one byte; the memory behind it is the opener's fields.
func tell(fd int) bool {
	for {
		if n, err := unix.Write(fd, []byte{0}); err != unix.EINTR {
			return n == 1
		}
	}
}

func hear(fd int) bool {
	var b [1]byte
	for {
		if n, err := unix.Read(fd, b[:]); err != unix.EINTR {
			return n == 1
		}
	}
}

// separate takes the thread's umask and working directory from those of the
// process (unshare(2)).
func (o *opener) separate() error {
	if !o.alone {
		return nil
	}
	return unix.Unshare(unix.CLONE_FS)
}

// stop ends the thread.
func (o *opener) stop() {
	if o.err == nil && o.to[1] > 0 { // it has been started
		unix.Close(o.to[1])
		unix.Close(o.from[0])
	}
}
