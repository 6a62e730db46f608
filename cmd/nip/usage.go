package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageLine says in one line how a command is called. Flags are named where
// there are any but --help.
func usageLine(c *cobra.Command) string {
	if c.DisableFlagsInUseLine {
		return c.UseLine()
	}
	own, words, _ := strings.Cut(c.Use, " ")
	line := own
	if c.HasParent() {
		line = c.Parent().CommandPath() + " " + own
	}
	hasFlags := false
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { hasFlags = hasFlags || f.Name != "help" && !f.Hidden })
	if hasFlags || !c.HasParent() {
		line += " [FLAGS]"
	}
	if c.HasAvailableSubCommands() {
		words = "VERB"
	}
	return strings.TrimSpace(line + " " + words)
}

// writeUsage prints what follows a command's description in its help.
func writeUsage(c *cobra.Command) error {
	var b strings.Builder
	section := func(title, text string) {
		if text = strings.TrimRight(text, "\n"); text != "" {
			fmt.Fprintf(&b, "\n%s:\n%s\n", title, text)
		}
	}
	fmt.Fprintf(&b, "Usage:\n  %s\n", usageLine(c))
	section("Examples", c.Example)
	section("Verbs", verbList(c))
	section("Flags", c.LocalFlags().FlagUsages())
	section("Flags of every verb", c.InheritedFlags().FlagUsages())
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nMore about a verb: %s VERB\n", strings.Replace(c.CommandPath(), "nip", "nip help", 1))
	}
	_, err := fmt.Fprint(c.OutOrStderr(), b.String())
	return err
}

func verbList(c *cobra.Command) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			fmt.Fprintf(w, "  %s\t%s\n", sub.Name(), sub.Short)
		}
	}
	w.Flush() // a strings.Builder takes everything
	return b.String()
}
