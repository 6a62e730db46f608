package npk

import (
	"bufio"
	"encoding/binary"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"nipcells/internal/cid"
)

// Tags of what follows the head.
const (
	tagEnd  = 0 // nothing more
	tagRaw  = 1 // a frame as it is
	tagZstd = 2 // a compressed frame
)

// FrameBuffer is the capacity in bytes of a buffer that Decode never has to
// replace.
const FrameBuffer = FrameSize + decodeSlack

// decodeSlack is room that the decoder may scribble on behind its output, which
// spares it careful copies at the end.
const decodeSlack = 64

// bufferStep is what sizes of buffers are rounded up to, so that the next frame
// can use them again.
const bufferStep = 512 << 10

// Reader reads a package from a stream: first the head, which Open has checked,
// then the frames. It is not safe for concurrent use; the frames it returns are.
type Reader struct {
	r    *bufio.Reader
	head *Head
	rest []Chunk // that no frame has held yet
	err  error   // what Next returns from now on
	pool *framePool
}

// framePool keeps decoders and buffers of frames that are done with.
type framePool struct {
	decoders sync.Pool // *zstd.Decoder
	buffers  sync.Pool // *[]byte
}

// Open reads the head of a package from r and checks it completely. It reads no
// more of r than it has to, give or take a buffer. Errors about the bytes wrap
// ErrNotPackage, ErrVersion, ErrCorrupt, ErrLimit or ErrSignature.
func Open(r io.Reader) (*Reader, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	h, err := readHead(br)
	if err != nil {
		return nil, err
	}
	return &Reader{r: br, head: h, rest: h.chunks, pool: &framePool{}}, nil
}

// Head returns the head.
func (r *Reader) Head() *Head { return r.head }

// Frame is a piece of the package's contents: whole chunks one after the other,
// still compressed. Every distinct chunk of the package is in one frame, in the
// order in which Head.Entries use them first.
type Frame struct {
	Chunks []Chunk // what is in it, in order
	Size   int     // bytes of all of them, at most FrameSize

	packed []byte
	buffer *[]byte // where packed comes from
	zstd   bool
	pool   *framePool
}

// Next returns the next frame. After the last one it returns io.EOF, if the
// package ends properly there.
func (r *Reader) Next() (*Frame, error) {
	if r.err != nil {
		return nil, r.err
	}
	f, err := r.next()
	if err != nil {
		r.err = err
		return nil, err
	}
	return f, nil
}

func (r *Reader) next() (*Frame, error) {
	tag, err := r.r.ReadByte()
	if err != nil {
		return nil, readError("contents", err)
	}
	if len(r.rest) == 0 {
		return nil, r.end(tag)
	}
	if tag != tagRaw && tag != tagZstd {
		return nil, corrupt("wants a frame, has tag %#x", tag)
	}
	n, size := frameSpan(r.rest)
	f := &Frame{Chunks: r.rest[:n:n], Size: size, zstd: tag == tagZstd, pool: r.pool}
	var length [4]byte
	if _, err := io.ReadFull(r.r, length[:]); err != nil {
		return nil, readError("contents", err)
	}
	packed := int64(binary.LittleEndian.Uint32(length[:]))
	if f.zstd && packed >= int64(size) || !f.zstd && packed != int64(size) {
		return nil, corrupt("frame of %d bytes is stored in %d", size, packed)
	}
	f.buffer, _ = r.pool.buffers.Get().(*[]byte)
	if f.buffer == nil || int64(cap(*f.buffer)) < packed {
		b := make([]byte, (packed+bufferStep-1)/bufferStep*bufferStep)
		f.buffer = &b
	}
	f.packed = (*f.buffer)[:packed]
	if _, err := io.ReadFull(r.r, f.packed); err != nil {
		return nil, readError("contents", err)
	}
	r.rest = r.rest[n:]
	return f, nil
}

// end checks that the package ends with tag and nothing follows.
func (r *Reader) end(tag byte) error {
	if tag != tagEnd {
		return corrupt("wants its end, has tag %#x", tag)
	}
	switch _, err := r.r.ReadByte(); {
	case err == io.EOF:
		return io.EOF
	case err != nil:
		return readError("contents", err)
	}
	return corrupt("bytes after its end")
}

// frameSpan returns how many of the chunks the next frame holds, at least one,
// and their bytes.
func frameSpan(chunks []Chunk) (n, size int) {
	for n < len(chunks) && size+int(chunks[n].Size) <= FrameSize {
		size += int(chunks[n].Size)
		n++
	}
	return n, size
}

// Decode returns the frame's Size bytes, decompressed. It uses the memory of dst
// if there is enough (see FrameBuffer), and may return memory of the frame's own,
// which is valid until Release. It never produces more than Size bytes, whatever
// the stream says. Different frames may be decoded at the same time. Errors wrap
// ErrCorrupt.
func (f *Frame) Decode(dst []byte) ([]byte, error) {
	if !f.zstd {
		return f.packed, nil
	}
	if cap(dst) < f.Size+decodeSlack {
		dst = make([]byte, 0, f.Size+decodeSlack)
	}
	d, err := f.pool.decoder()
	if err != nil {
		return nil, err
	}
	defer f.pool.decoders.Put(d)
	out, err := d.DecodeAll(f.packed, dst[:0:f.Size+decodeSlack])
	if err != nil {
		return nil, corrupt("frame: %w", err)
	}
	if len(out) != f.Size {
		return nil, corrupt("frame has %d bytes, want %d", len(out), f.Size)
	}
	return out, nil
}

// decoder takes a decoder that runs in the caller's goroutine and writes no
// further than the capacity it is given.
func (p *framePool) decoder() (*zstd.Decoder, error) {
	if d, ok := p.decoders.Get().(*zstd.Decoder); ok {
		return d, nil
	}
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(FrameSize))
}

// Release gives the frame's memory back for frames to come. The frame, and what
// Decode returned, must not be used after it. Calling it is never necessary.
func (f *Frame) Release() {
	if f.buffer != nil {
		f.pool.buffers.Put(f.buffer)
	}
	f.packed, f.buffer = nil, nil
}

// Verify checks data, which Decode returned, against the content ids of the
// frame's chunks. The error wraps ErrCorrupt.
func (f *Frame) Verify(data []byte) error {
	if len(data) != f.Size {
		return corrupt("frame has %d bytes, want %d", len(data), f.Size)
	}
	for _, c := range f.Chunks {
		if cid.Sum(data[:c.Size]) != c.CID {
			return corrupt("chunk %s has other bytes", c.CID.Short())
		}
		data = data[c.Size:]
	}
	return nil
}
