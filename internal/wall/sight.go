package wall

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/view/zone"
)

// Sight is how the programs of a cell find files.
type Sight uint8

// The sights. In all but Bare nothing exists for the cell but its own names.
const (
	// Bare is by the host's names, and Landlock alone decides: for the tools that
	// grafting runs.
	Bare Sight = iota
	// Asked sends each call that takes a path, or depends on the working
	// directory, to the supervisor.
	Asked
	// Learned is Asked, except that what a promise other than STDIO permits is asked,
	// too, to be learnt of (learn.go).
	Learned
	// Native is Asked, except that openat2 goes on in the kernel where its struct
	// open_how is a slot of the zone: the kernel keeps it below a descriptor that
	// the cell was given. Every program of the cell must begin with the stub that
	// seals the zone (package native).
	Native
	// Counted is Native, except that these calls are asked, too, to be counted.
	Counted
)

// Compile makes the seccomp filter of a pledge. What no promise of the pledge
// permits goes to the listener as a capability fault; calls of another
// architecture, or of the x32 ABI, do too. The calls named last are asked wherever
// they would be allowed.
func Compile(a Arch, pledge capability.Pledge, sight Sight, asked ...string) Filter {
	list := promises()
	named := func(name string) bool { return slices.Contains(asked, name) }
	first := []promise{{rows: lost(pledge), asIs: true}}
	if sight == Bare {
		return compile(a, pledge, append(first, list...), func(_ *promise, name string) bool { return named(name) })
	}
	path := map[string]bool{}
	for name := range strings.FieldsSeq(pathCalls) {
		path[name] = true
	}
	ask := func(p *promise, name string) bool {
		return path[name] && !p.asIs || sight == Learned && p.learnt(name) || named(name)
	}
	first = append(first, promise{rows: hidden(), asIs: true}, promise{bit: capability.Stdio, rows: narrowing(), asIs: true})
	if sight >= Native {
		verdict := Allow
		if sight == Counted {
			verdict = Ask
		}
		first = append(first, promise{rows: native(a, verdict), asIs: true}, promise{bit: capability.ExecOnly, rows: nativeExec(), asIs: true})
	}
	// Before what is quiet, which is last: an openat2 that is not native can be
	// answered.
	last := len(list) - 1
	list = append(list[:last:last], promise{bit: capability.Stdio, rows: []row{{names: "openat2", verdict: Ask}}}, list[last])
	return compile(a, pledge, append(first, list...), ask)
}

// AskedFor are the calls that a cell with this budget asks: forks to be counted, and, where
// somebody watches over what is gone once it is taken, so that he need not look all the
// time; and what makes files longer.
func AskedFor(b capability.Budget) []string {
	var asked []string
	if b.Fibers > 0 || b.Memory > 0 || b.Disk > 0 {
		asked = append(asked, Forks...)
	}
	if b.Disk > 0 {
		asked = append(asked, "fallocate", "ftruncate")
	}
	return asked
}

// hidden are the rows of a cell that sees only its names, before all others.
func hidden() []row {
	return []row{
		// The launching child's own execve.
		{"execve", presented(), Allow},
		// The number by which the supervisor knows a process's directory
		// (package membrane, cwds). Reading it does no harm.
		{"setrlimit", all(is(0, unix.RLIMIT_LOCKS)), Errno(eperm)},
		{"prlimit64", all(is(1, unix.RLIMIT_LOCKS), isNot(2, 0)), Errno(eperm)},
		{"prlimit64", all(is(1, unix.RLIMIT_LOCKS), high(isNot(2, 0))), Errno(eperm)},
	}
}

// narrowing are the calls by which a program makes its Landlock domain narrower. They
// are asked, as the supervisor opens files for it, in a domain that must be as narrow.
func narrowing() []row {
	return []row{{"landlock_add_rule landlock_restrict_self", nil, Ask}}
}

// native are the rows of a cell with a zone. A pointer into the zone is compared
// as the kernel takes it, with all 64 bits, and so is the size.
func native(a Arch, slots Verdict) []row {
	last := zone.Addr + uint32(flagsOf(a).Slots()-1)*zone.SlotSize
	return []row{
		{"openat2", all(high(is(2, 0)), within(2, []span{{zone.Addr, last}}), masked(2, zone.SlotSize-1, 0), high(is(3, 0)), is(3, zone.HowSize)), slots},
		// The empty path means the descriptor itself, which the caller has.
		{"newfstatat statx faccessat2 readlinkat", sealedEmpty(), Allow},
		// The shim's way to change the directory: to a descriptor that it has.
		// Without the mark the supervisor is told, who has a directory of his own
		// for processes without shim.
		{"fchdir", all(is(1, zone.FchdirMark)), Allow},
	}
}

// nativeExec executes what a descriptor leads to; Landlock decides.
func nativeExec() []row { return []row{{"execveat", sealedEmpty(), Allow}} }

// sealedEmpty tests that the second argument is the zone's empty string.
func sealedEmpty() []test { return all(high(is(1, 0)), is(1, zone.EmptyAddr)) }

func flagsOf(a Arch) zone.Flags {
	for _, f := range zone.Machines() {
		if f.Arch == a.Name {
			return f
		}
	}
	panic("no flags of open(2) for " + a.Name) // ArchOf knows no other
}

// pathCalls are the calls that take a path or depend on the working directory,
// and those that can name a socket of the file system.
const pathCalls = `open openat creat stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat
	getcwd chdir fchdir statfs getxattr lgetxattr listxattr llistxattr truncate rename renameat renameat2 link linkat
	symlink symlinkat unlink unlinkat mkdir mkdirat rmdir mknod mknodat execve execveat bind connect`
