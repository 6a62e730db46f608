package graft

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"nipcells/internal/cid"
	"nipcells/internal/npk"
)

// The image format is read here and not by a library: the readers that exist
// bring registry clients whose initialisers cost every start of nip 0.5 ms.
// References: OCI image-spec (image-layout, manifest, layer) and the archive
// that "docker save" writes.

// imageStore opens the files of an image by their slash-separated name.
type imageStore interface {
	open(name string) (io.ReadCloser, error)
	close() error
}

// layoutDir is an OCI layout on disk.
type layoutDir struct{ root *os.Root }

func (l layoutDir) open(name string) (io.ReadCloser, error) { return l.root.Open(name) }
func (l layoutDir) close() error                            { return l.root.Close() }

// layoutTar is an image in an uncompressed tarball.
type layoutTar struct {
	file    *os.File
	members map[string]tarMember
}

type tarMember struct {
	off, size int64
	link      string // to another member
}

func (l layoutTar) close() error { return l.file.Close() }

func (l layoutTar) open(name string) (io.ReadCloser, error) {
	const maxLinks = 8
	for range maxLinks {
		m, ok := l.members[path.Clean(name)]
		if !ok {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		if m.link == "" {
			return io.NopCloser(io.NewSectionReader(l.file, m.off, m.size)), nil
		}
		name = m.link
	}
	return nil, fmt.Errorf("%w: %s is a chain of links", ErrHostile, name)
}

// openImage opens a layout directory or a tarball of one. A compressed tarball
// is unpacked to a file in work first.
func openImage(name, work string) (imageStore, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		root, err := os.OpenRoot(name)
		return layoutDir{root}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain, err := decompress(f)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	image, err := os.CreateTemp(work, "image-")
	if err != nil {
		return nil, err
	}
	os.Remove(image.Name()) // it lives as long as it is open
	if _, err := io.Copy(image, io.LimitReader(plain, maxTreeBytes)); err != nil {
		image.Close()
		return nil, err
	}
	l := layoutTar{image, map[string]tarMember{}}
	if err := l.index(); err != nil {
		image.Close()
		return nil, err
	}
	return l, nil
}

func (l layoutTar) index() error {
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for tr := tar.NewReader(l.file); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			off, err := l.file.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			l.members[name] = tarMember{off: off, size: h.Size}
		case tar.TypeSymlink:
			l.members[name] = tarMember{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			l.members[name] = tarMember{link: path.Clean(h.Linkname)}
		}
	}
}

// descriptor points to content in a layout.
type descriptor struct {
	MediaType   string
	Digest      string
	Size        int64
	Platform    *struct{ Architecture, OS string }
	Annotations map[string]string
}

// imageConfig is what this package uses of an image's configuration.
type imageConfig struct {
	Architecture string
	Config       struct {
		Entrypoint, Cmd, Env []string
	}
}

// layer is one layer: a tarball and the digest that its bytes must have, "" in
// archives that do not say.
type layer struct{ name, digest string }

// maxJSON bounds manifests and configurations.
const maxJSON = 4 << 20

// readVerified returns the bytes of a small blob, checked against its digest.
func readVerified(s imageStore, d descriptor) ([]byte, error) {
	name, sum, err := blobName(d.Digest)
	if err != nil {
		return nil, err
	}
	r, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxJSON))
	if err != nil {
		return nil, err
	}
	if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != sum {
		return nil, fmt.Errorf("%w: %s is damaged", ErrHostile, d.Digest)
	}
	return b, nil
}

func blobName(digest string) (name, sum string, err error) {
	sum, ok := strings.CutPrefix(digest, "sha256:")
	if b, err := hex.DecodeString(sum); !ok || err != nil || len(b) != sha256.Size {
		return "", "", fmt.Errorf("%w: digest %q", ErrHostile, digest)
	}
	return "blobs/sha256/" + sum, sum, nil
}

