package ledger

import (
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"

	"nipcells/internal/cid"
)

// The end of a line, which appends and checks find by its fixed lengths.
const (
	prevKey  = `,"prev":"`
	hashKey  = `","hash":"`
	lineEnd  = "\"}\n"
	hexSize  = 2 * cid.Size
	tailSize = len(prevKey) + hexSize + len(hashKey) + hexSize + len(lineEnd)
)

// sealContext is put before what a seal signs, so that the signature means
// nothing elsewhere.
const sealContext = "nipcells ledger seal 1\n"

// timeLayout is RFC 3339 in UTC with microseconds, always of the same length.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// appendRecord appends the line of the record that follows head, and returns
// the head that it makes.
func appendRecord(buf []byte, head Head, t time.Time, kind string, fields []Field) ([]byte, Head) {
	start := len(buf)
	buf = append(buf, `{"time":"`...)
	buf = t.UTC().AppendFormat(buf, timeLayout)
	buf = append(buf, `","kind":"`...)
	buf = append(buf, kind...)
	buf = append(buf, '"')
	for _, f := range fields {
		buf = append(buf, ',', '"')
		buf = append(buf, f.Name...)
		buf = append(buf, '"', ':')
		if f.Number {
			buf = strconv.AppendInt(buf, f.Value, 10)
		} else {
			buf = appendQuoted(buf, f.Text)
		}
	}
	next := Head{Seq: head.Seq + 1}
	buf = append(buf, `,"seq":`...)
	buf = strconv.AppendUint(buf, next.Seq, 10)
	buf = append(buf, prevKey...)
	buf = hex.AppendEncode(buf, head.Hash[:])
	next.Hash = cid.Sum(append(buf[start:], '"'))
	buf = append(buf, hashKey...)
	buf = hex.AppendEncode(buf, next.Hash[:])
	return append(buf, lineEnd...), next
}

// appendQuoted appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD, as JSON has no way to write them.
func appendQuoted(buf []byte, s string) []byte {
	const digits = "0123456789abcdef"
	buf = append(buf, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			buf = append(buf, '\\', c)
			i++
		case c < 0x20 || c == 0x7f:
			buf = append(buf, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			i++
		case c < utf8.RuneSelf:
			buf = append(buf, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r >= 0x80 && r < 0xa0 { // control characters that a terminal obeys
				buf = append(buf, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
			} else {
				buf = utf8.AppendRune(buf, r)
			}
			i += n
		}
	}
	return append(buf, '"')
}

// checkLine reports whether line, its newline included, ends like a record
// whose hash is right, and returns what it is chained by.
func checkLine(line []byte) (head Head, prev cid.CID, ok bool) {
	body := len(line) - tailSize
	if body < 1 || len(line) > MaxLine || line[0] != '{' {
		return head, prev, false
	}
	rest := line[body:]
	prevHex, rest, ok1 := cutFixed(rest, prevKey)
	hashHex, rest, ok2 := cutFixed(rest, hashKey)
	if !ok1 || !ok2 || string(rest) != lineEnd {
		return head, prev, false
	}
	prev, err1 := cid.Parse(prevHex)
	hash, err2 := cid.Parse(hashHex)
	if err1 != nil || err2 != nil || cid.Sum(line[:body+len(prevKey)+hexSize+1]) != hash {
		return head, prev, false
	}
	seq, ok := seqBefore(line[:body])
	return Head{Seq: seq, Hash: hash}, prev, ok
}

// hasLineEnd reports whether line ends as all lines do, though perhaps with some
// bytes changed: one of the two keys is where it belongs. The bytes of the keys
// are in no value, as quotes are escaped there.
func hasLineEnd(line []byte) bool {
	body := len(line) - tailSize
	if body < 0 {
		return false
	}
	_, rest, ok1 := cutFixed(line[body:], prevKey)
	if !ok1 {
		rest = line[body+len(prevKey)+hexSize:]
	}
	_, _, ok2 := cutFixed(rest, hashKey)
	return ok1 || ok2
}

// cutFixed takes key and the 64 bytes after it off the front of b.
func cutFixed(b []byte, key string) (digits string, rest []byte, ok bool) {
	if len(b) < len(key)+hexSize || string(b[:len(key)]) != key {
		return "", b, false
	}
	return string(b[len(key) : len(key)+hexSize]), b[len(key)+hexSize:], true
}

// seqBefore reads the number of `,"seq":N` at the end of b.
func seqBefore(b []byte) (uint64, bool) {
	const key = `,"seq":`
	i := len(b)
	for i > 0 && b[i-1] >= '0' && b[i-1] <= '9' {
		i--
	}
	if i < len(key) || string(b[i-len(key):i]) != key || i < len(b) && b[i] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[i:]), 10, 64)
	return n, err == nil
}
