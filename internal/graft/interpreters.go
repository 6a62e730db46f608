package graft

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// script is a file with an execute bit that begins with #!.
type script struct {
	name   string
	interp string // as it says: /usr/bin/env
	arg    string // the rest of the line: perl -w
}

// program returns the name of what runs the script in the end: perl for both
// #!/usr/bin/perl and #!/usr/bin/env perl.
func (s script) program() string {
	if f := strings.Fields(s.arg); path.Base(s.interp) == "env" && len(f) > 0 {
		if f[0] == "-S" && len(f) > 1 {
			return f[1]
		}
		return f[0]
	}
	return path.Base(s.interp)
}

func (s script) shell() bool {
	return slices.Contains([]string{"sh", "bash", "dash"}, s.program())
}

// maxShebang is how much of a first line the kernel reads (BINPRM_BUF_SIZE).
const maxShebang = 256

// parseShebang reads a script's first line. ok is false for anything else.
func parseShebang(head []byte) (interp, arg string, ok bool) {
	line, found := strings.CutPrefix(string(head), "#!")
	if !found {
		return "", "", false
	}
	line, _, _ = strings.Cut(line, "\n")
	interp, arg, _ = strings.Cut(strings.Trim(line, " \t\r"), " ")
	interp = strings.TrimRight(interp, "\t")
	return interp, strings.TrimSpace(arg), path.IsAbs(interp)
}

// scripts finds the executable scripts of the tree.
func (t *tree) scripts() ([]script, error) {
	var found []script
	err := t.walk(func(name string, d fs.DirEntry) error {
		if !d.Type().IsRegular() {
			return nil
		}
		fi, err := d.Info()
		if err != nil || fi.Mode().Perm()&0o111 == 0 {
			return err
		}
		head, err := t.head(name, maxShebang)
		if err != nil {
			return err
		}
		if interp, arg, ok := parseShebang(head); ok {
			found = append(found, script{name, interp, arg})
		}
		return nil
	})
	return found, err
}

// head returns the first bytes of a file, at most n.
func (t *tree) head(name string, n int) ([]byte, error) {
	f, err := t.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(bufio.NewReader(io.LimitReader(f, int64(n))))
}

// essential returns the Debian package that has a program which scripts take
// for granted, or "". Debian's Essential packages are implied: nothing depends
// on them by name.
func essential(program string) string {
	switch program {
	case "sh", "dash":
		return "dash"
	case "bash", "rbash":
		return "bash"
	case "perl":
		return "perl-base"
	case "env":
		return "coreutils"
	case "awk", "mawk":
		return "mawk"
	case "sed", "grep":
		return program
	case "python3":
		return "python3-minimal"
	}
	return ""
}

// shellTools are what a shell script cannot be expected to do without.
var shellTools = [...]string{"coreutils", "sed", "grep"}

// interpreters sees to it that every script in the tree finds its interpreter:
// from Debian for a debian: source; for others it is an error that says what
// to add, unless a Debian package was asked for with the source.
func (g *grafting) interpreters(ctx context.Context) error {
	for {
		scripts, err := g.tree.scripts()
		if err != nil {
			return err
		}
		missing := map[string]string{} // package -> a script that needs it
		scripts = slices.DeleteFunc(scripts, func(s script) bool { return !g.isProgram(s.name) })
		for _, s := range scripts {
			if err := g.missingFor(s, missing); err != nil {
				return err
			}
		}
		if g.kind == "debian" && slices.ContainsFunc(scripts, g.runsTools) {
			for _, p := range shellTools {
				if !g.hasDeb(p) {
					missing[p] = "its shell scripts"
				}
			}
		}
		if g.kind == "debian" && !g.hasDeb(terminals) && g.hasTerminfo() {
			missing[terminals] = "libtinfo"
		}
		if len(missing) == 0 {
			return nil
		}
		if err := g.addDebian(ctx, sortedKeys(missing)); err != nil {
			return err
		}
		for _, p := range sortedKeys(missing) {
			g.tree.notes.add("added, as Debian takes it for granted", p)
		}
		if err := g.alternatives(ctx); err != nil {
			return err
		}
	}
}

// missingFor adds to missing the packages that s needs and the tree lacks.
func (g *grafting) missingFor(s script, missing map[string]string) error {
	need := []string{s.interp}
	if p := s.program(); p != path.Base(s.interp) {
		need = append(need, "/usr/bin/"+p)
	}
	for _, n := range need {
		place, ok := g.placeOf(n)
		if ok && g.tree.exists(place) {
			continue
		}
		pkg := essential(path.Base(n))
		known := pkg != ""
		switch {
		case known && g.kind == "debian" && !g.hasDeb(pkg):
			missing[pkg] = s.name
		case g.kind == "debian" || !g.isCommandDir(s.name):
			g.tree.notes.add("scripts whose interpreter is not in the tree cannot run", s.name+" ("+n+")")
		case known:
			return fmt.Errorf("script %s needs %s: %w; add it with --with %s", s.name, n, ErrNoShell, pkg)
		default:
			return fmt.Errorf("script %s needs %s: %w; add the Debian package that has it with --with", s.name, n, ErrNoShell)
		}
	}
	return nil
}

// terminals is the Essential package with descriptions of terminals.
const terminals = "ncurses-base"

// hasTerminfo reports whether the tree has the library that reads descriptions
// of terminals.
func (g *grafting) hasTerminfo() bool {
	m, err := fs.Glob(g.tree.root.FS(), "lib/*/libtinfo.so.*")
	return err == nil && len(m) > 0
}

func (g *grafting) hasDeb(name string) bool {
	return slices.ContainsFunc(g.debs, func(d *deb) bool { return d.Name == name })
}

// isProgram reports whether a script is one that people or programs run, and
// not a module, an example or a template that happens to have an execute bit.
func (g *grafting) isProgram(name string) bool {
	if g.isCommandDir(name) || inDir(name, "libexec") {
		return true
	}
	switch path.Ext(name) {
	case ".py", ".pm", ".rb", ".js", ".tcl", ".t":
		return false
	}
	return inDir(name, "lib")
}

// runsTools reports whether s, a program, is a shell script that will be run: a
// command of the package, or a helper in an exec directory (lib/git-core).
func (g *grafting) runsTools(s script) bool {
	if !s.shell() {
		return false
	}
	return !g.isCommandDir(s.name) || g.primary[g.tree.owner[s.name]]
}

func inDir(name, dir string) bool { return strings.HasPrefix(name, dir+"/") }

// commandDirs hold what people run.
var commandDirs = [...]string{"bin", "sbin", "games", "local/bin", "local/sbin"}

func (g *grafting) isCommandDir(name string) bool {
	dir := path.Dir(name)
	return slices.Contains(commandDirs[:], dir) || g.flat && dir == "."
}

// placeOf maps an absolute path that a file of the source names into the tree.
// Whatever the source, files of Debian packages may be beside it.
func (g *grafting) placeOf(abs string) (string, bool) { return rootPlace(abs) }
