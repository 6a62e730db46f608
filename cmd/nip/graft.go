package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"nipcells/cmd/nip/run"
	"nipcells/internal/capability"
	"nipcells/internal/graft"
	"nipcells/internal/npk"
)

type graftFlags struct {
	options graft.Options
	output  string
	stage   string
	pledge  string
	unveil  []string
	net     []string
}

func newGraftCommand(a *app) *cobra.Command {
	var f graftFlags
	c := &cobra.Command{
		Use:   "graft SOURCE",
		Short: "Turn foreign software into a package",
		Long: `Graft makes a package of a Debian package with all that it depends on, of a tarball,
of a directory or of an OCI image. Maintainer scripts are never run. What the package
will be allowed to do is proposed from what is found in it and printed; --pledge and
--unveil say it instead, and --stage leaves files and recipe to be edited and packed
with nip pack.

  debian:NAME[=VERSION]   fetched by the host's own apt
  tar:FILE                tar, also with gzip, bzip2, xz or zstd
  dir:DIRECTORY           with bin/…
  oci:PATH                a layout directory or a tarball`,
		Example: `  nip graft debian:python3.11 --name python3 -o python3.npk
  nip graft dir:./tool -o tool.npk
  nip graft debian:git --stage ./git && nip pack ./git/recipe.kdl`,
		Args: args(1, 1, "a SOURCE such as debian:jq"),
		RunE: func(c *cobra.Command, words []string) error {
			f.options.Source = words[0]
			return a.graft(c, f)
		},
	}
	fl := c.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.output, "output", "o", "", "the `FILE` to write (default NAME.npk)")
	fl.StringVar(&f.options.Name, "name", "", "`NAME` of the package (default: the source's own)")
	fl.StringVar(&f.options.Title, "title", "", "`TITLE`: the directory below /Programs (default: the name)")
	fl.StringVar(&f.options.Version, "version", "", "`VERSION` of a tarball, directory or image (default 0, or the image's tag)")
	fl.StringArrayVar(&f.options.With, "with", nil, "add the Debian `PACKAGE`; may be repeated")
	fl.BoolVar(&f.options.Keep, "keep", false, "keep documentation, headers, static libraries")
	fl.StringVar(&f.pledge, "pledge", "", "`LIST` of promises instead of those proposed")
	fl.StringArrayVar(&f.unveil, "unveil", nil, "`PATH:rwxc` instead of those proposed; may be repeated")
	fl.StringArrayVar(&f.net, "net", nil, "whom the sockets reach: a `RULE` such as example.org:443 (see nip run --help; default: all but the host itself); may be repeated")
	fl.StringVar(&f.stage, "stage", "", "write files and recipe.kdl into the `DIRECTORY` instead of packing")
	return c
}

func (a *app) graft(c *cobra.Command, f graftFlags) error {
	work, keep, err := f.workDir()
	if err != nil {
		return err
	}
	f.options.Work = work
	done := false
	defer func() {
		if !keep || !done {
			err = removeTree(work)
			if err != nil {
				a.say("note: %s stays behind: %v", work, err)
			}
		}
	}()
	p := a.progress()
	f.options.Progress = p.update
	f.options.Tool = []string{"/proc/self/exe", run.ToolVerb}
	res, err := graft.Graft(c.Context(), f.options)
	p.done()
	if err != nil {
		return err
	}
	if err := f.override(c, res.Recipe); err != nil {
		return err
	}
	a.printProposal(res)
	if keep {
		if err := writeRecipe(res); err != nil {
			return err
		}
		done = true
		a.say("edit %s, then: nip pack %s", filepath.Join(work, recipeName), filepath.Join(work, recipeName))
		return nil
	}
	if err := context.Cause(c.Context()); err != nil {
		return err
	}
	o := npk.PackOptions{Source: res.SourceCID}
	for _, d := range res.Deps {
		o.Deps = append(o.Deps, d.CID)
	}
	if f.options.Keep {
		o.Flags = append(o.Flags, "keep")
	}
	return a.pack(res.Dir, res.Recipe, o, f.output)
}

// recipeName is the recipe in a directory that --stage made.
const recipeName = "recipe.kdl"

// workDir returns the directory to work in, and whether it is the person's.
func (f *graftFlags) workDir() (dir string, keep bool, err error) {
	if f.stage == "" {
		dir, err = os.MkdirTemp("", "nip-graft-")
		return dir, false, err
	}
	if err := os.Mkdir(f.stage, 0o755); err != nil {
		return "", false, err // one that exists may hold anything
	}
	dir, err = filepath.Abs(f.stage)
	return dir, true, err
}

// override puts the person's rights in the place of the proposed ones.
func (f *graftFlags) override(c *cobra.Command, r *npk.Recipe) (err error) {
	if c.Flags().Changed("pledge") {
		if r.Pledge, err = capability.ParsePledgeList(f.pledge); err != nil {
			return &usageError{verb: "graft", err: err}
		}
	}
	if c.Flags().Changed("unveil") {
		r.Unveil = nil
	}
	for _, s := range f.unveil {
		u, err := capability.ParseUnveil(s, "")
		if err != nil {
			return &usageError{verb: "graft", err: err}
		}
		r.Unveil = append(r.Unveil, u)
	}
	for _, s := range f.net {
		rules, err := capability.ParseNet(s)
		if err != nil {
			return &usageError{verb: "graft", err: err}
		}
		r.Net = append(r.Net, rules...)
	}
	return nil
}

func (a *app) printProposal(res *graft.Result) {
	a.say("%s %s from %s", res.Recipe.Name, res.Recipe.Version, printable(res.Recipe.Source))
	a.printRequest(res.Recipe)
	for _, n := range res.Notes {
		a.say("  note: %s", printable(n))
	}
}

// writeRecipe puts the recipe beside the staging directory.
func writeRecipe(res *graft.Result) error {
	dir := filepath.Dir(res.Dir)
	r := *res.Recipe
	rel, err := filepath.Rel(dir, res.Dir)
	if err != nil {
		return err
	}
	r.Dir = rel
	return os.WriteFile(filepath.Join(dir, recipeName), r.KDL(), 0o644)
}

// removeTree removes a directory that may hold read-only directories.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if !os.IsPermission(err) {
		return err
	}
	werr := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	if werr != nil {
		return fmt.Errorf("remove %s: %w", dir, werr)
	}
	return os.RemoveAll(dir)
}
