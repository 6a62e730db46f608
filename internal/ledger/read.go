package ledger

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"nipcells/internal/cid"
)

// Record is one line of the ledger.
type Record struct {
	Seq    uint64
	Time   time.Time // UTC
	Kind   string
	Fields []Field // those of the kind, in the order of the line
	Prev   cid.CID
	Hash   cid.CID
	// Damaged is the length in bytes of a piece of the file that is no record;
	// all else is then zero.
	Damaged int
}

// Field returns the value of the field name as text, or "".
func (r Record) Field(name string) string {
	for _, f := range r.Fields {
		if f.Name == name {
			return f.String()
		}
	}
	return ""
}

// String returns the value as text.
func (f Field) String() string {
	if f.Number {
		return strconv.FormatInt(f.Value, 10)
	}
	return f.Text
}

// Read calls fn for each record from the oldest on, until fn returns an error,
// which it returns. Records that are appended meanwhile are not seen. It checks
// each line by itself but not the chain: that is Verify. Damaged pieces are
// reported as records with Damaged set, never left out. A ledger without a file
// has no records.
func (l *Ledger) Read(fn func(Record) error) error {
	return l.snapshot(func(r io.Reader) error {
		s := newScanner(r)
		for {
			p, err := s.next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read ledger %s: %w", l.path, err)
			}
			rec := Record{Damaged: len(p.bytes)}
			if p.valid {
				if rec, err = parseRecord(p.bytes); err != nil {
					return fmt.Errorf("read ledger %s at byte %d: %w", l.path, p.offset, err)
				}
			}
			if err := fn(rec); err != nil {
				return err
			}
		}
	})
}

// snapshot calls fn with what the ledger holds now.
func (l *Ledger) snapshot(fn func(io.Reader) error) error {
	f, err := openShared(l.path)
	if err == syscall.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	size, err := f.size()
	if err == nil {
		err = syscall.Flock(f.fd, syscall.LOCK_UN) // what is below size does not change any more
	}
	if err != nil {
		f.close()
		return fmt.Errorf("read ledger %s: %w", l.path, err)
	}
	file := os.NewFile(uintptr(f.fd), l.path)
	defer file.Close() // only read from
	return fn(io.NewSectionReader(file, 0, size))
}

// piece is a line that is a valid record by itself, or damage: all the bytes up
// to the next valid line or the end.
type piece struct {
	offset int64
	bytes  []byte
	valid  bool
	head   Head
	prev   cid.CID
}

// scanner cuts a ledger into pieces.
type scanner struct {
	r       *bufio.Reader
	offset  int64
	pending *piece // the valid line that ended a damaged piece
}

func newScanner(r io.Reader) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, MaxLine+1)}
}

// next returns the next piece, or io.EOF. Its bytes are its own.
func (s *scanner) next() (piece, error) {
	if p := s.pending; p != nil {
		s.pending = nil
		return *p, nil
	}
	damage := piece{offset: s.offset}
	for {
		line, err := s.r.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return piece{}, err
		}
		if err != bufio.ErrBufferFull {
			whole := bytes.Clone(line)
			if err == io.EOF { // a power cut may take just the newline
				whole = append(whole, '\n')
			}
			if h, prev, ok := checkLine(whole); ok {
				p := piece{offset: s.offset, bytes: whole, valid: true, head: h, prev: prev}
				s.offset += int64(len(line))
				if damage.bytes == nil {
					return p, nil
				}
				s.pending = &p
				return damage, nil
			}
		}
		damage.bytes = append(damage.bytes, line...)
		s.offset += int64(len(line))
		switch {
		case len(damage.bytes) > maxFragment+MaxLine:
			return piece{}, fmt.Errorf("byte %d: %w", damage.offset, ErrDamaged)
		case err == io.EOF && len(damage.bytes) == 0:
			return piece{}, io.EOF
		case err == io.EOF:
			return damage, nil
		}
	}
}
