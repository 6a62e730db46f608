package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nipcells/internal/capability"
	"nipcells/internal/cell"
	"nipcells/internal/hier"
	"nipcells/internal/launch"
	"nipcells/internal/policy"
	"nipcells/internal/programs"
)

func newPolicyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Decide what packages are given, whatever they ask for",
		Long: `A package's manifest asks for rights; you decide. What is decided here holds for every
start from then on: promises given beyond what the manifest asks or taken away, paths
added, limited or hidden, rules for the network, budgets narrowed. What is said about one package goes before
what is said about all; where both a word that gives and one that takes are about the
same package, taking wins. The host's policy (Nexus/policy.kdl) caps it all, and flags of
nip run change it for one start. Cells that run already keep what they were started with.

An update that asks for more than the active version was given is held until you accept
it.`,
		Example: `  nip policy set firefox --pledge -EXEC --limit /srv:r
  nip policy set --all --pledge -INET
  nip policy show
  nip policy clear firefox
  nip policy accept firefox`,
		Args: args(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newPolicyShow(a), newPolicySet(a), newPolicyClear(a), newPolicyAccept(a))
	return c
}

func newPolicyShow(a *app) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:               "show [PACKAGE]",
		Short:             "Show what is decided, about one package or at all",
		Example:           "  nip policy show\n  nip policy show firefox --json",
		Args:              args(0, 1, "at most one PACKAGE"),
		ValidArgsFunction: a.completePackages,
		RunE:              func(_ *cobra.Command, words []string) error { return a.showPolicy(words) },
	})
}

// policyLine is what is decided about a package, as --json prints it.
type policyLine struct {
	Package string       `json:"package"` // * for all packages
	Pledge  []string     `json:"pledge"`  // given, and with a minus taken
	Unveil  []infoUnveil `json:"unveil"`
	Limit   []infoUnveil `json:"limit"`
	Net     []string     `json:"net"` // instead of the package's rules, if there are any
	Budget  string       `json:"budget"`
}

func (a *app) showPolicy(words []string) error {
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	names, err := policy.Names(root)
	if err != nil {
		return err
	}
	if len(words) == 1 {
		names = []string{policy.All, words[0]}
	}
	lines := []policyLine{}
	var rows [][]string
	for _, name := range names {
		o, err := policy.Override(root, name)
		if err != nil {
			return err
		}
		if o.IsZero() {
			continue
		}
		lines = append(lines, policyLine{name, list(o.PledgeWords()), infoUnveils(o.Unveil), infoUnveils(o.Limit), infoNets(o.Net), o.Budget.String()})
		for _, part := range strings.Split(o.String(), "; ") {
			rows = append(rows, []string{name, part})
		}
	}
	if a.json {
		return writeJSON(a.out, lines)
	}
	if len(rows) == 0 {
		a.say("nothing is decided: packages are given what they ask for, under the host's policy")
		return nil
	}
	return writeTable(a.out, []string{"PACKAGE", "DECIDED"}, rows)
}

type policySetFlags struct {
	all                 bool
	pledge, budget      string
	unveil, limit, hide []string
	net                 []string
}

