package programs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/npk"
	"nipcells/internal/store"
	"nipcells/internal/view"
)

// Problem is something that Verify found.
type Problem struct {
	Package, Version string // whose; empty if it is no package's
	Path             string // below the root
	What             string // for people: missing; has mode 0644, not 0444
}

// String returns the problem as one line.
func (p Problem) String() string {
	if p.Package == "" {
		return p.Path + ": " + p.What
	}
	return p.Package + " " + p.Version + ": " + p.Path + ": " + p.What
}

// Verified counts what Verify looked at.
type Verified struct {
	Packages, Files int
	Bytes           int64 // read
	Problems        int
}

// Verify compares everything that packages have on the disk with their signed
// records, byte by byte, and reports each difference: a changed, missing or
// additional name, a wrong mode, owner or link, a flipped bit, in Programs,
// views, the store, and what is derived from them. report is called from one
// goroutine at a time. The error is about verifying itself.
func Verify(ctx context.Context, root *hier.Root, report func(Problem)) (Verified, error) {
	v := &verifier{root: root, st: store.Open(root), report: report, names: map[*Installed][]*content{}, jobs: map[inode][]job{}, known: map[string]bool{}}
	if root.Own() {
		l, err := root.Lock(ctx, hier.LockPackages, false)
		if err != nil {
			return v.count, err
		}
		defer l.Unlock()
	}
	if err := v.readAll(); err != nil {
		return v.count, err
	}
	for _, p := range v.all {
		if err := v.verifyPackage(p); err != nil {
			return v.count, err
		}
	}
	if err := v.strays(); err != nil {
		return v.count, err
	}
	err := v.hash(ctx)
	return v.count, err
}

type inode struct{ dev, ino uint64 }

// job is a file whose bytes are to be read: one of the names that it has.
type job struct {
	p    *Installed
	path string // below the root
	name store.Name
	size int64
}

type verifier struct {
	root   *hier.Root
	st     *store.Store
	report func(Problem)
	all    []*Installed
	names  map[*Installed][]*content // contents, with the names that their blobs have
	jobs   map[inode][]job
	order  []inode
	known  map[string]bool // paths that belong to a package
	count  Verified
	mu     sync.Mutex
}

