package graft

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// chore makes something that a maintainer script or a trigger would have made,
// with the tool that the package itself brings. {lib} stands for the directory
// of libraries (lib/x86_64-linux-gnu), {tree} for the staging directory.
type chore struct {
	makes  string   // for people
	needs  string   // glob in the tree: does the closure have such things at all?
	argv   []string // the tool and its arguments; {match} is what needs matched
	output string   // file for the tool's standard output, "": it writes itself
	usr    bool     // the tool has /usr compiled in
}

// chores is the table of what is made. ldconfig's cache is not: every file
// says itself where its libraries are. Nor are the bundle of certificates and
// Python's byte code, which are made by functions of their own.
func chores() []chore {
	return []chore{
		{"cache of GIO modules", "{lib}/gio/modules", []string{"{lib}/glib-2.0/gio-querymodules", "{tree}/{match}"}, "", false},
		{"compiled GLib schemas", "share/glib-2.0/schemas", []string{"{lib}/glib-2.0/glib-compile-schemas", "{tree}/{match}"}, "", false},
		{"list of gdk-pixbuf loaders", "{lib}/gdk-pixbuf-2.0/*/loaders", []string{"{lib}/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders"}, "{match}.cache", false},
		{"list of GTK 3 input methods", "{lib}/gtk-3.0/*/immodules", []string{"{lib}/libgtk-3-0/gtk-query-immodules-3.0"}, "{match}.cache", false},
		{"icon cache", "share/icons/*/index.theme", []string{"bin/gtk-update-icon-cache", "--force", "--quiet", "{tree}/{dir}"}, "", false},
		{"MIME database", "share/mime/packages", []string{"bin/update-mime-database", "{tree}/{dir}"}, "", false},
		{"database of desktop files", "share/applications", []string{"bin/update-desktop-database", "--quiet", "{tree}/{match}"}, "", false},
		{"font cache", "etc/fonts/fonts.conf", []string{"bin/fc-cache", "--sysroot={tree}", "--force"}, "", true},
	}
}

// finish makes caches and compiled forms. A tool that fails costs speed, not
// the package: it becomes a note.
func (g *grafting) finish(ctx context.Context) error {
	if err := g.nameService(); err != nil {
		return fmt.Errorf("say how names are looked up: %w", err)
	}
	if err := g.certificates(ctx); err != nil {
		return fmt.Errorf("make the bundle of certificates: %w", err)
	}
	for _, c := range chores() {
		if err := g.do(ctx, c); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			g.tree.notes.add("could not be made: "+c.makes, err.Error())
		}
	}
	return g.byteCode(ctx)
}

// nameService makes etc/nsswitch.conf for a package with a C library of its own
// that brings none: it has no other modules than these, whatever the host's
// says, and programs look at the file at every turn.
func (g *grafting) nameService() error {
	const name = "etc/nsswitch.conf"
	if !g.tree.exists(g.libDir()+"/libc.so.6") || g.tree.exists(name) {
		return nil
	}
	return g.tree.write(name, []byte("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nservices: files\nprotocols: files\n"))
}

func (g *grafting) do(ctx context.Context, c chore) error {
	lib := g.libDir()
	matches, err := fs.Glob(g.tree.root.FS(), strings.ReplaceAll(c.needs, "{lib}", lib))
	if err != nil {
		return err
	}
	for _, match := range matches {
		fill := strings.NewReplacer("{lib}", lib, "{match}", match, "{dir}", path.Dir(match)).Replace
		var argv []string
		for _, a := range c.argv {
			argv = append(argv, fill(a))
		}
		if !g.tree.executable(argv[0]) {
			return nil
		}
		g.Progress("make "+c.makes, 0, 0)
		var out []byte
		run := func() (err error) {
			out, err = g.runTool(ctx, nil, argv...)
			return err
		}
		if c.usr {
			err = g.tree.tempLink(run)
		} else {
			err = run()
		}
		if err != nil {
			return err
		}
		if c.output == "" {
			continue
		}
		out = bytes.ReplaceAll(out, []byte(g.tree.dir), []byte("/usr"))
		if err := g.tree.write(fill(c.output), out); err != nil {
			return err
		}
	}
	return nil
}

