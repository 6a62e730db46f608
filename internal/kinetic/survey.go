package kinetic

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
)

// survey is what some directories hold.
type survey struct {
	bytes   int64          // blocks of all files
	largest int64          // length of the longest file
	hidden  bool           // there are directories that could not be looked at
	empty   map[inode]bool // directories that hold nothing, and cannot be opened
	devices map[uint64]bool
	seen    map[inode]bool // of files that can be met twice
}

type inode struct{ device, number uint64 }

// entry is what a file counts beside its blocks, in bytes: a host has only so many. It is
// half of what ext4 takes for one.
const entry = 128

// deepest is how far down a survey looks; each directory on the way takes a descriptor.
// Programs that go deeper are not expected.
const deepest = 200

// inodesOf are the files of these names.
func inodesOf(paths []string) map[inode]bool {
	set := make(map[inode]bool, len(paths))
	for _, path := range paths {
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil {
			set[inode{st.Dev, st.Ino}] = true
		}
	}
	return set
}

// takeSurvey adds up what is below the directories.
func takeSurvey(dirs []string, empty map[inode]bool) survey {
	s := survey{empty: empty, devices: map[uint64]bool{}, seen: map[inode]bool{}}
	for _, dir := range dirs {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // it is gone, with the cell
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			s.devices[st.Dev] = true
		}
		s.tree(os.NewFile(uintptr(fd), dir), 1)
	}
	return s
}

// tree adds what is in a directory, and closes it. What disappears meanwhile is left out.
func (s *survey) tree(dir *os.File, depth int) {
	defer dir.Close()
	if depth > deepest {
		s.hidden = true
		return
	}
	fd := int(dir.Fd())
	for {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			var st unix.Stat_t
			if unix.Fstatat(fd, e.Name(), &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			s.add(&st)
			if st.Mode&unix.S_IFMT != unix.S_IFDIR {
				continue
			}
			below, err := unix.Openat(fd, e.Name(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			switch {
			case err == nil:
				s.tree(os.NewFile(uintptr(below), e.Name()), depth+1)
			case !errors.Is(err, unix.ENOENT) && !s.empty[inode{st.Dev, st.Ino}]: // its mode may keep us out, and much be in it
				s.hidden = true
			}
		}
		if err != nil {
			return // io.EOF, or gone
		}
	}
}

// add counts a file, once.
func (s *survey) add(st *unix.Stat_t) {
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		if st.Nlink != 1 {
			key := inode{st.Dev, st.Ino}
			if s.seen[key] {
				return
			}
			s.seen[key] = true
		}
		s.largest = max(s.largest, st.Size)
	}
	s.bytes += st.Blocks*512 + entry // stat(2)
}

// nameless adds the files without a name that a process has open on the same devices.
func (s *survey) nameless(p *process) {
	dir, err := os.Open("/proc/" + strconv.Itoa(p.pid) + "/fd")
	if err != nil {
		return // it is gone
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(int(dir.Fd()), name, &st, 0) == nil && st.Nlink == 0 && st.Mode&unix.S_IFMT == unix.S_IFREG && s.devices[st.Dev] {
				s.add(&st)
			}
		}
		if err != nil {
			return
		}
	}
}

// trafficOf is how much a process, and children for whom it has waited, have read from disks
// and made dirty for them (proc_pid_io(5)); nothing if it is gone, or may not be looked at.
func trafficOf(pid int) traffic {
	values, err := wall.Facts(pid, "io", "read_bytes", "write_bytes")
	if err != nil {
		return traffic{}
	}
	read, _ := strconv.ParseInt(values[0], 10, 64) // the kernel's own numbers
	written, _ := strconv.ParseInt(values[1], 10, 64)
	return traffic{read, written}
}
