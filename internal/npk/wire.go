package npk

import (
	"encoding/binary"
	"math/bits"

	"nipcells/internal/cid"
)

// wireReader takes values from the front of bytes that a stranger wrote. After
// the first thing that is not there or not canonical, bad is set and every
// value is zero.
type wireReader struct {
	rest []byte
	bad  bool
}

func (w *wireReader) fail() {
	w.rest, w.bad = nil, true
}

// bytes returns the next n bytes, which alias the input.
func (w *wireReader) bytes(n int) []byte {
	if n < 0 || n > len(w.rest) {
		w.fail()
		return nil
	}
	b := w.rest[:n:n]
	w.rest = w.rest[n:]
	return b
}

func (w *wireReader) byte() byte {
	if b := w.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// uint returns a varint in its shortest form, at most limit.
func (w *wireReader) uint(limit uint64) uint64 {
	v, n := binary.Uvarint(w.rest)
	if n <= 0 || v > limit || n != uvarintLen(v) {
		w.fail()
		return 0
	}
	w.rest = w.rest[n:]
	return v
}

// text returns a string with its length before it.
func (w *wireReader) text(limit int) string {
	return string(w.bytes(int(w.uint(uint64(limit)))))
}

func (w *wireReader) cid() (c cid.CID) {
	copy(c[:], w.bytes(cid.Size))
	return c
}

// uvarintLen is the length of v's shortest form: seven bits a byte.
func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
