package npk

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goTree copies programs and sources of the Go distribution: real files of all
// sizes that are there wherever this runs. It returns their bytes.
func goTree(b *testing.B) (dir string, size int64) {
	b.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	root, dir := strings.TrimSpace(string(out)), b.TempDir()
	for _, part := range []string{"bin", "pkg/tool", "src/cmd/compile", "src/crypto", "src/go", "src/net", "src/runtime"} {
		err := filepath.WalkDir(filepath.Join(root, part), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			put(b, dir, rel, content, 0o644)
			size += int64(len(content))
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return dir, size
}

func BenchmarkPack(b *testing.B) {
	dir, size := goTree(b)
	b.SetBytes(size)
	var n counter
	for b.Loop() {
		n = 0
		if _, err := Pack(&n, dir, &Recipe{Name: "go", Version: "1", Arch: "all"}, PackOptions{Key: testKey(1)}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/float64(size), "ratio")
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// BenchmarkRead reads a package to its end in one goroutine: decompressed, and
// with every chunk verified.
func BenchmarkRead(b *testing.B) {
	dir, size := goTree(b)
	raw := pack(b, dir, &Recipe{Name: "go", Version: "1", Arch: "all"})
	for _, verify := range []bool{false, true} {
		b.Run(fmt.Sprintf("verify=%v", verify), func(b *testing.B) {
			b.SetBytes(size)
			buf := make([]byte, FrameBuffer)
			for b.Loop() {
				readAll(b, raw, buf, verify)
			}
		})
	}
}

func readAll(b *testing.B, raw, buf []byte, verify bool) {
	p, err := Open(bytes.NewReader(raw))
	if err != nil {
		b.Fatal(err)
	}
	for {
		f, err := p.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
		data, err := f.Decode(buf)
		if err == nil && verify {
			err = f.Verify(data)
		}
		if err != nil {
			b.Fatal(err)
		}
		f.Release()
	}
}

// BenchmarkParseHead reads the head of a package of 5,000 files.
func BenchmarkParseHead(b *testing.B) {
	var entries []Entry
	for i := range 50 {
		dir := fmt.Sprintf("lib/python/dir%02d", i)
		if i == 0 {
			entries = append(entries, Entry{Path: "lib", Kind: Dir}, Entry{Path: "lib/python", Kind: Dir})
		}
		entries = append(entries, Entry{Path: dir, Kind: Dir})
		for j := range 100 {
			entries = append(entries, blob(fmt.Sprintf("%s/module%03d.py", dir, j), fmt.Appendf(nil, "%d %d", i, j), false))
		}
	}
	raw := forged{entries: entries}.seal()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseHead(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRecipe(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRecipe("r.kdl", []byte(full)); err != nil {
			b.Fatal(err)
		}
	}
}
