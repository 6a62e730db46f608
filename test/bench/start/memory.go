package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// printMemory shows what the launchers themselves hold while a program that
// they started sleeps.
func (s *stage) printMemory() error {
	fmt.Printf("\n%-48s %8s %8s\n", "memory of the launcher while a program sleeps", "RSS", "PSS")
	bwrapArgs := []string{"bwrap", "--die-with-parent", "--unshare-all", "--proc", "/proc", "--dev", "/dev", "--ro-bind", s.fixtures, "/view", "/view/attack", "hold"}
	if err := s.memoryOf("nip run, supervisor", append([]string{s.nip}, "run", "attack", "hold"), true); err != nil {
		return err
	}
	return s.memoryOf("bwrap", bwrapArgs, false)
}

// memoryOf starts argv, waits for the program's READY, and looks at the
// launcher; with guard also at the guard that nip starts after a while.
func (s *stage) memoryOf(name string, argv []string, guard bool) error {
	c := exec.Command(argv[0], argv[1:]...)
	c.Env, c.Stderr = s.env(), os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "READY") {
		err = fmt.Errorf("the program said %q", line)
	}
	if err == nil {
		err = printProcess(name, c.Process.Pid)
	}
	if err == nil && guard {
		err = printGuard(c.Process.Pid)
	}
	if e := c.Process.Signal(os.Interrupt); err == nil {
		err = e
	}
	stop := time.AfterFunc(10*time.Second, func() { c.Process.Kill() })
	_ = c.Wait() // ended by the signal
	stop.Stop()
	if err != nil {
		return fmt.Errorf("memory of %s: %w", name, err)
	}
	return nil
}

// printGuard waits for the guard, a second process of nip, and shows it.
func printGuard(supervisor int) error {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", supervisor, supervisor))
		if err != nil {
			children = nil // a kernel without that file: look at all processes
		}
		for _, id := range append(strings.Fields(string(children)), childrenOf(supervisor)...) {
			pid, err := strconv.Atoi(id)
			if err != nil {
				return err
			}
			cmdline, err := os.ReadFile("/proc/" + id + "/cmdline")
			if err == nil && strings.Contains(string(cmdline), "guard") {
				return printProcess("nip run, guard", pid)
			}
		}
	}
	return fmt.Errorf("no guard after 5 s")
}

func childrenOf(parent int) []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var ids []string
	for _, e := range entries {
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			ids = append(ids, e.Name())
		}
	}
	return ids
}

func printProcess(name string, pid int) error {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return err
	}
	kB := make(map[string]string)
	for line := range strings.Lines(string(rollup)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			kB[key] = strings.TrimSpace(value)
		}
	}
	fmt.Printf("%-48s %8s %8s\n", name, kB["Rss"], kB["Pss"])
	return nil
}
