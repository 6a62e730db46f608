package keys

import (
	"crypto/ed25519"

	"nipcells/internal/ledger"
)

// Sealer returns what package ledger signs with.
func Sealer(key ed25519.PrivateKey) ledger.Sealer {
	return ledger.Sealer{
		Public: key.Public().(ed25519.PublicKey),
		Sign:   func(message []byte) []byte { return ed25519.Sign(key, message) },
	}
}

// Valid reports whether sig is the signature of message by the holder of
// public. Keys of a wrong length are never right.
func Valid(public, message, sig []byte) bool {
	return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, message, sig)
}
