package npk

import (
	"fmt"

	"nipcells/internal/capability"
	"nipcells/internal/npk/kdl"
)

// ParseRecipe reads a recipe. file is its name in errors, which are *kdl.Error
// and read file:line:col: message. A recipe is one node:
//
//	package "hello" version="1.0" {
//	    summary "Says hello"            // one line for people
//	    title "Hello"                   // directory below /Programs; default: the name
//	    arch "amd64"                    // amd64, arm64 or all; default: from the executables
//	    source "dir:hello"              // where the files come from
//	    depends "fonts-base" "zlib"     // names of packages; may come several times
//	    command "hello" exec="bin/hello" {
//	        args "--greeting" "hi"      // put before the person's arguments
//	    }
//	    pledge "STDIO" "RPATH"          // needed if there is a command; "NONE" for nothing
//	    unveil "/Data/users/downloads" "rw"
//	    net "tcp:example.org:443"       // whom the sockets of INET and UDP reach; default: all but the host itself
//	    bus "hud" "notify"
//	    budget spectrum="matter" memory="2G" fibers=256 cpu="50%" disk="1G" io="20M/s"
//	    env "HELLO_DATA" "{prefix}/share/hello"
//	    files "files"                   // directory of the files, relative to the recipe
//	    exclude "*.o" "share/doc"       // a pattern without slash fits at any depth
//	    native "lib/ld.so" "shim" "stub" // what packing put into a file; in packages only
//	}
//
// Anything else, and anything twice, is an error. Braces in a value of env other
// than {prefix}, {view}, {home} and {tmp} stand for themselves.
func ParseRecipe(file string, src []byte) (*Recipe, error) {
	nodes, err := kdl.Parse(file, src)
	if err != nil {
		return nil, err
	}
	p := &recipeParser{file: file, seen: map[string]kdl.Pos{}}
	if len(nodes) == 0 {
		return nil, p.fail(kdl.Pos{Line: 1, Col: 1}, "no package node: a recipe is package \"name\" version=\"1.0\" { … }")
	}
	if nodes[0].Name != "package" {
		return nil, p.fail(nodes[0].Pos, "unknown node %q: a recipe is one package node", nodes[0].Name)
	}
	if len(nodes) > 1 {
		return nil, p.fail(nodes[1].Pos, "a second node %q: a recipe is one package node", nodes[1].Name)
	}
	if err := p.pkg(nodes[0]); err != nil {
		return nil, err
	}
	if err := p.r.Check(); err != nil { // lists that are too long
		return nil, p.fail(nodes[0].Pos, "%v", err)
	}
	return &p.r, nil
}

// recipeParser fills r from nodes. seen says where each thing that may come
// only once was.
type recipeParser struct {
	file string
	r    Recipe
	seen map[string]kdl.Pos
}

func (p *recipeParser) fail(at kdl.Pos, format string, args ...any) error {
	return &kdl.Error{File: p.file, Pos: at, Msg: fmt.Sprintf(format, args...)}
}

// once refuses a second thing of one kind and name.
func (p *recipeParser) once(at kdl.Pos, kind, name string) error {
	key := kind + "\x00" + name
	if first, twice := p.seen[key]; twice {
		return p.fail(at, "%s %q given twice, first in line %d", kind, name, first.Line)
	}
	p.seen[key] = at
	return nil
}

func (p *recipeParser) pkg(n *kdl.Node) error {
	if err := p.shape(n, shape{min: 1, max: 1, props: []string{"version"}, block: true}); err != nil {
		return err
	}
	if err := p.assign(&p.r.Name, n.Args[0], checkPackageName); err != nil {
		return err
	}
	version, ok := n.Property("version")
	if !ok {
		return p.fail(n.Pos, "package %q has no version=\"…\"", p.r.Name)
	}
	if err := p.assign(&p.r.Version, version.Value, checkVersion); err != nil {
		return err
	}
	p.r.Title = p.r.Name
	for _, c := range n.Children {
		if err := p.node(c); err != nil {
			return err
		}
	}
	_, pledged := p.seen["node\x00pledge"]
	if len(p.r.Commands) > 0 && !pledged {
		return p.fail(n.Pos, `package %q has commands but no pledge: say pledge "STDIO" and what else they need`, p.r.Name)
	}
	return nil
}

