package graft

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"nipcells/internal/capability"
	"nipcells/internal/npk"
)

// describe fills in the recipe: commands, environment, architecture and the
// rights that are proposed.
func (g *grafting) describe(context.Context) error {
	r := &g.recipe
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+~_-]*$`).MatchString(r.Version) {
		return fmt.Errorf("%q cannot be a version: want letters, digits, . + ~ _ -; give another with --version", r.Version)
	}
	r.Title = g.Title
	if r.Title == "" {
		r.Title = r.Name
	}
	if err := g.commands(); err != nil {
		return err
	}
	if len(r.Commands) == 0 {
		return fmt.Errorf("%w: nothing in bin, sbin or games is executable", ErrNoCommand)
	}
	r.Arch = g.arch()
	r.Env = append(r.Env, g.environment()...)
	g.propose()
	return nil
}

// commandPattern is what a command may be called.
const commandPattern = `^[A-Za-z0-9][A-Za-z0-9+._-]*$`

// commands finds the executables of the named package, and of those of its
// direct dependencies that come from the same source package (SPEC section 10).
func (g *grafting) commands() error {
	valid := regexp.MustCompile(commandPattern)
	if g.image != nil {
		return g.imageCommand(valid)
	}
	seen := map[string]bool{}
	err := g.tree.walk(func(name string, d fs.DirEntry) error {
		base := path.Base(name)
		if d.IsDir() || !g.isCommandDir(name) || !g.primary[g.tree.owner[name]] || seen[base] || !valid.MatchString(base) {
			return nil
		}
		if !g.tree.executable(name) || !g.runnable(name) {
			return nil
		}
		seen[base] = true
		g.recipe.Commands = append(g.recipe.Commands, npk.Command{Name: base, Exec: name})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(g.recipe.Commands, func(a, b npk.Command) int { return strings.Compare(a.Name, b.Name) })
	g.alias()
	return nil
}

// runnable reports whether a file with an execute bit is a program: an ELF
// executable or a script. The kernel runs nothing else.
func (g *grafting) runnable(name string) bool {
	real, ok := g.tree.resolve(name)
	if !ok {
		return false
	}
	head, err := g.tree.head(real, maxShebang)
	if err != nil {
		return false
	}
	_, _, isScript := parseShebang(head)
	return isScript || strings.HasPrefix(string(head), "\x7fELF")
}

// alias makes sure that a command is called like the package, where it can be
// said which one is meant: the one called like the source, exactly or but for
// punctuation (vim-tiny: vim.tiny); the one whose name the source's begins with
// (busybox-static: busybox); or the only program.
func (g *grafting) alias() {
	c := g.recipe.Commands
	called := func(name string) int {
		return slices.IndexFunc(c, func(c npk.Command) bool { return c.Name == name })
	}
	if len(c) == 0 || called(g.recipe.Name) >= 0 {
		return
	}
	source := sourceName(g.kind, g.what)
	letters := func(s string) string {
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune("+._-", r) {
				return -1
			}
			return r
		}, s)
	}
	i := called(source)
	if i < 0 {
		i = slices.IndexFunc(c, func(c npk.Command) bool { return letters(c.Name) == letters(source) })
	}
	for prefix := source; i < 0; {
		cut := strings.LastIndexByte(prefix, '-')
		if cut < 0 {
			break
		}
		prefix = prefix[:cut]
		i = called(prefix)
	}
	if i < 0 {
		if slices.ContainsFunc(c, func(o npk.Command) bool { return g.program(o.Exec) != g.program(c[0].Exec) }) {
			return
		}
		i = 0
	}
	g.recipe.Commands = append(c, npk.Command{Name: g.recipe.Name, Exec: c[i].Exec, Args: c[i].Args})
	slices.SortFunc(g.recipe.Commands, func(a, b npk.Command) int { return strings.Compare(a.Name, b.Name) })
}

// program returns the file that a command leads to.
func (g *grafting) program(exec string) string {
	real, _ := g.tree.resolve(exec) // commands were resolved before
	return real
}

// arch returns the architecture of the package's programs, or "all".
func (g *grafting) arch() string {
	for _, c := range g.recipe.Commands {
		if f := g.elves.byName[g.program(c.Exec)]; f != nil {
			return f.machine.String()
		}
	}
	for _, f := range g.elves.files {
		if f.exec && f.interp != "" {
			return f.machine.String()
		}
	}
	if len(g.elves.files) > 0 {
		return g.elves.files[0].machine.String()
	}
	return "all"
}

// propose suggests a pledge, by these rules:
//
//   - STDIO, RPATH and WPATH always: what a program may read and write is
//     decided by what is unveiled, and nothing is unless the person says so.
//   - EXEC if a program or library of the package's own source, or a library
//     that one of them is linked with directly, imports a call that starts
//     programs (the C library itself aside), or a command is a script.
//   - INET if one of them looks up names of hosts, one of the package's own
//     connects, or is linked with a library for network protocols.
//   - UNIX if one of the package's own listens: its socket may be one with a name. Who
//     only connects most often looks for nscd, which no cell has.
//   - TTY if one of them makes terminals.
//
// UNIX and TTY, like EXEC, add no right to anything outside of the cell.
//
// What a statically linked program does cannot be seen: it is given EXEC, which
// adds no right to anything outside of the cell, and a note says so.
func (g *grafting) propose() {
	p := capability.Stdio | capability.Rpath | capability.Wpath
	for _, f := range g.elves.files {
		if !g.primary[g.tree.owner[f.name]] {
			continue
		}
		p |= uses(f, true)
		for _, lib := range f.needed {
			if hasPrefix(lib, "libcurl", "libssl.", "libgnutls.", "libssh", "libnghttp2.") {
				p |= capability.Inet
			}
			for _, dir := range g.elves.provide[f.machine][path.Base(lib)] {
				if l := g.elves.byName[path.Join(dir, path.Base(lib))]; l != nil && !hasPrefix(l.soname, "libc.", "ld-", "libstdc++.", "libpthread.") {
					p |= uses(l, false)
				}
			}
		}
	}
	for _, c := range g.recipe.Commands {
		f := g.elves.byName[g.program(c.Exec)]
		switch {
		case f == nil:
			p |= capability.Exec // a script: its interpreter starts programs
		case f.interp == "":
			p |= capability.Exec
			g.tree.notes.add("statically linked: what it does cannot be seen; add INET to its pledge if it needs it, take EXEC away if it does not", c.Name)
		}
	}
	g.recipe.Pledge = p
	if p&capability.Inet != 0 && !g.tree.exists(bundle) && g.linksTLS() {
		g.tree.notes.add("it can speak TLS, but has no certificates of its own; add them with --with ca-certificates", "")
	}
}

// uses says which rights the imports of f speak for; own says that it is one of the
// package's own.
func uses(f *elfFile, own bool) (p capability.Pledge) {
	for _, name := range f.imports {
		switch name {
		case "execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "posix_spawn", "posix_spawnp", "fork", "vfork", "system", "popen":
			p |= capability.Exec
		case "getaddrinfo", "gethostbyname", "gethostbyname_r":
			p |= capability.Inet
		case "openpty", "forkpty", "posix_openpt", "getpt":
			p |= capability.Tty
		}
		switch {
		case own && name == "connect":
			p |= capability.Inet
		case own && name == "listen":
			p |= capability.Unix
		}
	}
	return p
}

func hasPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// linksTLS reports whether the tree has a library for TLS.
func (g *grafting) linksTLS() bool {
	return slices.ContainsFunc(g.elves.files, func(f *elfFile) bool {
		return strings.HasPrefix(f.soname, "libssl.") || strings.HasPrefix(f.soname, "libgnutls.")
	})
}
