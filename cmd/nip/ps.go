package main

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"nipcells/internal/cell"
)

func newPsCommand(a *app) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "ps",
		Short: "List running cells",
		Long: `Ps lists the cells that run below the root, oldest first. A cell whose supervisor
is gone is ended and cleaned up on the way.`,
		Example: "  nip ps\n  nip ps --json",
		Args:    args(0, 0, ""),
		RunE:    func(*cobra.Command, []string) error { return a.ps() },
	})
}

func (a *app) ps() error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	if err := a.recoverCells(root); err != nil {
		return err
	}
	list, err := cell.List(root)
	if err != nil {
		return err
	}
	if a.json {
		if list == nil {
			list = []cell.Info{}
		}
		return writeJSON(a.out, list)
	}
	rows := make([][]string, len(list))
	for i, c := range list {
		rows[i] = []string{c.Fiber, c.Package, c.Version, c.Command, strconv.Itoa(c.First), time.Since(c.Started).Round(time.Second).String()}
	}
	return writeTable(a.out, []string{"FIBER", "PACKAGE", "VERSION", "COMMAND", "PID", "AGE"}, rows)
}
