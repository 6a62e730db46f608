// Package cid defines content ids: the BLAKE3 hash (32 bytes) that names every
// chunk, file, tree and manifest. It does no input or output.
package cid

import (
	"encoding/hex"
	"errors"

	"github.com/zeebo/blake3"
)

// Size is the length of a CID in bytes.
const Size = 32

// CID names content by its BLAKE3 hash. The zero CID names nothing.
type CID [Size]byte

// ErrSyntax reports a string that is not a CID.
var ErrSyntax = errors.New("not a content id: want 64 lower-case hexadecimal digits")

// Sum returns the CID of b.
func Sum(b []byte) CID { return blake3.Sum256(b) }

// Hasher computes the CID of a stream. It is an io.Writer that never fails.
type Hasher struct{ h *blake3.Hasher }

// NewHasher returns a Hasher for a new stream.
func NewHasher() *Hasher { return &Hasher{blake3.New()} }

// Write adds b to the stream.
func (h *Hasher) Write(b []byte) (int, error) { return h.h.Write(b) }

// WriteString adds s to the stream.
func (h *Hasher) WriteString(s string) (int, error) { return h.h.WriteString(s) }

// Reset begins a new stream.
func (h *Hasher) Reset() { h.h.Reset() }

// CID returns the content id of what was written so far.
func (h *Hasher) CID() (c CID) {
	h.h.Sum(c[:0])
	return c
}

// String returns 64 lower-case hexadecimal digits.
func (c CID) String() string { return hex.EncodeToString(c[:]) }

// Short returns the first 12 digits, for people.
func (c CID) Short() string { return hex.EncodeToString(c[:6]) }

// IsZero reports whether c names nothing.
func (c CID) IsZero() bool { return c == CID{} }

// Parse reads the form that String writes.
func Parse(s string) (c CID, err error) {
	if len(s) != 2*Size {
		return c, ErrSyntax
	}
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return c, ErrSyntax
		}
	}
	_, err = hex.Decode(c[:], []byte(s))
	return c, err
}
