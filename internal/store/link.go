package store

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Epoch is the modification time, in seconds since 1970, of every blob. It is
// not 0, which some programs take for "no time known".
const Epoch = 1

// How says how Link made two names share their bytes.
type How int

// The ways, best first.
const (
	Hard    How = iota // one inode
	Reflink            // two inodes that share blocks
	Copy               // two inodes, no sharing: the file system allows neither
)

// Finish gives an open file of the store, completely written, its mode and
// constant times.
func Finish(fd int, exec bool) error {
	if err := unix.Fchmod(fd, modeOf(exec)); err != nil {
		return fmt.Errorf("finish file: fchmod: %w", err)
	}
	return SetEpoch(fd)
}

// SetEpoch gives an open file the constant times.
func SetEpoch(fd int) error {
	ts := [2]unix.Timespec{{Sec: Epoch}, {Sec: Epoch}}
	if err := futimens(fd, &ts); err != nil {
		return fmt.Errorf("set times: futimens: %w", err)
	}
	return nil
}

// Link makes dst, which must not exist, a name for the same bytes as the
// finished file src: a hard link, or where the file system allows none a
// reflink, or a copy. exec is the mode of src. Neither name's last symlink is
// followed.
func Link(srcDir int, src string, dstDir int, dst string, exec bool) (How, error) {
	return link(srcDir, src, dstDir, dst, 0, exec, false)
}

func link(srcDir int, src string, dstDir int, dst string, flags int, exec, sync bool) (How, error) {
	err := linkat(srcDir, src, dstDir, dst, flags)
	if err == nil {
		return Hard, nil
	}
	if !needsCopy(err) {
		return 0, &os.LinkError{Op: "link", Old: src, New: dst, Err: err}
	}
	open := unix.O_RDONLY | unix.O_CLOEXEC
	if flags&unix.AT_SYMLINK_FOLLOW == 0 {
		open |= unix.O_NOFOLLOW
	}
	from, err := unix.Openat(srcDir, src, open, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: src, Err: err}
	}
	in := os.NewFile(uintptr(from), src)
	defer in.Close() // only read
	to, err := unix.Openat(dstDir, dst, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, &fs.PathError{Op: "create", Path: dst, Err: err}
	}
	out := os.NewFile(uintptr(to), dst)
	how, err := fill(out, in)
	if err == nil {
		err = Finish(to, exec)
	}
	if err == nil && sync {
		err = out.Sync()
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		unix.Unlinkat(dstDir, dst, 0) // the first error is the one to tell
		return 0, fmt.Errorf("copy %s: %w", src, err)
	}
	return how, nil
}

// needsCopy says which errors of link(2) mean that a hard link is impossible
// here, but nothing is wrong: too many links, another file system, or one that
// has none.
func needsCopy(err error) bool {
	return err == unix.EMLINK || err == unix.EXDEV || err == unix.EPERM || err == unix.EOPNOTSUPP
}

func fill(out, in *os.File) (How, error) {
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return Reflink, nil
	}
	_, err := io.Copy(out, in)
	return Copy, err
}