func newPolicySet(a *app) *cobra.Command {
	var f policySetFlags
	c := &cobra.Command{
		Use:   "set PACKAGE",
		Short: "Give, take, add, limit or hide",
		Long: `Set adds to what is decided about a package, or with --all about all packages, and says
what the package is given then. A word about a promise or a path takes the place of an
earlier one about the same. A limit holds for the path and all below it; a directory above
it that is unveiled is cut down as well, since what a cell may do with a directory it may
do with all that is in it.`,
		Example: `  nip policy set firefox --pledge -EXEC,INET --unveil "$HOME/Downloads:rw"
  nip policy set firefox --budget memory=1G,fibers=200
  nip policy set --all --hide /srv/secret`,
		ValidArgsFunction: a.completePackages,
		RunE:              func(c *cobra.Command, words []string) error { return a.setPolicy(c, words, f) },
	}
	fl := c.Flags()
	fl.BoolVar(&f.all, "all", false, "decide about all packages")
	fl.StringVar(&f.pledge, "pledge", "", "promises to give, or with a minus to take: a `LIST` such as INET,-EXEC")
	fl.StringArrayVar(&f.unveil, "unveil", nil, "make `PATH[:rwxc]` visible beside what the package asks (default r); may be repeated")
	fl.StringArrayVar(&f.limit, "limit", nil, "give at most these rights at `PATH:rwxc` and below; may be repeated")
	fl.StringArrayVar(&f.hide, "hide", nil, "give nothing at `PATH` and below; may be repeated")
	fl.StringArrayVar(&f.net, "net", nil, "whom the package's sockets reach, instead of what it asks: a `RULE` such as example.org:443 (see nip run --help); may be repeated, and takes the place of all earlier ones")
	fl.StringVar(&f.budget, "budget", "", "narrow the budget: `LIMITS` such as memory=256M,fibers=64")
	fl.SortFlags = false
	return c
}

// target returns whom a verb of nip policy is about.
func target(verb string, words []string, all bool) (string, error) {
	switch {
	case all && len(words) > 0:
		return "", &usageError{verb: "policy " + verb, err: fmt.Errorf("policy %s: want a PACKAGE or --all, got both", verb)}
	case all:
		return policy.All, nil
	case len(words) != 1:
		return "", &usageError{verb: "policy " + verb, err: fmt.Errorf("policy %s: want a PACKAGE or --all", verb)}
	}
	return words[0], nil
}

func (a *app) setPolicy(c *cobra.Command, words []string, f policySetFlags) error {
	name, err := target("set", words, f.all)
	if err != nil {
		return err
	}
	decide, err := f.decisions()
	if err != nil {
		return &usageError{verb: "policy set", err: err}
	}
	var about *programs.Installed
	if !f.all {
		roots, err := a.readRoots()
		if err != nil {
			return err
		}
		if about, err = programs.Find(name, "", roots...); err != nil {
			return err
		}
	}
	root, err := a.createRoot()
	if err != nil {
		return err
	}
	for _, u := range decide.unveil {
		if err := mayShow(u.Path, root, about); err != nil {
			return err
		}
	}
	return a.changePolicy(c, root, name, about, decide.apply)
}

// decisions is what the flags of nip policy set say, understood.
type decisions struct {
	pledge        []string
	unveil, limit []capability.Unveil
	net           []capability.Net
	budget        capability.Budget
}

func (f *policySetFlags) decisions() (d decisions, err error) {
	if f.pledge+f.budget == "" && len(f.unveil)+len(f.limit)+len(f.hide)+len(f.net) == 0 {
		return d, errors.New("policy set: want something to decide: --pledge, --unveil, --limit, --hide, --net or --budget")
	}
	if f.pledge != "" {
		d.pledge = strings.Split(f.pledge, ",")
		if err := new(capability.Override).SetPledge(d.pledge); err != nil {
			return d, err
		}
	}
	if d.budget, err = capability.ParseBudget(f.budget); err != nil {
		return d, err
	}
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "" // relative paths are refused then
	}
	for _, s := range f.unveil {
		u, err := capability.ParseUnveil(s, cwd)
		if err != nil {
			return d, err
		}
		d.unveil = append(d.unveil, capability.Unveil{Path: resolved(u.Path), Rights: u.Rights})
	}
	for _, s := range f.limit {
		u, err := capability.ParseUnveil(s, cwd)
		if err != nil {
			return d, err
		}
		d.limit = append(d.limit, capability.Unveil{Path: resolved(u.Path), Rights: u.Rights})
	}
	for _, s := range f.hide {
		u, err := capability.ParseUnveil(s+":r", cwd)
		if err != nil {
			return d, err
		}
		d.limit = append(d.limit, capability.Unveil{Path: resolved(u.Path)})
	}
	for _, s := range f.net {
		rules, err := capability.ParseNet(s)
		if err != nil {
			return d, err
		}
		d.net = capability.NormalizeNets(append(d.net, rules...))
	}
	return d, nil
}

