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
type opener struct {
	// alone gives the thread a umask of its own, for a cell whose files it makes.
	alone bool
	once  sync.Once
	work  chan func()
	err   error
}

// do runs f on the opener's thread and waits for it. It fails with EPERM if
// the thread could not be confined: what cannot be walled in is not done.
func (o *opener) do(confine func() error, f func() unix.Errno) unix.Errno {
	o.once.Do(func() { o.start(confine) })
	if o.err != nil {
		return unix.EPERM
	}
	done := make(chan unix.Errno, 1)
	o.work <- func() { done <- f() }
	return <-done
}

func (o *opener) start(confine func() error) {
	o.work = make(chan func())
	confined := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := o.separate()
		if err == nil {
			err = confine()
		}
		confined <- err
		if err != nil {
			return
		}
		for f := range o.work {
			f()
		}
	}()
	o.err = <-confined
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
	if o.err == nil {
		close(o.work)
	}
}