// libDir returns the directory of libraries of the package's architecture.
func (g *grafting) libDir() string {
	for _, f := range g.elves.files {
		if f.interp != "" && f.exec && g.tree.exists(triplet(f.machine)) {
			return triplet(f.machine)
		}
	}
	return "lib"
}

// bundle is the file that holds all certificates.
const bundle = "etc/ssl/certs/ca-certificates.crt"

// certificates makes what update-ca-certificates makes: one bundle, and the
// single certificates with hashed names.
func (g *grafting) certificates(ctx context.Context) error {
	const source, certs = "share/ca-certificates", "etc/ssl/certs"
	if !g.tree.exists(source) {
		return nil
	}
	var all bytes.Buffer
	err := g.tree.walk(func(name string, d fs.DirEntry) error {
		if !inDir(name, source) || path.Ext(name) != ".crt" || !d.Type().IsRegular() {
			return nil
		}
		data, err := g.tree.root.ReadFile(name)
		if err != nil {
			return err
		}
		all.Write(data)
		if len(data) > 0 && data[len(data)-1] != '\n' {
			all.WriteByte('\n')
		}
		link := path.Join(certs, strings.TrimSuffix(path.Base(name), ".crt")+".pem")
		return g.tree.symlink(link, relative(certs, name), "")
	})
	if err != nil || all.Len() == 0 {
		return err
	}
	if g.tree.executable("bin/openssl") {
		if _, err := g.runTool(ctx, []string{"OPENSSL_CONF=/dev/null"}, "bin/openssl", "rehash", "{tree}/"+certs); err != nil {
			g.tree.notes.add("could not be made: hashed names of certificates", err.Error())
		}
	}
	return g.tree.write(bundle, all.Bytes()) // last: rehash takes single certificates only
}

// byteCode compiles every Python module of the tree with its own Python, as
// unchecked hash-based files: valid whatever the modules' times are, and never
// compared with the source at run time.
func (g *grafting) byteCode(ctx context.Context) error {
	pythons, err := fs.Glob(g.tree.root.FS(), "lib/python3.*")
	if err != nil {
		return err
	}
	release := regexp.MustCompile(`^python3\.[0-9]+$`)
	for _, lib := range pythons {
		program := "bin/" + path.Base(lib)
		if !release.MatchString(path.Base(lib)) || !g.tree.executable(program) || !g.tree.exists(lib+"/compileall.py") {
			continue
		}
		g.Progress("compile Python modules", 0, 0)
		// One after the other: workers (-j) need /dev/shm, which no cell sees.
		argv := []string{program, "-I", "-S", "-B", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
			"-s", "{tree}", "-p", "/usr", "-x", `lib2to3/tests/data|/bad_|badsyntax`, "{tree}/" + lib}
		if g.tree.exists("lib/python3") {
			argv = append(argv, "{tree}/lib/python3")
		}
		if _, err := g.runTool(ctx, []string{"PYTHONHASHSEED=0"}, argv...); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			g.tree.notes.add("some Python modules were not compiled", err.Error())
		}
	}
	return nil
}

// settle gives every file its final mode and time. Directories come last, and
// the deepest first, as changing what they hold changes their times.
func (g *grafting) settle(ctx context.Context) error {
	var dirs []string
	err := g.tree.walk(func(name string, d fs.DirEntry) error {
		if d.IsDir() {
			dirs = append(dirs, name)
			return ctx.Err()
		}
		if !d.Type().IsRegular() {
			return ctx.Err()
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if fi.Mode().Perm()&0o111 != 0 {
			mode = 0o755
		}
		if err := g.tree.root.Chmod(name, mode); err != nil {
			return err
		}
		return g.tree.root.Chtimes(name, sourceTime(), sourceTime())
	})
	if err != nil {
		return err
	}
	slices.Reverse(dirs)
	for _, name := range append(dirs, ".") {
		if err := g.tree.root.Chmod(name, 0o755); err != nil {
			return err
		}
		if err := g.tree.root.Chtimes(name, sourceTime(), sourceTime()); err != nil {
			return err
		}
	}
	return nil
}
