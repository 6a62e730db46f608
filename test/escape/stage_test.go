// Package escape tries to get out of real cells. Each attempt is a row: what
// the attack program (attack/, static C) is told to do inside a cell, and a
// positive control: the same attempt on something granted, or outside any
// cell, which must succeed. Whether an attempt was refused is decided by what
// can be seen from outside, not only by what the attacker says.
package escape

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nipcells/internal/view"
	"nipcells/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// How the attack program ends; see attack/attack.h.
const (
	attackDone    = 10
	attackRefused = 11
	killed        = 128 + int(syscall.SIGKILL)
)

const secret = "SECRET of the host\n"

// home is what a cell calls its HOME; {host} is what the host calls it.
const home = "/Data/apps/attack"

// stage is a root with the attacker installed, and the things outside that it
// is to reach: nothing of them is granted, except granted/ to the controls.
type stage struct {
	*rig.Root
	attack string            // path of the attack program outside
	words  map[string]string // what stands for {word} in arguments
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{Root: rig.NewRoot(t), attack: rig.Fixture(t, "attack")}
	s.InstallProgram("attack", "1.0", s.attack, `    pledge "STDIO" "RPATH" "WPATH" "EXEC"`)
	s.InstallProgram("other", "1.0", rig.Fixture(t, "true"), `    pledge "STDIO"`)
	s.words = map[string]string{
		"outside": s.Base + "/outside",
		"granted": s.Base + "/granted",
		"root":    s.Dir,
		"home":    home,
		"host":    s.Path("Data/apps/attack"),
		"view":    s.Path("System/Views/attack/1.0"),
		"self":    s.Path("System/Views/attack/1.0/Programs/attack/1.0/bin/attack"),
		"other":   s.Path("Programs/other/1.0/bin/other"),
		"attack":  s.attack,
		"uid":     strconv.Itoa(os.Getuid()),
		"gid":     strconv.Itoa(os.Getgid()),
	}
	s.set(t)
	return s
}

