package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"nipcells/internal/cid"
)

// errLine reports a line that no append of this package wrote.
var errLine = errors.New("line is not in the form of a record")

// parseRecord reads a line that checkLine found valid. It accepts what
// appendRecord writes and nothing else; a JSON package would be slower to start
// than a cell is (package comment of cmd/nip/front).
func parseRecord(line []byte) (rec Record, err error) {
	p := parser{rest: string(line)}
	for first := true; ; first = false {
		if first {
			p.skip("{")
		} else {
			p.skip(",")
		}
		f := Field{Name: p.text()}
		p.skip(":")
		if p.peek() == '"' {
			f.Text = p.text()
		} else {
			f.Number, f.Value = true, p.number()
		}
		if p.failed {
			return Record{}, errLine
		}
		if err := rec.put(f); err != nil {
			return Record{}, err
		}
		if p.rest == "}\n" {
			break
		}
	}
	if rec.Kind == "" || rec.Time.IsZero() || rec.Seq == 0 || rec.Hash.IsZero() {
		return Record{}, errors.New("record without time, kind, number or hash")
	}
	return rec, nil
}

// put stores one member of a line.
func (r *Record) put(f Field) (err error) {
	if f.Number != (f.Name == "seq") {
		switch f.Name {
		case "time", "kind", "seq", "prev", "hash":
			return fmt.Errorf("field %q: %w", f.Name, errLine)
		}
	}
	switch f.Name {
	case "time":
		r.Time, err = time.Parse(timeLayout, f.Text)
	case "kind":
		r.Kind = f.Text
	case "seq":
		r.Seq = uint64(f.Value)
	case "prev":
		r.Prev, err = cid.Parse(f.Text)
	case "hash":
		r.Hash, err = cid.Parse(f.Text)
	default:
		r.Fields = append(r.Fields, f)
	}
	return err
}

// parser takes pieces off the front of a line. After a failure it returns zero
// values.
type parser struct {
	rest   string
	failed bool
}

func (p *parser) fail() { p.rest, p.failed = "", true }

func (p *parser) peek() byte {
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

// skip takes s, which must be there.
func (p *parser) skip(s string) {
	if len(p.rest) < len(s) || p.rest[:len(s)] != s {
		p.fail()
		return
	}
	p.rest = p.rest[len(s):]
}

// number takes a whole number.
func (p *parser) number() int64 {
	n := 0
	for n < len(p.rest) && (p.rest[n] >= '0' && p.rest[n] <= '9' || n == 0 && p.rest[n] == '-') {
		n++
	}
	v, err := strconv.ParseInt(p.rest[:n], 10, 64)
	if err != nil {
		p.fail()
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

// text takes a quoted string: the inverse of appendQuoted.
func (p *parser) text() string {
	p.skip(`"`)
	var out []byte
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			s := p.rest[:i]
			if out != nil {
				s = string(out)
			}
			if !utf8.ValidString(s) {
				p.fail()
				return ""
			}
			p.rest = p.rest[i+1:]
			return s
		case c < 0x20:
			p.fail()
			return ""
		case c == '\\':
			if out == nil {
				out = append(make([]byte, 0, len(p.rest)), p.rest[:i]...)
			}
			r, n := unescape(p.rest[i:])
			if n == 0 {
				p.fail()
				return ""
			}
			out = utf8.AppendRune(out, r)
			i += n - 1
		case out != nil:
			out = append(out, c)
		}
	}
	p.fail()
	return ""
}

// unescape reads the escape at the front of s: a quoted quote or backslash, or
// a control character by its number. n is 0 if it is none of these.
func unescape(s string) (r rune, n int) {
	switch {
	case len(s) >= 2 && (s[1] == '"' || s[1] == '\\'):
		return rune(s[1]), 2
	case len(s) >= 6 && s[1:4] == "u00":
		v, err := strconv.ParseUint(s[4:6], 16, 8)
		if err != nil {
			return 0, 0
		}
		return rune(v), 6
	}
	return 0, 0
}
