// Package graft turns foreign software (a Debian package with all it depends
// on, a tarball, a directory, an OCI image) into a staging directory and a
// recipe that npk packs. It never runs a maintainer script, never changes the
// host's package state and treats every archive as hostile: names stay inside
// the staging directory, device nodes are refused, setuid bits are dropped.
//
// The staging directory holds what the package will hold, with one exception:
// the interpreter field of an executable holds the path of its loader inside
// the package (lib64/ld-linux-x86-64.so.2), which npk replaces by zeroes and
// the loader's content id.
package graft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"nipcells/internal/cid"
	"nipcells/internal/npk"
)

// Options say what to graft and where to work.
type Options struct {
	Source  string   // debian:name[=version], tar:file, dir:path, oci:path
	Name    string   // of the package; "": the source's own
	Title   string   // directory below /Programs; "": the name
	Version string   // of a tar:, dir: or oci: source; "": "0", or the image's tag
	Work    string   // directory to work in, made if it is missing; the staging directory is Work/tree
	Cache   string   // downloads; "": DefaultCache
	Keep    bool     // keep documentation, headers, static libraries
	With    []string // Debian packages to add
	// Tool is the command that runs a package's own programs in a cell: the
	// staging directory and the program's arguments are added to it (cell.Tool).
	Tool []string

	// Progress, unless nil, is told what is being done and how far it is;
	// total is 0 where it is not known. It is called from one goroutine.
	Progress func(what string, done, total int64)
}

// Result is a grafted package, ready to be packed.
type Result struct {
	Dir       string // the staging directory
	Recipe    *npk.Recipe
	SourceCID cid.CID      // content id of the source: of the .deb, the archive, the files
	Deps      []Dependency // what else went into the tree, by name
	Notes     []string     // what a person should know, one sentence each
}

// Dependency is a package that became part of the tree.
type Dependency struct {
	Name, Version string
	CID           cid.CID // content id of its .deb
}

// Errors that callers give advice on.
var (
	ErrSource       = errors.New("not a source: want debian:NAME[=VERSION], tar:FILE, dir:PATH or oci:PATH")
	ErrNoCommand    = errors.New("no command found")
	ErrNoLoader     = errors.New("the dynamic loader is not in the tree")
	ErrNoShell      = errors.New("the interpreter is not in the tree")
	ErrNoApt        = errors.New("apt is not installed: Debian packages are fetched by the host's own apt")
	ErrHostile      = errors.New("refused")
	ErrEmpty        = errors.New("the source has no files")
	ErrNotInstalled = errors.New("no such package in the configured sources")
)

// grafting is one Graft in progress.
type grafting struct {
	Options
	kind, what string // of the source
	tree       *tree
	debs       []*deb
	recipe     npk.Recipe
	source     cid.CID
	primary    map[string]bool // owners whose executables are commands
	image      *imageConfig    // of an oci: source
	flat       bool            // no directory of commands: executables at the top are commands
	elves      *elfIndex
}

// Graft makes a staging directory and a recipe from o.Source. Work must be
// empty or missing; on an error the caller removes it.
func Graft(ctx context.Context, o Options) (*Result, error) {
	g, err := begin(o)
	if err != nil {
		return nil, err
	}
	defer g.tree.close()
	for _, step := range []func(context.Context) error{
		g.collect,      // 1. files, as they come
		g.alternatives, // 2. links that maintainer scripts make
		g.interpreters, // 3. what Debian takes for granted: needs all names, adds files
		g.relocate,     // 4. ELF files: needs all libraries in their places
		g.settle,       // 5. times: caches of directories hold them
		g.finish,       // 6. caches, made by the package's own tools: needs programs that run
		g.links,        // 7. dangling links go: needs all files, those just made too
		g.describe,     // 8. recipe
		g.settle,       // 9. modes and times of what was made: nothing is written after this
	} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("graft %s: %w", o.Source, err)
		}
	}
	r := &Result{Dir: g.tree.dir, Recipe: &g.recipe, SourceCID: g.source, Notes: g.tree.notes.sentences()}
	for _, d := range g.debs {
		if d.cid != g.source {
			r.Deps = append(r.Deps, Dependency{d.Name, d.Version, d.cid})
		}
	}
	return r, nil
}