// set lays out what is outside and what is granted, as it is before an attempt.
func (s *stage) set(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"outside", "granted"} {
		path := filepath.Join(s.Base, dir)
		entries, err := os.ReadDir(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Type() == os.ModeSocket && e.Name() != "bound" {
				continue // somebody listens
			}
			if err := rig.RemoveAll(filepath.Join(path, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
		s.Write(path+"/secret", secret, 0o644)
		s.Write(path+"/spare", secret, 0o644)
		s.Write(path+"/sub/below", secret, 0o644)
		if err := os.MkdirAll(path+"/empty", 0o755); err != nil {
			t.Fatal(err)
		}
		for from, to := range map[string]string{s.attack: "/program", rig.Fixture(t, "ten"): "/ten"} {
			if err := copyFile(from, path+to); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := rig.RemoveAll(s.words["host"]); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.words["host"], 0o700); err != nil {
		t.Fatal(err)
	}
	s.Write(s.words["host"]+"/own", "own\n", 0o644)
	s.Write(s.Path("Data/apps/other/own"), secret, 0o600)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// expand replaces {word} in each of args.
func (s *stage) expand(t *testing.T, args []string) []string {
	t.Helper()
	var pairs []string
	for w, value := range s.words {
		pairs = append(pairs, "{"+w+"}", value)
	}
	r := strings.NewReplacer(pairs...)
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = r.Replace(a); regexp.MustCompile(`\{[a-z]+\}`).MatchString(out[i]) {
			t.Fatalf("nothing stands for a word in %q", a)
		}
	}
	return out
}

// inCell returns nip run with flags and the attack program's args.
func (s *stage) inCell(t *testing.T, flags, args []string) *exec.Cmd {
	line := append([]string{"run"}, s.expand(t, flags)...)
	line = append(line, "attack")
	c := s.Command(append(line, s.expand(t, args)...)...)
	c.Env = append(c.Env, "ATTACK_SELF="+s.words["self"])
	return c
}

// outside returns the attack program with args in no cell at all. Its HOME is
// the directory that the controls are granted.
func (s *stage) outside(t *testing.T, args []string) *exec.Cmd {
	var outside []string
	for _, a := range args { // no cell, no name of its own
		outside = append(outside, strings.ReplaceAll(a, "{home}", "{host}"))
	}
	c := exec.Command(s.attack, s.expand(t, outside)...)
	c.Dir = s.Base
	c.Env = append(os.Environ(), "HOME="+s.words["granted"], "ATTACK_SELF="+s.attack)
	return c
}

// snapshot describes every file below outside/, with all that an attempt could
// change: contents, modes, times, links, attributes, names.
func (s *stage) snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		info, infoErr := d.Info()
		if infoErr != nil {
			return infoErr
		}
		if err != nil && info.Mode() == os.ModeDir|view.HoleMode {
			return nil // nobody but root can look into it; it was listed before
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s mode %v links %d owner %d:%d mtime %v ctime %v size %d", path, info.Mode(), st.Nlink,
			st.Uid, st.Gid, st.Mtim, st.Ctim, st.Size)
		if info.Mode().IsRegular() && st.Size < 4096 {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", data)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// victim is a process outside that attempts are aimed at.
type victim struct {
	rig.Process
	cmd    *exec.Cmd
	ask    io.WriteCloser
	answer *bufio.Scanner
}

// startVictim starts the attack program outside as something to aim at. It is
// in the process group of the test, so that a signal to the cell's own group
// would reach it as well.
func (s *stage) startVictim(t *testing.T) *victim {
	t.Helper()
	c := exec.Command(s.attack, "victim", strconv.Itoa(int(syscall.SIGURG)))
	v := &victim{cmd: c}
	v.ask, v.answer = rig.Talk(t, c)
	if !v.answer.Scan() || !strings.HasPrefix(v.answer.Text(), "READY") {
		t.Fatalf("the victim said %q", v.answer.Text())
	}
	var ok bool
	if v.Process, ok = rig.FindProcess(c.Process.Pid); !ok {
		t.Fatal("the victim is not there")
	}
	return v
}

// signals asks the victim how many it got; -1 if it does not answer any more.
func (v *victim) signals() int {
	if _, err := io.WriteString(v.ask, "?\n"); err != nil || !v.answer.Scan() {
		return -1
	}
	n, err := strconv.Atoi(v.answer.Text())
	if err != nil {
		return -1
	}
	return n
}

// describe says all that a process outside could have changed about the victim.
func (v *victim) describe(t *testing.T) string {
	t.Helper()
	read := func(name string) string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", v.PID, name))
		if err != nil {
			return err.Error()
		}
		return string(data)
	}
	stat := read("stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 40 {
		return "gone"
	}
	// Fields of proc(5): 5 pgrp, 6 session, 18 priority, 19 nice, 41 policy; two are cut off.
	text := fmt.Sprintf("pgrp %s session %s priority %s nice %s policy %s\n%s", fields[2], fields[3], fields[15], fields[16],
		fields[38], read("limits"))
	for line := range strings.Lines(read("status")) {
		if strings.HasPrefix(line, "Cpus_allowed:") || strings.HasPrefix(line, "TracerPid:") {
			text += line
		}
	}
	ioprio, _, errno := syscall.Syscall(syscall.SYS_IOPRIO_GET, 1, uintptr(v.PID), 0)
	return text + fmt.Sprintf("ioprio %d %v", ioprio, errno)
}

// listener is a socket outside whose owner says what it was sent.
type listener struct {
	name    string
	arrived chan string // contents of each connection or packet, in order
	probe   func(text string) error
}

// listen makes listeners in outside/ and granted/, abstract ones, and on
// loopback, and the words that name them. They close when t ends.
func (s *stage) listen(t *testing.T) []*listener {
	t.Helper()
	name := fmt.Sprintf("@nip-escape-%d", os.Getpid())
	s.words["abstract"] = name
	all := []*listener{
		streamListener(t, "unix", s.words["outside"]+"/stream"),
		streamListener(t, "unix", name),
		streamListener(t, "tcp4", "127.0.0.1:0"),
		packetListener(t, "unixgram", s.words["outside"]+"/dgram"),
		packetListener(t, "unixgram", name+"-dgram"),
		packetListener(t, "udp4", "127.0.0.1:0"),
	}
	_, s.words["tcpport"], _ = net.SplitHostPort(all[2].name)
	_, s.words["udpport"], _ = net.SplitHostPort(all[5].name)
	return all
}

func streamListener(t *testing.T, network, address string) *listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	l := &listener{name: ln.Addr().String(), arrived: make(chan string, 64)}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return // closed
			}
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			text, _ := io.ReadAll(c) // a peer that was killed is an arrival as well
			c.Close()
			l.arrived <- string(text)
		}
	}()
	l.probe = func(text string) error {
		c, err := net.Dial(network, l.name)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = io.WriteString(c, text)
		return err
	}
	return l
}

func packetListener(t *testing.T, network, address string) *listener {
	t.Helper()
	pc, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pc.Close()
		if network == "unixgram" && address[0] != '@' {
			os.Remove(address) // unlike that of a stream, its name stays
		}
	})
	l := &listener{name: pc.LocalAddr().String(), arrived: make(chan string, 64)}
	go func() {
		buffer := make([]byte, 64)
		for {
			n, _, err := pc.ReadFrom(buffer)
			if err != nil {
				return // closed
			}
			l.arrived <- string(buffer[:n])
		}
	}()
	l.probe = func(text string) error {
		c, err := net.Dial(network, l.name)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = io.WriteString(c, text)
		return err
	}
	return l
}

// since returns what arrived before a message that it sends itself: what came
// earlier is served earlier.
func (l *listener) since(t *testing.T) []string {
	t.Helper()
	const own = "from the test"
	if err := l.probe(own); err != nil {
		t.Fatalf("the listener %s does not listen any more: %v", l.name, err)
	}
	var before []string
	for {
		select {
		case text := <-l.arrived:
			if text == own {
				return before
			}
			before = append(before, text)
		case <-time.After(20 * time.Second):
			t.Fatalf("the listener %s does not answer", l.name)
		}
	}
}
