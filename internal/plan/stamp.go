package plan

import "golang.org/x/sys/unix"

// Read returns the plan in the file at path if it is one for package name and
// still true, that is if nothing that it was computed from has changed: the
// package's record, which version is active, the policies, nip, the kernel.
// ok is false otherwise; the cure is always to compute it again.
func Read(path, name string) (p *Plan, ok bool) {
	data, ok := readAll(path)
	if !ok {
		return nil, false
	}
	p, err := Decode(data)
	if err != nil || p.Package != name || p.Kernel != Kernel() {
		return nil, false
	}
	for i := range p.Stamps {
		if Look(p.Stamps[i].Path) != p.Stamps[i] {
			return nil, false
		}
	}
	return p, true
}

// readAll reads a file with three system calls: package os would set up its
// poller for the first file that a process opens.
func readAll(path string) ([]byte, bool) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, false
	}
	defer unix.Close(fd)
	buf := make([]byte, 16<<10)
	for got := 0; ; {
		n, err := unix.Read(fd, buf[got:])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, false
		case n == 0:
			return buf[:got], true
		}
		if got += n; got == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// Kernel is the running kernel's release and version.
func Kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "" // uname(2) fails only on a bad address
	}
	return unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Version[:])
}

// Look returns the stamp of a file as it is now, without following a symlink in
// its last place.
func Look(path string) Stamp {
	s := Stamp{Path: path}
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return s
	}
	s.Inode, s.Size, s.MTime = st.Ino, st.Size, st.Mtim.Nano()
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		var buf [256]byte
		if n, err := unix.Readlink(path, buf[:]); err == nil {
			s.Target = string(buf[:n])
		}
	}
	return s
}
