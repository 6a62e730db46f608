package npk

import (
	"errors"
	"fmt"
)

// Errors that callers decide on. Every error about the bytes of a package wraps
// one of them; an error of the reader underneath is wrapped as it is.
var (
	ErrNotPackage = errors.New("not an .npk file")
	ErrVersion    = errors.New("made by another version of nip")
	ErrCorrupt    = errors.New("package is damaged")
	ErrLimit      = errors.New("package is beyond the limits")
	ErrSignature  = errors.New("signature is not valid")
)

// Limits of a package. A reader refuses more; so does Pack.
const (
	// FrameSize is the most bytes of chunks in a frame.
	FrameSize = 4 << 20
	// MaxSize is the most bytes of all files together, counted both with and
	// without equal files.
	MaxSize = 8 << 30
	// MaxEntries is the most names in a package.
	MaxEntries = 1 << 20
	// MaxDepth is how deep directories may be nested.
	MaxDepth = 64

	maxManifest = 1 << 20   // bytes
	maxTree     = 128 << 20 // bytes
)

// Content-defined chunking: FastCDC with these sizes in bytes. MaxChunk is part
// of the format, the other two may change without a reader noticing.
const (
	MaxChunk    = 256 << 10
	normalChunk = 64 << 10
	minChunk    = 16 << 10
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}

func beyond(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrLimit, fmt.Errorf(format, args...))
}
