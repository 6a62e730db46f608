// Package policy is what the host and the person have decided about rights. The
// host's policy caps what any cell is given. Overrides are the person's, for one
// package or for all: promises given or taken, paths added or limited, budgets
// narrowed. Both are KDL files below Nexus; one that cannot be understood is an
// error and never passed over.
package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"nipcells/internal/capability"
	"nipcells/internal/npk/kdl"
)

// Read reads a host policy: what cells are given at most, whatever
// packages and persons ask.
//
//	pledge "STDIO" "RPATH" "WPATH" "EXEC"
//	unveil "/srv" "r"
//	unveil "/home" "rw"
//	net "tcp:*:443"
//	budget memory="4G" fibers=512
//
// Without a pledge node all promises are allowed, without an unveil node all
// paths, without a net node all hosts. A missing file limits nothing; one that cannot be read or understood
// is an error, since starting a cell without it would be wrong.
func Read(path string) (capability.Set, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return capability.Everything(), nil
	}
	if err != nil {
		return capability.Set{}, fmt.Errorf("read policy: %w", err)
	}
	return Parse(path, src)
}

// Parse reads a policy's text; file is its name for errors.
func Parse(file string, src []byte) (capability.Set, error) {
	limit := capability.Everything()
	var unveil []capability.Unveil
	var nets []capability.Net
	unveils := false
	err := eachNode(file, src, func(n *kdl.Node) (err error) {
		switch n.Name {
		case "pledge":
			limit.Pledge, err = pledgeNode(n)
		case "unveil":
			unveils = true
			unveil, err = unveilNode(unveil, n)
		case "net":
			nets, err = netNode(nets, n)
		case "budget":
			limit.Budget, err = budgetNode(n)
		default:
			err = fmt.Errorf("unknown node %s: a policy has pledge, unveil, net and budget", n.Name)
		}
		return err
	})
	if err != nil {
		return capability.Set{}, err
	}
	if unveils {
		limit.Unveil = capability.NormalizeUnveils(unveil)
	}
	if len(nets) > 0 {
		limit.Net = capability.NormalizeNets(nets)
	}
	return limit, nil
}

func netNode(list []capability.Net, n *kdl.Node) ([]capability.Net, error) {
	if len(n.Args) != 1 || len(n.Props) > 0 {
		return nil, errors.New(`net takes one rule: net "tcp:example.org:443"`)
	}
	rules, err := capability.ParseNet(n.Args[0].Text)
	return append(list, rules...), err
}

// eachNode calls f with each node of a text. Errors of f get the node's place.
// No node has a block, and only those about a path or the network come more than once.
func eachNode(file string, src []byte, f func(*kdl.Node) error) error {
	nodes, err := kdl.Parse(file, src)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, n := range nodes {
		switch {
		case seen[n.Name] && n.Name != "unveil" && n.Name != "limit" && n.Name != "net":
			err = fmt.Errorf("second %s", n.Name)
		case n.Block:
			err = fmt.Errorf("%s takes no block", n.Name)
		default:
			err = f(n)
		}
		if err != nil {
			return &kdl.Error{File: file, Pos: n.Pos, Msg: err.Error()}
		}
		seen[n.Name] = true
	}
	return nil
}

func pledgeNode(n *kdl.Node) (capability.Pledge, error) {
	words, err := pledgeWords(n)
	if err != nil {
		return 0, err
	}
	return capability.ParsePledge(words)
}

func pledgeWords(n *kdl.Node) ([]string, error) {
	if len(n.Props) > 0 {
		return nil, errors.New("pledge has no properties")
	}
	words := make([]string, len(n.Args))
	for i, a := range n.Args {
		words[i] = a.Text
	}
	return words, nil
}

func unveilNode(list []capability.Unveil, n *kdl.Node) ([]capability.Unveil, error) {
	path, letters, err := pathNode(n)
	if err != nil {
		return nil, err
	}
	rights, err := capability.ParseRights(letters)
	if err != nil {
		return nil, err
	}
	return append(list, capability.Unveil{Path: path, Rights: rights}), nil
}

// pathNode reads a node that is about a path and rights.
func pathNode(n *kdl.Node) (path, rights string, err error) {
	if len(n.Args) != 2 || len(n.Props) > 0 {
		return "", "", fmt.Errorf(`%s takes a path and rights: %s "/srv" "r"`, n.Name, n.Name)
	}
	path = n.Args[0].Text
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return "", "", fmt.Errorf("%s %s: not an absolute, clean path", n.Name, path)
	}
	return path, n.Args[1].Text, nil
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
