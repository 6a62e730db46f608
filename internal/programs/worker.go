package programs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"nipcells/internal/cid"
	"nipcells/internal/elfimage"
	"nipcells/internal/npk"
	"nipcells/internal/store"
)

// writeBack is from how many bytes on a finished file is sent to the disk at
// once: the sync before the commit then waits for little.
const writeBack = 256 << 10

// worker unpacks frames. It keeps the file that it wrote last open.
type worker struct {
	u    *unpacker
	buf  []byte           // decoded frame
	runs map[*content]run // last of each file in the frame
	c    *content
	fd   int // of c; -1 if none
}

// frame decodes a frame and puts its chunks where they go.
func (w *worker) frame(ctx context.Context, f *npk.Frame) error {
	defer f.Release()
	defer w.u.done.Add(int64(f.Size))
	wanted := false
	for _, ch := range f.Chunks {
		wanted = wanted || len(w.u.targets[ch.CID]) > 0
	}
	if !wanted {
		return nil // the store has all of it
	}
	if w.buf == nil {
		w.buf = make([]byte, npk.FrameBuffer)
	}
	data, err := f.Decode(w.buf)
	if err != nil {
		return err
	}
	<-w.u.prepared
	if err := context.Cause(ctx); err != nil {
		return err
	}
	clear(w.runs)
	for i, ch := range f.Chunks {
		for _, t := range w.u.targets[ch.CID] {
			if t.c.size == int64(ch.Size) {
				err = w.u.writeWhole(t.c, data[:ch.Size])
			} else if !w.runs[t.c].has(i, t.chunk) && !t.c.written(t.chunk) {
				err = w.write(t, f.Chunks[i:], i, data)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", t.c.entry.Path, err)
			}
		}
		data = data[ch.Size:]
	}
	return nil
}

// written reports whether a chunk of the file is there: an earlier run of the
// frame put it there, where a file has the same chunks more than once. Only the
// worker that has the chunk's frame writes it.
func (c *content) written(chunk int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made && c.ready[chunk]
}

// run is a sequence of chunks that a frame and a file have in common, written
// with one call: file chunk i+delta is frame chunk i, for i from start to end-1.
type run struct{ delta, start, end int }

func (r run) has(i, chunk int) bool { return chunk-i == r.delta && i >= r.start && i < r.end }

// writeWhole makes the file of a content that is one chunk, or empty.
func (u *unpacker) writeWhole(c *content, data []byte) error {
	if cid.Sum(data) != c.name.CID {
		return fmt.Errorf("content has another id: %w", npk.ErrCorrupt)
	}
	p, err := u.patch(c, memory(data), int64(len(data)))
	if err != nil {
		return err
	}
	fd, err := store.CreateAt(u.dst, c.entry.Path, c.name.Mode())
	if err != nil {
		return err
	}
	if len(p.Put) == 0 {
		err = store.WriteAt(fd, data, 0)
	} else {
		err = store.WriteAt(fd, data[:p.Off], 0)
		if err == nil {
			err = store.WriteAt(fd, p.Put, p.Off)
		}
		if err == nil {
			err = store.WriteAt(fd, data[p.Off+p.Cut:], p.Off+int64(len(p.Put)))
		}
	}
	if err == nil {
		if u.umask == 0 {
			err = store.SetEpoch(fd)
		} else {
			err = store.Finish(fd, c.name.Exec)
		}
	}
	store.Close(fd)
	if err != nil {
		return err
	}
	if c.size > 0 {
		c.next = 1 // nobody else works on a content of one chunk
	}
	return u.linkOthers(c)
}

// memory reads from a slice.
type memory []byte