// node reads one child of the package node.
func (p *recipeParser) node(n *kdl.Node) error {
	switch n.Name {
	case "command":
		return p.command(n)
	case "unveil":
		return p.unveil(n)
	case "net":
		return p.net(n)
	case "env":
		return p.env(n)
	case "native":
		return p.native(n)
	case "depends":
		return p.list(n, &p.r.Depends, checkDependency(p.r.Name))
	case "exclude":
		return p.list(n, &p.r.Exclude, checkPattern)
	case "linux":
		return p.fail(n.Pos, "linux cells are not supported by this version of nip")
	}
	if err := p.once(n.Pos, "node", n.Name); err != nil {
		return err
	}
	switch n.Name {
	case "summary":
		return p.text(n, &p.r.Summary, checkText)
	case "title":
		return p.text(n, &p.r.Title, checkTitle)
	case "arch":
		return p.text(n, &p.r.Arch, checkArch)
	case "source":
		return p.text(n, &p.r.Source, checkText)
	case "files":
		return p.text(n, &p.r.Dir, checkFilesDir)
	case "bus":
		return p.list(n, &p.r.Bus, checkEndpoint)
	case "pledge":
		return p.pledge(n)
	case "budget":
		return p.budget(n)
	}
	return p.fail(n.Pos, "unknown node %q", n.Name)
}

// anyNumber is more arguments than fit into a text.
const anyNumber = kdl.MaxSize

// shape is what a node may consist of.
type shape struct {
	min, max int      // arguments
	props    []string // properties that may be there
	block    bool     // may have children
}

func (p *recipeParser) shape(n *kdl.Node, s shape) error {
	for i, a := range n.Args {
		if i >= s.max {
			return p.fail(a.Pos, "%s takes no more than %s", n.Name, arguments(s.max))
		}
		if a.Kind != kdl.String {
			return p.fail(a.Pos, "%s wants a string in quotes, not %s", n.Name, a.Kind)
		}
	}
	if len(n.Args) < s.min {
		return p.fail(n.Pos, "%s wants %s, has %d", n.Name, arguments(s.min), len(n.Args))
	}
	for _, prop := range n.Props {
		known := false
		for _, name := range s.props {
			known = known || name == prop.Name
		}
		if !known {
			return p.fail(prop.Pos, "%s has no property %q", n.Name, prop.Name)
		}
	}
	if n.Block && !s.block {
		return p.fail(n.Pos, "%s takes no children", n.Name)
	}
	return nil
}

