package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/keys"
	"nipcells/internal/launch"
	"nipcells/internal/npk"
	"nipcells/internal/programs"
)

type installFlags struct {
	trust       []string
	keepCurrent bool
	accept      bool
}

func newInstallCommand(a *app) *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use:   "install FILE...",
		Short: "Install packages",
		Long: `Install says what a package asks for (its pledge and what it wants to see), then
installs it and makes it the active version. It is all or nothing: whenever it is
interrupted, what was there before stays or the new package is whole. An older version
stays for nip rollback.

An update that asks for more than the active version was given (a promise, a path, a
right, a larger budget) is installed beside it and held: it becomes active when you
accept it, with --accept, on a terminal when you are asked, or later with
nip policy accept. One that asks for less or the same is never held.

Packages signed with an unknown key are refused; on a terminal you are asked.`,
		Example: `  nip install python3.npk
  nip install --trust friend.pub tool.npk`,
		Args: args(1, -1, "the FILE of a package"),
		RunE: func(c *cobra.Command, files []string) error {
			return a.install(c, files, f)
		},
	}
	c.Flags().StringArrayVar(&f.trust, "trust", nil, "accept packages signed with the `KEY` (or the file that holds it) this time; may be repeated")
	c.Flags().BoolVar(&f.accept, "accept", false, "agree to what an update asks for beyond the active version")
	c.Flags().BoolVar(&f.keepCurrent, "keep-current", false, "do not make the installed version the active one")
	return c
}

// untrustedError reports a package that somebody unknown signed.
type untrustedError struct {
	file string
	key  keys.Key
}

func (e *untrustedError) Error() string {
	return fmt.Sprintf("signed with the key %s, which is not trusted", e.key.ID())
}

// advice names the key in full: its id is too short to decide on.
func (e *untrustedError) advice() string {
	return fmt.Sprintf("if you know that this key is the maker's: nip install --trust '%s' %s", e.key, shellQuote(e.file))
}

func (a *app) install(c *cobra.Command, files []string, f installFlags) error {
	var accepted []keys.Key
	for _, t := range f.trust {
		k, err := readKey(t)
		if err != nil {
			return &usageError{verb: "install", err: err}
		}
		accepted = append(accepted, k)
	}
	if f.accept && f.keepCurrent {
		return &usageError{verb: "install", err: errors.New("--accept makes a version active, --keep-current does not: give one of them")}
	}
	root, err := a.createRoot()
	if err != nil {
		return err
	}
	if err := a.announceWait(root); err != nil {
		return err
	}
	var held error // what is held is installed: the next may build on it
	for _, file := range files {
		err := a.installFile(c, root, file, accepted, f)
		if h := new(programs.HeldError); errors.As(err, &h) {
			held = errors.Join(held, err)
		} else if err != nil {
			return errors.Join(err, held, a.seal(root))
		}
	}
	return errors.Join(held, a.seal(root))
}

func (a *app) installFile(c *cobra.Command, root *hier.Root, path string, accepted []keys.Key, f installFlags) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() // only read from
	r, err := npk.Open(file)
	if err != nil {
		return fmt.Errorf("install %s: %w", path, err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := a.printPackage(root, r.Head()); err != nil {
		return err
	}
	p := a.progress()
	phase := "install " + r.Head().Manifest.Name
	in, err := programs.Install(c.Context(), root, file, programs.Options{
		Trust:       func(pub ed25519.PublicKey) error { return a.trust(root, path, pub, accepted) },
		Progress:    func(done, total int64) { p.update(phase, done, total) },
		KeepCurrent: f.keepCurrent,
		Accept:      f.accept,
		Running:     running(root),
	})
	p.done()
	if err != nil {
		return err
	}
	if err := a.printInstalled(in); err != nil || !in.Held {
		return err
	}
	return a.hold(c, root, in, f)
}

// hold asks about a version that is held, if there is somebody to ask, and
// reports it where it was to be active.
func (a *app) hold(c *cobra.Command, root *hier.Root, in *programs.Installed, f installFlags) error {
	more, err := programs.Beyond(in)
	if err != nil {
		return err
	}
	if f.keepCurrent {
		a.say("it asks for more than the active version was given: %s", printable(more.String()))
		return nil
	}
	if a.terminal() {
		fmt.Fprintf(a.err, "%s asks for more than the active version was given:\n", in)
		for _, line := range more.Lines() {
			fmt.Fprintf(a.err, "  %s\n", printable(line))
		}
		if a.ask(fmt.Sprintf("Give it that and make %s active?", in)) {
			return a.accept(c, root, in.Name, in.Version)
		}
	}
	return programs.WhyHeld(in)
}

// trust decides about the signer of a package.
func (a *app) trust(root *hier.Root, path string, pub ed25519.PublicKey, accepted []keys.Key) error {
	for _, k := range accepted {
		if pub.Equal(k.Public) {
			return nil
		}
	}
	ok, err := keys.Trusts(root.Keys(), pub)
	if err != nil || ok {
		return err
	}
	k := keys.Key{Public: pub}
	if !a.terminal() {
		return &untrustedError{path, k}
	}
	fmt.Fprintf(a.err, "%s is signed with a key that is not trusted:\n  %s (%s)\n", printable(path), k, k.ID())
	if !a.ask("Trust packages signed with it from now on?") {
		return &untrustedError{path, k}
	}
	return trustKey(root, k)
}

// printPackage says what a package is, what it asks for and, if that is not all
// the same, what it will be given.
func (a *app) printPackage(root *hier.Root, h *npk.Head) error {
	m := &h.Manifest
	a.say("%s %s (%s, %s), signed with %s", m.Name, m.Version, bytesText(m.Size), count(m.Files, "file"), keys.Key{Public: h.Signer}.ID())
	a.printRequest(&m.Recipe)
	given, err := launch.Given(root, root, m)
	if err != nil {
		return err
	}
	asked := programs.Asks(m).Intersect(capability.Everything())
	if got := rightsLines(given); !slices.Equal(got, rightsLines(asked)) {
		a.say("  %-9s %s", "given", printable(strings.Join(got, "; ")))
	}
	return nil
}

// printRequest says what a recipe asks for.
func (a *app) printRequest(r *npk.Recipe) {
	line := func(what string, words []string) {
		if len(words) > 0 {
			a.say("  %-9s %s", what, printable(strings.Join(words, " ")))
		}
	}
	var names, unveil, nets []string
	for _, c := range r.Commands {
		names = append(names, c.Name)
	}
	for _, u := range r.Unveil {
		unveil = append(unveil, u.String())
	}
	line("summary", strings.Fields(r.Summary))
	line("commands", names)
	line("pledge", []string{r.Pledge.String()})
	line("unveil", unveil)
	for _, n := range r.Net {
		nets = append(nets, n.String())
	}
	line("net", nets)
	line("bus", r.Bus)
	line("budget", strings.Fields(r.Budget.String()))
	line("depends", r.Depends)
}

func (a *app) printInstalled(in *programs.Installed) error {
	active := ""
	if !in.Current {
		active = " beside the active version"
	}
	a.say("installed %s%s", in, active)
	shadowed, err := programs.Shadowed(in)
	if err != nil {
		return err
	}
	for _, c := range in.Head.Manifest.Commands {
		if owner := shadowed[c.Name]; owner != "" {
			a.say("note: the command %s is that of %s; run this one as: nip run %s/%s", c.Name, owner, in.Name, c.Name)
		}
	}
	return nil
}
