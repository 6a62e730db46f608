package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"nipcells/internal/capability"
	"nipcells/internal/cell"
	"nipcells/internal/kinetic"
)

func newBudgetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "budget FIBER|PACKAGE [BUDGET]",
		Short: "Show or change what a running cell may use",
		Long: `Budget shows what a running cell is held to, or changes the items that are named:
memory, fibers (processes and threads), cpu (per cent of one core), disk, io and
spectrum. What the package is given is the most (see nip info). The spectrum can only
be lowered, and what a cell was not counted for from its start it cannot be later:
fibers and disk.

What nip top and nip metrics call watts is computed from these prices:
` + kinetic.Prices(),
		Example: "  nip budget 3f9a01c4\n  nip budget server cpu=20%,memory=256M\n  nip budget server spectrum=void",
		Args:    args(1, 2, "FIBER or PACKAGE"),
		RunE:    func(_ *cobra.Command, words []string) error { return a.budget(words) },
	}
}

// answerTime is how long a supervisor may take to answer.
const answerTime = 5 * time.Second

func (a *app) budget(words []string) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	c, err := cell.Find(root, words[0])
	if err != nil {
		return err
	}
	if len(words) == 1 {
		if c.Budget == "" {
			fmt.Fprintln(a.out, "not limited")
			return nil
		}
		fmt.Fprintln(a.out, c.Budget)
		return nil
	}
	if _, err := capability.ParseBudget(words[1]); err != nil {
		return &usageError{verb: "budget", err: err}
	}
	now, err := cell.Ask(root, c, "budget", words[1], answerTime)
	if err != nil {
		return fmt.Errorf("change the budget of %s: %w", c.Fiber, err)
	}
	a.say("%s (%s) is held to %s", c.Fiber, c.Package, now)
	return nil
}
