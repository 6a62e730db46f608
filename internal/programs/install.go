package programs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/ledger"
	"nipcells/internal/npk"
	"nipcells/internal/store"
	"nipcells/internal/view"
)

// Install installs the package that r yields and makes it the active version,
// unless it asks for more than the version that is active was given (Held).
// Nothing below the root changes before the whole of r was read and checked, or
// if any of it is wrong. If exactly this package is installed already, it only
// becomes active.
//
// Errors wrap those of Options.Trust and of npk, ErrArch, ErrConflict,
// ErrDepends, ErrSpace, or are the system's.
func Install(ctx context.Context, root *hier.Root, r io.Reader, opt Options) (*Installed, error) {
	// 1. Who signed it? Nothing else about a package of strangers matters.
	in, err := npk.Open(r)
	if err != nil {
		return nil, err
	}
	head := in.Head()
	m := &head.Manifest
	if opt.Trust == nil {
		return nil, fmt.Errorf("install %s %s: no key is trusted", m.Name, m.Version)
	}
	if err := opt.Trust(head.Signer); err != nil {
		return nil, fmt.Errorf("install %s %s: %w", m.Name, m.Version, err)
	}
	l, err := lock(ctx, root)
	if err != nil {
		return nil, err
	}
	defer l.Unlock()
	// 2. Does it fit what is installed?
	all, err := List(root)
	if err != nil && !errors.Is(err, ErrDamaged) { // damage elsewhere is verify's to tell
		return nil, err
	}
	if old := find(all, m.Name, m.Version); old != nil {
		return again(root, old, head, &opt)
	}
	v, err := admit(root, head, all)
	if err != nil {
		return nil, fmt.Errorf("install %s %s: %w", m.Name, m.Version, err)
	}
	u := newUnpacker(root, head, v)
	if err := u.checkSpace(); err != nil {
		return nil, fmt.Errorf("install %s %s: %w", m.Name, m.Version, err)
	}
	more, err := beyondActive(root, m, all)
	if err != nil {
		return nil, fmt.Errorf("install %s %s: %w", m.Name, m.Version, err)
	}
	wanted := !opt.KeepCurrent || find(all, m.Name, "") == nil
	c, err := begin(root, intent{op: opInstall, name: m.Name, title: m.Title, version: m.Version,
		activate: wanted && (more.IsZero() || opt.Accept)}, &opt)
	if err != nil {
		return nil, err
	}
	c.known, c.hold = all, !more.IsZero()
	committed, err := c.install(ctx, in, u, v)
	if err != nil {
		if !committed {
			err = errors.Join(err, c.undoInstall())
		}
		return nil, fmt.Errorf("install %s %s: %w", m.Name, m.Version, err)
	}
	return readKnown(root, m.Name, m.Version, find(c.known, m.Name, m.Version))
}

// again handles a version that is installed already.
func again(root *hier.Root, old *Installed, head *npk.Head, opt *Options) (*Installed, error) {
	if string(old.Head.Raw) != string(head.Raw) {
		return nil, fmt.Errorf("install %s: this version is installed with other contents; remove it first, or give the new one another version: %w", old, ErrConflict)
	}
	if opt.KeepCurrent {
		return old, nil
	}
	if old.Held && !opt.Accept { // what is active, or given, may have changed since
		more, err := Beyond(old)
		if err != nil || !more.IsZero() {
			return old, err
		}
		opt.Accept = true
	}
	return activate(root, old.Name, old.Version, false, opt)
}

// admit checks a package against the host and what is installed, and plans its
// view.
func admit(root *hier.Root, head *npk.Head, all []*Installed) (*view.View, error) {
	m := &head.Manifest
	if m.Arch != "all" && m.Arch != runtime.GOARCH {
		return nil, fmt.Errorf("package is for %s, this is %s: %w", m.Arch, runtime.GOARCH, ErrArch)
	}
	for _, p := range all {
		if p.Name != m.Name && p.Title == m.Title {
			return nil, fmt.Errorf("packages %s and %s both have the title %q: %w", p.Name, m.Name, m.Title, ErrConflict)
		}
		if p.Name == m.Name && p.Title != m.Title {
			return nil, fmt.Errorf("%s has the title %q, %s has %q; remove the old version first: %w", p, p.Title, m.Version, m.Title, ErrConflict)
		}
	}
	for _, dir := range []string{root.Program(m.Title, m.Version), root.View(m.Title, m.Version)} {
		if exists(dir) {
			return nil, fmt.Errorf("%s is there, but belongs to no package; remove it first: %w", dir, ErrConflict)
		}
	}
	deps, err := closure(head, all)
	if err != nil {
		return nil, err
	}
	return planView(root, head, deps)
}

