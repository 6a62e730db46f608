package graft

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"nipcells/internal/cid"
)

// debFile is what was read from a .deb.
type debFile struct {
	cid      cid.CID
	postinst string // never run, only read for the links that it registers
}

func fileSHA256(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashReader computes the content id of a stream.
func hashReader(r io.Reader) (cid.CID, error) {
	h := cid.NewHasher()
	_, err := io.Copy(h, r)
	return h.CID(), err
}

// arMember is a file in an ar archive (deb(5)).
type arMember struct {
	name string
	data *io.SectionReader
}

// arMembers reads the table of an ar archive of size bytes.
func arMembers(r io.ReaderAt, size int64) ([]arMember, error) {
	const magic, headerSize = "!<arch>\n", 60
	head := make([]byte, headerSize)
	if _, err := r.ReadAt(head[:len(magic)], 0); err != nil || string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: not a Debian package", ErrHostile)
	}
	var members []arMember
	for off := int64(len(magic)); off < size; {
		if _, err := r.ReadAt(head, off); err != nil {
			return nil, fmt.Errorf("%w: the archive is cut off", ErrHostile)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(head[48:58])), 10, 64)
		off += headerSize
		if err != nil || n < 0 || n > size-off || string(head[58:60]) != "`\n" {
			return nil, fmt.Errorf("%w: the archive is damaged", ErrHostile)
		}
		name := strings.TrimSuffix(strings.TrimRight(string(head[:16]), " "), "/")
		members = append(members, arMember{name, io.NewSectionReader(r, off, n)})
		off += n + n&1
	}
	return members, nil
}

// decompress returns the plain bytes of r, whatever of gzip, xz, zstd, bzip2
// or nothing it was compressed with. The caller closes the result.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		x, err := xz.NewReader(b)
		return io.NopCloser(x), err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		const maxWindow = 512 << 20
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(b)), nil
	}
	return io.NopCloser(b), nil
}

// unpackDeb adds a package's files to the tree and reads its postinst.
func (t *tree) unpackDeb(ctx context.Context, d *deb) error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if d.cid, err = hashReader(f); err != nil {
		return err
	}
	members, err := arMembers(f, fi.Size())
	if err != nil {
		return err
	}
	unpacked := false
	for _, m := range members {
		if !strings.HasPrefix(m.name, "control.tar") && !strings.HasPrefix(m.name, "data.tar") {
			continue
		}
		plain, err := decompress(m.data)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if strings.HasPrefix(m.name, "control.tar") {
			d.postinst, err = readControl(tar.NewReader(plain), "postinst")
		} else {
			err = t.unpack(ctx, tar.NewReader(plain), rootPlacing().within(d.only), d.Name)
			unpacked = true
		}
		plain.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if !unpacked {
		return fmt.Errorf("%w: the package has no files", ErrHostile)
	}
	return nil
}

// maxScript bounds a maintainer script: the largest in Debian has some 50 kB.
const maxScript = 1 << 20

// readControl returns the text of one file of a control archive, "" if it has
// none of that name.
func readControl(r *tar.Reader, name string) (string, error) {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if path.Clean(h.Name) == name && h.Typeflag == tar.TypeReg {
			b, err := io.ReadAll(io.LimitReader(r, maxScript))
			return string(b), err
		}
	}
}