// readImage finds configuration and layers of the image for this machine.
func readImage(s imageStore) (config *imageConfig, layers []layer, id cid.CID, err error) {
	r, err := s.open("index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return readSaved(s)
	}
	if err != nil {
		return nil, nil, id, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxJSON))
	if err != nil {
		return nil, nil, id, err
	}
	const maxNesting = 4
	for range maxNesting {
		var m struct {
			Manifests, Layers []descriptor
			Config            descriptor
		}
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, nil, id, err
		}
		if len(m.Layers) > 0 {
			id = cid.Sum(b)
			if b, err = readVerified(s, m.Config); err != nil {
				return nil, nil, id, err
			}
			config = &imageConfig{}
			for _, d := range m.Layers {
				name, sum, err := blobName(d.Digest)
				if err != nil {
					return nil, nil, id, err
				}
				layers = append(layers, layer{name, sum})
			}
			return config, layers, id, json.Unmarshal(b, config)
		}
		d, err := choose(m.Manifests)
		if err != nil {
			return nil, nil, id, err
		}
		if b, err = readVerified(s, d); err != nil {
			return nil, nil, id, err
		}
	}
	return nil, nil, id, fmt.Errorf("%w: indexes in indexes", ErrHostile)
}

// choose picks the image for this machine from an index.
func choose(all []descriptor) (descriptor, error) {
	var have []string
	for _, d := range all {
		if d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			continue
		}
		if d.Platform == nil && len(all) == 1 || d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == runtime.GOARCH {
			return d, nil
		}
		if d.Platform != nil {
			have = append(have, d.Platform.OS+"/"+d.Platform.Architecture)
		}
	}
	return descriptor{}, fmt.Errorf("the image has nothing for linux/%s, only: %s", runtime.GOARCH, strings.Join(have, ", "))
}

// readSaved reads the archive of "docker save" without an OCI index.
func readSaved(s imageStore) (*imageConfig, []layer, cid.CID, error) {
	read := func(name string) ([]byte, error) {
		r, err := s.open(name)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(io.LimitReader(r, maxJSON))
	}
	b, err := read("manifest.json")
	if err != nil {
		return nil, nil, cid.CID{}, fmt.Errorf("not an OCI image: neither index.json nor manifest.json: %w", err)
	}
	var images []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(b, &images); err != nil {
		return nil, nil, cid.CID{}, err
	}
	if len(images) != 1 {
		return nil, nil, cid.CID{}, fmt.Errorf("the archive has %d images, want one", len(images))
	}
	id := cid.Sum(b)
	if b, err = read(images[0].Config); err != nil {
		return nil, nil, id, err
	}
	config := &imageConfig{}
	var layers []layer
	for _, l := range images[0].Layers {
		layers = append(layers, layer{name: l})
	}
	return config, layers, id, json.Unmarshal(b, config)
}

// collectOCI fills the tree from the layers of an image.
func (g *grafting) collectOCI(ctx context.Context) error {
	s, err := openImage(g.what, g.Work)
	if err != nil {
		return err
	}
	defer s.close()
	config, layers, id, err := readImage(s)
	if err != nil {
		return fmt.Errorf("read image: %w", err)
	}
	g.image, g.source = config, id
	for i, l := range layers {
		g.Progress("unpack", int64(i), int64(len(layers)))
		if err := g.unpackLayer(ctx, s, l); err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	g.imageEnv()
	return nil
}

func (g *grafting) unpackLayer(ctx context.Context, s imageStore, l layer) error {
	r, err := s.open(l.name)
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	raw := io.TeeReader(r, sum)
	plain, err := decompress(raw)
	if err != nil {
		return err
	}
	defer plain.Close()
	fresh := map[string]bool{} // what this layer has made
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = g.layerEntry(h, tr, fresh)
		}
		if err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, raw); err != nil { // what follows the tarball's end
		return err
	}
	if l.digest != "" && hex.EncodeToString(sum.Sum(nil)) != l.digest {
		return fmt.Errorf("%w: its bytes do not match sha256:%s", ErrHostile, l.digest)
	}
	return nil
}

