package main

import (
	"errors"
	"flag"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nipcells/cmd/nip/run"
)

// newRunCommand returns the verb run as help, completion and manual pages see
// it. A command line that starts with it never gets here: see dispatch.
func newRunCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "run [FLAGS] PACKAGE[/COMMAND] [ARGUMENTS]",
		Short: "Run a program of a package in a cell",
		Long: `Run starts a program of an installed package in a cell of its own. The first word
that is no flag is the package, and all after it belongs to the program; a -- right
after the package is dropped. Without /COMMAND it is the package's only command, or
the one that is named like the package.

The cell sees its package, its own data (HOME) and what --unveil adds, and can read,
change or run nothing else. The working directory is the current one where it is unveiled,
else HOME. The exit status is the program's own; 125 if nip failed, 126 if the
program cannot be executed, 127 if there is no such command, 128+N if signal N
killed it.

With --learn the cell is as ever, but that what its pledge forbids is refused with an
error. At the end nip says which promises the program used, and what of the unveiled
paths, as lines of a recipe (see nip help pack), and in comments what it was refused
and which paths of the host it looked for in vain. It used what is listed; it may be
content with less, and other work may take more.`,
		Example: `  nip run python3 -c 'print("hello")'
  nip run --unveil "$PWD:rw" git status
  nip run --pledge STDIO,RPATH,EXEC tool/helper -- --help
  nip run --learn=used.kdl --unveil "$PWD:rw" git status
  nip run -d server`,
		RunE: func(*cobra.Command, []string) error {
			return &usageError{verb: "run", err: errors.New("only global flags may stand before run")}
		},
		ValidArgsFunction:     a.completePackages,
		DisableFlagsInUseLine: true,
	}
	run.Flags(new(run.Options)).VisitAll(func(f *flag.Flag) {
		p := pflag.PFlagFromGoFlag(f)
		p.Shorthand = run.Shorthands[f.Name]
		c.Flags().AddFlag(p)
	})
	c.Flags().SortFlags = false
	c.Flags().SetInterspersed(false)
	return c
}

// runUsage makes a mistake in the command line of run one of this package's, so
// that it gets the same advice.
func runUsage(err error) error {
	if u := new(run.UsageError); errors.As(err, &u) {
		return &usageError{verb: "run", err: u.Err}
	}
	return err
}
