package hier

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The locks that more than one package knows.
const (
	LockPackages = "packages" // exclusive: changing what is installed; shared: reading it as a whole
)

// Lock is a held lock: flock(2) on a file that is never removed. It ends with
// Unlock, or with the process, however that ends. Its descriptor closes on exec,
// so no child keeps it.
type Lock struct{ f *os.File }

// Lock takes the lock Nexus/lock/<what>, waiting for it until ctx ends. Many may
// hold a shared lock, one an exclusive lock.
func (r *Root) Lock(ctx context.Context, what string, exclusive bool) (*Lock, error) {
	if err := r.Make("Nexus/lock"); err != nil {
		return nil, err
	}
	return LockFile(ctx, r.Join("Nexus/lock/"+part(what)), exclusive)
}

// TryLock is Lock without waiting: if others hold the lock the error wraps
// ErrLocked.
func (r *Root) TryLock(what string, exclusive bool) (*Lock, error) {
	if err := r.Make("Nexus/lock"); err != nil {
		return nil, err
	}
	return TryLockFile(r.Join("Nexus/lock/"+part(what)), exclusive)
}

// LockFile takes a lock on the file at path, which is made if it is missing
// (mode 0600, no symlink followed), waiting until ctx ends.
func LockFile(ctx context.Context, path string, exclusive bool) (*Lock, error) {
	l, err := openLock(path)
	if err != nil {
		return nil, err
	}
	// A blocking flock cannot be cancelled, so a lock that is held is asked for
	// again; the first few times at once, because most are held for microseconds.
	const longest = 50 * time.Millisecond
	for wait := 200 * time.Microsecond; ; wait = min(2*wait, longest) {
		busy, err := l.try(exclusive)
		if err != nil {
			return nil, err
		}
		if !busy {
			return l, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			l.Unlock()
			return nil, fmt.Errorf("wait for lock %s: %w", path, ctx.Err())
		case <-t.C:
		}
	}
}

// TryLockFile is LockFile without waiting: if others hold the lock the error
// wraps ErrLocked.
func TryLockFile(path string, exclusive bool) (*Lock, error) {
	l, err := openLock(path)
	if err != nil {
		return nil, err
	}
	busy, err := l.try(exclusive)
	if err != nil {
		return nil, err
	}
	if busy {
		l.Unlock()
		return nil, fmt.Errorf("lock %s: %w", path, ErrLocked)
	}
	return l, nil
}

func openLock(path string) (*Lock, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", &fs.PathError{Op: "open", Path: path, Err: err})
	}
	return &Lock{os.NewFile(uintptr(fd), path)}, nil
}

// try asks once. On an error the lock's file is closed.
func (l *Lock) try(exclusive bool) (busy bool, err error) {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for {
		switch err := unix.Flock(int(l.f.Fd()), how|unix.LOCK_NB); err {
		case nil:
			return false, nil
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return true, nil
		default:
			name := l.f.Name()
			l.Unlock()
			return false, fmt.Errorf("lock: %w", &fs.PathError{Op: "flock", Path: name, Err: err})
		}
	}
}

// Unlock gives the lock back. It must be called once.
func (l *Lock) Unlock() {
	l.f.Close() // nothing was written: closing cannot lose anything
}

// File returns the locked file. It stays the Lock's to close. Writing to it is
// allowed to who holds the lock exclusively.
func (l *Lock) File() *os.File { return l.f }
