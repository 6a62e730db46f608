package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"nipcells/internal/capability"
	"nipcells/internal/npk/kdl"
)

// ReadPolicy reads a host policy: what cells are given at most, whatever
// packages and persons ask.
//
//	pledge "STDIO" "RPATH" "WPATH" "EXEC"
//	unveil "/srv" "r"
//	unveil "/home" "rw"
//	budget memory="4G" fibers=512
//
// Without a pledge node all promises are allowed, without an unveil node all
// paths. A missing file limits nothing; one that cannot be read or understood
// is an error, since starting a cell without it would be wrong.
func ReadPolicy(path string) (capability.Set, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return capability.Everything(), nil
	}
	if err != nil {
		return capability.Set{}, fmt.Errorf("read policy: %w", err)
	}
	return ParsePolicy(path, src)
}

// ParsePolicy reads a policy's text; file is its name for errors.
func ParsePolicy(file string, src []byte) (capability.Set, error) {
	nodes, err := kdl.Parse(file, src)
	if err != nil {
		return capability.Set{}, err
	}
	limit := capability.Everything()
	var unveil []capability.Unveil
	seen := map[string]bool{}
	for _, n := range nodes {
		fail := func(err error) (capability.Set, error) {
			return capability.Set{}, &kdl.Error{File: file, Pos: n.Pos, Msg: err.Error()}
		}
		if seen[n.Name] && n.Name != "unveil" {
			return fail(fmt.Errorf("second %s", n.Name))
		}
		seen[n.Name] = true
		if n.Block {
			return fail(fmt.Errorf("%s takes no block", n.Name))
		}
		switch n.Name {
		case "pledge":
			limit.Pledge, err = pledgeNode(n)
		case "unveil":
			unveil, err = unveilNode(unveil, n)
		case "budget":
			limit.Budget, err = budgetNode(n)
		default:
			err = fmt.Errorf("unknown node %s: a policy has pledge, unveil and budget", n.Name)
		}
		if err != nil {
			return fail(err)
		}
	}
	if seen["unveil"] {
		limit.Unveil = capability.NormalizeUnveils(unveil)
	}
	return limit, nil
}

func pledgeNode(n *kdl.Node) (capability.Pledge, error) {
	words := make([]string, len(n.Args))
	for i, a := range n.Args {
		words[i] = a.Text
	}
	if len(n.Props) > 0 {
		return 0, errors.New("pledge has no properties")
	}
	return capability.ParsePledge(words)
}

func unveilNode(list []capability.Unveil, n *kdl.Node) ([]capability.Unveil, error) {
	if len(n.Args) != 2 || len(n.Props) > 0 {
		return nil, errors.New(`unveil takes a path and rights: unveil "/srv" "r"`)
	}
	path := n.Args[0].Text
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return nil, fmt.Errorf("unveil %s: not an absolute, clean path", path)
	}
	rights, err := capability.ParseRights(n.Args[1].Text)
	if err != nil {
		return nil, err
	}
	return append(list, capability.Unveil{Path: path, Rights: rights}), nil
}

func budgetNode(n *kdl.Node) (b capability.Budget, err error) {
	if len(n.Args) > 0 {
		return b, errors.New(`budget takes properties only: budget memory="4G"`)
	}
	for _, p := range n.Props {
		if err := b.Put(p.Name, p.Value.Text); err != nil {
			return b, err
		}
	}
	return b, nil
}
