package main

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nipcells/internal/hier"
	"nipcells/internal/programs"
)

func newListCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the installed packages",
		Example: "  nip list\n  nip list --json",
		Args:    args(0, 0, ""),
		RunE:    func(*cobra.Command, []string) error { return a.list() },
	}
	return a.jsonFlag(c)
}

// packageLine is an installed package as --json prints it.
type packageLine struct {
	Name      string    `json:"name"`
	Version   string    `json:"version"`
	Title     string    `json:"title"`
	Summary   string    `json:"summary"`
	Active    bool      `json:"active"`
	Held      bool      `json:"held"`
	Size      int64     `json:"size"`
	Files     int       `json:"files"`
	Commands  []string  `json:"commands"`
	Installed time.Time `json:"installed"`
	Root      string    `json:"root"`
}

func newPackageLine(p *programs.Installed) packageLine {
	m := &p.Head.Manifest
	l := packageLine{Name: p.Name, Version: p.Version, Title: p.Title, Summary: m.Summary, Active: p.Current, Held: p.Held, Size: m.Size,
		Files: m.Files, Commands: []string{}, Installed: p.At.UTC(), Root: p.Root.Path()}
	for _, c := range m.Commands {
		l.Commands = append(l.Commands, c.Name)
	}
	return l
}

// readRoots returns the roots in which packages are looked for: the person's
// own, if it is there, then the system's.
func (a *app) readRoots() ([]*hier.Root, error) {
	own, err := a.openRoot()
	if errors.Is(err, fs.ErrNotExist) {
		own, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	if own != nil && own.System() {
		return []*hier.Root{own}, nil
	}
	system, err := hier.Open("/")
	if err != nil {
		return nil, err
	}
	if own == nil {
		return []*hier.Root{system}, nil
	}
	return []*hier.Root{own, system}, nil
}

func (a *app) list() error {
	roots, err := a.readRoots()
	if err != nil {
		return err
	}
	var damage error
	lines := []packageLine{}
	var rows [][]string
	for _, r := range roots {
		all, err := programs.List(r)
		if err != nil && !errors.Is(err, programs.ErrDamaged) {
			return err
		}
		damage = errors.Join(damage, err)
		for _, p := range all {
			l := newPackageLine(p)
			lines = append(lines, l)
			rows = append(rows, []string{l.Name, l.Version, l.state(), bytesText(l.Size),
				p.At.Local().Format("2006-01-02 15:04"), l.Root, strings.Join(l.Commands, " ")})
		}
	}
	if a.json {
		return errors.Join(writeJSON(a.out, lines), damage)
	}
	if len(rows) == 0 && damage == nil {
		a.say("no packages are installed")
		return nil
	}
	return errors.Join(writeTable(a.out, []string{"NAME", "VERSION", "ACTIVE", "SIZE", "INSTALLED", "ROOT", "COMMANDS"}, rows), damage)
}

// state says in a word whether the version is active.
func (l *packageLine) state() string {
	if l.Held {
		return "held"
	}
	return mark(l.Active)
}

func mark(yes bool) string {
	if yes {
		return "yes"
	}
	return "-"
}

// completePackages offers the names of installed packages to the shell.
func (a *app) completePackages(_ *cobra.Command, words []string, _ string) ([]string, cobra.ShellCompDirective) {
	roots, err := a.readRoots()
	if err != nil || len(words) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, r := range roots {
		n, err := programs.Names(r)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names = append(names, n...)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