func (v *verifier) problem(p *Installed, path, format string, args ...any) {
	pr := Problem{Path: path, What: fmt.Sprintf(format, args...)}
	if p != nil {
		pr.Package, pr.Version = p.Name, p.Version
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count.Problems++
	v.report(pr)
}

// readAll reads the records and what blobs they lead to.
func (v *verifier) readAll() error {
	names, err := Names(v.root)
	if err != nil {
		return err
	}
	for _, name := range names {
		versions, err := Versions(v.root, name)
		if err != nil {
			return err
		}
		for _, version := range versions {
			p, err := read(v.root, name, version)
			if err != nil {
				v.problem(&Installed{Name: name, Version: version}, "Nexus/packages/"+name+"/"+version, "record cannot be read: %v", err)
				continue
			}
			contents, err := v.contents(p)
			if err != nil {
				return err
			}
			v.all, v.names[p] = append(v.all, p), contents
			v.count.Packages++
		}
	}
	return nil
}

// contents returns a package's contents with the names that its chunk index
// gives them.
func (v *verifier) contents(p *Installed) ([]*content, error) {
	rel := store.IndexRel(p.Name, p.Version)
	v.known[rel] = true
	contents := contentsOf(p.Root, p.Head)
	located := store.Variant(p.Root.View(p.Title, p.Version))
	ix, err := v.st.Index(p.Name, p.Version)
	if err != nil {
		v.problem(p, rel, "chunk index cannot be read (nip gc makes it anew): %v", err)
		return installedContents(p)
	}
	fits := len(ix.Blobs) == len(contents)
	for i := 0; fits && i < len(contents); i++ {
		want := contents[i].name
		if want.Exec && want.Variant == "" && ix.Blobs[i].Variant == located {
			want.Variant = located
		}
		contents[i].name = want
		fits = ix.Blobs[i] == want
	}
	if b, err := os.ReadFile(p.Root.Join(rel)); fits && (err != nil || string(b) != string(encodeIndex(contents))) {
		fits = false
	}
	if !fits {
		v.problem(p, rel, "chunk index is that of another package")
		return installedContents(p)
	}
	return contents, nil
}

// expected is what a name must be.
type expected struct {
	kind   npk.Kind
	mode   uint32 // of a directory
	target string
	name   store.Name
}

// tree returns what a package's directory must hold, below prefix.
func (v *verifier) tree(p *Installed, prefix string, want map[string]expected) {
	names := map[contentKey]*content{}
	for _, c := range v.names[p] {
		names[contentKey{c.entry.CID, c.entry.Interp, c.entry.Exec}] = c
	}
	for i := range p.Head.Entries {
		e := &p.Head.Entries[i]
		x := expected{kind: e.Kind, mode: view.DirMode, target: e.Target}
		if e.Kind == npk.File {
			x.name = names[contentKey{e.CID, e.Interp, e.Exec}].name
		}
		want[prefix+e.Path] = x
	}
}

func (v *verifier) verifyPackage(p *Installed) error {
	rel := "Programs/" + p.Title + "/" + p.Version
	want := map[string]expected{}
	v.tree(p, "", want)
	if err := v.compare(p, rel, want); err != nil {
		return err
	}
	if err := v.verifyView(p); err != nil {
		return err
	}
	loaders := map[string]bool{}
	for _, c := range v.names[p] {
		v.file(p, v.st.Rel(c.name), c.name)
		if l := c.entry.Interp; !l.IsZero() && !loaders[l.String()] {
			loaders[l.String()] = true
			v.file(p, "Cas/ld/"+l.String(), store.Name{CID: l, Exec: true})
		}
	}
	if p.Current {
		for _, cmd := range p.Head.Manifest.Commands {
			if !exists(p.Root.Launcher(cmd.Name)) {
				v.problem(p, "System/Index/bin/"+cmd.Name, "missing")
			}
		}
	}
	return nil
}

// verifyView compares a view with the plan for the dependencies that it holds.
func (v *verifier) verifyView(p *Installed) error {
	rel := "System/Views/" + p.Title + "/" + p.Version
	deps, err := closure(p.Head, v.all)
	if err != nil {
		v.problem(p, rel, "%v", err)
		deps = nil
	}
	for i, d := range deps { // a view may be behind what is active: of running packages it is
		held := pinned(p, d.Title)
		if other := find(v.all, d.Name, held); held != "" && other != nil {
			deps[i] = other
		}
	}
	plan, err := planView(p.Root, p.Head, deps)
	if err != nil {
		v.problem(p, rel, "%v", err)
		return nil
	}
	want := map[string]expected{}
	for _, n := range plan.Nodes() {
		x := expected{kind: npk.Dir, mode: n.Mode()}
		if n.Target != "" {
			x = expected{kind: npk.Symlink, target: n.Target}
		}
		want[n.Path] = x
	}
	for _, q := range append([]*Installed{p}, deps...) {
		v.tree(q, "Programs/"+q.Title+"/"+q.Version+"/", want)
	}
	return v.compare(p, rel, want)
}

// compare compares the directory rel of the root with what it must hold.
func (v *verifier) compare(p *Installed, rel string, want map[string]expected) error {
	v.known[rel] = true
	if !v.dir(p, rel, view.DirMode) {
		return nil
	}
	var walk func(sub string) error
	seen := map[string]bool{}
	walk = func(sub string) error {
		list, err := os.ReadDir(v.root.Join(path.Join(rel, sub)))
		if err != nil {
			return fmt.Errorf("verify %s: %w", p, err)
		}
		for _, e := range list {
			name := path.Join(sub, e.Name())
			x, ok := want[name]
			if !ok {
				v.problem(p, path.Join(rel, name), "does not belong here")
				continue
			}
			seen[name] = true
			if v.name(p, path.Join(rel, name), x) && x.kind == npk.Dir && x.mode != view.HoleMode {
				if err := walk(name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := walk(""); err != nil {
		return err
	}
	var missing []string
	for name := range want {
		if !seen[name] {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	for _, name := range missing {
		v.problem(p, path.Join(rel, name), "missing")
	}
	return nil
}

// name compares one name with what it must be; the bytes of files are left for
// later. It reports whether the kind is right.
func (v *verifier) name(p *Installed, rel string, x expected) bool {
	switch x.kind {
	case npk.Dir:
		return v.dir(p, rel, x.mode)
	case npk.File:
		return v.file(p, rel, x.name)
	}
	target, err := os.Readlink(v.root.Join(rel))
	switch {
	case err != nil:
		v.problem(p, rel, "is no symlink")
	case target != x.target:
		v.problem(p, rel, "leads to %s, not to %s", target, x.target)
	}
	return err == nil
}

func (v *verifier) dir(p *Installed, rel string, mode uint32) bool {
	var st unix.Stat_t
	switch err := unix.Lstat(v.root.Join(rel), &st); {
	case err != nil:
		v.problem(p, rel, "missing")
		return false
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		v.problem(p, rel, "is no directory")
		return false
	}
	v.attributes(p, rel, &st, mode)
	return true
}

func (v *verifier) attributes(p *Installed, rel string, st *unix.Stat_t, mode uint32) {
	if st.Mode&0o7777 != mode {
		v.problem(p, rel, "has mode %04o, not %04o", st.Mode&0o7777, mode)
	}
	if int(st.Uid) != v.root.Owner() {
		v.problem(p, rel, "belongs to uid %d, not to %d", st.Uid, v.root.Owner())
	}
}

// file checks what a file shows from outside and notes its bytes for reading,
// once however many names it has.
func (v *verifier) file(p *Installed, rel string, name store.Name) bool {
	v.known[rel] = true
	var st unix.Stat_t
	switch err := unix.Lstat(v.root.Join(rel), &st); {
	case err != nil:
		v.problem(p, rel, "missing")
		return false
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		v.problem(p, rel, "is no regular file")
		return false
	}
	v.attributes(p, rel, &st, name.Mode())
	id := inode{st.Dev, st.Ino}
	if len(v.jobs[id]) == 0 {
		v.order = append(v.order, id)
	}
	v.jobs[id] = append(v.jobs[id], job{p, rel, name, st.Size})
	return true
}

// hash reads the files. A damaged one is reported under each of its names.
func (v *verifier) hash(ctx context.Context) error {
	queue := make(chan inode)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for id := range queue {
				v.hashOne(v.jobs[id])
			}
		})
	}
	var err error
	for _, id := range v.order {
		if err = ctx.Err(); err != nil {
			break
		}
		queue <- id
		v.count.Files++
		v.count.Bytes += v.jobs[id][0].size
	}
	close(queue)
	wg.Wait()
	return err
}

func (v *verifier) hashOne(jobs []job) {
	result := map[store.Name]error{}
	for _, j := range jobs {
		err, done := result[j.name]
		if !done {
			err = v.st.VerifyContent(v.root.Join(j.path), j.name)
			result[j.name] = err
		}
		switch {
		case errors.Is(err, store.ErrCorrupt):
			v.problem(j.p, j.path, "has other bytes than the package")
		case err != nil:
			v.problem(j.p, j.path, "cannot be read: %v", err)
		}
	}
}