// namePattern is what a package may be called (SPEC section 10).
const namePattern = `^[a-z0-9][a-z0-9+.-]*$`

func begin(o Options) (*grafting, error) {
	kind, what, ok := strings.Cut(o.Source, ":")
	if !ok || what == "" {
		return nil, fmt.Errorf("graft %q: %w", o.Source, ErrSource)
	}
	switch kind {
	case "debian", "tar", "dir", "oci":
	default:
		return nil, fmt.Errorf("graft %q: %w", o.Source, ErrSource)
	}
	g := &grafting{Options: o, kind: kind, what: what, primary: map[string]bool{}}
	g.recipe.Name, g.recipe.Version = o.Name, o.Version
	if g.recipe.Name == "" {
		g.recipe.Name = sourceName(kind, what)
	}
	if !regexp.MustCompile(namePattern).MatchString(g.recipe.Name) {
		return nil, fmt.Errorf("graft %s: %q cannot be a package's name: want lower-case letters, digits, + . -; give another with --name", o.Source, g.recipe.Name)
	}
	if g.Cache == "" {
		var err error
		if g.Cache, err = DefaultCache(); err != nil {
			return nil, err
		}
	}
	if g.Progress == nil {
		g.Progress = func(string, int64, int64) {}
	}
	dir, err := filepath.Abs(filepath.Join(o.Work, "tree"))
	if err != nil {
		return nil, fmt.Errorf("graft %s: %w", o.Source, err)
	}
	if g.tree, err = newTree(dir); err != nil {
		return nil, fmt.Errorf("graft %s: %w", o.Source, err)
	}
	g.tree.keep = o.Keep
	return g, nil
}

// sourceName returns the name that a source gives to its package: the Debian
// package's, or the base of the path without what archives are called.
func sourceName(kind, what string) string {
	if kind == "debian" {
		name, _, _ := strings.Cut(what, "=")
		return name
	}
	abs, err := filepath.Abs(what)
	if err != nil {
		abs = what
	}
	base := strings.ToLower(filepath.Base(abs))
	if kind != "dir" {
		base = strings.TrimSuffix(base, filepath.Ext(base))
		base = strings.TrimSuffix(base, ".tar")
	}
	return base
}

// DefaultCache returns the directory that keeps downloads from one graft to
// the next: /var/cache/nip for root, else $XDG_CACHE_HOME/nip.
func DefaultCache() (string, error) {
	if os.Geteuid() == 0 && os.Getenv("XDG_CACHE_HOME") == "" {
		return "/var/cache/nip", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a directory for downloads: %w", err)
	}
	return filepath.Join(dir, "nip"), nil
}

// collect fills the tree from the source and from the packages added to it.
func (g *grafting) collect(ctx context.Context) error {
	var err error
	switch g.kind {
	case "debian":
		return g.collectDebian(ctx)
	case "tar":
		err = g.collectTar(ctx)
	case "dir":
		err = g.collectDir(ctx)
	case "oci":
		err = g.collectOCI(ctx)
	}
	if err != nil {
		return err
	}
	if len(g.tree.owner) == 0 {
		return ErrEmpty
	}
	g.recipe.Source = g.kind + ":" + filepath.Base(g.what)
	if g.recipe.Version == "" {
		g.recipe.Version = "0"
	}
	g.primary[""] = true
	g.flat = !slices.ContainsFunc(commandDirs[:], g.tree.exists)
	if len(g.With) > 0 {
		return g.addDebian(ctx, g.With)
	}
	return nil
}
