// Package keys holds Ed25519 keys below <root>/Nexus/keys: the own key, which
// signs what this installation packs and which is made when it is first needed,
// and the public keys of others that are trusted.
//
// Files: own is the private key, readable by its owner only; trusted/*.pub one
// trusted key each. A public key is one line: nip-ed25519 <base64 of 32 bytes> <comment>. Every change is one link or
// rename, so that a crash leaves the old state or the new one and concurrent
// callers agree. The private key never leaves the process but to its file.
package keys

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zeebo/blake3"
)

// Errors that callers decide on.
var (
	ErrSyntax    = errors.New("not a public key: want nip-ed25519 <base64> <comment>")
	ErrNotFound  = errors.New("no such key")
	ErrAmbiguous = errors.New("more than one key has an id that begins so")
	ErrExposed   = errors.New("private key is accessible to others")
)

const (
	publicWord  = "nip-ed25519"
	privateWord = "nip-ed25519-private"
	maxComment  = 256     // bytes
	maxFile     = 4 << 10 // bytes of a key file
)

// Key is a public key.
type Key struct {
	Public  ed25519.PublicKey
	Comment string // one line for people, may be empty; it proves nothing
}

// ID is the short name of a key for people: the first 16 hexadecimal digits of
// the BLAKE3 of the public key. Decisions are made on Public only.
func (k Key) ID() string {
	sum := blake3.Sum256(k.Public)
	return fmt.Sprintf("%x", sum[:8])
}

// String returns the key's line, without the line end, which ParsePublic reads.
func (k Key) String() string {
	s := publicWord + " " + base64.StdEncoding.EncodeToString(k.Public)
	if k.Comment != "" {
		s += " " + k.Comment
	}
	return s
}

// ParsePublic reads a public key: a line as String writes it, with white space,
// blank lines and lines that begin with # around it, or the bare base64. Errors
// wrap ErrSyntax.
func ParsePublic(text string) (Key, error) {
	var line string
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' {
			continue
		}
		if line != "" {
			return Key{}, fmt.Errorf("more than one line: %w", ErrSyntax)
		}
		line = l
	}
	word, rest, _ := strings.Cut(line, " ")
	if word == privateWord {
		return Key{}, fmt.Errorf("a private key, which must stay with its owner: %w", ErrSyntax)
	}
	if word != publicWord {
		word, rest = publicWord, line
	}
	encoded, comment, _ := strings.Cut(strings.TrimSpace(rest), " ")
	pub, err := decode(encoded, ed25519.PublicKeySize)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	k := Key{pub, strings.TrimSpace(comment)}
	return k, k.check()
}

// check makes sure that the key's line is one line.
func (k Key) check() error {
	switch {
	case len(k.Public) != ed25519.PublicKeySize:
		return fmt.Errorf("%d bytes: %w", len(k.Public), ErrSyntax)
	case len(k.Comment) > maxComment:
		return fmt.Errorf("comment of %d bytes, more than %d: %w", len(k.Comment), maxComment, ErrSyntax)
	case !utf8.ValidString(k.Comment) || strings.IndexFunc(k.Comment, unicode.IsControl) >= 0:
		return fmt.Errorf("comment %q holds what is no text: %w", k.Comment, ErrSyntax)
	case strings.TrimSpace(k.Comment) != k.Comment:
		return fmt.Errorf("comment %q has white space around it: %w", k.Comment, ErrSyntax)
	}
	return nil
}

// decode reads n bytes of canonical base64.
func decode(s string, n int) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, err
	}
	if len(b) != n {
		return nil, fmt.Errorf("%d bytes, want %d", len(b), n)
	}
	return b, nil
}
