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
	"nipcells/internal/wall"
)

func newDoctorCommand(a *app) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "doctor",
		Short: "Look whether this host can run cells",
		Long: `Doctor looks at the kernel, at the root and at the tools that graft uses, and says
what to do about what is missing. The exit status is 1 if cells cannot run.`,
		Example: "  nip doctor\n  nip doctor --json",
		Args:    args(0, 0, ""),
		RunE:    func(*cobra.Command, []string) error { return a.doctor() },
	})
}

// errUnfit ends nip doctor when something that cells need is missing.
var errUnfit = errors.New("this host cannot run cells as it is")

func (a *app) doctor() error {
	needed := append(wall.Checks(), a.checkRoot())
	all := append(needed, checkApt())
	if a.json {
		if err := writeJSON(a.out, all); err != nil {
			return err
		}
	} else {
		rows := make([][]string, len(all))
		for i, c := range all {
			state := "ok"
			if !c.OK {
				state = "MISSING"
				c.Detail += ": " + c.Advice
			}
			rows[i] = []string{c.Name, state, c.Detail}
		}
		if err := writeTable(a.out, []string{"CHECK", "STATE", "DETAIL"}, rows); err != nil {
			return err
		}
	}
	for _, c := range needed {
		if !c.OK {
			return errUnfit
		}
	}
	return nil
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