// install does all of an installation. committed says that from here on it can
// only be completed.
func (c *change) install(ctx context.Context, in *npk.Reader, u *unpacker, v *view.View) (committed bool, err error) {
	if err := c.stage(ctx, in, u, v); err != nil {
		return false, err
	}
	if err := c.place(u); err != nil {
		return false, err
	}
	// 7. The commit.
	c.opt.at("commit")
	if err := c.move("record", "Nexus/packages/"+c.in.name+"/"+c.in.version); err != nil {
		return false, err
	}
	c.opt.at("committed")
	fresh, err := readRecord(c.root, c.root.Record(c.in.name, c.in.version))
	if err != nil {
		return true, err
	}
	c.known = append(c.known, fresh)
	if err := c.sync(c.root.Join("Nexus/packages/" + c.in.name)); err != nil {
		return true, err
	}
	return true, c.finishInstall()
}

// stage makes everything in staging and brings it to the disk.
func (c *change) stage(ctx context.Context, in *npk.Reader, u *unpacker, v *view.View) error {
	// 3. The trees. Files that the store has are linked, others made.
	c.opt.at("unpack")
	framed := make(chan error, 1)
	go func() { framed <- frameView(v, c.path("view")) }()
	err := u.run(ctx, in, c.path("program"), c.opt)
	if err == nil {
		err = u.checkNative(c.path("program"))
	}
	if err := errors.Join(err, <-framed); err != nil {
		return err
	}
	// The disk can begin with the files while the view is made. What this sync
	// does not reach, or an error that it meets, the one in step 4 does.
	early := make(chan error, 1)
	go func() { early <- c.syncAll() }()
	c.opt.at("view")
	err = linkView(v, c.path("view"), c.path("program"), c.root)
	if err == nil {
		c.opt.at("record")
		err = c.writeRecord(in.Head(), u)
	}
	// 4. All of it to the disk, before any of it gets a name that means that it
	// is whole: a blob's name is trusted for ever.
	c.opt.at("sync")
	if err := errors.Join(err, <-early); err != nil {
		return err
	}
	return c.syncAll()
}

// place gives what is staged its names, all but the record.
func (c *change) place(u *unpacker) error {
	c.opt.at("blobs")
	if err := u.adopt(c.path("program"), c.opt); err != nil {
		return err
	}
	// 5. Into place. Nobody looks there before the record exists.
	for _, mv := range []struct{ name, rel string }{
		{"program", "Programs/" + c.in.title + "/" + c.in.version},
		{"view", "System/Views/" + c.in.title + "/" + c.in.version},
		{"index", store.IndexRel(c.in.name, c.in.version)},
	} {
		c.opt.at("move " + mv.name)
		if err := c.move(mv.name, mv.rel); err != nil {
			return err
		}
	}
	if err := c.root.Make("Nexus/packages/" + c.in.name); err != nil {
		return err
	}
	// Also where it is accepted: taking the mark away is what the ledger tells of.
	if c.hold {
		if err := c.markHeld(); err != nil {
			return err
		}
	}
	// 6. The names to the disk, before the record says that they exist.
	c.opt.at("sync names")
	return c.syncAll()
}

// writeRecord writes the record and the chunk index, in staging.
func (c *change) writeRecord(head *npk.Head, u *unpacker) error {
	for _, f := range []struct {
		name string
		b    []byte
	}{{"index", encodeIndex(u.contents)}, {"record", head.Raw}} {
		if err := os.WriteFile(c.path(f.name), f.b, 0o600); err != nil { // syncAll follows
			return err
		}
		if err := os.Chmod(c.path(f.name), 0o444); err != nil {
			return err
		}
	}
	return nil
}

