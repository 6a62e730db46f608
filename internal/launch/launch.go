// Package launch computes launch plans: what a cell of an installed package
// is given, from the package's manifest, the host's policy and the kernel. A
// plan is computed once and read at every start (package plan); Load tells
// whether the one on disk is still true by looking at the files it came from,
// without reading them.
package launch

import (
	"fmt"
	"os"
	"path/filepath"

	"nipcells/internal/hier"
	"nipcells/internal/plan"
	"nipcells/internal/programs"
	"nipcells/internal/wall"
)

// Load returns the plan of package name: the one on disk if it is still true,
// else a new one, which is written for the next start. own is the caller's
// root; packages of the system-wide root are found too.
func Load(own *hier.Root, name string) (*plan.Plan, error) {
	if p, ok := plan.Read(own.Plans(name), name); ok {
		return p, nil
	}
	p, err := Compute(own, name)
	if err != nil {
		return nil, err
	}
	if own.Own() {
		if err := write(own, name, p.Encode()); err != nil {
			return nil, fmt.Errorf("keep launch plan: %w", err)
		}
	}
	return p, nil
}

// FrontVariable tells a nip that was started by its front (cmd/nip/front) the
// front's path: plans are stamped with what starts cells.
const FrontVariable = "NIP_FRONT"

// self is the path of the nip that starts cells.
func self() string {
	if front := os.Getenv(FrontVariable); front != "" {
		return front
	}
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "/proc/self/exe"
	}
	return path
}

func write(own *hier.Root, name string, data []byte) error {
	if err := own.Make("Nexus/plans"); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(own.Plans(name)), ".plan-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), own.Plans(name))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Compute makes the plan of package name from what is installed now.
func Compute(own *hier.Root, name string) (*plan.Plan, error) {
	roots := []*hier.Root{own}
	if !own.System() {
		if system, err := hier.Open("/"); err == nil {
			roots = append(roots, system)
		}
	}
	installed, err := programs.Find(name, "", roots...)
	if err != nil {
		return nil, err
	}
	root, head, m := installed.Root, installed.Head, &installed.Head.Manifest
	title := m.Title
	view := root.View(title, m.Version)
	p := &plan.Plan{
		Kernel: plan.Kernel(), Package: m.Name, Version: m.Version, Title: title, Root: root.Path(), View: view,
		Prefix: view + "/Programs/" + title + "/" + m.Version, Data: own.AppData(m.Name), Default: -1,
	}
	from := append([]string{root.Record(m.Name, m.Version), root.Current(title), view, self()}, decisions(m.Name, own, root)...)
	for _, path := range from {
		p.Stamps = append(p.Stamps, plan.Look(path))
	}
	if root.Path() != own.Path() { // a package of that name in the own root comes first
		p.Stamps = append(p.Stamps, plan.Look(filepath.Join(own.Records(), m.Name)))
	}
	if err := grant(p, m, own, root); err != nil {
		return nil, err
	}
	held, err := programs.Held(installed)
	if err != nil {
		return nil, err
	}
	held = append(held, installed)
	p.Rules = rules(root, p, held)
	if p.Asked, err = asked(root, held); err != nil {
		return nil, err
	}
	p.Filter = string(wall.Compile(wall.Host(), p.Pledge, Sight(p), wall.AskedFor(p.Budget)...).Bytes())
	p.Env = environment(m, p)
	if p.Shortcuts, err = shortcuts(p, held); err != nil {
		return nil, err
	}
	return p, commands(p, head)
}
