package programs

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"nipcells/internal/cid"
	"nipcells/internal/hier"
	"nipcells/internal/npk"
	"nipcells/internal/store"
	"nipcells/internal/view"
)

// unpacker turns a package into its tree below Programs. It is made for one
// package and used once.
//
// Frames are decoded by as many workers as there are processors; two more are in
// memory, one that waits and one that is being read. A worker writes the chunks of its frame to
// every file that has them, in whatever order frames get done. A file's bytes
// are hashed in order, from memory where its chunks come in order, else read
// back; it is finished when its hash is right.
type unpacker struct {
	root     *hier.Root
	st       *store.Store
	head     *npk.Head
	view     *view.View
	prefix   string // of located scripts: the view's path
	contents []*content
	targets  map[cid.CID][]target // chunk -> where it goes
	umask    uint32               // what the process takes from modes of new files

	dst      int           // the tree's directory
	prepared chan struct{} // closed when it is ready for files
	done     atomic.Int64
}

// content is one distinct content of the package, with one mode and location.
type content struct {
	name    store.Name
	entry   *npk.Entry // the first that has it
	entries []*npk.Entry
	size    int64 // before location
	have    bool  // the store has it

	mu      sync.Mutex
	made    bool   // the file exists
	ready   []bool // chunks that are written
	next    int    // first chunk that is not hashed
	hashing bool   // a worker is hashing
	hash    *cid.Hasher
	offset  int64 // of chunk next
}

// target is a place that a chunk goes to.
type target struct {
	c     *content
	chunk int
	off   int64
}

// contentKey tells contents apart.
type contentKey struct {
	cid, interp cid.CID
	exec        bool
}

func newUnpacker(root *hier.Root, head *npk.Head, v *view.View) *unpacker {
	m := &head.Manifest
	u := &unpacker{root: root, st: store.Open(root), head: head, view: v, prefix: root.View(m.Title, m.Version),
		contents: contentsOf(root, head), targets: map[cid.CID][]target{}, prepared: make(chan struct{})}
	for _, c := range u.contents {
		if c.have = u.stored(c); !c.have {
			u.aim(c)
		}
	}
	return u
}

// contentsOf returns the distinct contents of a package. Whether scripts are
// located their names do not say yet.
func contentsOf(root *hier.Root, head *npk.Head) (list []*content) {
	byKey := map[contentKey]*content{}
	for i := range head.Entries {
		e := &head.Entries[i]
		if e.Kind != npk.File {
			continue
		}
		key := contentKey{e.CID, e.Interp, e.Exec}
		c := byKey[key]
		if c == nil {
			c = &content{entry: e, size: e.Size, name: store.Name{CID: e.CID, Exec: e.Exec}}
			if !e.Interp.IsZero() {
				c.name.Variant = store.Variant(root.Loader(e.Interp.String()))
			}
			byKey[key] = c
			list = append(list, c)
		}
		c.entries = append(c.entries, e)
	}
	return list
}

// aim notes where the chunks of a content go.
func (u *unpacker) aim(c *content) {
	var off int64
	for i, ch := range c.entry.Chunks {
		u.targets[ch.CID] = append(u.targets[ch.CID], target{c, i, off})
		off += int64(ch.Size)
	}
}

// stored reports whether the store has a content in the form that this package
// needs. Scripts that are to be located for this view it never has.
func (u *unpacker) stored(c *content) bool {
	if !u.st.Has(c.name, c.size) {
		return false
	}
	if !c.name.Exec || c.name.Variant != "" {
		return true
	}
	f, err := os.Open(u.st.Path(c.name))
	if err != nil {
		return false
	}
	defer f.Close() // only read
	head := make([]byte, 256)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return false
	}
	_, located := u.scriptPatch(head[:n])
	return !located
}

// scriptPatch says how a script is located, if it is one whose interpreter the
// view has.
func (u *unpacker) scriptPatch(head []byte) (store.Patch, bool) {
	interp, _, ok := store.Shebang(head)
	if !ok {
		return store.Patch{}, false
	}
	if _, e, ok := u.view.Resolve(interp); !ok || e.Kind != npk.File || !e.Exec {
		return store.Patch{}, false
	}
	return store.ScriptPatch(head, u.prefix)
}