// finishInstall does what follows from a record that exists. It may be
// repeated; a repetition may log a second time.
func (c *change) finishInstall() error {
	if c.in.activate {
		if err := c.accept(); err != nil {
			return err
		}
		if err := c.setCurrent(c.in.title, c.in.version); err != nil {
			return err
		}
	}
	if err := c.settle(); err != nil {
		return err
	}
	p, err := readKnown(c.root, c.in.name, c.in.version, find(c.known, c.in.name, c.in.version))
	if err != nil {
		return err
	}
	m := &p.Head.Manifest
	err = c.log("install", ledger.Text("package", p.Name), ledger.Text("version", p.Version),
		ledger.Text("variant", m.Variant.String()), ledger.Text("tree", m.Tree.String()),
		ledger.Text("signer", hex.EncodeToString(p.Head.Signer)), ledger.Number("active", number(p.Current)), ledger.Number("held", number(p.Held)))
	if err != nil {
		return err
	}
	return c.end()
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// undoInstall takes away what an installation that was not committed has made.
// It may be repeated.
func (c *change) undoInstall() error {
	c.opt.at("undo")
	if err := c.removeTrees(c.in.title, c.in.version); err != nil {
		return err
	}
	if err := c.removeBlobs(c.in.name, c.in.version, c.path("index")); err != nil {
		return err
	}
	if err := c.unmarkHeld(c.in.version); err != nil {
		return err
	}
	os.Remove(c.root.Join("Nexus/packages/" + c.in.name)) // fails, rightly, if other versions are there
	return c.end()
}

// removeTrees removes the tree and the view of a version that has no record
// (any more). What is not there is no error.
func (c *change) removeTrees(title, version string) error {
	c.opt.at("remove trees")
	for _, path := range []string{c.root.Program(title, version), c.root.View(title, version)} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove files: %w", err)
		}
	}
	os.Remove(c.root.Title(title)) // the parents go if they are empty
	os.Remove(c.root.Join("System/Views/" + title))
	return nil
}

// removeBlobs removes the blobs that only a version without record uses, and
// its chunk index. index is where that may be, if it is not in place. What is
// not there is no error.
func (c *change) removeBlobs(name, version, index string) error {
	rel := store.IndexRel(name, version)
	placed := c.root.Join(rel)
	if exists(placed) {
		index = placed
	}
	var drop []store.Name
	if b, err := os.ReadFile(index); err == nil {
		if ix, err := store.ParseIndex(b); err == nil { // a damaged index costs disk until the next gc
			if drop, err = c.unshared(ix.Blobs, rel); err != nil {
				return err
			}
		}
	}
	c.opt.at("drop blobs")
	freed, err := c.st.Drop(drop)
	if err != nil {
		return err
	}
	c.freed.Blobs += freed.Blobs
	c.freed.Bytes += freed.Bytes
	c.opt.at("drop index")
	if err := os.RemoveAll(placed); err != nil {
		return fmt.Errorf("remove chunk index: %w", err)
	}
	os.Remove(c.root.Join("Cas/chunk/" + name)) // fails, rightly, if other versions are there
	return nil
}

// unshared returns those of the blobs that no chunk index but the one at except
// (relative to the root) names.
func (c *change) unshared(blobs []store.Name, except string) ([]store.Name, error) {
	used, err := usedBlobs(c.root, except)
	if err != nil {
		return nil, err
	}
	var drop []store.Name
	for _, n := range blobs {
		if !used[n] {
			drop = append(drop, n)
		}
	}
	return drop, nil
}

// checkSpace refuses an installation that the disk has no room for. What it
// asks for is what new files, directories and the record take, and a little.
func (u *unpacker) checkSpace() error {
	var st unix.Statfs_t
	if err := unix.Statfs(u.root.Path(), &st); err != nil {
		return fmt.Errorf("ask for free space in %s: %w", u.root.Path(), err)
	}
	block := max(st.Bsize, 1)
	round := func(n int64) int64 { return (n + block - 1) / block * block }
	need, inodes := round(int64(2*len(u.head.Raw)))+(1<<20), int64(64)
	for _, c := range u.contents {
		if !c.have {
			need += round(c.size)
			inodes++
		}
	}
	for i := range u.head.Entries {
		if u.head.Entries[i].Kind != npk.File { // once in the tree and once in the view
			need += 2 * block
			inodes += 2
		}
	}
	free := int64(st.Bavail) * block
	if free < need {
		return fmt.Errorf("%s has %s free, the package needs %s: %w", u.root.Path(), megabytes(free), megabytes(need), ErrSpace)
	}
	if st.Files > 0 && int64(st.Ffree) < inodes {
		return fmt.Errorf("%s has room for %d more files, the package needs %d: %w", u.root.Path(), st.Ffree, inodes, ErrSpace)
	}
	return nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
