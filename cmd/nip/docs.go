package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newDocsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "docs DIRECTORY",
		Short:   "Write the manual pages and completion scripts into a directory",
		Example: "  nip docs build/docs && man build/docs/nip-run.1",
		Hidden:  true,
		Args:    args(1, 1, "a DIRECTORY"),
		RunE: func(c *cobra.Command, words []string) error {
			if err := os.MkdirAll(words[0], 0o755); err != nil {
				return err
			}
			return writePages(c.Root(), words[0])
		},
	}
}

// writePages writes the manual page of c and of all below it, and of the root
// also the completion scripts.
func writePages(c *cobra.Command, dir string) error {
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	if err := os.WriteFile(filepath.Join(dir, name+".1"), manualPage(c), 0o644); err != nil {
		return err
	}
	for _, sub := range shownCommands(c) {
		if err := writePages(sub, dir); err != nil {
			return err
		}
	}
	if c.HasParent() {
		return nil
	}
	return errors.Join(
		c.GenBashCompletionFileV2(filepath.Join(dir, "nip.bash"), true),
		c.GenZshCompletionFile(filepath.Join(dir, "_nip")),
		c.GenFishCompletionFile(filepath.Join(dir, "nip.fish"), true),
	)
}

func shownCommands(c *cobra.Command) []*cobra.Command {
	var shown []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			shown = append(shown, sub)
		}
	}
	return shown
}

// manualPage returns the page of one command in the man(7) language. It bears
// no date, so that the same nip writes the same pages.
func manualPage(c *cobra.Command) []byte {
	var b bytes.Buffer
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"nip %s\" \"User Commands\"\n", strings.ToUpper(roff(name)), version)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(usageLine(c)))
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", roffParagraphs(text))
	c.InitDefaultHelpFlag()
	writeFlags(&b, "OPTIONS", c.NonInheritedFlags())
	writeFlags(&b, "GLOBAL OPTIONS", c.InheritedFlags())
	if subs := shownCommands(c); len(subs) > 0 {
		fmt.Fprintf(&b, ".SH COMMANDS\n")
		for _, s := range subs {
			fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(strings.ReplaceAll(s.CommandPath(), " ", "-")), roff(s.Short))
		}
	}
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(c.Example))
	}
	if !c.HasParent() {
		fmt.Fprintf(&b, ".SH ENVIRONMENT\n.TP\n.B NIP_ROOT\nThe root where \\-\\-root is not given.\n")
		fmt.Fprintf(&b, ".SH EXIT STATUS\n0 for success, 1 for an error, 2 for a wrong command line. See\n.BR nip\\-run (1)\nfor its own.\n")
	} else {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (1)\n", strings.ReplaceAll(c.Parent().CommandPath(), " ", "\\-"))
	}
	return b.Bytes()
}

func writeFlags(b *bytes.Buffer, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		arg, usage := pflag.UnquoteUsage(f)
		names := "--" + f.Name
		if f.Shorthand != "" {
			names = "-" + f.Shorthand + ", " + names
		}
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(names+" "+arg)), roff(usage))
	})
}

// roff escapes what troff would read as a request or an escape.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

func roffParagraphs(s string) string {
	return strings.ReplaceAll(roff(strings.TrimSpace(s)), "\n\n", "\n.PP\n")
}