func arguments(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// assign checks a value, which must be a string, and stores it.
func (p *recipeParser) assign(dst *string, v kdl.Value, check func(string) error) error {
	if v.Kind != kdl.String {
		return p.fail(v.Pos, "wants a string in quotes, not %s", v.Kind)
	}
	if err := check(v.Text); err != nil {
		return p.fail(v.Pos, "%v", err)
	}
	*dst = v.Text
	return nil
}

// text reads a node with one argument that is not empty.
func (p *recipeParser) text(n *kdl.Node, dst *string, check func(string) error) error {
	if err := p.shape(n, shape{min: 1, max: 1}); err != nil {
		return err
	}
	if n.Args[0].Text == "" {
		return p.fail(n.Args[0].Pos, "%s is empty", n.Name)
	}
	return p.assign(dst, n.Args[0], check)
}

// list reads a node with one or more arguments, all different.
func (p *recipeParser) list(n *kdl.Node, dst *[]string, check func(string) error) error {
	if err := p.shape(n, shape{min: 1, max: anyNumber}); err != nil {
		return err
	}
	for _, a := range n.Args {
		if err := check(a.Text); err != nil {
			return p.fail(a.Pos, "%v", err)
		}
		if err := p.once(a.Pos, n.Name, a.Text); err != nil {
			return err
		}
		*dst = append(*dst, a.Text)
	}
	return nil
}

func (p *recipeParser) command(n *kdl.Node) error {
	if err := p.shape(n, shape{min: 1, max: 1, props: []string{"exec"}, block: true}); err != nil {
		return err
	}
	c := Command{Name: n.Args[0].Text}
	exec, ok := n.Property("exec")
	if !ok {
		return p.fail(n.Pos, "command %q has no exec=\"path of its program in the package\"", c.Name)
	}
	if err := p.assign(&c.Exec, exec.Value, checkPath); err != nil {
		return err
	}
	if err := checkCommand(c); err != nil { // its name: the path is fine
		return p.fail(n.Args[0].Pos, "%v", err)
	}
	if err := p.once(n.Args[0].Pos, "command", c.Name); err != nil {
		return err
	}
	for i, child := range n.Children {
		if child.Name != "args" {
			return p.fail(child.Pos, "unknown node %q in a command: there is args", child.Name)
		}
		if i > 0 {
			return p.fail(child.Pos, "args given twice")
		}
		if err := p.shape(child, shape{min: 1, max: anyNumber}); err != nil {
			return err
		}
		for _, a := range child.Args {
			if err := checkArgument(a.Text); err != nil {
				return p.fail(a.Pos, "%v", err)
			}
			c.Args = append(c.Args, a.Text)
		}
	}
	p.r.Commands = append(p.r.Commands, c)
	return nil
}

func (p *recipeParser) unveil(n *kdl.Node) error {
	if err := p.shape(n, shape{min: 2, max: 2}); err != nil {
		return err
	}
	rights, err := capability.ParseRights(n.Args[1].Text)
	if err != nil {
		return p.fail(n.Args[1].Pos, "%v", err)
	}
	u := capability.Unveil{Path: n.Args[0].Text, Rights: rights}
	if err := checkUnveil(u); err != nil {
		return p.fail(n.Args[0].Pos, "%v", err)
	}
	p.r.Unveil = append(p.r.Unveil, u)
	return p.once(n.Args[0].Pos, "unveil", u.Path)
}

func (p *recipeParser) net(n *kdl.Node) error {
	if err := p.shape(n, shape{min: 1, max: 1}); err != nil {
		return err
	}
	rules, err := capability.ParseNet(n.Args[0].Text)
	if err != nil {
		return p.fail(n.Args[0].Pos, "%v", err)
	}
	for _, r := range rules {
		if err := p.once(n.Args[0].Pos, "net", r.String()); err != nil {
			return err
		}
	}
	p.r.Net = append(p.r.Net, rules...)
	return nil
}

func (p *recipeParser) env(n *kdl.Node) error {
	if err := p.shape(n, shape{min: 2, max: 2}); err != nil {
		return err
	}
	e := EnvVar{Name: n.Args[0].Text}
	if err := checkEnv(e); err != nil {
		return p.fail(n.Args[0].Pos, "%v", err)
	}
	if err := p.assign(&e.Value, n.Args[1], checkArgument); err != nil {
		return err
	}
	p.r.Env = append(p.r.Env, e)
	return p.once(n.Args[0].Pos, "env", e.Name)
}

func (p *recipeParser) native(n *kdl.Node) error {
	if err := p.shape(n, shape{min: 2, max: 3}); err != nil {
		return err
	}
	f := Native{Path: n.Args[0].Text}
	if err := checkPath(f.Path); err != nil {
		return p.fail(n.Args[0].Pos, "%v", err)
	}
	for _, a := range n.Args[1:] {
		has := map[string]*bool{"shim": &f.Shim, "stub": &f.Stub}[a.Text]
		if has == nil || *has {
			return p.fail(a.Pos, `native wants "shim", "stub" or both, not %q`, a.Text)
		}
		*has = true
	}
	p.r.Native = append(p.r.Native, f)
	return p.once(n.Args[0].Pos, "native", f.Path)
}

func (p *recipeParser) pledge(n *kdl.Node) error {
	var words []string
	if err := p.list(n, &words, func(w string) error {
		_, err := capability.ParsePledge([]string{w})
		return err
	}); err != nil {
		return err
	}
	mask, err := capability.ParsePledge(words)
	if err != nil {
		return p.fail(n.Pos, "%v", err)
	}
	p.r.Pledge = mask
	return nil
}

func (p *recipeParser) budget(n *kdl.Node) error {
	items := []string{"spectrum", "memory", "fibers", "cpu", "disk", "io", "energy"}
	if err := p.shape(n, shape{props: items}); err != nil {
		return err
	}
	if len(n.Props) == 0 {
		return p.fail(n.Pos, "budget limits nothing: want spectrum=, memory=, fibers=, cpu=, disk=, io= or energy=")
	}
	for _, prop := range n.Props {
		if k := prop.Value.Kind; k != kdl.String && k != kdl.Number {
			return p.fail(prop.Value.Pos, "%s wants a string or a number, not %s", prop.Name, k)
		}
		if err := p.r.Budget.Put(prop.Name, prop.Value.Text); err != nil {
			return p.fail(prop.Value.Pos, "%v", err)
		}
	}
	return nil
}
