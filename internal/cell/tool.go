package cell

import (
	"fmt"
	"os"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/plan"
	"nipcells/internal/wall"
)

// Tool runs a program of a tree that is no package yet: it sees the tree, which
// it may change, a home that is gone afterwards, and nothing else; it may start
// programs of the tree and has no network. Package graft runs so what a package
// brings to make its own caches. The environment is the caller's.
func Tool(tree string, argv []string, report func(line string)) (status int, err error) {
	top, err := os.MkdirTemp("", "nip-tool-")
	if err != nil {
		return 0, fmt.Errorf("make a place for the tool's cell: %w", err)
	}
	defer os.RemoveAll(top)
	root, err := hier.Create(top)
	if err != nil {
		return 0, err
	}
	const pledge = capability.Stdio | capability.Rpath | capability.Wpath | capability.Exec
	p := &plan.Plan{
		Package: "tool", Version: "0", Title: "tool", Root: top, View: tree, Prefix: tree, Data: root.AppData("tool"),
		Pledge: pledge, Ceiling: pledge, Filter: string(wall.Compile(wall.Host(), pledge, wall.Bare).Bytes()), Default: 0,
		Unveil:   []capability.Unveil{{Path: tree, Rights: capability.AllRights}},
		Rules:    []plan.Rule{{Path: "/dev/null", Access: uint64(wall.Device)}, {Path: "/dev/urandom", Access: uint64(wall.Device), Optional: true}},
		Commands: []plan.Command{{Name: "tool", Path: argv[0], Args: argv}},
	}
	return Run(Options{Root: root, Plan: p, Env: os.Environ(), Cwd: tree, Report: report})
}
