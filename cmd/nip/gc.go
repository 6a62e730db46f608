package main

import (
	"github.com/spf13/cobra"

	"nipcells/internal/cell"
	"nipcells/internal/programs"
)

func newGCCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Free what no installed package uses",
		Long: `Gc removes from the store what no installed package uses, and what was left by an
install, a removal or a cell that was cut off. Installed versions stay, active or not:
nip remove --version removes one.`,
		Example: "  nip gc",
		Args:    args(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := a.changeRoot()
			if err != nil {
				return err
			}
			if err := a.announceWait(r); err != nil {
				return err
			}
			ended, err := cell.Recover(r)
			for _, id := range ended {
				a.say("ended what was left of cell %s", id)
			}
			if err != nil {
				return err
			}
			freed, err := programs.GC(c.Context(), r, programs.Options{Running: running(r)})
			if err != nil {
				return err
			}
			a.say("freed %s in %s", bytesText(freed.Bytes), count(freed.Blobs, "file"))
			return a.seal(r)
		},
	}
}
