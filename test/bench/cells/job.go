package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// way is how a program is started.
type way int

const (
	native way = iota // the host's, without any wall
	bwrap
	cell
	asked // a cell that may execute what has no stub
	ways
)

func (w way) String() string { return [...]string{"native", "bwrap", "cell", "all asked"}[w] }

// job is a program that is timed.
type job struct {
	name    string
	program string // the host's
	command string // PACKAGE/COMMAND
	dir     string // in which it starts, below the stage's work
	args    []string
	rights  string       // to work; "" for all but executing
	net     string       // a rule for the network
	before  func() error // done before each start

	ofNative, ofBwrap float64 // limits of the cell's time; 0: none
	asked             int     // limit of the calls that are asked; 0: none
}

// start returns the command that does the job.
func (s *stage) start(j *job, w way, flags ...string) *exec.Cmd {
	dir := s.work
	if j.dir != "" {
		dir += "/" + j.dir
	}
	var c *exec.Cmd
	switch w {
	case native:
		c = exec.Command(j.program, j.args...)
	case bwrap:
		c = exec.Command("bwrap", append([]string{"--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
			"--symlink", "usr/lib64", "/lib64", "--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
			"--ro-bind", s.fixtures, s.fixtures, "--bind", s.work, s.work, "--chdir", dir, j.program}, j.args...)...)
	default:
		args := append([]string{"run", "-q", "--unveil", s.work + ":" + cmp.Or(j.rights, "rwc")}, flags...)
		if j.net != "" {
			args = append(args, "--net", j.net)
		}
		if w == asked {
			args = append(args, "--unveil", s.empty+":rx")
		}
		c = exec.Command(s.nip, append(append(args, j.command), j.args...)...)
	}
	c.Dir, c.Env = dir, s.env()
	return c
}

// once does the job and returns how long it took, from before the fork to after
// the wait, and what it printed.
func (s *stage) once(j *job, w way) (time.Duration, string, error) {
	if j.before != nil {
		if err := j.before(); err != nil {
			return 0, "", err
		}
	}
	var out, errs bytes.Buffer
	c := s.start(j, w)
	c.Stdout, c.Stderr = &out, &errs
	begin := time.Now()
	err := c.Run()
	took := time.Since(begin)
	if err != nil {
		return 0, "", fmt.Errorf("%s (%s): %w\n%s", j.name, w, err, beginning(&errs))
	}
	return took, out.String(), nil
}

// counts says what became of a job's path calls.
type counts struct {
	native, asked int
	which         string // are asked
}

// count does the job once more, for --stats.
func (s *stage) count(j *job) (counts, error) {
	var n counts
	if j.before != nil {
		if err := j.before(); err != nil {
			return n, err
		}
	}
	var errs bytes.Buffer
	c := s.start(j, cell, "--stats")
	c.Stderr = &errs
	if err := c.Run(); err != nil {
		return n, fmt.Errorf("%s (--stats): %w\n%s", j.name, err, beginning(&errs))
	}
	for line := range strings.Lines(errs.String()) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		a, err := strconv.Atoi(f[1])
		b, err2 := strconv.Atoi(f[2])
		switch {
		case err != nil || err2 != nil:
		case f[0] == "all":
			n.native, n.asked = a, b
		case b > 0:
			n.which += fmt.Sprintf(", %d %s", b, f[0])
		}
	}
	if n.native+n.asked == 0 {
		return n, fmt.Errorf("%s: --stats counted nothing\n%s", j.name, beginning(&errs))
	}
	return n, nil
}

// beginning is what of an output fits on a screen.
func beginning(b *bytes.Buffer) []byte { return b.Bytes()[:min(b.Len(), 1000)] }
