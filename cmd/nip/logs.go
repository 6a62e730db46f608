package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"nipcells/internal/cell"
	"nipcells/internal/hier"
)

func newLogsCommand(a *app) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:   "logs FIBER|PACKAGE",
		Short: "Show what a cell wrote and what became of it",
		Long: `Logs prints the output of a detached cell, and for every cell, also one that has
ended, what its supervisor recorded: start, capability faults, exit. A package's
name stands for the cell that ran it last.`,
		Example: "  nip logs 3f9a01c4\n  nip logs -f server\n  nip logs --json server",
		Args:    args(1, 1, "FIBER or PACKAGE"),
		RunE: func(c *cobra.Command, names []string) error {
			return a.logs(names[0], follow, c.Context().Done())
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the cell ends")
	return a.jsonFlag(c)
}

func (a *app) logs(name string, follow bool, stop <-chan struct{}) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	events, err := cell.Events(root, name)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		if name, err = cell.LastFiber(root, name); err != nil {
			return err
		}
		if events, err = cell.Events(root, name); err != nil {
			return err
		}
	}
	if a.json {
		return writeJSON(a.out, events)
	}
	if err := a.copyLog(root, name, follow, stop); err != nil {
		return err
	}
	if follow {
		if events, err = cell.Events(root, name); err != nil {
			return err
		}
	}
	rows := make([][]string, len(events))
	for i, e := range events {
		rows[i] = []string{e.Time.Local().Format(time.DateTime), e.Kind, e.Text}
	}
	return writeTable(a.out, []string{"TIME", "EVENT", "DETAILS"}, rows)
}

// followWait is how often a log that is followed is looked at.
const followWait = 200 * time.Millisecond

// copyLog prints the log of a detached cell; other cells have none.
func (a *app) copyLog(root *hier.Root, fiber string, follow bool, stop <-chan struct{}) error {
	f, err := os.Open(root.Log(fiber))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer f.Close()
	for {
		_, err := cell.Find(root, fiber)
		ended := err != nil
		if _, err := io.Copy(a.out, f); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if ended || !follow {
			return nil
		}
		select {
		case <-stop:
			return nil
		case <-time.After(followWait):
		}
	}
}
