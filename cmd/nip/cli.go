package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"nipcells/cmd/nip/run"
	"nipcells/internal/cell"
	"nipcells/internal/hier"
	"nipcells/internal/wall"
)

// app is what the verbs share: the streams and the global flags.
type app struct {
	in       *os.File
	out, err io.Writer
	root     string
	quiet    bool
	json     bool
}

// usageError reports a command line that makes no sense. The exit status is 2.
type usageError struct {
	verb string
	err  error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// cliMain runs any verb but run and returns the exit status.
func cliMain(args []string) int {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root := newRootCommand(a)
	root.SetArgs(args)
	return a.finish(root.ExecuteContext(ctx))
}

// finish reports err and returns the exit status.
func (a *app) finish(err error) int {
	if err == nil {
		return exitOK
	}
	report(a.err, err)
	if usage := new(usageError); errors.As(err, &usage) {
		return exitUsage
	}
	return exitError
}

// newRootCommand returns the tree of all verbs.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "nip",
		Short: "Pack, install, run and remove applications in cells",
		Long: `Nip runs applications in cells: isolated by capabilities, without namespaces,
cgroups, a daemon or root. Packages carry all they need; a cell sees its package,
its own data and what you unveil, and can read, change or run nothing else.`,
		Example: `  nip graft debian:jq -o jq.npk
  nip install jq.npk
  echo '{"a":1}' | nip run jq .a
  nip remove jq --purge`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return &usageError{err: fmt.Errorf("no such verb: %q%s", args[0], didYouMean(c, args[0]))}
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetUsageFunc(writeUsage)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{verb: verbOf(c), err: err}
	})
	addGlobalFlags(root.PersistentFlags(), &a.root, &a.quiet)
	root.AddCommand(verbs(a)...)
	root.SetHelpCommand(newHelpCommand())
	return root
}

// verbOf returns the words of a command after nip.
func verbOf(c *cobra.Command) string {
	return strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "nip"), " ")
}

func didYouMean(c *cobra.Command, word string) string {
	c.SuggestionsMinimumDistance = 2
	if s := c.SuggestionsFor(word); len(s) > 0 {
		return fmt.Sprintf(" (did you mean %s?)", strings.Join(s, " or "))
	}
	return ""
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [VERB]",
		Short:   "Explain a verb",
		Example: "  nip help install",
		RunE: func(c *cobra.Command, args []string) error {
			target, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return &usageError{err: fmt.Errorf("no such verb: %q", strings.Join(args, " "))}
			}
			target.InitDefaultHelpFlag()
			return target.Help()
		},
	}
}

// missingRootError reports a root that is not there.
type missingRootError struct {
	path string
	err  error
}

func (e *missingRootError) Error() string { return fmt.Sprintf("root %s does not exist", e.path) }
func (e *missingRootError) Unwrap() error { return e.err }
func (e *missingRootError) advice() string {
	return "nip install makes it; or choose another with --root DIRECTORY or NIP_ROOT"
}

// openRoot returns the root that the flag and the environment name. It must
// exist. Nothing is ever done from inside a cell.
func openRoot(flag string) (*hier.Root, error) {
	path, err := rootPath(flag)
	if err != nil {
		return nil, err
	}
	r, err := hier.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = &missingRootError{path, err}
	}
	return r, err
}

func rootPath(flag string) (string, error) {
	if _, inside := wall.OwnMark(); inside {
		return "", cell.ErrInside
	}
	return hier.Default(flag, os.Getenv("NIP_ROOT"), os.Geteuid())
}

// openRoot returns the root that the person means, to look at; it must exist.
func (a *app) openRoot() (*hier.Root, error) { return openRoot(a.root) }

// changeRoot returns the root that the person means, to change what is in it; it
// must exist and be his own.
func (a *app) changeRoot() (*hier.Root, error) {
	r, err := a.openRoot()
	if err != nil {
		return nil, err
	}
	if !r.Own() {
		return nil, fmt.Errorf("change root %s: it belongs to uid %d, you are uid %d: %w", r.Path(), r.Owner(), os.Geteuid(), hier.ErrForeign)
	}
	return r, nil
}

// createRoot returns the root that the person means, made if it is missing.
func (a *app) createRoot() (*hier.Root, error) {
	path, err := rootPath(a.root)
	if err != nil {
		return nil, err
	}
	return hier.Create(path)
}

// announceWait says so if another nip is changing what is installed below r:
// the change that follows has to wait for it.
func (a *app) announceWait(r *hier.Root) error {
	l, err := r.TryLock(hier.LockPackages, true)
	if errors.Is(err, hier.ErrLocked) {
		a.say("another nip is changing %s; waiting until it is done", r.Path())
		return nil
	}
	if err != nil {
		return err
	}
	l.Unlock()
	return nil
}

// say prints a line about what was done, unless -q.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}

// terminal reports whether a person sits in front of both stdin and stderr.
// Without one nothing is ever asked.
func (a *app) terminal() bool {
	f, ok := a.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && term.IsTerminal(int(a.in.Fd()))
}

// ask puts a question whose answer is no unless the person types y or yes. The
// caller has checked that there is a terminal.
func (a *app) ask(question string) bool {
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	var answer []byte
	for b := make([]byte, 1); len(answer) < 16; {
		if n, err := a.in.Read(b); n == 0 || err != nil || b[0] == '\n' {
			break
		}
		answer = append(answer, b[0])
	}
	switch strings.ToLower(strings.TrimSpace(string(answer))) {
	case "y", "yes":
		return true
	}
	return false
}

// jsonFlag adds --json to a verb that lists.
func (a *app) jsonFlag(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&a.json, "json", false, "print a JSON array")
	return c
}

// args returns a check that a verb is given between least and most words; names
// says in capitals what they are. most is -1 for any number.
func args(least, most int, names string) cobra.PositionalArgs {
	return func(c *cobra.Command, words []string) error {
		switch {
		case len(words) < least:
			return &usageError{verb: verbOf(c), err: fmt.Errorf("%s: want %s", verbOf(c), names)}
		case most >= 0 && len(words) > most && most == 0:
			return &usageError{verb: verbOf(c), err: fmt.Errorf("%s: takes no words, got %q", verbOf(c), words[0])}
		case most >= 0 && len(words) > most:
			return &usageError{verb: verbOf(c), err: fmt.Errorf("%s: want %s, got %q too", verbOf(c), names, words[most])}
		}
		return nil
	}
}

// addGlobalFlags adds the flags that stand before or after every verb.
func addGlobalFlags(f *pflag.FlagSet, root *string, quiet *bool) {
	f.StringVar(root, "root", "", "`DIRECTORY` of the installation (default: $NIP_ROOT, else / for root, else $XDG_DATA_HOME/nexus)")
	f.BoolVarP(quiet, "quiet", run.Shorthands["quiet"], false, "say nothing but errors and results")
}
