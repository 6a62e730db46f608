package wall

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

// MinABI is the oldest Landlock ABI that holds a cell: 6 brought the scopes of
// signals and abstract sockets (Linux 6.12).
const MinABI = 6

// ErrNoLandlock reports a kernel without Landlock, or with it switched off.
var ErrNoLandlock = errors.New("the kernel has no Landlock, or it is not enabled (see the lsm= boot parameter)")

// abi says what one version of Landlock handles (Documentation/userspace-api/
// landlock.rst, "Kernel support").
type abi struct {
	fs, net, scoped uint64
	brings          string // what a kernel below this version lacks
}

const (
	fsABI1 = 1<<13 - 1 // EXECUTE … MAKE_SYM

	accessExecute  = unix.LANDLOCK_ACCESS_FS_EXECUTE
	accessWrite    = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	accessRead     = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	accessIoctl    = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	accessCreate   = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_REFER
	accessOnFiles  = accessExecute | accessWrite | unix.LANDLOCK_ACCESS_FS_READ_FILE | accessIoctl
	netTCP         = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	scopesOfABI6   = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	minABINames    = "Linux 6.12"
	newestKnownABI = 6
)

// abis[v] describes version v.
func abis() [newestKnownABI + 1]abi {
	return [...]abi{
		0: {},
		1: {fs: fsABI1, brings: "file system rules (Linux 5.13)"},
		2: {fs: fsABI1 | 1<<13, brings: "renaming across directories (Linux 5.19)"},
		3: {fs: fsABI1 | 3<<13, brings: "protection against truncation (Linux 6.2)"},
		4: {fs: fsABI1 | 3<<13, net: netTCP, brings: "TCP rules (Linux 6.7)"},
		5: {fs: fsABI1 | 7<<13, net: netTCP, brings: "protection of devices' ioctls (Linux 6.10)"},
		6: {fs: fsABI1 | 7<<13, net: netTCP, scoped: scopesOfABI6, brings: "scopes of signals and abstract sockets (Linux 6.12)"},
	}
}

// LandlockABI returns the version that the kernel offers, 0 with
// ErrNoLandlock where there is none.
func LandlockABI() (int, error) {
	v, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, ErrNoLandlock
	}
	return int(v), nil
}

// Lacks lists what a kernel with Landlock version v does not protect, oldest first.
func Lacks(v int) []string {
	var list []string
	for i, a := range abis() {
		if i > v {
			list = append(list, a.brings)
		}
	}
	return list
}

// Access is a mask of LANDLOCK_ACCESS_FS_* rights.
type Access uint64

// Rights of the parts of a cell. Landlock grants them to everything below a
// directory, or to one file.
const (
	Package = Access(accessRead | accessExecute) // package files
	Scratch = Access(accessRead | accessWrite | accessCreate)
	Config  = Access(unix.LANDLOCK_ACCESS_FS_READ_FILE)
	Device  = Access(unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | accessIoctl)
)

// Executing is the right to execute, and Loading all that the kernel checks when it
// loads the dynamic loader of what is executed.
const Executing, Loading = uint64(accessExecute), uint64(accessExecute | unix.LANDLOCK_ACCESS_FS_READ_FILE)

// Unhindered is Package for what programs open natively, with a right that they
// cannot use. For each file that is opened Landlock looks for the right to truncate
// it later (hook_file_open in security/landlock/fs.c), as far as "/" if no rule on
// the way gives it: a third of the time that opening takes. No program comes to
// truncate anything with it: truncate(2) is asked; O_TRUNC without writing is in
// no slot of the zone, and so is asked; with writing Landlock refuses it, as does
// the file's mode; and who answers what is asked has no such right (KeepLengths).
const Unhindered = Package | unix.LANDLOCK_ACCESS_FS_TRUNCATE

// AccessOf returns what rights r on a path mean under a pledge: without RPATH
// nothing is read, without WPATH nothing written, without CPATH nothing made
// or removed. Executing needs reading as well.
func AccessOf(r capability.Rights, pledge capability.Pledge) Access {
	var a Access
	if r&capability.Read != 0 {
		a |= accessRead
	}
	if r&capability.Write != 0 {
		a |= accessWrite | accessCreate
	}
	if r&capability.Create != 0 {
		a |= accessCreate
	}
	if r&capability.Execute != 0 {
		a |= accessExecute | accessRead
	}
	return a.Under(pledge)
}