// run reads the package and makes its tree in the new directory dir.
func (u *unpacker) run(ctx context.Context, in *npk.Reader, dir string, opt *Options) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, view.DirMode); err != nil {
		return err
	}
	var err error
	if u.dst, err = openPath(dir); err != nil {
		return err
	}
	defer unix.Close(u.dst) // a path descriptor has nothing to flush
	if err := u.frames(ctx, in, opt); err != nil {
		return err
	}
	for _, c := range u.contents { // the reader has checked that every chunk comes; this checks us
		if !c.have && c.size > 0 && c.next != len(c.entry.Chunks) {
			return fmt.Errorf("%s is not complete: %w", c.entry.Path, npk.ErrCorrupt)
		}
	}
	return nil
}

// prepare makes everything in the tree that needs no frame: directories,
// symlinks, empty files and those that the store has. Workers decode meanwhile.
func (u *unpacker) prepare() error {
	if err := u.probeUmask(); err != nil {
		return err
	}
	if err := view.Frame(u.dst, u.head.Entries); err != nil {
		return err
	}
	for _, c := range u.contents {
		var err error
		switch {
		case c.have:
			err = u.linkStored(c)
		case c.size == 0:
			err = u.writeWhole(c, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// probeUmask finds out what the umask takes from the modes of files, so that
// only where it takes something every file costs a chmod.
func (u *unpacker) probeUmask() error {
	fd, err := unix.Openat(u.dst, ".probe", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o555)
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	defer unix.Close(fd) // empty
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("make a file: fstat: %w", err)
	}
	u.umask = 0o555 &^ st.Mode
	if err := unix.Unlinkat(u.dst, ".probe", 0); err != nil {
		return fmt.Errorf("make a file: unlink: %w", err)
	}
	return nil
}

// frames reads all frames and has the workers unpack them.
func (u *unpacker) frames(ctx context.Context, in *npk.Reader, opt *Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := runtime.GOMAXPROCS(0)
	queue := make(chan *npk.Frame, 1)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			w := &worker{u: u, runs: map[*content]run{}, fd: -1}
			for f := range queue {
				if ctx.Err() != nil {
					continue // drain
				}
				if err := w.frame(ctx, f); err != nil {
					cancel(err)
				}
			}
			w.close()
		})
	}
	wg.Go(func() {
		defer close(u.prepared)
		if err := u.prepare(); err != nil {
			cancel(err)
		}
	})
	err := u.feed(ctx, in, queue, opt)
	close(queue)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// feed hands frames to the workers and reports progress.
func (u *unpacker) feed(ctx context.Context, in *npk.Reader, queue chan<- *npk.Frame, opt *Options) error {
	total := u.head.Manifest.Size
	for n := 1; ; n++ {
		if n&(n-1) == 0 { // 1, 2, 4 …: a test that ends the process at each step stays short
			opt.at("frame")
		}
		f, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		select {
		case queue <- f:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if opt.Progress != nil {
			opt.Progress(min(u.done.Load(), total), total)
		}
	}
	if opt.Progress != nil {
		opt.Progress(total, total)
	}
	return nil
}

// adopt gives the new files of the finished tree dir, which are on the disk,
// their names in the store, and the loaders theirs.
func (u *unpacker) adopt(dir string, opt *Options) error {
	dst, err := openPath(dir)
	if err != nil {
		return err
	}
	defer unix.Close(dst) // a path descriptor has nothing to flush
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		part := u.contents[len(u.contents)*w/workers : len(u.contents)*(w+1)/workers]
		wg.Go(func() {
			for i, c := range part {
				if w == 0 && i == len(part)/2 {
					opt.at("half the blobs")
				}
				if c.have {
					continue
				}
				if errs[w] = u.st.Adopt(c.name, dst, c.entry.Path, 0); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	loaders := map[cid.CID]bool{}
	for _, c := range u.contents {
		if l := c.entry.Interp; !l.IsZero() && !loaders[l] {
			loaders[l] = true
			if err := u.st.AddLoader(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// encodeIndex returns a package's chunk index. Location is decided by then.
func encodeIndex(contents []*content) []byte {
	var names []store.Name
	var chunks []store.ChunkAt
	seen := map[cid.CID]bool{}
	for i, c := range contents {
		names = append(names, c.name)
		var off int64
		for _, ch := range c.entry.Chunks {
			if !seen[ch.CID] {
				seen[ch.CID] = true
				chunks = append(chunks, store.ChunkAt{CID: ch.CID, Blob: i, Size: ch.Size, Offset: off})
			}
			off += int64(ch.Size)
		}
	}
	return store.EncodeIndex(names, chunks)
}
