package hier

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// openTries bounds how often OpenBeneath repeats a walk that a rename disturbed:
// who renames without end must not keep us busy without end.
const openTries = 128

// OpenBeneath opens rel below the directory dirfd with openat2(2), flags and
// mode as in open(2), and returns a descriptor that closes on exec. The kernel
// guarantees that the walk never leaves dirfd, by "..", by a symlink or by a
// magic link, whoever changes the tree meanwhile. A walk that would leave is an
// error that wraps ErrEscape. A symlink as the last name that stays below is
// followed unless flags has O_NOFOLLOW. dirfd may be AT_FDCWD.
func OpenBeneath(dirfd int, rel string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_CREAT != 0 || flags&unix.O_TMPFILE == unix.O_TMPFILE {
		how.Mode = uint64(mode) // openat2 refuses a mode where nothing is made
	}
	var err error
	for range openTries {
		var fd int
		if fd, err = unix.Openat2(dirfd, rel, &how); err == nil {
			return fd, nil
		}
		// EAGAIN: a rename ran beside "..", nothing is wrong.
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EXDEV) {
		err = ErrEscape
	}
	return -1, fmt.Errorf("open beneath: %w", &fs.PathError{Op: "openat2", Path: rel, Err: err})
}

// OpenDir opens the directory rel below the root as a path (O_PATH), without
// following a symlink out of the root or in the last place.
func (r *Root) OpenDir(rel string) (int, error) {
	top, err := unix.Open(r.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open root: %w", &fs.PathError{Op: "open", Path: r.path, Err: err})
	}
	if rel == "" || rel == "." {
		return top, nil
	}
	defer unix.Close(top) // a path descriptor has nothing to flush
	return OpenBeneath(top, rel, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}
