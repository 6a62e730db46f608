// Package ledger is the record of every install, grant, start, strike, update
// and removal: an append-only file of JSON lines, each chained to the one
// before it by a BLAKE3 hash, sealed from time to time with an Ed25519
// signature.
//
// A line is
//
//	{"time":"2026-11-23T22:03:25.123456Z","kind":"install",<fields>,"seq":7,"prev":"<64 hex>","hash":"<64 hex>"}
//
// with the fields of its kind in the order in which they were given, values
// being strings or whole numbers. hash is the BLAKE3 of the line's bytes from
// its first brace through the quote that ends prev's value; prev is the hash of
// the record before, or 64 zeroes; seq counts from 1. So an append needs only
// the last line of the file.
//
// A seal is a record of kind "seal" with the fields "key", the public key, and
// "sig", the signature of "nipcells ledger seal 1\n" and the 32 bytes of prev.
// Because prev is chained, a seal covers everything before it.
//
// A power cut, or a kill between two pages of a write, can leave a damaged end. The next append closes it off with a
// record of kind "torn" whose fields are "bytes", the length of the damaged
// piece, and "of", its BLAKE3. The piece stays in the file: nothing is dropped.
//
// The ledger proves edits, deletions and reordering to who knows a later head.
// It trusts the holder of the key, and it cannot know that its end was cut off
// unless a head is kept elsewhere.
package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"nipcells/internal/cid"
)

// MaxLine is the length in bytes of the longest line, its newline included.
const MaxLine = 32 << 10

// Kinds of record that this package writes by itself. Append refuses them.
const (
	KindSeal = "seal"
	KindTorn = "torn"
)

var (
	// ErrTooLong reports a record whose line would pass MaxLine.
	ErrTooLong = errors.New("record is longer than 32 KiB")
	// ErrReserved reports a kind or field name that the format uses itself, or
	// that is not made of lower-case letters, digits and underscores.
	ErrReserved = errors.New("name is reserved or malformed")
	// ErrDamaged reports a ledger whose end holds no valid record within
	// maxFragment bytes: this is more than a power cut does.
	ErrDamaged = errors.New("the end of the ledger is damaged")
)

// Head identifies a record and, through the chain, all before it. The zero
// Head is that of an empty ledger.
type Head struct {
	Seq  uint64  // of the record, from 1
	Hash cid.CID // of the record
}

// Field is one named value of a record.
type Field struct {
	Name  string
	Text  string // if not Number
	Value int64  // if Number
	// Number says that the value is the whole number Value.
	Number bool
}

// Text returns a field with a string.
func Text(name, value string) Field { return Field{Name: name, Text: value} }

// Number returns a field with a whole number.
func Number(name string, value int64) Field { return Field{Name: name, Value: value, Number: true} }

// Ledger is a ledger file. It holds no descriptor and may be used by many
// goroutines and processes at once.
type Ledger struct{ path string }

// Open names the ledger at path. It does no input or output; the first append
// makes the file.
func Open(path string) *Ledger { return &Ledger{path: path} }

// Path returns the name of the file.
func (l *Ledger) Path() string { return l.path }

// Append adds a record and returns the new head. The line is in the file when
// Append returns, but may be lost in a power cut: use it for starts. It calls
// no signature code.
func (l *Ledger) Append(kind string, fields ...Field) (Head, error) {
	return l.append(kind, fields, false)
}

// AppendSync adds a record that survives a power cut once AppendSync returns:
// for installs, grants and removals.
func (l *Ledger) AppendSync(kind string, fields ...Field) (Head, error) {
	return l.append(kind, fields, true)
}

func (l *Ledger) append(kind string, fields []Field, sync bool) (Head, error) {
	if err := checkNames(kind, fields); err != nil {
		return Head{}, err
	}
	f, err := openLocked(l.path)
	if err != nil {
		return Head{}, err
	}
	h, err := f.add(kind, fields)
	if err == nil && sync {
		err = f.sync(l.path)
	}
	if cerr := f.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return Head{}, fmt.Errorf("append to ledger %s: %w", l.path, err)
	}
	return h, nil
}

// checkNames refuses names that would let a record look like something that it
// is not.
func checkNames(kind string, fields []Field) error {
	if kind == KindSeal || kind == KindTorn || !plainName(kind) {
		return fmt.Errorf("ledger record of kind %q: %w", kind, ErrReserved)
	}
	for i, f := range fields {
		switch f.Name {
		case "time", "kind", "seq", "prev", "hash":
			return fmt.Errorf("ledger field %q: %w", f.Name, ErrReserved)
		}
		if !plainName(f.Name) {
			return fmt.Errorf("ledger field %q: %w", f.Name, ErrReserved)
		}
		for _, g := range fields[:i] {
			if g.Name == f.Name {
				return fmt.Errorf("ledger field %q given twice: %w", f.Name, ErrReserved)
			}
		}
	}
	return nil
}

func plainName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}

// file is the open, locked ledger file.
type file struct {
	fd      int
	created bool
}

// openLocked opens or makes the ledger and waits for its lock. The lock is a
// flock: it is gone when the holder dies, and nobody holds it for longer than
// one append.
func openLocked(path string) (*file, error) {
	const flags = syscall.O_RDWR | syscall.O_APPEND | syscall.O_CLOEXEC | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	f := new(file)
	fd, err := open(path, flags, 0)
	if err == syscall.ENOENT {
		f.created = true
		fd, err = open(path, flags|syscall.O_CREAT, 0o600)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open ledger", Path: path, Err: err}
	}
	f.fd = fd
	for {
		if err = syscall.Flock(fd, syscall.LOCK_EX); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		syscall.Close(fd)
		return nil, &os.PathError{Op: "lock ledger", Path: path, Err: err}
	}
	return f, nil
}

func open(path string, flags int, perm uint32) (int, error) {
	for {
		fd, err := syscall.Open(path, flags, perm)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

// close gives the lock back: it belongs to the open file, which has no other
// descriptor.
func (f *file) close() error { return syscall.Close(f.fd) }

// sync makes the file and, when it is new, its name survive a power cut.
func (f *file) sync(path string) error {
	if err := syscall.Fdatasync(f.fd); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if !f.created {
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close() // only read from
	return d.Sync()
}

// size returns the file's length in bytes. Anything but a regular file is an
// error.
func (f *file) size() (int64, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(f.fd, &st); err != nil {
		return 0, err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return 0, errors.New("not a regular file")
	}
	return st.Size, nil
}

// add appends one record, after closing off a damaged end if there is one. All
// goes out in one write. The caller holds the lock.
func (f *file) add(kind string, fields []Field) (Head, error) {
	var window [tailWindow]byte
	end, err := f.end(window[:])
	if err != nil {
		return Head{}, err
	}
	buf, head := end.mend(make([]byte, 0, 1024))
	start := len(buf)
	buf, head = appendRecord(buf, head, time.Now(), kind, fields)
	if len(buf)-start > MaxLine {
		return Head{}, ErrTooLong
	}
	return head, f.write(buf)
}

// write puts b at the end of the file with one write(2). A short write (a full
// disk) is taken back, so that it leaves nothing torn behind.
func (f *file) write(b []byte) error {
	for {
		n, err := syscall.Write(f.fd, b)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return err
		case n == len(b):
			return nil
		}
		// The rest may still fit, but the usual reason is a full disk.
		size, err := f.size()
		if err == nil {
			err = syscall.Ftruncate(f.fd, size-int64(n))
		}
		if err != nil {
			return fmt.Errorf("short write, and taking it back: %w", err)
		}
		return syscall.ENOSPC
	}
}
