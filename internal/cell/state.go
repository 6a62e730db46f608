package cell

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/wall"
)

// state is /Cell/<fiber-id>: tmp/ and run/ for the program, names/, and the file
// "state", which others read and which the supervisor keeps locked as long as
// it lives. Its lines are key=value: supervisor, package, version, command,
// started (RFC 3339), then first, budget and strikes once the program runs; empty lines fill it up
// to stateSize, so that it is written in place.
type state struct {
	fiber string // 8 hexadecimal digits
	id    uint32 // the same
	dir   string
	file  *os.File
	text  string
}

const stateSize = 1024

func (s *state) tmp() string { return s.dir + "/tmp" }
func (s *state) run() string { return s.dir + "/run" }

// newState makes the directory of a new cell; text is what its state says.
// Names of running cells are never taken again; 32 random bits make a second
// try rare.
func newState(root *hier.Root, id wall.Identity, text string) (*state, error) {
	for {
		var n uint32
		if _, err := unix.Getrandom(unsafe.Slice((*byte)(unsafe.Pointer(&n)), 4), 0); err != nil {
			return nil, fmt.Errorf("choose a fiber-id: %w", err)
		}
		s := &state{fiber: fmt.Sprintf("%08x", n), id: n, text: text}
		s.dir = root.Cell(s.fiber)
		if s.takeSpare(root, id) {
			return s, nil
		}
		err := unix.Mkdir(s.dir, 0o700)
		if errors.Is(err, unix.ENOENT) {
			if err = root.Make("Cell"); err == nil {
				err = unix.Mkdir(s.dir, 0o700)
			}
		}
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("make %s: %w", s.dir, err)
		}
		if err := s.fill(id); err != nil {
			os.RemoveAll(s.dir)
			return nil, err
		}
		return s, nil
	}
}

func (s *state) fill(id wall.Identity) error {
	// The file gets its name when it is locked: one of that name without a lock
	// is a dead cell's, however young.
	fd, err := unix.Open(s.dir+"/state.new", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create %s/state: %w", s.dir, err)
	}
	s.file = os.NewFile(uintptr(fd), s.dir+"/state")
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s/state: %w", s.dir, err)
	}
	if err := s.write(""); err != nil {
		return fmt.Errorf("write %s/state: %w", s.dir, err)
	}
	if err := unix.Rename(s.dir+"/state.new", s.dir+"/state"); err != nil {
		return fmt.Errorf("name %s/state: %w", s.dir, err)
	}
	for _, d := range []string{s.tmp(), s.run()} {
		if err := unix.Mkdir(d, 0o700); err != nil {
			return fmt.Errorf("make %s: %w", d, err)
		}
		if id.Change && id.UID != 0 {
			if err := unix.Lchown(d, id.UID, id.GID); err != nil {
				return fmt.Errorf("give %s to user %d: %w", d, id.UID, err)
			}
		}
	}
	if err := unix.Mkdir(s.names(), 0o755); err != nil {
		return fmt.Errorf("make %s: %w", s.names(), err)
	}
	if id.Change && id.UID != 0 { // its user has to pass through
		if err := unix.Chmod(s.dir, 0o711); err != nil {
			return fmt.Errorf("open %s: %w", s.dir, err)
		}
	}
	return nil
}

// describe is what a state says before the program runs.
func describe(pkg, version, command string, started time.Time) string {
	return "supervisor=" + strconv.Itoa(os.Getpid()) + "\npackage=" + pkg + "\nversion=" + version +
		"\ncommand=" + command + "\nstarted=" + started.UTC().Format(time.RFC3339Nano) + "\n"
}

// write puts text and more into the file, with one system call where it has
// its size already.
func (s *state) write(more string) error {
	text := s.text + more
	if n := stateSize - len(text); n > 0 {
		text += strings.Repeat("\n", n)
	}
	_, err := s.file.WriteAt([]byte(text), 0)
	return err
}

// writeState says that the program runs, and what it is held to.
func (c *cell) writeState() {
	more := fmt.Sprintf("first=%d\nbudget=%s\nstrikes=%d\n", c.child.PID, c.budgetNow(), c.economy.strikes.Count(time.Now()))
	if err := c.state.write(more); err != nil {
		c.Report("write the cell's state: " + err.Error())
	}
}