func (d *decisions) apply(o *capability.Override) error {
	for _, u := range d.unveil {
		o.SetUnveil(u)
	}
	for _, u := range d.limit {
		o.SetLimit(u)
	}
	if len(d.net) > 0 {
		o.Net = d.net
	}
	o.SetBudget(d.budget)
	return o.SetPledge(d.pledge)
}

// resolved is where a path leads: cells are not taken through symbolic links. A path
// that leads nowhere now may lead there later, as it is.
func resolved(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

// mayShow refuses to unveil what no cell may see, as its every start would.
func mayShow(path string, root *hier.Root, about *programs.Installed) error {
	roots := []*hier.Root{root}
	if about != nil {
		roots = append(roots, about.Root)
	}
	holds := func(dir, p string) bool { return capability.Unveil{Path: dir}.Contains(p) }
	for _, r := range roots {
		base := resolved(r.Path())
		covers := holds(path, filepath.Join(base, "Data"))
		for _, own := range []string{"Nexus", "Cas", "System", "Programs", "Cell", "Data/apps"} {
			covers = covers || holds(filepath.Join(base, own), path)
		}
		if covers {
			return &cell.UnveilError{Path: path, Err: cell.ErrCoversRoot}
		}
	}
	return nil
}

// changePolicy changes what is decided and says what follows from it.
func (a *app) changePolicy(c *cobra.Command, root *hier.Root, name string, about *programs.Installed, edit func(*capability.Override) error) error {
	if err := a.announceWait(root); err != nil {
		return err
	}
	changed, err := policy.Change(c.Context(), root, name, edit)
	if err != nil {
		return err
	}
	if !changed {
		a.say("nothing has changed")
	}
	if about != nil {
		given, err := launch.Given(root, about.Root, &about.Head.Manifest)
		if err != nil {
			return err
		}
		a.say("%s is given %s", name, printable(strings.Join(rightsLines(given), "; ")))
	}
	return a.seal(root)
}

// rightsLines says what a set of rights holds: pledge STDIO, unveil /srv:r, budget
// memory=64M.
func rightsLines(s capability.Set) []string {
	lines := []string{"pledge " + s.Pledge.String()}
	for _, u := range s.Unveil {
		lines = append(lines, "unveil "+u.String())
	}
	if nets := reached(s); !slices.Equal(nets, reached(capability.Set{Pledge: s.Pledge, Net: capability.DefaultNets()})) {
		for _, n := range nets {
			lines = append(lines, "net "+n.String())
		}
		if len(nets) == 0 && s.Pledge&(capability.Inet|capability.Udp) != 0 {
			lines = append(lines, "net nothing")
		}
	}
	if b := s.Budget.String(); b != "" {
		lines = append(lines, "budget "+b)
	}
	return lines
}

// reached are the rules for sockets that a set lets a cell have.
func reached(s capability.Set) []capability.Net {
	return slices.DeleteFunc(capability.NormalizeNets(s.Net), func(n capability.Net) bool {
		switch n.Kind {
		case capability.Connect:
			return !s.Pledge.Has(capability.Inet)
		case capability.Datagram:
			return !s.Pledge.Has(capability.Udp)
		}
		return s.Pledge&(capability.Inet|capability.Udp) == 0
	})
}

func newPolicyClear(a *app) *cobra.Command {
	var all, pledge, net, budget bool
	var paths []string
	c := &cobra.Command{
		Use:   "clear PACKAGE",
		Short: "Take back what was decided",
		Long: `Clear takes back all that was decided about a package, or with --all about all packages
together; with other flags only that.`,
		Example:           "  nip policy clear firefox\n  nip policy clear firefox --path /srv\n  nip policy clear --all --pledge",
		ValidArgsFunction: a.completePackages,
		RunE: func(c *cobra.Command, words []string) error {
			name, err := target("clear", words, all)
			if err != nil {
				return err
			}
			return a.clearPolicy(c, name, func(o *capability.Override) error {
				if !pledge && !net && !budget && len(paths) == 0 {
					*o = capability.Override{}
				}
				if pledge {
					o.Give, o.Take = 0, 0
				}
				if net {
					o.Net = nil
				}
				if budget {
					o.Budget = capability.Budget{}
				}
				return clearPaths(o, paths)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "what was decided about all packages together")
	c.Flags().BoolVar(&pledge, "pledge", false, "only what was decided about promises")
	c.Flags().StringArrayVar(&paths, "path", nil, "only what was decided about the `PATH`; may be repeated")
	c.Flags().BoolVar(&net, "net", false, "only what was decided about the network")
	c.Flags().BoolVar(&budget, "budget", false, "only what was decided about the budget")
	c.Flags().SortFlags = false
	return c
}

func clearPaths(o *capability.Override, paths []string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return err
		}
		if !o.ClearPath(abs) && !o.ClearPath(resolved(abs)) {
			return &undecidedError{abs}
		}
	}
	return nil
}

// undecidedError reports a path about which nothing was decided.
type undecidedError struct{ path string }

func (e *undecidedError) Error() string  { return fmt.Sprintf("nothing is decided about %s", e.path) }
func (e *undecidedError) advice() string { return "nip policy show lists what is" }

func (a *app) clearPolicy(c *cobra.Command, name string, edit func(*capability.Override) error) error {
	root, err := a.changeRoot()
	if err != nil {
		return err
	}
	var about *programs.Installed // what is decided can be about what is gone
	if name != policy.All {
		roots, err := a.readRoots()
		if err != nil {
			return err
		}
		if about, err = programs.Find(name, "", roots...); err != nil && !errors.Is(err, programs.ErrNotInstalled) {
			return err
		}
		if o, e := policy.Override(root, name); err != nil && e == nil && o.IsZero() {
			return err
		}
	}
	return a.changePolicy(c, root, name, about, edit)
}

func newPolicyAccept(a *app) *cobra.Command {
	var version string
	c := &cobra.Command{
		Use:   "accept PACKAGE",
		Short: "Make a held version active, with the rights it asks for",
		Long: `An update that asks for more than the active version was given is installed beside it
and held. Accept agrees to what is new, which it prints, and makes the version active;
nip info shows it before.`,
		Example:           "  nip policy accept firefox\n  nip policy accept firefox --version 121.0",
		Args:              args(1, 1, "a PACKAGE"),
		ValidArgsFunction: a.completePackages,
		RunE: func(c *cobra.Command, words []string) error {
			root, err := a.changeRoot()
			if err != nil {
				return err
			}
			if err := a.announceWait(root); err != nil {
				return err
			}
			return errors.Join(a.accept(c, root, words[0], version), a.seal(root))
		},
	}
	c.Flags().StringVar(&version, "version", "", "the `VERSION` to accept (default: the held one that was installed last)")
	return c
}

// accept makes a held version active and says what that gives.
func (a *app) accept(c *cobra.Command, root *hier.Root, name, version string) error {
	if version == "" {
		held, err := programs.HeldVersions(root, name)
		if err != nil {
			return err
		}
		if len(held) > 0 {
			version = held[len(held)-1]
		}
	}
	var more []string
	if p, err := programs.Info(root, name, version); err == nil && p.Held {
		m, err := programs.Beyond(p)
		if err != nil {
			return err
		}
		more = m.Lines()
	}
	p, err := programs.Accept(c.Context(), root, name, version, programs.Options{Running: running(root)})
	if err != nil {
		return err
	}
	for _, line := range more {
		a.say("accepted: %s", printable(line))
	}
	a.say("%s is active now", p)
	return nil
}
