package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"nipcells/internal/cell"
	"nipcells/internal/hier"
	"nipcells/internal/programs"
	"nipcells/internal/wall"
)

func newDoctorCommand(a *app) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "doctor",
		Short: "Look whether this host can run cells",
		Long: `Doctor looks at the kernel, at the root and at the tools that graft uses, and says
what to do about what is missing. The exit status is 1 if cells cannot run. Of each
installed package it says whether its cells have native views, where the kernel follows
their paths, or why they ask the supervisor, which is as safe and slower; nip run --stats
shows how much a program asks.`,
		Example: "  nip doctor\n  nip doctor --json",
		Args:    args(0, 0, ""),
		RunE:    func(*cobra.Command, []string) error { return a.doctor() },
	})
}

// errUnfit ends nip doctor when something that cells need is missing.
var errUnfit = errors.New("this host cannot run cells as it is")

func (a *app) doctor() error {
	needed := append(wall.Checks(), a.checkRoot())
	if err := a.printChecks(append(needed, checkApt()), a.packageViews()); err != nil {
		return err
	}
	for _, c := range needed {
		if !c.OK {
			return errUnfit
		}
	}
	return nil
}

func (a *app) printChecks(checks []wall.Check, views []packageView) error {
	if a.json {
		for _, v := range views {
			checks = append(checks, v.check())
		}
		return writeJSON(a.out, checks)
	}
	rows := make([][]string, len(checks))
	for i, c := range checks {
		state := "ok"
		if !c.OK {
			state = "MISSING"
			c.Detail += ": " + c.Advice
		}
		rows[i] = []string{c.Name, state, c.Detail}
	}
	if err := writeTable(a.out, []string{"CHECK", "STATE", "DETAIL"}, rows); err != nil || len(views) == 0 {
		return err
	}
	fmt.Fprintln(a.out)
	rows = nil
	for _, v := range views {
		detail := v.why
		if advice := v.advice(); advice != "" {
			detail += "; " + advice
		}
		rows = append(rows, []string{v.name, v.version, v.state, detail})
	}
	return writeTable(a.out, []string{"PACKAGE", "VERSION", "NATIVE VIEWS", "DETAIL"}, rows)
}

// packageView says how native the cells of a package are.
type packageView struct{ name, version, state, why string }

// packageViews looks at the active version of each package. Roots and records that
// cannot be read are other checks' business.
func (a *app) packageViews() (list []packageView) {
	roots, err := a.readRoots()
	if err != nil {
		return nil
	}
	for _, r := range roots {
		all, _ := programs.List(r) // those that are not damaged
		for _, p := range all {
			if p.Current && len(p.Head.Manifest.Commands) > 0 {
				state, why := p.Native()
				list = append(list, packageView{p.Name, p.Version, state, why})
			}
		}
	}
	return list
}

// advice says what can be done, or what it costs that nothing can.
func (v *packageView) advice() string {
	switch v.state {
	case programs.NativeNo:
		return "graft or pack it again with this nip, which makes native what it can; until then every path call of its cells is asked, and slower"
	case programs.NativePartly:
		return "their path calls are asked, and slower, all others are native; grafting again helps only if this nip is newer than the one that did it"
	}
	return ""
}

// check is the same in the form of the others.
func (v *packageView) check() wall.Check {
	c := wall.Check{Name: "views of " + v.name + " " + v.version, OK: v.state != programs.NativeNo, Detail: v.state, Advice: v.advice()}
	if v.why != "" {
		c.Detail += ": " + v.why
	}
	return c
}

// checkRoot looks at the root: whose it is, and what crashes left in it.
func (a *app) checkRoot() wall.Check {
	path, err := hier.Default(a.root, os.Getenv("NIP_ROOT"), os.Geteuid())
	if err != nil {
		return wall.Check{Name: "root", Detail: err.Error(), Advice: advice(err)}
	}
	root, err := hier.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return wall.Check{Name: "root", OK: true, Detail: path + ", made at the first install"}
	}
	if err != nil {
		return wall.Check{Name: "root", Detail: err.Error(), Advice: advice(err)}
	}
	list, err := cell.List(root)
	if err != nil {
		return wall.Check{Name: "root", Detail: err.Error(), Advice: advice(err)}
	}
	dead := 0
	for _, c := range list {
		if c.Dead {
			dead++
		}
	}
	return wall.Check{Name: "root", OK: true, Detail: fmt.Sprintf("%s, %d cells running, %d to clean up", path, len(list)-dead, dead)}
}

// checkApt says whether nip graft debian:… works. Cells do without.
func checkApt() wall.Check {
	path, err := exec.LookPath("apt-get")
	return wall.Check{Name: "apt", OK: err == nil, Detail: "apt-get " + path, Advice: "nip graft debian:… needs apt-get; the other sources do not"}
}
