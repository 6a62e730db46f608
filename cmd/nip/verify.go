package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"nipcells/internal/programs"
)

func newVerifyCommand(a *app) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "verify",
		Short: "Compare all installed files with their signed records",
		Long: `Verify reads every installed file and compares it with the signed record of its
package: contents, names, modes, links, owners. It prints each difference and then
fails. (The ledger is checked by nip ledger --verify.)`,
		Example: "  nip verify\n  nip verify --json",
		Args:    args(0, 0, ""),
		RunE:    func(c *cobra.Command, _ []string) error { return a.verify(c) },
	})
}

// problemLine is a difference as --json prints it.
type problemLine struct {
	Package string `json:"package"`
	Version string `json:"version"`
	Path    string `json:"path"`
	Problem string `json:"problem"`
}

// damageError reports that verify found something.
type damageError struct{ problems int }

func (e *damageError) Error() string { return "verify: " + count(e.problems, "problem") + " found" }
func (e *damageError) advice() string {
	return "remove the packages that are named and install them again"
}

func (a *app) verify(c *cobra.Command) error {
	r, err := a.openRoot()
	if err != nil {
		return err
	}
	lines := []problemLine{}
	var werr error
	sum, err := programs.Verify(c.Context(), r, func(p programs.Problem) {
		lines = append(lines, problemLine{p.Package, p.Version, p.Path, p.What})
		if !a.json && werr == nil {
			_, werr = fmt.Fprintln(a.out, printable(p.String()))
		}
	})
	if err == nil {
		err = werr
	}
	if err == nil && a.json {
		err = writeJSON(a.out, lines)
	}
	if err != nil {
		return err
	}
	if sum.Problems > 0 {
		return &damageError{sum.Problems}
	}
	a.say("ok: %s, %s, %s", count(sum.Packages, "package"), count(sum.Files, "file"), bytesText(sum.Bytes))
	return nil
}
