package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCompletionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script for bash, zsh or fish",
		Example: `  nip completion bash > /etc/bash_completion.d/nip
  nip completion zsh > "${fpath[1]}/_nip"
  nip completion fish > ~/.config/fish/completions/nip.fish`,
		Args:      args(1, 1, "a SHELL"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(c *cobra.Command, words []string) error {
			switch words[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(a.out, true)
			case "zsh":
				return c.Root().GenZshCompletion(a.out)
			case "fish":
				return c.Root().GenFishCompletion(a.out, true)
			}
			return &usageError{verb: "completion", err: fmt.Errorf("completion for shell %q: want bash, zsh or fish", words[0])}
		},
	}
}
