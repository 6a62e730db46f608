package graft

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// alternative is a link that update-alternatives would make.
type alternative struct {
	link, target string // as in the source: /usr/bin/vi, /usr/bin/vim.tiny
	priority     int
	owner        string
}

// alternatives makes the links that the packages' maintainer scripts would
// register, the highest priority winning. The scripts are only read: of each
// update-alternatives --install line the literal words count, and variables whose
// values the script says literally; a line with anything else in it is passed over.
func (g *grafting) alternatives(context.Context) error {
	best := map[string]alternative{}
	for _, d := range g.debs {
		for _, a := range parseAlternatives(d.postinst) {
			a.owner = d.Name
			if old, ok := best[a.link]; !ok || a.priority > old.priority {
				best[a.link] = a
			}
		}
	}
	for _, link := range sortedKeys(best) {
		a := best[link]
		name, ok := rootPlace(a.link)
		target, tok := rootPlace(a.target)
		if !ok || !tok || !g.tree.keep && stripped(name) || g.tree.exists(name) || !g.tree.exists(target) || name == target {
			continue
		}
		if err := g.tree.symlink(name, relative(path.Dir(name), target), a.owner); err != nil {
			return err
		}
	}
	return nil
}

// parseAlternatives finds the alternatives that a script registers.
func parseAlternatives(script string) []alternative {
	var found []alternative
	var vars shellVars
	script = strings.ReplaceAll(script, "\\\n", " ")
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			continue
		}
		for _, said := range vars.read(line) {
			found = append(found, registered(strings.Fields(said))...)
		}
	}
	return found
}

// registered finds the alternatives that a line of a script registers.
func registered(w []string) []alternative {
	i := slices.Index(w, "update-alternatives")
	if i < 0 {
		return nil
	}
	w = slices.DeleteFunc(w[i+1:], func(s string) bool { return s == "--quiet" || s == "--force" })
	if len(w) < 5 || w[0] != "--install" || !literalPath(w[1]) || !literalPath(w[3]) {
		return nil
	}
	priority, err := strconv.Atoi(strings.TrimSuffix(w[4], ";"))
	if err != nil {
		return nil
	}
	found := []alternative{{link: w[1], target: w[3], priority: priority}}
	for w = w[5:]; len(w) >= 4 && w[0] == "--slave"; w = w[4:] {
		if literalPath(w[1]) && literalPath(w[3]) {
			found = append(found, alternative{link: w[1], target: w[3], priority: priority})
		}
	}
	return found
}

// literalPath reports whether a word of a script is a path as it stands.
func literalPath(w string) bool {
	return path.IsAbs(w) && path.Clean(w) == w && !strings.ContainsAny(w, "$`'\"\\*?;|&(){}<>")
}

// links drops symbolic links that lead nowhere in the tree.
func (g *grafting) links(context.Context) error {
	for {
		dropped := 0
		err := g.tree.walk(func(name string, d fs.DirEntry) error {
			if d.Type() != fs.ModeSymlink || g.tree.exists(name) {
				return nil
			}
			target, err := g.tree.root.Readlink(name)
			if err != nil {
				return err
			}
			if !stripped(path.Join(path.Dir(name), target)) {
				g.tree.notes.add("links that lead nowhere are left out", name+" -> "+target)
			}
			dropped++
			return g.tree.remove(name)
		})
		if err != nil || dropped == 0 {
			return err
		}
	}
}

// remove takes a file or link out of the tree.
func (t *tree) remove(name string) error {
	delete(t.owner, name)
	return t.root.Remove(name)
}
