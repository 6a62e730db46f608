package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func testPublic(n byte) ed25519.PublicKey {
	seed := sha256.Sum256([]byte{n})
	return ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
}

func TestParsePublic(t *testing.T) {
	pub := testPublic(1)
	b64 := base64.StdEncoding.EncodeToString(pub)
	tests := []struct {
		name, text string
		comment    string
		fails      bool
	}{
		{name: "line", text: "nip-ed25519 " + b64 + " anna at work", comment: "anna at work"},
		{name: "file", text: "# from anna\n\n  nip-ed25519 " + b64 + "   x  \r\n\n", comment: "x"},
		{name: "bare", text: b64},
		{name: "bare with line end", text: b64 + "\n"},
		{name: "no comment", text: "nip-ed25519 " + b64},
		{name: "empty", text: "", fails: true},
		{name: "only a comment", text: "# nothing\n", fails: true},
		{name: "two keys", text: b64 + "\n" + b64, fails: true},
		{name: "short", text: base64.StdEncoding.EncodeToString(pub[:31]), fails: true},
		{name: "long", text: base64.StdEncoding.EncodeToString(append(bytes.Clone(pub), 0)), fails: true},
		{name: "no base64", text: "nip-ed25519 ***", fails: true},
		{name: "second spelling", text: b64[:42] + string(b64[42]+1) + "=", fails: true},
		{name: "private", text: "nip-ed25519-private " + b64, fails: true},
		{name: "control character", text: "nip-ed25519 " + b64 + " \x1b[2J", fails: true},
		{name: "not UTF-8", text: "nip-ed25519 " + b64 + " \xff", fails: true},
		{name: "endless comment", text: "nip-ed25519 " + b64 + " " + strings.Repeat("x", 257), fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, err := ParsePublic(tt.text)
			if tt.fails {
				if !errors.Is(err, ErrSyntax) {
					t.Errorf("error %v, want ErrSyntax", err)
				}
				return
			}
			if err != nil || !k.Public.Equal(pub) || k.Comment != tt.comment {
				t.Errorf("got %v, %v", k, err)
			}
			if back, err := ParsePublic(k.String()); err != nil || !back.same(k) || back.Comment != k.Comment {
				t.Errorf("%q gives %v, %v", k.String(), back, err)
			}
		})
	}
}

func TestOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Nexus/keys")
	if _, ok, err := OwnPublic(dir); ok || err != nil {
		t.Fatalf("a key before there is one: %v, %v", ok, err)
	}
	key, err := Own(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "own"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	again, err := Own(dir)
	if err != nil || !again.Equal(key) {
		t.Errorf("the second call gives another key: %v", err)
	}
	k, ok, err := OwnPublic(dir)
	if err != nil || !ok || !ed25519.Verify(k.Public, []byte("x"), ed25519.Sign(key, []byte("x"))) {
		t.Errorf("the public half does not fit: %v, %v", ok, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o602} {
		if err := os.Chmod(filepath.Join(dir, "own"), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Own(dir); !errors.Is(err, ErrExposed) {
			t.Errorf("with mode %o: %v, want ErrExposed", mode, err)
		}
	}
}

func TestOwnIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	got := make([]ed25519.PrivateKey, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			key, err := Own(dir)
			if err != nil {
				t.Error(err)
			}
			got[i] = key
		})
	}
	wg.Wait()
	for _, key := range got {
		if !key.Equal(got[0]) {
			t.Fatal("two callers got two keys")
		}
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestOwnRefuses(t *testing.T) {
	valid := "nip-ed25519-private " + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	tests := []struct {
		name string
		make func(path string) error
	}{
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"garbage", func(p string) error { return os.WriteFile(p, []byte("nip-ed25519-private c2VjcmV0\n"), 0o600) }},
		{"public", func(p string) error { return os.WriteFile(p, []byte(Key{Public: testPublic(1)}.String()), 0o600) }},
		{"huge", func(p string) error { return os.WriteFile(p, []byte(valid+strings.Repeat("\n", maxFile)), 0o600) }},
		{"directory", func(p string) error { return os.Mkdir(p, 0o700) }},
		{"fifo", func(p string) error { return syscall.Mkfifo(p, 0o600) }},
		{"symlink", func(p string) error {
			if err := os.WriteFile(p+".real", []byte(valid), 0o600); err != nil {
				return err
			}
			return os.Symlink("own.real", p)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tt.make(filepath.Join(dir, "own")); err != nil {
				t.Fatal(err)
			}
			_, err := Own(dir)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "c2VjcmV0") {
				t.Errorf("error shows the secret: %v", err)
			}
		})
	}
}

