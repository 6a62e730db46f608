package ledger

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nipcells/internal/cid"
)

// testKey returns the key made of 32 bytes b.
func testKey(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) [][]byte { return [][]byte{k.Public().(ed25519.PublicKey)} }

func sealer(k ed25519.PrivateKey) Sealer {
	return Sealer{public(k)[0], func(message []byte) []byte { return ed25519.Sign(k, message) }}
}

func valid(public, message, sig []byte) bool { return ed25519.Verify(public, message, sig) }

func newLedger(t testing.TB) *Ledger { return Open(filepath.Join(t.TempDir(), "ledger")) }

func mustAppend(t testing.TB, l *Ledger, kind string, fields ...Field) Head {
	t.Helper()
	h, err := l.Append(kind, fields...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustSeal(t testing.TB, l *Ledger, key ed25519.PrivateKey) Head {
	t.Helper()
	h, err := l.Seal(sealer(key))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// fill writes records, one of them with all that is awkward in a value, and seals.
func fill(t testing.TB, l *Ledger, key ed25519.PrivateKey) {
	t.Helper()
	mustAppend(t, l, "install", Text("package", "git"), Text("version", "2.39.5"), Number("bytes", 48211933))
	mustAppend(t, l, "start", Text("fiber", "0badcafe"), Text("args", "a\"}\n{\"x\",\"prev\":\"\\ \x00\x1b[31m é \xff \u009b"))
	mustSeal(t, l, key)
	mustAppend(t, l, "start", Text("fiber", "deadbeef"))
	mustAppend(t, l, "end", Text("fiber", "deadbeef"), Number("status", -9))
}

func content(t testing.TB, l *Ledger) []byte {
	t.Helper()
	b, err := os.ReadFile(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppendReadVerify(t *testing.T) {
	l, key := newLedger(t), testKey(1)
	if h, err := l.Head(); err != nil || h != (Head{}) || l.Unsealed() {
		t.Fatalf("ledger without a file: head %v, unsealed %v, error %v", h, l.Unsealed(), err)
	}
	if rep, err := l.Verify(VerifyOptions{Valid: valid}); err != nil || rep != (Report{}) {
		t.Fatalf("verify without a file: %+v, %v", rep, err)
	}
	fill(t, l, key)
	var recs []Record
	if err := l.Read(func(r Record) error { recs = append(recs, r); return nil }); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for i, r := range recs {
		kinds = append(kinds, r.Kind)
		if r.Seq != uint64(i+1) || r.Damaged != 0 {
			t.Errorf("record %d: %+v", i+1, r)
		}
	}
	if got, want := strings.Join(kinds, " "), "install start seal start end"; got != want {
		t.Fatalf("kinds %q, want %q", got, want)
	}
	if got := recs[1].Field("args"); got != "a\"}\n{\"x\",\"prev\":\"\\ \x00\x1b[31m é \ufffd \u009b" {
		t.Errorf("awkward value came back as %q", got)
	}
	if got := recs[4].Field("status"); got != "-9" {
		t.Errorf("status came back as %q", got)
	}
	rep, err := l.Verify(VerifyOptions{Valid: valid, Keys: public(key), Head: recs[1].Hash})
	want := Report{Head: Head{5, recs[4].Hash}, Records: 5, Seals: 1, Unsealed: 2}
	if err != nil || rep != want {
		t.Fatalf("verify: %+v, %v; want %+v", rep, err, want)
	}
	if head, err := l.Head(); err != nil || head != rep.Head {
		t.Fatalf("head %v, %v; want %v", head, err, rep.Head)
	}
}

func TestLinesAreJSONWithoutControlBytes(t *testing.T) {
	l := newLedger(t)
	fill(t, l, testKey(1))
	for i, line := range bytes.Split(bytes.TrimSuffix(content(t, l), []byte("\n")), []byte("\n")) {
		if !json.Valid(line) {
			t.Errorf("line %d is no JSON: %s", i+1, line)
		}
		if bytes.ContainsFunc(line, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
			t.Errorf("line %d holds control characters: %q", i+1, line)
		}
	}
}

func TestSeal(t *testing.T) {
	l, key := newLedger(t), testKey(1)
	if h, err := l.Seal(sealer(key)); err != nil || h != (Head{}) {
		t.Fatalf("seal of nothing: %v, %v", h, err)
	}
	mustAppend(t, l, "start")
	if !l.Unsealed() {
		t.Error("a ledger that ends in a start counts as sealed")
	}
	h := mustSeal(t, l, key)
	if l.Unsealed() {
		t.Error("a ledger that ends in a seal counts as unsealed")
	}
	if again := mustSeal(t, l, key); again != h {
		t.Errorf("second seal made %v, want %v", again, h)
	}
	var f *Fault
	if _, err := l.Verify(VerifyOptions{Valid: valid, Keys: public(testKey(2))}); !errors.As(err, &f) || f.Seq != 2 {
		t.Errorf("seal of a key that is not trusted: %v", err)
	}
	if _, err := l.Verify(VerifyOptions{Valid: valid}); err != nil {
		t.Errorf("seal checked for its own key: %v", err)
	}
}

func TestSealAfterOthersWereQuicker(t *testing.T) {
	l, key := newLedger(t), testKey(1)
	stale := mustAppend(t, l, "start")
	sig := sealer(key).Sign(sealMessage(stale))
	mustAppend(t, l, "start")
	f, err := openLocked(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.seal(sealer(key), stale, sig); err != nil {
		t.Fatal(err)
	}
	f.close()
	if rep, err := l.Verify(VerifyOptions{Valid: valid, Keys: public(key)}); err != nil || rep.Seals != 1 {
		t.Fatalf("%+v, %v", rep, err)
	}
}

func TestRefused(t *testing.T) {
	l := newLedger(t)
	for _, c := range []struct {
		kind   string
		fields []Field
		want   error
	}{
		{"seal", nil, ErrReserved},
		{"torn", nil, ErrReserved},
		{"", nil, ErrReserved},
		{"a\"b", nil, ErrReserved},
		{"start", []Field{Text("seq", "1")}, ErrReserved},
		{"start", []Field{Text("kind", "1")}, ErrReserved},
		{"start", []Field{Text("Hash", "1")}, ErrReserved},
		{"start", []Field{Text("a", "1"), Number("a", 2)}, ErrReserved},
		{"start", []Field{Text("a", strings.Repeat("x", MaxLine))}, ErrTooLong},
	} {
		if _, err := l.Append(c.kind, c.fields...); !errors.Is(err, c.want) {
			t.Errorf("append %q %v: %v, want %v", c.kind, c.fields, err, c.want)
		}
	}
	if b, err := os.ReadFile(l.Path()); len(b) != 0 {
		t.Errorf("refused records left %q, %v", b, err)
	}
	dir := Open(t.TempDir())
	if _, err := dir.Append("start"); err == nil {
		t.Error("appended to a directory")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("elsewhere", link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link).Append("start"); err == nil {
		t.Error("appended through a symbolic link")
	}
}

func TestLongestLine(t *testing.T) {
	l := newLedger(t)
	empty := int64(0)
	mustAppend(t, l, "start", Text("a", ""))
	if st, err := os.Stat(l.Path()); err != nil {
		t.Fatal(err)
	} else {
		empty = st.Size()
	}
	mustAppend(t, l, "start", Text("a", strings.Repeat("x", MaxLine-int(empty))))
	mustAppend(t, l, "start")
	if rep, err := l.Verify(VerifyOptions{Valid: valid}); err != nil || rep.Records != 3 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if _, err := l.Append("start", Text("a", strings.Repeat("x", MaxLine-int(empty)+1))); !errors.Is(err, ErrTooLong) {
		t.Fatalf("one byte more: %v", err)
	}
}

func TestReadStops(t *testing.T) {
	l := newLedger(t)
	fill(t, l, testKey(1))
	enough, n := errors.New("enough"), 0
	err := l.Read(func(Record) error {
		if n++; n == 2 {
			return enough
		}
		return nil
	})
	if err != enough || n != 2 {
		t.Fatalf("%d records, %v", n, err)
	}
}

// forge writes the lines again as a chain of their own, the hashes made right,
// as somebody would who has no key.
func forge(lines [][]byte) []byte {
	var out []byte
	var head Head
	for _, line := range lines {
		body := line[:len(line)-tailSize]
		i := bytes.LastIndex(body, []byte(`,"seq":`))
		out = append(out, body[:i]...)
		start := len(out) - i
		head.Seq++
		out = fmt.Appendf(out, `,"seq":%d%s%s`, head.Seq, prevKey, head.Hash)
		head.Hash = cid.Sum(append(out[start:], '"'))
		out = fmt.Appendf(out, "%s%s%s", hashKey, head.Hash, lineEnd)
	}
	return out
}

func TestVerifyFinds(t *testing.T) {
	l, key := newLedger(t), testKey(1)
	fill(t, l, key)
	mustSeal(t, l, key)
	good := content(t, l)
	lines := bytes.SplitAfter(bytes.TrimSuffix(good, []byte("\n")), []byte("\n"))
	lines[len(lines)-1] = append(lines[len(lines)-1], '\n')
	if !bytes.Equal(forge(lines), good) {
		t.Fatal("forging an unchanged ledger changes it")
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	head, err := l.Head()
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{
		"first record removed":     join(lines[1:]...),
		"second record removed":    join(lines[0], join(lines[2:]...)),
		"seal removed":             join(lines[0], lines[1], join(lines[3:]...)),
		"record doubled":           join(lines[0], lines[0], join(lines[1:]...)),
		"records swapped":          join(lines[1], lines[0], join(lines[2:]...)),
		"record moved to the end":  join(join(lines[1:]...), lines[0]),
		"empty line put in":        join(lines[0], []byte("\n"), join(lines[1:]...)),
		"forged without the first": forge(lines[1:]),
		"forged value": forge(append([][]byte{bytes.Replace(lines[0], []byte("git"), []byte("got"), 1)},
			lines[1:]...)),
		"cut, with a head":  join(lines[:len(lines)-1]...),
		"gone, with a head": nil,
		"no unsealed end left": join(join(lines[:3]...), []byte(strings.Replace(string(lines[3]),
			"deadbeef", "deadbeee", 1)), join(lines[4:]...)),
	}
	for name, b := range cases {
		if _, err := Verify(bytes.NewReader(b), VerifyOptions{Valid: valid, Keys: public(key), Head: head.Hash}); err == nil {
			t.Errorf("%s: not found", name)
		}
	}
	if _, err := Verify(bytes.NewReader(nil), VerifyOptions{Valid: valid, Head: head.Hash}); !errors.Is(err, ErrHeadMissing) {
		t.Errorf("empty ledger with a head: %v", err)
	}
}

func TestVerifyFindsAnyFlippedBit(t *testing.T) {
	l, key := newLedger(t), testKey(1)
	fill(t, l, key)
	good := content(t, l)
	bad := bytes.Clone(good)
	for i := range good {
		for _, mask := range []byte{1, 0x20, 0x80} {
			bad[i] = good[i] ^ mask
			_, err := Verify(bytes.NewReader(bad), VerifyOptions{Valid: valid, Keys: public(key)})
			var f *Fault
			if !errors.As(err, &f) {
				t.Fatalf("bit %#x of byte %d (%q) flipped: %v", mask, i, good[i], err)
			}
		}
		bad[i] = good[i]
	}
}

func FuzzVerify(f *testing.F) {
	l := newLedger(f)
	fill(f, l, testKey(1))
	good := content(f, l)
	f.Add(good)
	f.Add(good[:len(good)-7])
	f.Add([]byte("{\n\x00\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rep, err := Verify(bytes.NewReader(b), VerifyOptions{Valid: valid})
		path := filepath.Join(t.TempDir(), "ledger")
		if werr := os.WriteFile(path, b, 0o600); werr != nil {
			t.Fatal(werr)
		}
		l := Open(path)
		h, aerr := l.Append("start", Text("a", "b"))
		if errors.Is(aerr, ErrDamaged) {
			return
		}
		if aerr != nil {
			t.Fatal(aerr)
		}
		after := content(t, l)
		if !bytes.HasPrefix(after, b) {
			t.Fatal("an append changed what was there")
		}
		if err != nil {
			return
		}
		rep2, err := l.Verify(VerifyOptions{Valid: valid})
		if err != nil || rep2.Head != h || rep2.Records <= rep.Records {
			t.Fatalf("valid before the append (%+v), then %+v, %v", rep, rep2, err)
		}
	})
}

func TestParseRecordTakesOnlyWhatIsWritten(t *testing.T) {
	l := newLedger(t)
	mustAppend(t, l, "start", Text("a", "\\\"\x00é\u009b"), Number("n", -12))
	good := string(content(t, l))
	if _, err := parseRecord([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{`{"time"`, `{ "time"`},
		{`"kind":"start"`, `"kind":7`},
		{`"kind":"start"`, `"kind":null`},
		{`"n":-12`, `"n":-`},
		{`"n":-12`, `"n":1.5`},
		{`"n":-12`, `"n":99999999999999999999`},
		{`"n":-12`, `"n":{"x":1}`},
		{`"n":-12`, `"n"`},
		{`"seq":1`, `"seq":"1"`},
		{`"seq":1`, `"seq":0`},
		{`\u0000`, `\n`},
		{`\u0000`, `\u12`},
		{`\u0000`, `\ud83d`},
		{`\u0000`, `\u00zz`},
		{`\u0000`, "\x01"},
		{`\u0000`, "\xff"},
		{`"}` + "\n", `"}`},
		{`"}` + "\n", `"} ` + "\n"},
		{`"}` + "\n", `\"}` + "\n"},
		{`"hash":"`, `"hash":"x`},
		{`"time":"2`, `"time":"x`},
	} {
		bad := strings.Replace(good, c[0], c[1], 1)
		if bad == good {
			t.Fatalf("%q is not in the line", c[0])
		}
		if rec, err := parseRecord([]byte(bad)); err == nil {
			t.Errorf("%s for %s is read: %+v", c[1], c[0], rec)
		}
	}
	for n := range len(good) {
		if _, err := parseRecord([]byte(good[:n])); err == nil {
			t.Errorf("the first %d bytes are read as a record", n)
		}
	}
}
