package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/keys"
	"nipcells/internal/launch"
	"nipcells/internal/programs"
)

func newInfoCommand(a *app) *cobra.Command {
	var version string
	c := &cobra.Command{
		Use:               "info PACKAGE",
		Short:             "Show what a package is and what its cells may do",
		Example:           "  nip info python3\n  nip info python3 --version 3.11.2 --json",
		Args:              args(1, 1, "a PACKAGE"),
		ValidArgsFunction: a.completePackages,
		RunE: func(_ *cobra.Command, words []string) error {
			roots, err := a.readRoots()
			if err != nil {
				return err
			}
			p, err := programs.Find(words[0], version, roots...)
			if err != nil {
				return err
			}
			return a.printInfo(roots[0], p)
		},
	}
	c.Flags().StringVar(&version, "version", "", "`VERSION` other than the active one")
	return a.jsonFlag(c)
}

// infoLine is a package in all detail, as --json prints it.
type infoLine struct {
	packageLine
	Arch      string         `json:"arch"`
	Source    string         `json:"source"`
	Depends   []string       `json:"depends"`
	Programs  []infoCommand  `json:"programs"`
	Pledge    []string       `json:"pledge"`
	Unveil    []infoUnveil   `json:"unveil"`
	Net       []string       `json:"net"` // rules for the network; none: all but the host itself
	Bus       []string       `json:"bus"`
	Budget    string         `json:"budget"`
	Env       []infoVariable `json:"env"`
	Variant   string         `json:"variant"`
	Tree      string         `json:"tree"`
	Signer    string         `json:"signer"`
	Given     infoRights     `json:"given"`
	More      []string       `json:"more"` // if it is held: what it asks for beyond the active version
	HeldNow   []string       `json:"held_versions"`
	given     capability.Set // as Given says
	Versions  []string       `json:"versions"`
	Directory string         `json:"directory"`
	View      string         `json:"view"`
	Native    string         `json:"native"`
	NativeWhy string         `json:"native_why"`
}

type infoCommand struct {
	Name string   `json:"name"`
	Exec string   `json:"exec"`
	Args []string `json:"args"`
}

// infoRights is what cells are given, under overrides and policies.
type infoRights struct {
	Pledge []string     `json:"pledge"`
	Unveil []infoUnveil `json:"unveil"`
	Net    []string     `json:"net"` // [] without INET and UDP
	Budget string       `json:"budget"`
}

type infoUnveil struct {
	Path   string `json:"path"`
	Rights string `json:"rights"`
}

type infoVariable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// list returns s, never nil, so that JSON has [] for it.
func list[T any](s []T) []T { return append([]T{}, s...) }

func infoUnveils(unveils []capability.Unveil) []infoUnveil {
	l := []infoUnveil{}
	for _, u := range unveils {
		l = append(l, infoUnveil{u.Path, u.Rights.String()})
	}
	return l
}

func infoNets(nets []capability.Net) []string {
	l := []string{}
	for _, n := range nets {
		l = append(l, n.String())
	}
	return l
}

// newInfoLine is about a package as whoever has the root own would run it.
func newInfoLine(own *hier.Root, p *programs.Installed) (infoLine, error) {
	m := &p.Head.Manifest
	l := infoLine{packageLine: newPackageLine(p), Arch: m.Arch, Source: m.Source, Depends: list(m.Depends), Programs: []infoCommand{},
		Pledge: list(m.Pledge.Words()), Unveil: infoUnveils(m.Unveil), Net: infoNets(m.Net), Bus: list(m.Bus), Budget: m.Budget.String(), Env: []infoVariable{},
		Variant: m.Variant.String(), Tree: m.Tree.String(), Signer: keys.Key{Public: p.Head.Signer}.String(),
		Directory: p.Root.Program(p.Title, p.Version), View: p.Root.View(p.Title, p.Version)}
	l.Native, l.NativeWhy = p.Native()
	for _, c := range m.Commands {
		l.Programs = append(l.Programs, infoCommand{c.Name, c.Exec, list(c.Args)})
	}
	for _, e := range m.Env {
		l.Env = append(l.Env, infoVariable{e.Name, e.Value})
	}
	versions, err := programs.Versions(p.Root, p.Name)
	if err != nil {
		return l, err
	}
	l.Versions = list(versions)
	given, err := launch.Given(own, p.Root, m)
	if err != nil {
		return l, err
	}
	l.given = given
	l.Given = infoRights{list(given.Pledge.Words()), infoUnveils(given.Unveil), infoNets(reached(given)), given.Budget.String()}
	return l, l.addHeld(p)
}

