package main

import (
	"github.com/spf13/cobra"

	"nipcells/internal/programs"
)

func newRollbackCommand(a *app) *cobra.Command {
	var version string
	c := &cobra.Command{
		Use:   "rollback PACKAGE",
		Short: "Make the version before the active one active again",
		Long: `Rollback goes back to the version that was installed last before the active one, or
to the one named with --version, in one step. Running cells keep what they run. A version
that is held is passed over: see nip policy accept.`,
		Example:           "  nip rollback firefox\n  nip rollback firefox --version 120.0",
		Args:              args(1, 1, "a PACKAGE"),
		ValidArgsFunction: a.completePackages,
		RunE: func(c *cobra.Command, words []string) error {
			r, err := a.changeRoot()
			if err != nil {
				return err
			}
			if err := a.announceWait(r); err != nil {
				return err
			}
			p, err := programs.Rollback(c.Context(), r, words[0], version, programs.Options{Running: running(r)})
			if err != nil {
				return err
			}
			a.say("%s is active now", p)
			return a.seal(r)
		},
	}
	c.Flags().StringVar(&version, "version", "", "the `VERSION` to make active")
	return c
}