// Under takes from a what the pledge does not promise.
func (a Access) Under(pledge capability.Pledge) Access {
	if !pledge.Has(capability.Rpath) {
		a &^= accessRead | accessExecute
	}
	if !pledge.Has(capability.WriteOnly) {
		a &^= accessWrite
	}
	if !pledge.Has(capability.Cpath) {
		a &^= accessCreate
	}
	return a
}

// Rule grants Access to what lies at and below Path.
type Rule struct {
	Path     string // absolute, or relative to the directory given to NewRuleset
	Access   Access
	Optional bool // a path that is missing is passed over
	// Resolved says that Path is the result of a walk that somebody judged: one
	// that leads through a symlink now is not that path any more.
	Resolved bool
	// FD is a path descriptor of it, 0 for none: Path is for messages then.
	FD int
}

// Network says which TCP calls Landlock leaves to the cell: none, or with Open all,
// except that it connects to no other ports than Ports, if there are any.
type Network struct {
	Open  bool
	Ports []uint16
}

// NewRuleset makes a Landlock ruleset of the rules and returns its descriptor
// (close-on-exec), which Confine and the openers' threads apply. Without net
// all binding and connecting of TCP sockets is refused. version is what
// LandlockABI returned; what it lacks is left out, so callers refuse versions
// below MinABI first.
func NewRuleset(rules []Rule, net Network, version int) (fd int, err error) {
	a := abis()[min(version, newestKnownABI)]
	attr := rulesetAttr{fs: a.fs, scoped: a.scoped}
	switch {
	case !net.Open:
		attr.net = a.net
	case len(net.Ports) > 0:
		attr.net = a.net & unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if fd, err = fill(&attr, rules); err != nil || attr.net == 0 {
		return fd, err
	}
	for _, port := range net.Ports {
		rule := portRule{attr.net, uint64(port)}
		if _, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(fd), ruleNetPort, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
			unix.Close(fd)
			return -1, fmt.Errorf("landlock rule for port %d: %w", port, errno)
		}
	}
	return fd, nil
}

// ruleNetPort is LANDLOCK_RULE_NET_PORT (linux/landlock.h).
const ruleNetPort = 2

// portRule is struct landlock_net_port_attr (linux/landlock.h).
type portRule struct{ access, port uint64 }

// KeepLengths makes a ruleset that forbids truncating but where rules permit it,
// for threads that have Unhindered rules around them already. It says where files
// may be moved to other directories, too: a ruleset that does not forbids that
// everywhere.
func KeepLengths(rules []Rule) (fd int, err error) {
	return fill(&rulesetAttr{fs: unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_REFER}, rules)
}

// fill makes a ruleset of the rules.
func fill(attr *rulesetAttr, rules []Rule) (fd int, err error) {
	fd, err = createRuleset(attr)
	if err != nil {
		return -1, fmt.Errorf("create landlock ruleset: %w", err)
	}
	for i := range rules {
		if uint64(rules[i].Access)&attr.fs == 0 {
			continue // the kernel takes no rule without a right (ENOMSG)
		}
		if err := addRule(fd, &rules[i], attr.fs); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("landlock rule for %s: %w", rules[i].Path, err)
		}
	}
	return fd, nil
}

// addRule opens the path of r and grants what the kernel knows of its rights.
func addRule(ruleset int, r *Rule, handled uint64) error {
	fd, err := r.FD, error(nil)
	if fd == 0 {
		how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC}
		if r.Resolved {
			how.Resolve = unix.RESOLVE_NO_SYMLINKS
		}
		fd, err = unix.Openat2(unix.AT_FDCWD, r.Path, &how)
		if err != nil {
			if r.Optional && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) {
				return nil
			}
			return err
		}
		defer unix.Close(fd)
	}
	access := uint64(r.Access) & handled
	err = addPathRule(ruleset, fd, access)
	if errors.Is(err, unix.EINVAL) { // a file takes the rights of files only
		err = addPathRule(ruleset, fd, access&accessOnFiles)
	}
	return err
}
