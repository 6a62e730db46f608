package programs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/npk"
)

// hostTree copies about 100 MB of the host's own files, libraries and scripts,
// big and small, to dir and returns their bytes and number.
func hostTree(b *testing.B, dir string) (size int64, files int) {
	b.Helper()
	libs, err := filepath.Glob("/usr/lib/*-linux-gnu")
	if err != nil {
		b.Fatal(err)
	}
	scripts, err := filepath.Glob("/usr/lib/python3*")
	if err != nil {
		b.Fatal(err)
	}
	for _, part := range []struct {
		tops  []string
		bytes int64
		name  string
	}{{libs, 60e6, "lib"}, {append(scripts, "/usr/share"), 40e6, "share"}} {
		left := part.bytes
		for i, top := range part.tops {
			err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() || left <= 0 {
					return nil // what cannot be read is left out
				}
				fi, err := d.Info()
				if err != nil || fi.Size() > 25e6 {
					return nil
				}
				rel, err := filepath.Rel(top, path)
				if err != nil {
					return err
				}
				content, err := os.ReadFile(path)
				if err != nil {
					return nil
				}
				dst := filepath.Join(dir, part.name, fmt.Sprint(i), rel)
				if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
					return err
				}
				left, size, files = left-fi.Size(), size+fi.Size(), files+1
				return os.WriteFile(dst, content, 0o644)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	if size < 50e6 {
		b.Fatalf("only %d bytes of files below /usr/lib and /usr/share: install some packages", size)
	}
	return size, files
}

// BenchmarkInstallVersusCopy installs a package of about 100 MB and copies the
// same tree with cp -r, in turns on the same file system with warm caches, and
// reports medians: MB/s, and how install compares with cp. Everything counts
// from start to end; "durable" includes for both what brings the bytes to the
// disk (cp -r is followed by syncfs; install does it itself), "cached" leaves
// it out for both. "ratio" is the hard one: a durable install against a cp
// that does not sync; "best-ratio" is that of the quickest runs of both, which
// tells more where the machine has other work.
func BenchmarkInstallVersusCopy(b *testing.B) {
	dir := b.TempDir()
	src := filepath.Join(dir, "src")
	size, files := hostTree(b, src)
	npkPath := filepath.Join(dir, "bench.npk")
	f, err := os.Create(npkPath)
	if err != nil {
		b.Fatal(err)
	}
	r := &npk.Recipe{Name: "bench", Version: "1", Arch: "all", Summary: "benchmark", Source: "dir:src"}
	if _, err := npk.Pack(f, src, r, npk.PackOptions{Key: testKey()}); err != nil {
		b.Fatal(err)
	}
	packed, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		b.Fatal(err)
	}
	f.Close()
	b.Logf("%d files, %.1f MB, package %.1f MB", files, float64(size)/1e6, float64(packed)/1e6)
	n := 0
	fresh := func() string { // never a name that was deleted: ext4 is slow to reuse inodes
		n++
		return filepath.Join(dir, fmt.Sprint("run", n))
	}
	install := func(noSync bool) time.Duration {
		root, err := hier.Create(fresh())
		if err != nil {
			b.Fatal(err)
		}
		in, err := os.Open(npkPath)
		if err != nil {
			b.Fatal(err)
		}
		defer in.Close()
		unix.Sync() // of what ran before
		start := time.Now()
		if _, err := Install(context.Background(), root, in, Options{Trust: trustAll, noSync: noSync}); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	copyTree := func(noSync bool) time.Duration {
		dst := fresh()
		unix.Sync()
		start := time.Now()
		if out, err := exec.Command("cp", "-r", src, dst).CombinedOutput(); err != nil {
			b.Fatalf("cp: %v %s", err, out)
		}
		if !noSync {
			fd, err := unix.Open(dst, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			if err := unix.Syncfs(fd); err != nil {
				b.Fatal(err)
			}
			unix.Close(fd)
		}
		return time.Since(start)
	}
	var durable, cached, cp, cpSync []time.Duration
	install(true) // warm
	copyTree(true)
	b.ResetTimer()
	for range b.N {
		for range 5 {
			cp = append(cp, copyTree(true))
			durable = append(durable, install(false))
			cpSync = append(cpSync, copyTree(false))
			cached = append(cached, install(true))
		}
	}
	rate := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(size) / 1e6 / d[len(d)/2].Seconds()
	}
	best := func(d []time.Duration) float64 { return slices.Min(d).Seconds() }
	b.ReportMetric(rate(durable), "durable-install-MB/s")
	b.ReportMetric(rate(cached), "cached-install-MB/s")
	b.ReportMetric(rate(cp), "cp-MB/s")
	b.ReportMetric(rate(cpSync), "cp+sync-MB/s")
	b.ReportMetric(rate(durable)/rate(cp), "ratio")
	b.ReportMetric(best(cp)/best(durable), "best-ratio")
	b.ReportMetric(rate(durable)/rate(cpSync), "durable-ratio")
	b.ReportMetric(rate(cached)/rate(cp), "cached-ratio")
	b.ReportMetric(0, "ns/op")
}
