package cell

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/wall"
)

// A cell that leaves its directory as it was made leaves it to the next one,
// under the name /Cell/.spare: two renames instead of nine changes of the file
// system, which were a tenth of a start's time. There is at most one spare, and
// only for cells of the caller's own user. Its state file is locked by whoever
// works on it, so that it is never seen with a cell's name and without a lock.
func spareOf(root *hier.Root) string { return filepath.Join(root.Cells(), ".spare") }

// takeSpare makes the spare directory, if there is one that nobody else takes
// at this moment, the cell's.
func (s *state) takeSpare(root *hier.Root, id wall.Identity) bool {
	if id.UID != unix.Geteuid() {
		return false
	}
	spare := spareOf(root)
	fd, err := unix.Open(spare+"/state", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	s.file = os.NewFile(uintptr(fd), s.dir+"/state")
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil && s.write("") == nil &&
		unix.Renameat2(unix.AT_FDCWD, spare, unix.AT_FDCWD, s.dir, unix.RENAME_NOREPLACE) == nil {
		if same(fd, s.dir+"/state") {
			return true
		}
		os.RemoveAll(s.dir) // another one's spare, taken between the open and the rename
	}
	s.file.Close()
	return false
}

// same reports whether path still names the file behind fd.
func same(fd int, path string) bool {
	var a, b unix.Stat_t
	return unix.Fstat(fd, &a) == nil && unix.Lstat(path, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// keepSpare makes the cell's directory the spare if it is as it was made and
// there is no other.
func (s *state) keepSpare(root *hier.Root, id wall.Identity) bool {
	var st unix.Stat_t
	if id.UID != unix.Geteuid() || unix.Fstat(int(s.file.Fd()), &st) != nil || st.Size != stateSize {
		return false
	}
	for _, dir := range []string{s.tmp(), s.run()} {
		if !untouched(dir, id.UID) {
			return false
		}
	}
	return unix.Renameat2(unix.AT_FDCWD, s.dir, unix.AT_FDCWD, spareOf(root), unix.RENAME_NOREPLACE) == nil
}

// untouched reports whether dir is an empty directory of the user's with the
// mode it was made with and no attributes, no larger than a new one.
func untouched(dir string, uid int) bool {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode != unix.S_IFDIR|0o700 || int(st.Uid) != uid || st.Size > 4096 {
		return false
	}
	if n, err := unix.Flistxattr(fd, nil); err != nil || n != 0 {
		return false
	}
	var names [512]byte
	n, err := unix.Getdents(fd, names[:])
	return err == nil && n <= 48 // "." and "..", 24 bytes each
}

// dropSpare removes the spare, unless a cell takes it at this moment.
func dropSpare(root *hier.Root) error {
	spare := spareOf(root)
	fd, err := unix.Open(spare+"/state", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil // there is none
	}
	defer unix.Close(fd)
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil || !same(fd, spare+"/state") {
		return nil
	}
	return removeCell(spare)
}
