package escape

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/wall"
	"nipcells/test/rig"
)

const callsSource = "test/escape/testdata/calls.c"

// cellAtMost is how long one cell of random calls lives: what it leaves running and
// lying about is gone with it.
const cellAtMost = 20 * time.Second

// TestRandomCalls: any system call with any arguments, made in a cell, leaves a tree of
// the host, what is installed, and processes outside as they are. Some fail where
// the others kill. Outside, calls of the same program change a copy of the tree.
//
// NIP_SEED repeats the calls of an earlier run, as far as threads and time let it.
func TestRandomCalls(t *testing.T) {
	seed := time.Now().UnixNano()
	if text := os.Getenv("NIP_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseInt(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	s := newStage(t)
	installC(t, s.Root, "calls", callsSource, "static")
	tree := s.Base + "/tree"
	makeTree(t, s, tree)
	t.Run("denied", func(t *testing.T) { s.randomCalls(t, atLength(2*time.Second, 8*time.Minute), seed, "--deny") })
	t.Run("killed", func(t *testing.T) { s.randomCalls(t, atLength(time.Second, 2*time.Minute), seed) })
	t.Run("control outside", func(t *testing.T) {
		gcc(t, callsSource, s.Base+"/random-calls", "static")
		copied := s.Base + "/copy"
		makeFiles(t, s, copied)
		s.Write(copied+"/throw-away", "", 0o644)
		if os.Getuid() == 0 { // the program gives up being root
			if err := filepath.WalkDir(copied, func(path string, _ fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				return os.Lchown(path, 65534, 65534)
			}); err != nil {
				t.Fatal(err)
			}
		}
		before, untouched := treeSum(t, copied), treeSum(t, tree)
		res := rig.Run(t, exec.Command(s.Base+"/random-calls", "0.3", fmt.Sprint(seed), systemCalls(), "alone", copied))
		n := counts(t, res)
		if res.Code != 0 || n["calls"] < 1000 || n["granted"] < 10 {
			t.Errorf("seed %d: exit status %d\n%s%s", seed, res.Code, res.Stdout, res.Stderr)
		}
		if treeSum(t, copied) == before {
			t.Error("nothing was changed where nothing holds the program")
		}
		if treeSum(t, tree) != untouched {
			t.Error("the control has changed something else than its copy")
		}
		t.Log(strings.TrimSpace(res.Stdout))
	})
}

// randomCalls runs cells of random calls, one after the other, and looks from outside.
func (s *stage) randomCalls(t *testing.T, length time.Duration, seed int64, flags ...string) {
	tree, work := s.Base+"/tree", s.Base+"/granted"
	victims := []*victim{s.startVictim(t), s.startVictim(t)}
	ears := []*listener{packetListener(t, "unixgram", tree+"/socket"), streamListener(t, "tcp4", "127.0.0.1:0")}
	sum, installed := treeSum(t, tree), s.installedSum(t)
	var looks []string
	for _, v := range victims {
		looks = append(looks, v.describe(t)+v.pending(t))
	}
	all := map[string]int{}
	// A cell may end itself before it has done much: then others follow, for a while.
	const patience = 10
	little := func() bool { return all["calls"] < 1000 || all["kinds"] < 200 || all["granted"] < 50 }
	until, latest := time.Now().Add(length), time.Now().Add(patience*length)
	for n := int64(0); time.Now().Before(until) || little() && time.Now().Before(latest); n++ {
		for _, dir := range []string{work, s.Path("Data/apps/calls")} { // with the modes that the cell before has given them
			if err := rig.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		s.set(t)
		long := min(time.Until(until), cellAtMost)
		if long <= 0 {
			long = min(length, cellAtMost)
		}
		rights := []string{"rwc", "rwxc"}[(int(n)+len(flags))%2] // with x all is asked
		line := append([]string{"run", "--unveil", work + ":" + rights}, flags...)
		line = append(line, "calls", "--", fmt.Sprint(long.Seconds()), fmt.Sprint(seed+n), systemCalls(), "cell", tree, work,
			strconv.Itoa(victims[0].PID), strconv.Itoa(victims[1].PID), strconv.Itoa(os.Getpid()))
		c := s.Command(line...)
		file, err := os.Open(tree + "/file")
		if err != nil {
			t.Fatal(err)
		}
		c.Stdin = file
		// It may have stopped itself, all of it; then it is ended from outside.
		end := s.Command("stop", "calls")
		stop := time.AfterFunc(long+10*time.Second, func() { _ = end.Run() }) // if that does not help, RunFor says so
		res := rig.RunFor(t, c, long+time.Minute)
		stop.Stop()
		file.Close()
		// It may have killed itself; but the supervisor lives, and ends what is left.
		if strings.Contains(res.Stderr, "panic") || strings.Contains(res.Stderr, "goroutine") || res.Code == 2 || res.Code == 125 || res.Code < 0 {
			t.Fatalf("seed %d: exit status %d\n%s", seed+n, res.Code, res.Stderr)
		}
		if strings.Contains(res.Stdout, "COUNTS ") {
			for what, count := range counts(t, res) {
				all[what] = max(all[what], count)
			}
		}
		if now := treeSum(t, tree); now != sum {
			t.Fatalf("seed %d: the tree outside was changed:\n%s", seed+n, difference(sum, now))
		}
		if now := s.installedSum(t); now != installed {
			t.Fatalf("seed %d: what is installed was changed:\n%s", seed+n, difference(installed, now))
		}
		for i, v := range victims {
			if got := v.signals(); got != 0 || !v.Alive() {
				t.Fatalf("seed %d: a process outside was reached: alive %v, %d signals", seed+n, v.Alive(), got)
			} else if now := v.describe(t) + v.pending(t); now != looks[i] {
				t.Fatalf("seed %d: a process outside was changed:\n%s", seed+n, difference(looks[i], now))
			}
		}
		for _, l := range ears {
			if got := l.since(t); len(got) > 0 {
				t.Fatalf("seed %d: the listener %s outside was reached: %q", seed+n, l.name, got)
			}
		}
		if left := s.cellsLeft(t); len(left) > 0 {
			t.Fatalf("seed %d: left in /Cell: %v", seed+n, left)
		}
	}
	if little() {
		t.Errorf("seed %d: that was little: %v", seed, all)
	}
	t.Logf("seed %d: %v", seed, all)
}

// systemCalls lists the calls of the machine, as calls.c wants them, and the next
// numbers, for what a newer kernel has there.
func systemCalls() string {
	const last = 480
	var list []string
	for nr := range uint32(last) {
		list = append(list, fmt.Sprintf("%s:%d", strings.ReplaceAll(wall.Host().CallName(nr), " ", "-"), nr))
	}
	return strings.Join(list, ",")
}

// makeTree makes a tree of the host with something of everything.
func makeTree(t *testing.T, s *stage, dir string) {
	t.Helper()
	makeFiles(t, s, dir)
	s.Write(dir+"/set-user-id", "#!/bin/sh\n", 0o755)
	if err := os.Chmod(dir+"/set-user-id", os.ModeSetuid|0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(dir+"/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	unnamed, err := net.Listen("unix", dir+"/stream")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unnamed.Close() })
}

// makeFiles makes what is in the tree and its copy: links lead to names beside them.
func makeFiles(t *testing.T, s *stage, dir string) {
	t.Helper()
	for name, mode := range map[string]os.FileMode{"file": 0o644, "attributed": 0o666, "directory/file": 0o600} {
		s.Write(dir+"/"+name, secret, mode)
	}
	for link, target := range map[string]string{"link": "file", "dangling": "nowhere"} {
		if err := os.Symlink(target, dir+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(dir+"/file", dir+"/second"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(dir+"/attributed", "user.attributed", []byte("value"), 0); err != nil && err != unix.EOPNOTSUPP {
		t.Fatal(err)
	}
	long := time.Unix(1e9, 12345)
	if err := os.Chtimes(dir+"/directory/file", long, long); err != nil {
		t.Fatal(err)
	}
}

// treeSum says of each file below dir all that could have changed, with a sum of its bytes.
func treeSum(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil { // the control may have taken its own right to look
			fmt.Fprintf(&b, "%s: %v\n", path, err)
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			fmt.Fprintf(&b, "%s: %v\n", path, err)
			return nil
		}
		fmt.Fprintf(&b, "%s inode %d mode %o links %d owner %d:%d size %d mtime %v ctime %v", path, st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid,
			st.Size, st.Mtim, st.Ctim)
		var names [4096]byte
		if n, err := unix.Llistxattr(path, names[:]); err == nil {
			for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
				var value [4096]byte
				n, err := unix.Lgetxattr(path, name, value[:])
				fmt.Fprintf(&b, " %s=%q %v", name, value[:max(n, 0)], err)
			}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			fmt.Fprintf(&b, " -> %s %v", target, err)
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			fmt.Fprintf(&b, " %x %v", sha256.Sum256(data), err)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// installedSum sums what no cell may change of a root.
func (s *stage) installedSum(t *testing.T) string {
	t.Helper()
	var all string
	for _, dir := range []string{"Cas", "Programs", "Nexus/packages", "Nexus/keys"} {
		all += treeSum(t, s.Path(dir))
	}
	return all + s.snapshot(t, s.Path("System"))
}

// pending says which signals wait for the victim.
func (v *victim) pending(t *testing.T) (text string) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "SigPnd:") || strings.HasPrefix(line, "ShdPnd:") || strings.HasPrefix(line, "SigIgn:") || strings.HasPrefix(line, "NoNewPrivs:") {
			text += line
		}
	}
	return text
}