func (m memory) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(b, m[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// patch checks a complete content and decides how it is located.
func (u *unpacker) patch(c *content, r io.ReaderAt, size int64) (store.Patch, error) {
	interp := c.entry.Interp
	if c.name.Exec || !interp.IsZero() {
		head := make([]byte, 4)
		n, err := r.ReadAt(head, 0)
		if err != nil && err != io.EOF {
			return store.Patch{}, err
		}
		if string(head[:n]) == "\x7fELF" {
			head = make([]byte, min(size, elfimage.HeaderPeek))
			if n, err = r.ReadAt(head, 0); n < len(head) {
				return store.Patch{}, err
			}
		}
		if err := store.CheckExec(head[:n], size, !interp.IsZero()); err != nil {
			return store.Patch{}, err
		}
	}
	if !interp.IsZero() {
		return store.LoaderPatch(r, size, u.root.Loader(interp.String()))
	}
	if !c.name.Exec {
		return store.Patch{}, nil
	}
	head := make([]byte, 256)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return store.Patch{}, err
	}
	p, ok := u.scriptPatch(head[:n])
	if ok {
		c.name.Variant = store.Variant(p.Text)
	}
	return p, nil
}

// linkStored makes the names of a content that the store has.
func (u *unpacker) linkStored(c *content) error {
	src := u.st.Path(c.name)
	for _, e := range c.entries {
		if _, err := store.Link(unix.AT_FDCWD, src, u.dst, e.Path, e.Exec); err != nil {
			return err
		}
	}
	return nil
}

// linkOthers makes the other names of a content whose first is complete.
func (u *unpacker) linkOthers(c *content) error {
	for _, e := range c.entries[1:] {
		if _, err := store.Link(u.dst, c.entry.Path, u.dst, e.Path, e.Exec); err != nil {
			return err
		}
	}
	return nil
}

// write puts the chunks that come next in the frame and in a file of several
// into the file. They begin with number i of the frame, at data.
func (w *worker) write(t target, chunks []npk.Chunk, i int, data []byte) error {
	if err := w.open(t.c); err != nil {
		return err
	}
	rest := t.c.entry.Chunks[t.chunk:]
	n, size := 0, 0
	for n < len(rest) && n < len(chunks) && rest[n] == chunks[n] {
		size += int(rest[n].Size)
		n++
	}
	w.runs[t.c] = run{t.chunk - i, i, i + n}
	if err := store.WriteAt(w.fd, data[:size], t.off); err != nil {
		return err
	}
	complete, err := w.hash(t, n, data[:size])
	if err != nil || !complete {
		return err
	}
	return w.finish(t.c)
}

// open makes c the worker's file. Files of several chunks are writable for
// their owner until they are finished.
func (w *worker) open(c *content) error {
	if w.c == c {
		return nil
	}
	w.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	flags := unix.O_RDWR | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if !c.made {
		flags |= unix.O_CREAT | unix.O_EXCL
	}
	fd, err := unix.Openat(w.u.dst, c.entry.Path, flags, 0o600)
	if err != nil {
		return err
	}
	if !c.made {
		c.made, c.ready, c.hash = true, make([]bool, len(c.entry.Chunks)), cid.NewHasher()
	}
	w.c, w.fd = c, fd
	return nil
}

func (w *worker) close() {
	if w.fd >= 0 {
		unix.Close(w.fd) // local file systems tell of errors when syncing, which follows
	}
	w.c, w.fd = nil, -1
}

// hash notes that the n chunks from t on, whose bytes are data, are written,
// and hashes on as far as the file is written without gaps, unless another
// worker is at it. It reports whether the whole file is hashed now, to one
// worker only.
func (w *worker) hash(t target, n int, data []byte) (complete bool, err error) {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range n {
		c.ready[t.chunk+i] = true
	}
	if c.hashing {
		return false, nil
	}
	c.hashing = true
	for c.next < len(c.ready) && c.ready[c.next] {
		size, off := int64(c.entry.Chunks[c.next].Size), c.offset
		c.mu.Unlock()
		if start := off - t.off; start >= 0 && start+size <= int64(len(data)) {
			c.hash.Write(data[start : start+size])
		} else {
			_, err = io.Copy(c.hash, io.NewSectionReader(descriptor(w.fd), off, size))
		}
		c.mu.Lock()
		if err != nil {
			return false, err
		}
		c.next, c.offset = c.next+1, off+size
	}
	c.hashing = false
	return c.next == len(c.ready), nil
}

// descriptor reads from an open file.
type descriptor int

func (d descriptor) ReadAt(b []byte, off int64) (int, error) {
	total := 0
	for total < len(b) {
		n, err := unix.Pread(int(d), b[total:], off+int64(total))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return total, err
		case n == 0:
			return total, io.EOF
		default:
			total += n
		}
	}
	return total, nil
}

// finish checks, locates and seals the worker's file, which is complete.
func (w *worker) finish(c *content) error {
	if c.hash.CID() != c.name.CID {
		return fmt.Errorf("content has another id: %w", npk.ErrCorrupt)
	}
	c.hash = nil
	p, err := w.u.patch(c, descriptor(w.fd), c.size)
	if err != nil {
		return err
	}
	switch {
	case len(p.Put) == 0:
	case p.Growth() == 0:
		err = store.WriteAt(w.fd, p.Put, p.Off)
	default:
		err = w.rewrite(c, p)
	}
	if err == nil {
		err = store.Finish(w.fd, c.name.Exec)
	}
	if err == nil && c.size >= writeBack {
		err = unix.SyncFileRange(w.fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
	if err != nil {
		return err
	}
	w.close()
	return w.u.linkOthers(c)
}

// rewrite replaces the worker's file by its located form, which is longer.
func (w *worker) rewrite(c *content, p store.Patch) error {
	old := os.NewFile(uintptr(w.fd), c.entry.Path)
	defer old.Close() // was only read from here on
	w.fd = -1
	if err := unix.Unlinkat(w.u.dst, c.entry.Path, 0); err != nil {
		return &fs.PathError{Op: "unlink", Path: c.entry.Path, Err: err}
	}
	fd, err := unix.Openat(w.u.dst, c.entry.Path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: c.entry.Path, Err: err}
	}
	w.fd = fd
	r := p.Located(old, c.size)
	buf := make([]byte, 256<<10)
	for off := int64(0); ; {
		n, err := r.Read(buf)
		if n > 0 {
			if err := store.WriteAt(fd, buf[:n], off); err != nil {
				return err
			}
			off += int64(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
