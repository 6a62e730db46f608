package ledger

import (
	"bytes"
	"io"
	"syscall"
	"time"

	"nipcells/internal/cid"
)

const (
	// tailWindow is how much of the end of the file an append reads: enough for
	// a usual line several times over.
	tailWindow = 2 << 10
	// maxFragment is how many bytes of damage at the end an append closes off.
	// A power cut tears the writes of a few milliseconds, which are far less.
	maxFragment = 1 << 20
)

// ending is what the end of a ledger file looks like.
type ending struct {
	head     Head
	fragment []byte // damaged bytes after the head's line; nil if there are none
	line     []byte // the head's line; nil if the ledger has none
	unended  bool   // the head's line lacks its newline, and only that
}

// end finds the last valid record. window is scratch space for the usual case,
// in which the last line is a record and fits.
func (f *file) end(window []byte) (ending, error) {
	size, err := f.size()
	if err != nil || size == 0 {
		return ending{}, err
	}
	for {
		from := max(0, size-int64(len(window)))
		b := window[:size-from]
		if err := f.readAt(b, from); err != nil {
			return ending{}, err
		}
		if e, ok := lastRecord(b, from == 0); ok {
			return e, nil
		}
		if len(window) >= maxFragment+MaxLine {
			return ending{}, ErrDamaged
		}
		window = make([]byte, min(8*len(window), maxFragment+MaxLine))
	}
}

// lastRecord finds the last valid record of b, which is the end of a file, or
// all of it. ok is false if more of the file must be seen.
func lastRecord(b []byte, all bool) (e ending, ok bool) {
	if e, ok := unendedRecord(b, all); ok {
		return e, true
	}
	for stop := len(b); stop > 0; {
		i := bytes.LastIndexByte(b[:stop], '\n')
		if i < 0 {
			break
		}
		start := bytes.LastIndexByte(b[:i], '\n') + 1
		if start == 0 && !all {
			return e, false // the line begins before b
		}
		if h, _, ok := checkLine(b[start : i+1]); ok {
			e = ending{head: h, line: b[start : i+1]}
			if i+1 < len(b) {
				e.fragment = b[i+1:]
			}
			return e, true
		}
		stop = i
	}
	if !all || len(b) == 0 {
		return e, all
	}
	return ending{fragment: b}, true
}

// unendedRecord finds a last record that a power cut took nothing but the newline
// of.
func unendedRecord(b []byte, all bool) (e ending, ok bool) {
	start := bytes.LastIndexByte(b, '\n') + 1
	if start == len(b) || start == 0 && !all {
		return e, false
	}
	line := append(bytes.Clone(b[start:]), '\n')
	h, _, ok := checkLine(line)
	return ending{head: h, line: line, unended: true}, ok
}

// mend appends what must follow the end of the ledger before the next record
// can: the newline that is missing, or the record that accounts for a damaged
// piece. It returns the head that the next record follows.
func (e ending) mend(buf []byte) ([]byte, Head) {
	if e.unended {
		return append(buf, '\n'), e.head
	}
	if e.fragment == nil {
		return buf, e.head
	}
	if n := len(e.fragment); e.fragment[n-1] != '\n' {
		buf = append(buf, '\n')
	}
	return appendRecord(buf, e.head, time.Now(), KindTorn, []Field{
		Number("bytes", int64(len(e.fragment))),
		Text("of", cid.Sum(e.fragment).String()),
	})
}

// readAt fills b from offset off.
func (f *file) readAt(b []byte, off int64) error {
	for len(b) > 0 {
		n, err := syscall.Pread(f.fd, b, off)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}
