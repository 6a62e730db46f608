// Package nexus lets a program take rights away from itself, for good: in all its
// threads, in what it starts, inside a cell of NipCells and outside of any. It works
// for every user and without cgo. It is for C programs as well: see c/nexus.h.
//
// Both functions set no_new_privs: set-user-id programs that are started later give no
// rights. What they do is documented in docs/PLEDGES.md (filters), landlock(7) and
// seccomp(2).
package nexus

import (
	"strings"

	"nipcells/internal/capability"
	"nipcells/internal/wall"
)

// ErrNotHeld reports a promise that is not held any more: this process, one that it
// comes from, or its cell has given it up. It comes with EPERM.
var ErrNotHeld = wall.ErrNotHeld

// Pledge keeps the promises and gives up all others: a call that none of them allows
// ends the process with SIGSYS. They are words with blanks or commas between them, in
// upper or lower case: stdio rpath wpath cpath fattr inet exec proc; wpath contains
// cpath and fattr, exec contains proc, and "-cpath" takes a part away again. No word
// keeps nothing. The Go runtime needs stdio.
//
// Nothing is changed if there is an error. It is safe for concurrent use.
func Pledge(promises string) error { return pledge(promises, wall.KillProcess) }

// PledgeDeny is Pledge, but calls that are not allowed fail with EPERM. Of two pledges
// that refuse a call the one that kills decides.
func PledgeDeny(promises string) error { return pledge(promises, wall.Refuse) }

func pledge(promises string, refusal wall.Verdict) error {
	words := strings.FieldsFunc(promises, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
	p, err := capability.ParsePledge(words)
	if err != nil {
		return err
	}
	return wall.Ratchet(p, refusal)
}

// Unveil leaves nothing but these paths and what is below them, as far as it was there
// before. Each is PATH:rights, letters of r (read), w (write, which contains c), x
// (execute) and c (make, rename and remove names); without rights it is r. The path is
// absolute, must be there and is looked up at once; what lies there is meant, not its
// name. Others fail with EACCES; they do not vanish. No path leaves nothing.
//
// Each call is one Landlock layer, of which the kernel takes 16, a cell's own included;
// then the error is E2BIG. A later call can only narrow. Call it before RPATH is given
// up. A program with cgo gets ENOTSUP (syscall.AllThreadsSyscall). It is safe for concurrent use.
func Unveil(paths ...string) error {
	list := make([]capability.Unveil, len(paths))
	for i, p := range paths {
		u, err := capability.ParseUnveil(p, "")
		if err != nil {
			return err
		}
		list[i] = u
	}
	return wall.Narrow(list)
}
