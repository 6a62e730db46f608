package programs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/ledger"
	"nipcells/internal/store"
)

// The operations that an intent can name.
const (
	opInstall  = "install"
	opActivate = "activate"
	opRemove   = "remove"
)

// intent says what a change is about. It is in the change's directory before
// anything outside is touched.
type intent struct {
	op       string
	name     string
	title    string
	version  string // empty: all versions
	activate bool   // install: make it the active version
	purge    bool   // remove: the data, too
	rollback bool   // activate: for the ledger
}

const intentMagic = "nip intent 1"

func (in intent) encode() string {
	flag := func(b bool, s string) string {
		if b {
			return s
		}
		return "-"
	}
	return strings.Join([]string{intentMagic, in.op, in.name, in.title, in.version,
		flag(in.activate, "activate"), flag(in.purge, "purge"), flag(in.rollback, "rollback"), "end\n"}, "\n")
}

func parseIntent(b []byte) (intent, error) {
	f := strings.Split(string(b), "\n")
	if len(f) != 10 || f[0] != intentMagic || f[8] != "end" || f[9] != "" {
		return intent{}, fmt.Errorf("intent: %w", ErrDamaged)
	}
	in := intent{op: f[1], name: f[2], title: f[3], version: f[4],
		activate: f[5] == "activate", purge: f[6] == "purge", rollback: f[7] == "rollback"}
	if hier.Component(in.name) != nil || hier.Component(in.title) != nil ||
		in.version != "" && hier.Component(in.version) != nil ||
		in.op != opRemove && in.version == "" || in.op != opInstall && in.op != opActivate && in.op != opRemove {
		return intent{}, fmt.Errorf("intent: %w", ErrDamaged)
	}
	return in, nil
}

// change is one change of what is installed, in progress. Its directory below
// Nexus/staging exists from begin to end.
type change struct {
	root *hier.Root
	st   *store.Store
	opt  *Options
	in   intent
	dir  string // absolute
	rel  string // below the root

	hold  bool         // install: it asks for more than the active version was given
	known []*Installed // read before; Current may be out of date
	freed store.Freed  // blobs that went with it
}

// lock takes the lock for a change and cleans up after one that died.
func lock(ctx context.Context, root *hier.Root) (*hier.Lock, error) {
	if !root.Own() {
		return nil, fmt.Errorf("change packages of %s as uid %d: it belongs to uid %d: %w", root.Path(), os.Geteuid(), root.Owner(), hier.ErrForeign)
	}
	l, err := root.Lock(ctx, hier.LockPackages, true)
	if err != nil {
		return nil, err
	}
	if err := recoverAll(root); err != nil {
		l.Unlock()
		return nil, err
	}
	return l, nil
}

// begin makes the change's directory with its intent and returns when both
// would survive a power cut.
func begin(root *hier.Root, in intent, opt *Options) (*change, error) {
	if err := root.Make("Nexus/staging"); err != nil {
		return nil, err
	}
	var random [8]byte
	rand.Read(random[:]) // never fails
	c := &change{root: root, st: store.Open(root), opt: opt, in: in, rel: "Nexus/staging/" + hex.EncodeToString(random[:])}
	c.dir = root.Join(c.rel)
	opt.at("begin")
	if err := root.Make(c.rel); err != nil {
		return nil, err
	}
	opt.at("intent")
	tmp := c.path("intent.new")
	err := hier.WriteFile(tmp, []byte(in.encode()), 0o600)
	if err == nil {
		err = os.Rename(tmp, c.path("intent"))
	}
	if err == nil {
		err = c.sync(c.dir, root.Staging())
	}
	if err != nil {
		os.RemoveAll(c.dir) // nothing has happened yet; Recover would do the same
		return nil, fmt.Errorf("begin change: %w", err)
	}
	return c, nil
}

// path names something in the change's directory.
func (c *change) path(name string) string { return c.dir + "/" + name }

// end removes the change's directory: the change is complete.
func (c *change) end() error {
	c.opt.at("end")
	// The intent goes last, so that a crash in between leaves something to end.
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("end change: %w", err)
	}
	for _, e := range list {
		if e.Name() == "intent" {
			continue
		}
		if err := os.RemoveAll(c.path(e.Name())); err != nil {
			return fmt.Errorf("end change: %w", err)
		}
	}
	c.opt.at("end last")
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("end change: %w", err)
	}
	return nil
}

// move renames something of the change into its place below the root, whose
// directory is made. With ENOTEMPTY or EEXIST there is something already.
func (c *change) move(name, rel string) error {
	if err := c.root.Make(filepath.Dir(rel)); err != nil {
		return err
	}
	return os.Rename(c.path(name), c.root.Join(rel))
}

// sync makes the entries of directories survive a power cut.
func (c *change) sync(dirs ...string) error {
	if c.opt.noSync {
		return nil
	}
	for _, d := range dirs {
		if err := hier.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// syncAll makes everything on the root's file system survive a power cut: one
// call for thousands of files.
func (c *change) syncAll() error {
	if c.opt.noSync {
		return nil
	}
	fd, err := unix.Open(c.root.Path(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("sync: %w", &fs.PathError{Op: "open", Path: c.root.Path(), Err: err})
	}
	defer unix.Close(fd) // only synced
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("sync: %w", &fs.PathError{Op: "syncfs", Path: c.root.Path(), Err: err})
	}
	return nil
}

// log appends what was done to the ledger.
func (c *change) log(kind string, fields ...ledger.Field) error {
	c.opt.at("ledger " + kind)
	l := ledger.Open(c.root.Ledger())
	var err error
	if c.opt.noSync {
		_, err = l.Append(kind, fields...)
	} else {
		_, err = l.AppendSync(kind, fields...)
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Recover completes or undoes changes that died. Every change does so itself;
// Recover is for who only wants to look. It does nothing, and costs one read of
// a directory, where nothing died or a change is running.
func Recover(root *hier.Root) error {
	list, err := os.ReadDir(root.Staging())
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(list) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	l, err := root.TryLock(hier.LockPackages, true)
	if errors.Is(err, hier.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Unlock()
	return recoverAll(root)
}

// recoverAll is Recover under the lock.
func recoverAll(root *hier.Root) error {
	list, err := os.ReadDir(root.Staging())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("recover: %w", err)
	}
	for _, e := range list {
		c := &change{root: root, st: store.Open(root), opt: &Options{Running: unknown}, rel: "Nexus/staging/" + e.Name(), dir: root.Staging() + "/" + e.Name()}
		b, err := os.ReadFile(c.path("intent"))
		if errors.Is(err, fs.ErrNotExist) { // it had not begun, or it had ended
			if err := os.RemoveAll(c.dir); err != nil {
				return fmt.Errorf("recover: %w", err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("recover: %w", err)
		}
		if c.in, err = parseIntent(b); err != nil {
			return fmt.Errorf("recover %s: %w", c.dir, err)
		}
		if err := c.resume(); err != nil {
			return fmt.Errorf("recover %s of %s: %w", c.in.op, c.in.name, err)
		}
	}
	return nil
}

// unknown stands in for Options.Running where nobody can say what runs.
func unknown(string, string) ([]string, error) { return []string{"unknown"}, nil }

// resume completes the change if it was committed, else undoes it.
func (c *change) resume() error {
	switch c.in.op {
	case opInstall:
		if exists(c.root.Record(c.in.name, c.in.version)) {
			return c.finishInstall()
		}
		return c.undoInstall()
	case opActivate:
		return c.finishActivate()
	}
	if exists(c.path("records")) {
		_, err := c.finishRemove()
		return err
	}
	return c.end()
}
