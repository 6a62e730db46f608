package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newEnvCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print the line that puts installed commands on PATH",
		Long: `Env prints a line for the shell's start-up file. It puts the directory of launchers
on PATH: one for each command of an installed package, which runs it in a cell.`,
		Example: `  nip env >> ~/.profile
  eval "$(nip env)"`,
		Args: args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			r, err := a.createRoot()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "export PATH=%s:\"$PATH\"\n", shellQuote(r.Bin()))
			return err
		},
	}
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("/._-+@%:=", r) || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
