package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"nipcells/internal/cid"
)

// ErrHeadMissing reports that a head kept elsewhere is not in the ledger: its
// end was cut off, or all of it was replaced.
var ErrHeadMissing = errors.New("not in the ledger: its end was cut off or replaced")

// Fault is the first place where a ledger is not what was written.
type Fault struct {
	Offset int64  // byte where the piece begins
	Seq    uint64 // of the record there, or the one that should be there
	Why    string
}

// Error returns one line such as: record 7 at byte 2110: changed after it was written.
func (f *Fault) Error() string {
	return fmt.Sprintf("record %d at byte %d: %s", f.Seq, f.Offset, f.Why)
}

// VerifyOptions says what a ledger is checked against.
type VerifyOptions struct {
	// Keys are the public keys that may have sealed. Without any, a seal must
	// only be right for the key it names.
	Keys [][]byte
	// Valid reports whether sig is the Ed25519 signature of message by the
	// holder of public. It must be there; package keys has one.
	Valid func(public, message, sig []byte) bool
	// Head is the hash of a record that is known to have been there; zero if
	// none is.
	Head cid.CID
}

// publicKeySize is the length of an Ed25519 public key in bytes (RFC 8032).
const publicKeySize = 32

// Report is what a check found in a ledger without fault.
type Report struct {
	Head     Head
	Records  int
	Seals    int
	Unsealed int   // records after the last seal
	Torn     int   // pieces damaged by power cuts and closed off
	OpenEnd  int64 // bytes of a torn end that no append has closed off yet
}

// Verify checks the whole ledger. The error is a *Fault for the first edit,
// deletion, insertion, move or bad seal, or wraps ErrHeadMissing.
func (l *Ledger) Verify(o VerifyOptions) (rep Report, err error) {
	found := false
	err = l.snapshot(func(r io.Reader) error {
		found = true
		rep, err = Verify(r, o)
		return err
	})
	if err == nil && !found {
		rep, err = Verify(bytes.NewReader(nil), o)
	}
	if err != nil {
		return rep, fmt.Errorf("verify ledger %s: %w", l.path, err)
	}
	return rep, nil
}

// Verify checks the ledger that r holds, as the method does.
func Verify(r io.Reader, o VerifyOptions) (Report, error) {
	v := verifier{options: o, headSeen: o.Head.IsZero()}
	s := newScanner(r)
	for {
		p, err := s.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return v.report, err
		}
		if err := v.piece(p); err != nil {
			return v.report, err
		}
	}
	if v.damage != nil {
		if !looksTorn(v.damage.bytes) {
			return v.report, v.fault(*v.damage, "changed after it was written")
		}
		v.report.OpenEnd = int64(len(v.damage.bytes))
	}
	if !v.headSeen {
		return v.report, fmt.Errorf("head %s: %w", o.Head, ErrHeadMissing)
	}
	return v.report, nil
}

// verifier walks the chain.
type verifier struct {
	options  VerifyOptions
	report   Report
	headSeen bool
	damage   *piece // a damaged piece that nothing has accounted for yet
}

func (v *verifier) fault(p piece, why string) error {
	return &Fault{Offset: p.offset, Seq: v.report.Head.Seq + 1, Why: why}
}

// piece checks the next piece of the file.
func (v *verifier) piece(p piece) error {
	if !p.valid {
		v.damage = &p
		return nil
	}
	torn := isKind(p.bytes, KindTorn)
	if d := v.damage; d != nil && (!torn || !looksTorn(d.bytes)) {
		return v.fault(*d, "changed after it was written")
	}
	if p.prev != v.report.Head.Hash || p.head.Seq != v.report.Head.Seq+1 {
		return v.fault(p, fmt.Sprintf("is numbered %d and does not follow the record before it: something was removed, inserted or moved", p.head.Seq))
	}
	rec, err := parseRecord(p.bytes)
	if err != nil {
		return v.fault(p, err.Error())
	}
	switch {
	case torn:
		err = v.closing(p, rec)
	case rec.Kind == KindSeal:
		err = v.seal(p, rec)
	default:
		v.report.Unsealed++
	}
	if err != nil {
		return err
	}
	v.damage = nil
	v.report.Records++
	v.report.Head = p.head
	v.headSeen = v.headSeen || p.head.Hash == v.options.Head
	return nil
}

// closing checks that a record of kind "torn" accounts for the damage before it.
func (v *verifier) closing(p piece, rec Record) error {
	if v.damage == nil {
		return v.fault(p, "speaks of a torn piece that is not there")
	}
	b := v.damage.bytes
	if rec.Field("bytes") == fmt.Sprint(len(b)-1) && b[len(b)-1] == '\n' {
		b = b[:len(b)-1] // put there to end the piece
	}
	if rec.Field("bytes") != fmt.Sprint(len(b)) || rec.Field("of") != cid.Sum(b).String() {
		return v.fault(*v.damage, "torn piece changed after it was closed off")
	}
	v.report.Torn++
	v.report.Unsealed++
	return nil
}

// seal checks the signature of a seal.
func (v *verifier) seal(p piece, rec Record) error {
	key, err1 := hex.DecodeString(rec.Field("key"))
	sig, err2 := hex.DecodeString(rec.Field("sig"))
	if err1 != nil || err2 != nil || len(key) != publicKeySize {
		return v.fault(p, "seal is malformed")
	}
	trusted := len(v.options.Keys) == 0
	for _, k := range v.options.Keys {
		trusted = trusted || bytes.Equal(k, key)
	}
	if !trusted {
		return v.fault(p, fmt.Sprintf("sealed with the key %x, which is not trusted", key))
	}
	if !v.options.Valid(key, sealMessage(v.report.Head), sig) {
		return v.fault(p, "seal does not fit what it covers")
	}
	v.report.Seals++
	v.report.Unsealed = 0
	return nil
}

// looksTorn reports whether damage is of the kind that a power cut leaves: every
// line of it lacks its end or holds blocks of zeroes. A line that has the end
// that all lines have, and does not fit its hash, was edited.
func looksTorn(b []byte) bool {
	if n := len(b); n > 0 && b[n-1] != '\n' && looksWhole(append(bytes.Clone(b[bytes.LastIndexByte(b, '\n')+1:]), '\n')) {
		return false
	}
	for line := range bytes.Lines(b) {
		if looksWhole(line) {
			return false
		}
	}
	return true
}

func looksWhole(line []byte) bool { return bytes.IndexByte(line, 0) < 0 && hasLineEnd(line) }
