package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"nipcells/internal/cell"
	"nipcells/internal/hier"
)

func newStopCommand(a *app) *cobra.Command {
	var grace time.Duration
	c := &cobra.Command{
		Use:   "stop FIBER|PACKAGE …",
		Short: "End running cells",
		Long: `Stop asks the program of a cell to end (SIGTERM) and kills all of the cell's
processes if it has not ended after the time given. A package's name will do if
only one cell runs it.`,
		Example: "  nip stop 3f9a01c4\n  nip stop --time 30s server",
		Args:    args(1, -1, "FIBER or PACKAGE"),
		RunE:    func(_ *cobra.Command, names []string) error { return a.stop(names, grace) },
	}
	c.Flags().DurationVarP(&grace, "time", "t", 5*time.Second, "how `long` to wait before killing")
	return c
}

func (a *app) stop(names []string, grace time.Duration) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	if err := a.recoverCells(root); err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		c, err := cell.Find(root, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		killed, err := cell.Stop(root, c, grace)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		how := "stopped"
		if killed {
			how = "killed"
		}
		a.say("%s %s (%s)", how, c.Fiber, c.Package)
	}
	return errors.Join(errs...)
}

// recoverCells ends the cells whose supervisor is gone, and says so.
func (a *app) recoverCells(root *hier.Root) error {
	ended, err := cell.Recover(root)
	for _, fiber := range ended {
		a.say("ended cell %s, whose supervisor was gone", fiber)
	}
	if err != nil {
		return fmt.Errorf("clean up after cells: %w", err)
	}
	return nil
}
