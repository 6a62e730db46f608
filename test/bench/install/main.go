// Command install times the installation of a package of about 100 MB against
// `cp -r` of the same tree, in turn, and measures what a second package that
// shares 90 % of its files costs on disk.
//
//	install -nip FILE [-rounds N] [-speed PART] [-disk PART]
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	nip := flag.String("nip", "bin/nip", "the nip to time")
	rounds := flag.Int("rounds", 5, "installations")
	speed := flag.Float64("speed", 0, "end with 1 if installing is slower than this part of cp -r's speed")
	disk := flag.Float64("disk", 0, "end with 1 if the second package costs more than this part of the first one's disk")
	flag.Parse()
	if err := run(*nip, *rounds, *speed, *disk); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1)
	}
}

const (
	files    = 2000
	fileSize = 50 << 10 // bytes, on average
	shared   = 0.9
)

func run(nip string, rounds int, speed, disk float64) error {
	nip, err := filepath.Abs(nip)
	if err != nil {
		return err
	}
	base, err := os.MkdirTemp("", "nip-bench-")
	if err != nil {
		return err
	}
	defer removeTree(base)
	b := bench{nip: nip, base: base, root: filepath.Join(base, "root")}
	for i, name := range []string{"first", "second"} {
		if err := b.makeTree(name, uint64(i)); err != nil {
			return err
		}
		if _, err := b.run("graft", "-q", "dir:"+filepath.Join(base, name), "--version", "1.0", "-o", filepath.Join(base, name+".npk")); err != nil {
			return err
		}
	}
	factor, err := b.time(rounds)
	if err != nil {
		return err
	}
	part, err := b.disk()
	if err != nil {
		return err
	}
	if speed > 0 && factor < speed {
		return fmt.Errorf("installing runs at %.2fx of cp -r, less than %.2fx", factor, speed)
	}
	if disk > 0 && part > disk {
		return fmt.Errorf("the second package costs %.0f %% of the disk, more than %.0f %%", 100*part, 100*disk)
	}
	return nil
}

type bench struct{ nip, base, root string }

// run runs nip and returns how long it took.
func (b *bench) run(args ...string) (time.Duration, error) {
	c := exec.Command(b.nip, args...)
	c.Dir, c.Env = b.base, append(os.Environ(), "NIP_ROOT="+b.root)
	begin := time.Now()
	out, err := c.CombinedOutput()
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("nip %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return took, nil
}

// makeTree makes a tree of files with the entropy of programs: half words, half
// noise. Trees share the first part of their files.
func (b *bench) makeTree(name string, seed uint64) error {
	words := strings.Fields("push call ret mov rax rbx the of error open file string table section symbol version")
	for i := range files {
		from := uint64(0)
		if float64(i) >= shared*files {
			from = seed + 1
		}
		r := rand.New(rand.NewPCG(from, uint64(i)))
		data := make([]byte, 0, 2*fileSize)
		for size := fileSize/2 + r.IntN(fileSize); len(data) < size; {
			data = append(data, words[r.IntN(len(words))]...)
			for range 4 {
				data = append(data, byte(r.Uint32()))
			}
		}
		path := filepath.Join(b.base, name, "lib", fmt.Sprintf("part%02d", i%40), fmt.Sprintf("file%04d", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	bin := filepath.Join(b.base, name, "bin", name)
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	return os.WriteFile(bin, data, 0o755)
}

// time installs and copies in turn and returns the ratio of speeds. Both have
// their data on disk at the end: install syncs, and cp is given a sync.
func (b *bench) time(rounds int) (float64, error) {
	tree, npk := filepath.Join(b.base, "first"), filepath.Join(b.base, "first.npk")
	var installs, copies, synced []time.Duration
	for range rounds {
		syscall.Sync()
		took, err := b.run("install", "-q", npk)
		if err != nil {
			return 0, err
		}
		installs = append(installs, took)
		if _, err := b.run("remove", "-q", "--purge", "first"); err != nil {
			return 0, err
		}
		syscall.Sync()
		to := filepath.Join(b.base, "copy")
		begin := time.Now()
		if out, err := exec.Command("cp", "-r", tree, to).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("cp: %w\n%s", err, out)
		}
		copies = append(copies, time.Since(begin))
		syscall.Sync()
		synced = append(synced, time.Since(begin))
		removeTree(to)
	}
	size, err := usage(tree)
	if err != nil {
		return 0, err
	}
	factor := float64(median(copies)) / float64(median(installs))
	fmt.Printf("tree of %.0f MB in %d files, median of %d\n", float64(size)/1e6, files, rounds)
	fmt.Printf("  cp -r             %6.2f s\n", median(copies).Seconds())
	fmt.Printf("  cp -r and sync    %6.2f s\n", median(synced).Seconds())
	fmt.Printf("  nip install       %6.2f s   %.2fx the speed of cp -r\n", median(installs).Seconds(), factor)
	return factor, nil
}

// disk installs both packages and returns what the second costs, as a part of the first.
func (b *bench) disk() (float64, error) {
	before, err := usage(b.root)
	if err != nil {
		return 0, err
	}
	var after [2]int64
	for i, name := range []string{"first", "second"} {
		if _, err := b.run("install", "-q", filepath.Join(b.base, name+".npk")); err != nil {
			return 0, err
		}
		if after[i], err = usage(b.root); err != nil {
			return 0, err
		}
	}
	first, second := after[0]-before, after[1]-after[0]
	fmt.Printf("disk: first package %.1f MB, second, which shares %.0f %% of its files, %.1f MB: %.1f %%\n",
		float64(first)/1e6, 100*shared, float64(second)/1e6, 100*float64(second)/float64(first))
	return float64(second) / float64(first), nil
}

// usage is the bytes that a tree holds on disk, each inode once.
func usage(dir string) (int64, error) {
	seen := make(map[uint64]bool)
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if !seen[st.Ino] {
			seen[st.Ino] = true
			total += st.Blocks * 512
		}
		return nil
	})
	return total, err
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func removeTree(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "install: clean up:", err)
	}
}
