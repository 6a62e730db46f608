// Package capability is the pure algebra of rights: pledges, unveils, budgets
// and how they compose. It makes no system calls. Rights only ever shrink: no
// operation here yields a right that its inputs did not have.
package capability

// Pledge is a mask of allowed operations (SPEC section 4).
type Pledge uint64

// The promises. Sub-promises of a wider one have bits of their own; a wide
// promise contains them.
const (
	Stdio Pledge = 1 << iota // memory, threads, time, what is open already
	Rpath                    // read what is unveiled
	Wpath                    // write, create, rename, remove, change modes of what is writable
	Inet                     // IPv4 and IPv6 sockets
	Exec                     // fork and exec
	Proc                     // fork without exec (part of Exec)
	Cpath                    // create, rename, remove (part of Wpath)
	Fattr                    // modes and times (part of Wpath)
)

// Rights says what may be done below an unveiled path.
type Rights uint8

// The letters of --unveil PATH:rwxc. Write contains Create: who may write below
// a directory may make, rename and remove names there. Create alone makes and
// removes names, but does not touch the contents of files that exist.
const (
	Read    Rights = 1 << iota // r
	Write                      // w
	Execute                    // x
	Create                     // c
)

// Unveil makes one path visible.
type Unveil struct {
	Path   string // absolute
	Rights Rights
}

// Budget is what a cell may use; zero fields are unlimited (SPEC section 5).
type Budget struct {
	Spectrum string // photon, matter, gravity, void
	Memory   int64  // bytes
	Fibers   int    // processes and threads
	CPU      int    // per cent of one core
	Disk     int64  // bytes in /Cell and /Data
	IO       int64  // bytes a second
}