func TestTrusted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if list, err := Trusted(dir); err != nil || list != nil {
		t.Fatalf("trusts %v, %v before there is anything", list, err)
	}
	own, err := Own(dir)
	if err != nil {
		t.Fatal(err)
	}
	a, b := Key{testPublic(1), "anna"}, Key{testPublic(2), "bert"}
	for _, k := range []Key{a, b, {a.Public, "anna again"}} {
		if err := Add(dir, k); err != nil {
			t.Fatal(err)
		}
	}
	list, err := Trusted(dir)
	if err != nil || len(list) != 2 || list[0].ID() > list[1].ID() {
		t.Fatalf("list is %v, %v", list, err)
	}
	for _, k := range list {
		if k.same(a) && k.Comment != "anna again" {
			t.Errorf("comment of the second time is lost: %q", k.Comment)
		}
	}
	want := func(pub ed25519.PublicKey, yes bool) {
		t.Helper()
		if got, err := Trusts(dir, pub); err != nil || got != yes {
			t.Errorf("trusts %x: %v, %v", pub[:4], got, err)
		}
	}
	want(own.Public().(ed25519.PublicKey), true)
	want(a.Public, true)
	want(testPublic(3), false)
	want(nil, false)

	if _, err := Remove(dir, "0123"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed what is not there: %v", err)
	}
	if _, err := Remove(dir, a.ID()[:3]); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed by three digits: %v", err)
	}
	if _, err := Remove(dir, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed by nothing: %v", err)
	}
	if k, err := Remove(dir, a.ID()); err != nil || !k.same(a) {
		t.Errorf("removed %v, %v", k, err)
	}
	want(a.Public, false)
	if k, err := Remove(dir, base64.StdEncoding.EncodeToString(b.Public)); err != nil || !k.same(b) {
		t.Errorf("removed %v, %v", k, err)
	}
	want(b.Public, false)
}

func TestTrustedFilesOfOthers(t *testing.T) {
	dir := t.TempDir()
	k := Key{testPublic(1), ""}
	if err := Add(dir, k); err != nil {
		t.Fatal(err)
	}
	// A file that a person copied there counts, and removal finds both.
	other := filepath.Join(dir, "trusted/anna.pub")
	if err := os.WriteFile(other, []byte(k.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if list, err := Trusted(dir); err != nil || len(list) != 1 {
		t.Errorf("list is %v, %v", list, err)
	}
	if _, err := Remove(dir, k.ID()[:4]); err != nil {
		t.Error(err)
	}
	if yes, err := Trusts(dir, k.Public); yes || err != nil {
		t.Errorf("still trusted: %v, %v", yes, err)
	}
	// One that is no key is an error that names it, never silence.
	if err := os.WriteFile(other, []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Trusts(dir, k.Public); !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), "anna.pub") {
		t.Errorf("error %v does not name the file", err)
	}
	if err := Add(dir, Key{Public: k.Public, Comment: "two\nlines"}); !errors.Is(err, ErrSyntax) {
		t.Errorf("added a comment of two lines: %v", err)
	}
}

func TestRemoveAmbiguous(t *testing.T) {
	dir := t.TempDir()
	// Two keys whose ids begin with the same four digits.
	byPrefix := map[string]Key{}
	for n := 0; ; n++ {
		seed := sha256.Sum256([]byte{byte(n), byte(n >> 8), 7})
		k := Key{Public: ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)}
		twin, ok := byPrefix[k.ID()[:4]]
		if !ok {
			byPrefix[k.ID()[:4]] = k
			continue
		}
		if err := errors.Join(Add(dir, k), Add(dir, twin)); err != nil {
			t.Fatal(err)
		}
		if _, err := Remove(dir, k.ID()[:4]); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("error %v, want ErrAmbiguous", err)
		}
		if got, err := Remove(dir, k.ID()); err != nil || !got.same(k) {
			t.Errorf("removed %v, %v", got, err)
		}
		return
	}
}

func FuzzParsePublic(f *testing.F) {
	f.Add(Key{testPublic(1), "anna"}.String())
	f.Add("nip-ed25519 AAAA\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParsePublic(text)
		if err != nil {
			return
		}
		back, err := ParsePublic(k.String())
		if err != nil || !back.same(k) || back.Comment != k.Comment {
			t.Fatalf("%q gives %v, %v", k.String(), back, err)
		}
	})
}