// layerEntry adds a file of a layer, or takes away what a whiteout names.
func (g *grafting) layerEntry(h *tar.Header, r io.Reader, fresh map[string]bool) error {
	const whiteout, opaque = ".wh.", ".wh..wh..opq"
	dir, base := path.Split(path.Clean("/" + h.Name))
	place, ok := rootPlace(dir)
	switch {
	case base == opaque:
		if !ok {
			return nil
		}
		return g.tree.removeBelow(place, fresh)
	case strings.HasPrefix(base, whiteout):
		gone := path.Join(place, strings.TrimPrefix(base, whiteout))
		if !ok || gone == "." || slices.Contains(strings.Split(gone, "/"), "..") {
			return nil
		}
		return g.tree.removeBelow(gone, fresh, gone)
	}
	if name, ok := rootPlace(h.Name); ok {
		fresh[name] = true
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeFifo {
		if name, ok := rootPlace(h.Name); !ok || name == "." {
			return nil
		}
	}
	if err := g.tree.add(h, r, rootPlacing(), ""); err != nil {
		return fmt.Errorf("%q: %w", h.Name, err)
	}
	return nil
}

// removeBelow takes what lies below dir, and the names in also, out of the
// tree, except what is fresh.
func (t *tree) removeBelow(dir string, fresh map[string]bool, also ...string) error {
	var gone []string
	for name := range t.owner {
		if (dir == "." || inDir(name, dir) || slices.Contains(also, name)) && !fresh[name] {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	slices.Reverse(gone) // what a directory holds before the directory
	for _, name := range gone {
		if err := t.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // a directory that holds something fresh
		}
		delete(t.owner, name)
	}
	return nil
}

// imageEnv takes over an image's variables. A value that is a path in the
// image becomes one in the package; what cells set themselves is left out.
func (g *grafting) imageEnv() {
	for _, e := range g.image.Config.Env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || slices.Contains([]string{"PATH", "HOME", "USER", "PWD", "HOSTNAME", "TERM", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD"}, name) {
			continue
		}
		if path.IsAbs(value) {
			if placed, ok := rootPlace(value); ok && g.tree.exists(placed) {
				value = "{prefix}/" + placed
			}
		}
		g.recipe.Env = append(g.recipe.Env, npk.EnvVar{Name: name, Value: value})
	}
}

// imageCommand makes the image's entry point the command.
func (g *grafting) imageCommand(valid *regexp.Regexp) error {
	line := g.image.Config.Entrypoint
	if len(line) == 0 {
		line = g.image.Config.Cmd
		if len(line) > 1 {
			g.tree.notes.add("the image's default arguments are left out", strings.Join(line[1:], " "))
			line = line[:1]
		}
	}
	if len(line) == 0 || line[0] == "" {
		return fmt.Errorf("%w: the image has no entry point", ErrNoCommand)
	}
	name, ok := g.findProgram(line[0])
	if !ok {
		return fmt.Errorf("%w: the image's entry point %s is not in it", ErrNoCommand, line[0])
	}
	add := func(as string) {
		known := slices.ContainsFunc(g.recipe.Commands, func(c npk.Command) bool { return c.Name == as })
		if valid.MatchString(as) && !known {
			g.recipe.Commands = append(g.recipe.Commands, npk.Command{Name: as, Exec: name, Args: line[1:]})
		}
	}
	add(g.recipe.Name)
	add(filepath.Base(name))
	return nil
}

// findProgram looks for a program of an image, along a search path where it is
// only a name.
func (g *grafting) findProgram(program string) (string, bool) {
	if strings.Contains(program, "/") {
		name, ok := rootPlace(program)
		return name, ok && g.tree.executable(name)
	}
	for _, dir := range []string{"local/sbin", "local/bin", "sbin", "bin"} {
		if name := path.Join(dir, program); g.tree.executable(name) {
			return name, true
		}
	}
	return "", false
}
