package ledger

import (
	"encoding/hex"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Sealer signs the ledger. It is a pair of values instead of a key so that this
// package, which every start of a cell uses, need not bring Ed25519 along: its
// tables take longer to initialise than an append. Package keys makes one.
type Sealer struct {
	Public []byte                      // Ed25519 public key, 32 bytes
	Sign   func(message []byte) []byte // its signature, 64 bytes
}

// Seal signs everything in the ledger and appends the signature as a record of
// kind "seal". A ledger that is empty or ends in a seal is left alone. The first
// signature of a process costs most of a millisecond, so starts do not seal:
// whoever has time does. The lock is not held during that first signature.
func (l *Ledger) Seal(by Sealer) (Head, error) {
	expect, sealed, err := l.peek()
	if err != nil {
		return Head{}, fmt.Errorf("seal ledger %s: %w", l.path, err)
	}
	if sealed {
		return expect, nil
	}
	sig := by.Sign(sealMessage(expect))
	f, err := openLocked(l.path)
	if err != nil {
		return Head{}, err
	}
	h, err := f.seal(by, expect, sig)
	if cerr := f.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return Head{}, fmt.Errorf("seal ledger %s: %w", l.path, err)
	}
	return h, nil
}

// seal appends the seal of the head expect, or of what the head is by now. The
// caller holds the lock.
func (f *file) seal(by Sealer, expect Head, sig []byte) (Head, error) {
	var window [tailWindow]byte
	end, err := f.end(window[:])
	if err != nil {
		return Head{}, err
	}
	if end.sealed() {
		return end.head, nil
	}
	buf, head := end.mend(make([]byte, 0, 1024))
	if head != expect { // others were quicker
		sig = by.Sign(sealMessage(head))
	}
	buf, head = appendRecord(buf, head, time.Now(), KindSeal, []Field{
		Text("key", hex.EncodeToString(by.Public)),
		Text("sig", hex.EncodeToString(sig)),
	})
	return head, f.write(buf)
}

func sealMessage(h Head) []byte { return append([]byte(sealContext), h.Hash[:]...) }

// Unsealed reports whether the ledger holds records that no seal covers. It
// reads only the end of the file. A ledger that cannot be read counts as sealed:
// there is nothing that the caller could seal.
func (l *Ledger) Unsealed() bool {
	_, sealed, err := l.peek()
	return err == nil && !sealed
}

// Head returns the newest valid record; that of a ledger without records, or
// without a file, is zero.
func (l *Ledger) Head() (Head, error) {
	h, _, err := l.peek()
	if err != nil {
		return Head{}, fmt.Errorf("read the head of ledger %s: %w", l.path, err)
	}
	return h, nil
}

// peek returns the head and whether there is nothing to seal.
func (l *Ledger) peek() (h Head, sealed bool, err error) {
	f, err := openShared(l.path)
	if err == syscall.ENOENT {
		return Head{}, true, nil
	}
	if err != nil {
		return Head{}, false, err
	}
	defer f.close() // only read from
	var window [tailWindow]byte
	end, err := f.end(window[:])
	if err != nil {
		return Head{}, false, err
	}
	return end.head, end.sealed(), nil
}

// openShared opens the ledger for reading and waits until nobody writes. It
// returns a bare ENOENT if there is none.
func openShared(path string) (*file, error) {
	fd, err := open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err == syscall.ENOENT {
		return nil, err
	}
	if err != nil {
		return nil, &os.PathError{Op: "open ledger", Path: path, Err: err}
	}
	for {
		if err = syscall.Flock(fd, syscall.LOCK_SH); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		syscall.Close(fd)
		return nil, &os.PathError{Op: "lock ledger", Path: path, Err: err}
	}
	return &file{fd: fd}, nil
}

// sealed reports whether there is nothing that a seal does not cover.
func (e ending) sealed() bool {
	return e.fragment == nil && !e.unended && (e.line == nil || isKind(e.line, KindSeal))
}

// isKind reports whether a valid line is a record of that kind. Time has a
// fixed length, so the kind begins at a fixed place.
func isKind(line []byte, kind string) bool {
	const at = len(`{"time":"`) + len(timeLayout)
	want := `","kind":"` + kind + `",`
	return len(line) > at+len(want) && string(line[at:at+len(want)]) == want
}