// addHeld says which versions are held, and if p is, why.
func (l *infoLine) addHeld(p *programs.Installed) error {
	held, err := programs.HeldVersions(p.Root, p.Name)
	if err != nil {
		return err
	}
	l.HeldNow, l.More = list(held), []string{}
	if !p.Held {
		return nil
	}
	more, err := programs.Beyond(p)
	l.More = list(more.Lines())
	return err
}

// heldRow tells of held versions and what to do about them.
func heldRow(p *programs.Installed, versions []string) (lines []string) {
	for _, v := range versions {
		h, err := programs.Info(p.Root, p.Name, v)
		if err != nil {
			continue // removed meanwhile
		}
		lines = append(lines, fmt.Sprint(programs.WhyHeld(h)), "  to accept that: "+acceptLine(h))
	}
	return lines
}

// acceptLine is the command that accepts a held version.
func acceptLine(p *programs.Installed) string {
	return fmt.Sprintf("nip policy accept %s --version %s", p.Name, p.Version)
}

func (a *app) printInfo(own *hier.Root, p *programs.Installed) error {
	l, err := newInfoLine(own, p)
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.out, []infoLine{l})
	}
	var commands, unveil, env []string
	for _, c := range l.Programs {
		commands = append(commands, strings.Join(append([]string{c.Name, "=", c.Exec}, c.Args...), " "))
	}
	for _, u := range p.Head.Manifest.Unveil {
		unveil = append(unveil, u.String())
	}
	for _, e := range l.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	views := l.Native
	if l.NativeWhy != "" {
		views += " (" + l.NativeWhy + ")"
	}
	return a.printRows([]infoRow{
		{"name", []string{l.Name}},
		{"version", []string{l.Version}},
		{"active", []string{l.state()}},
		{"versions", []string{strings.Join(l.Versions, " ")}},
		{"summary", []string{l.Summary}},
		{"architecture", []string{l.Arch}},
		{"source", []string{l.Source}},
		{"size", []string{bytesText(l.Size) + " in " + count(l.Files, "file")}},
		{"installed", []string{p.At.Local().Format(time.RFC1123)}},
		{"directory", []string{l.Directory}},
		{"signed with", []string{l.Signer}},
		{"variant", []string{l.Variant}},
		{"native views", []string{views}},
		{"depends", l.Depends},
		{"commands", commands},
		{"pledge", []string{p.Head.Manifest.Pledge.String()}},
		{"unveil", unveil},
		{"net", l.Net},
		{"bus", l.Bus},
		{"budget", []string{l.Budget}},
		{"given", rightsLines(l.given)},
		{"held", heldRow(p, l.HeldNow)},
		{"environment", env},
	})
}

// infoRow is what is said under one heading.
type infoRow struct {
	what  string
	lines []string
}

func (a *app) printRows(rows []infoRow) error {
	for _, row := range rows {
		for i, line := range row.lines {
			if line == "" {
				continue
			}
			what := row.what
			if i > 0 {
				what = ""
			}
			if _, err := fmt.Fprintf(a.out, "%-13s%s\n", what, printable(line)); err != nil {
				return err
			}
		}
	}
	return nil
}
