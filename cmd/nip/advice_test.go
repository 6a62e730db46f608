package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"nipcells/internal/cell"
	"nipcells/internal/wall"
)

// TestReport tells of what no test can make happen on a host that runs cells.
func TestReport(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&cell.KernelError{Lacks: wall.Lacks(0)},
			"nip: the kernel has no Landlock, or it is not enabled (see the lsm= boot parameter)\n" +
				"     boot Linux 6.12 or newer with landlock in its lsm= list; nip doctor shows what this host has\n"},
		{&cell.KernelError{ABI: 3, Lacks: wall.Lacks(3)},
			"nip: the kernel's Landlock is version 3, a cell needs 6\n" +
				"     use Linux 6.12 or newer; with --allow-degraded the cell would have no TCP rules (Linux 6.7), " +
				"no protection of devices' ioctls (Linux 6.10), no scopes of signals and abstract sockets (Linux 6.12)\n"},
		{&wall.SpawnError{Step: "install the seccomp filter", Err: wall.ErrListener},
			"nip: install the seccomp filter: a seccomp filter with a listener is there already\n" +
				"     another supervisor answers for this process already, as some container managers do: run nip outside of it\n"},
		{&wall.SpawnError{Step: "enter the landlock domain", Err: syscall.E2BIG},
			"nip: enter the landlock domain: argument list too long\n" +
				"     nip doctor shows what this host lacks\n"},
		{fmt.Errorf("start: %w", &cell.DescriptorError{FD: 2, What: "a socket that can be aimed elsewhere"}),
			"nip: start: give descriptor 2 to the cell: it is a socket that can be aimed elsewhere\n" +
				"     redirect it: nip run … 2>FILE\n"},
		{fmt.Errorf("list cells: \x1b[31m%w", syscall.EROFS),
			"nip: list cells: \\u001b[31mread-only file system\n" +
				"     choose a writable root with --root DIRECTORY or NIP_ROOT\n"},
	} {
		var b strings.Builder
		report(&b, c.err)
		if b.String() != c.want {
			t.Errorf("got:\n%s\nwant:\n%s", &b, c.want)
		}
	}
}