// remove takes the cell's directory away. What the program left there is its
// own and may be hostile: names are removed, symlinks are not followed.
func (c *cell) remove() {
	if c.ruleset >= 0 {
		unix.Close(c.ruleset)
	}
	c.closeUnveiled()
	c.fill()
	if c.hasGrown { // before, nobody has made anything there
		if err := c.state.clearNames(); err != nil {
			c.Report("clean up: " + err.Error())
		}
	}
	if !c.state.keepSpare(c.Root, c.identity) {
		if err := removeCell(c.state.dir); err != nil {
			c.Report("clean up: " + err.Error())
		}
	}
	c.state.file.Close() // the lock goes last, with the file it is on
	if _, err := Recover(c.Root); err != nil {
		c.Report("clean up after other cells: " + err.Error())
	}
}

// removeCell removes the directory of a cell: quickly if the program left
// nothing behind.
func removeCell(dir string) error {
	unix.Rmdir(dir + "/tmp")
	unix.Rmdir(dir + "/run")
	unix.Rmdir(dir + "/names")
	unix.Unlink(dir + "/state")
	if err := unix.Rmdir(dir); err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	err := os.RemoveAll(dir)
	if errors.Is(err, fs.ErrPermission) { // the program took its own directories' modes away
		openDirectories(dir)
		err = os.RemoveAll(dir)
	}
	return err
}

func openDirectories(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
}

// Info describes a cell for people: what `nip ps` shows.
type Info struct {
	Fiber      string    `json:"fiber"`
	Package    string    `json:"package"`
	Version    string    `json:"version"`
	Command    string    `json:"command"`
	Supervisor int       `json:"supervisor"` // pid
	First      int       `json:"pid"`        // pid of the program; 0: not yet started
	Started    time.Time `json:"started"`
	Budget     string    `json:"budget,omitempty"` // capability.ParseBudget reads it
	Strikes    int       `json:"strikes"`
	Dead       bool      `json:"dead"` // the supervisor is gone; Recover cleans up
}

// ID is the fiber-id as a number, which marks the cell's processes.
func (i Info) ID() uint32 {
	id, _ := strconv.ParseUint(i.Fiber, 16, 32) // List takes in no others
	return uint32(id)
}

// List returns the cells below root, oldest first.
func List(root *hier.Root) ([]Info, error) {
	entries, err := os.ReadDir(root.Cells())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list cells: %w", err)
	}
	var list []Info
	for _, e := range entries {
		if id, err := strconv.ParseUint(e.Name(), 16, 32); err != nil || !e.IsDir() || fmt.Sprintf("%08x", id) != e.Name() {
			continue // no cell's: ending it would end another that has this number
		}
		info, err := read(root, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // it ended while we looked
		}
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Started.Before(list[j].Started) })
	return list, nil
}

// settleTime is how long a new cell may take from its directory to its locked
// state, and an ending one from the end of its state to that of its directory.
const settleTime = time.Second

// read reads one cell's state. Whoever can lock the file knows that its
// supervisor is gone.
func read(root *hier.Root, fiber string) (Info, error) {
	info := Info{Fiber: fiber}
	dir, err := os.Stat(root.Cell(fiber))
	if err != nil {
		return info, fmt.Errorf("look at cell %s: %w", fiber, err)
	}
	settled := time.Since(dir.ModTime()) > settleTime
	f, err := os.OpenFile(root.Cell(fiber)+"/state", os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		if settled && errors.Is(err, fs.ErrNotExist) {
			info.Dead = true
			return info, nil
		}
		return info, fmt.Errorf("read state of cell %s: %w", fiber, err)
	}
	defer f.Close()
	info.Dead = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		switch key {
		case "supervisor":
			info.Supervisor, _ = strconv.Atoi(value) // 0: unreadable, and nobody is signalled
		case "first":
			info.First, _ = strconv.Atoi(value)
		case "package":
			info.Package = value
		case "version":
			info.Version = value
		case "command":
			info.Command = value
		case "budget":
			info.Budget = value
		case "strikes":
			info.Strikes, _ = strconv.Atoi(value)
		case "started":
			info.Started, _ = time.Parse(time.RFC3339Nano, value)
		}
	}
	return info, lines.Err()
}
