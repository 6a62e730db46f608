package zone

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Create makes a cell's zone from its table: a memory file whose size and bytes
// nobody can change any more. The caller owns the descriptor, which is
// close-on-exec. Only the pages that hold something take memory.
func Create(table []byte) (fd int, err error) {
	slots := BuildSlots()
	if len(slots) > TableAddr-Addr || len(table) > TableSize {
		return -1, fmt.Errorf("make zone: %w: %d bytes of slots, %d of table", ErrTable, len(slots), len(table))
	}
	fd, err = unix.MemfdCreate("zone", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("zone", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("make zone: memfd_create: %w", err)
	}
	if err := fill(fd, slots, table); err != nil {
		unix.Close(fd) // nothing was promised about it yet
		return -1, fmt.Errorf("make zone: %w", err)
	}
	return fd, nil
}

func fill(fd int, slots, table []byte) error {
	if err := unix.Ftruncate(fd, Size); err != nil {
		return fmt.Errorf("ftruncate: %w", err)
	}
	for _, part := range []struct {
		b  []byte
		at int64
	}{{slots, 0}, {table, TableAddr - Addr}} {
		n, err := unix.Pwrite(fd, part.b, part.at)
		if err == nil && n != len(part.b) {
			err = unix.ENOSPC
		}
		if err != nil {
			return fmt.Errorf("pwrite: %w", err)
		}
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("add seals: %w", err)
	}
	return nil
}
