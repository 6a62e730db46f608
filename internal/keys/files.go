package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"nipcells/internal/hier"
)

// Own returns the own key of dir and makes it if there is none. Any number of
// callers may do so at once: they get the same key. A key that others than its
// owner can read or write is refused with an error that wraps ErrExposed.
func Own(dir string) (ed25519.PrivateKey, error) {
	key, err := readOwn(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeOwn(dir); err != nil {
			return nil, fmt.Errorf("make own key: %w", err)
		}
		key, err = readOwn(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read own key: %w", err)
	}
	return key, nil
}

// OwnPublic returns the public half of the own key. ok is false if there is no
// own key yet; it makes none.
func OwnPublic(dir string) (k Key, ok bool, err error) {
	key, err := readOwn(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, false, nil
	}
	if err != nil {
		return Key{}, false, fmt.Errorf("read own key: %w", err)
	}
	return public(key), true, nil
}

func public(key ed25519.PrivateKey) Key {
	return Key{key.Public().(ed25519.PublicKey), "own key"}
}

func readOwn(dir string) (ed25519.PrivateKey, error) {
	name := filepath.Join(dir, "own")
	text, mode, err := readFile(name)
	if err != nil {
		return nil, err
	}
	if mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: %w: make it 0600 if nobody has read it, else remove it", name, mode, ErrExposed)
	}
	encoded, ok := strings.CutPrefix(strings.TrimSpace(text), privateWord+" ")
	if !ok {
		return nil, fmt.Errorf("%s holds no private key", name)
	}
	seed, err := decode(encoded, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("%s holds no private key", name) // the cause would show parts of it
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// makeOwn makes the own key unless somebody else was quicker.
func makeOwn(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	text := privateWord + " " + base64.StdEncoding.EncodeToString(key.Seed()) + "\n"
	temp, err := writeTemp(dir, text, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temp) // is linked or useless by then
	if err := os.Link(temp, filepath.Join(dir, "own")); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return hier.SyncDir(dir)
}

// Trusted returns the keys that were added, sorted by id. The own key is not
// among them, though it is trusted as well.
func Trusted(dir string) ([]Key, error) {
	list, err := trustedFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("read trusted keys: %w", err)
	}
	var out []Key
	for _, f := range list {
		if !slices.ContainsFunc(out, f.key.same) {
			out = append(out, f.key)
		}
	}
	return out, nil
}

// Trusts reports whether pub is the own key or one that was added.
func Trusts(dir string, pub ed25519.PublicKey) (bool, error) {
	want := Key{Public: pub}
	own, ok, err := OwnPublic(dir)
	if err != nil {
		return false, err
	}
	if ok && own.same(want) {
		return true, nil
	}
	list, err := Trusted(dir)
	return slices.ContainsFunc(list, want.same), err
}

func (k Key) same(l Key) bool { return bytes.Equal(k.Public, l.Public) }

// Add makes a key trusted. Adding one again replaces its comment.
func Add(dir string, k Key) error {
	if err := k.check(); err != nil {
		return fmt.Errorf("add trusted key: %w", err)
	}
	sub := filepath.Join(dir, "trusted")
	if err := os.MkdirAll(sub, 0o700); err != nil {
		return fmt.Errorf("add trusted key: %w", err)
	}
	if err := write(sub, fmt.Sprintf("%x.pub", []byte(k.Public)), k.String()+"\n", 0o644); err != nil {
		return fmt.Errorf("add trusted key %s: %w", k.ID(), err)
	}
	return nil
}

// Remove takes a key away from the trusted ones and returns it. which is its id,
// at least the first four digits of it, or its base64. Errors wrap ErrNotFound or
// ErrAmbiguous.
func Remove(dir, which string) (Key, error) {
	list, err := trustedFiles(dir)
	if err != nil {
		return Key{}, fmt.Errorf("read trusted keys: %w", err)
	}
	named, _ := ParsePublic(which) // an id is no key: nothing is the same as the zero Key
	var found *Key
	for i, f := range list {
		if !f.key.same(named) && (len(which) < 4 || !strings.HasPrefix(f.key.ID(), which)) {
			continue
		}
		if found != nil && !found.same(f.key) {
			return Key{}, fmt.Errorf("remove trusted key %q: %w", which, ErrAmbiguous)
		}
		found = &list[i].key
	}
	if found == nil {
		return Key{}, fmt.Errorf("remove trusted key %q: %w", which, ErrNotFound)
	}
	for _, f := range list {
		if !f.key.same(*found) {
			continue
		}
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Key{}, fmt.Errorf("remove trusted key %s: %w", found.ID(), err)
		}
	}
	return *found, hier.SyncDir(filepath.Join(dir, "trusted"))
}

// trustedFile is a file of the directory of trusted keys.
type trustedFile struct {
	path string
	key  Key
}

// trustedFiles reads all trusted keys, sorted by id. A file that holds no key is
// an error: trust must not depend on guesses.
func trustedFiles(dir string) ([]trustedFile, error) {
	sub := filepath.Join(dir, "trusted")
	names, err := os.ReadDir(sub)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []trustedFile
	for _, n := range names {
		if strings.HasPrefix(n.Name(), ".") || !strings.HasSuffix(n.Name(), ".pub") {
			continue
		}
		path := filepath.Join(sub, n.Name())
		text, _, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed just now
		}
		if err != nil {
			return nil, err
		}
		k, err := ParsePublic(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, trustedFile{path, k})
	}
	slices.SortStableFunc(out, func(a, b trustedFile) int { return strings.Compare(a.key.ID(), b.key.ID()) })
	return out, nil
}

// readFile reads a small regular file, itself and not what a symlink names.
func readFile(name string) (string, fs.FileMode, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() // was only read
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return "", 0, fmt.Errorf("%s is no key file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", 0, fmt.Errorf("read %s: %w", name, err)
	}
	return string(b), info.Mode().Perm(), nil
}

// write puts a file in its place at once, also across a power cut.
func write(dir, name, text string, mode fs.FileMode) error {
	temp, err := writeTemp(dir, text, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		os.Remove(temp) // of no use now
		return err
	}
	return hier.SyncDir(dir)
}

// writeTemp writes a synced file under a name of its own and returns its path.
func writeTemp(dir, text string, mode fs.FileMode) (string, error) {
	temp := filepath.Join(dir, ".new-"+rand.Text())
	if err := hier.WriteFile(temp, []byte(text), mode); err != nil {
		os.Remove(temp) // of no use now
		return "", err
	}
	return temp, nil
}
