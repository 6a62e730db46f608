package cell

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
	"nipcells/internal/ledger"
)

// logsKept is how many logs of ended cells stay; the oldest go first.
const logsKept = 100

// SendToLog makes the log of a cell the caller's standard output and error, and
// takes old logs away.
func SendToLog(root *hier.Root, fiber string) error {
	if err := root.Make("Nexus/log"); err != nil {
		return err
	}
	pruneLogs(filepath.Dir(root.Log(fiber)))
	fd, err := unix.Open(root.Log(fiber), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_APPEND|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("create %s: %w", root.Log(fiber), err)
	}
	defer unix.Close(fd)
	for _, to := range []int{1, 2} {
		if err := unix.Dup3(fd, to, 0); err != nil {
			return fmt.Errorf("redirect descriptor %d to the log: %w", to, err)
		}
	}
	return nil
}

// pruneLogs removes the oldest logs. What cannot be removed stays: a log too
// many does no harm.
func pruneLogs(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < logsKept {
		return
	}
	at := make(map[string]time.Time, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			at[e.Name()] = info.ModTime()
		}
	}
	sort.Slice(entries, func(i, j int) bool { return at[entries[i].Name()].Before(at[entries[j].Name()]) })
	for _, e := range entries[:len(entries)-logsKept+1] {
		os.Remove(filepath.Join(dir, e.Name()))
	}
}

// Event is something that the supervisor of a cell recorded.
type Event struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
	Text string    `json:"text"` // its fields, name=value
}

// Events returns what the ledger says of a cell, oldest first.
func Events(root *hier.Root, fiber string) ([]Event, error) {
	var list []Event
	err := ledger.Open(root.Ledger()).Read(func(r ledger.Record) error {
		if r.Field("fiber") != fiber {
			return nil
		}
		e := Event{Time: r.Time, Kind: r.Kind}
		for _, f := range r.Fields {
			if f.Name != "fiber" {
				e.Text += " " + f.Name + "=" + f.String()
			}
		}
		if e.Text != "" {
			e.Text = e.Text[1:]
		}
		list = append(list, e)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// LastFiber returns the fiber-id of the cell that last ran a package.
func LastFiber(root *hier.Root, pkg string) (string, error) {
	fiber := ""
	err := ledger.Open(root.Ledger()).Read(func(r ledger.Record) error {
		if r.Kind == "start" && r.Field("package") == pkg {
			fiber = r.Field("fiber")
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if fiber == "" {
		return "", fmt.Errorf("%s: %w", pkg, ErrNoCell)
	}
	return fiber, nil
}

// Forget takes away what ended cells of a package left: directories of crashed
// ones, and logs. The ledger keeps its records.
func Forget(root *hier.Root, pkg string) error {
	if _, err := Recover(root); err != nil {
		return err
	}
	if err := dropSpare(root); err != nil {
		return fmt.Errorf("remove the spare cell: %w", err)
	}
	err := ledger.Open(root.Ledger()).Read(func(r ledger.Record) error {
		if r.Kind != "start" || r.Field("package") != pkg {
			return nil
		}
		if err := os.Remove(root.Log(r.Field("fiber"))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a log: %w", err)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
