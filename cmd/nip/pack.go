package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"nipcells/internal/npk"
)

func newPackCommand(a *app) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "pack RECIPE",
		Short: "Make a package from a recipe and a directory of files",
		Long: `Pack reads a recipe (KDL) and the directory of files beside it, "files" unless the
recipe names another, and writes a signed package. The same files, recipe and key
give the same bytes. Loaders, C libraries and static programs are changed in the package
so that what they do with paths in a cell needs no supervisor; your files stay as they are.`,
		Example: `  nip pack ./hello/recipe.kdl -o hello.npk

  # the smallest recipe:
  package "hello" version="1.0" {
      command "hello" exec="bin/hello"
      pledge "STDIO"
  }`,
		Args: args(1, 1, "a RECIPE"),
		RunE: func(_ *cobra.Command, words []string) error {
			src, err := os.ReadFile(words[0])
			if err != nil {
				return err
			}
			recipe, err := npk.ParseRecipe(words[0], src)
			if err != nil {
				return err
			}
			return a.pack(recipe.FilesDir(words[0]), recipe, npk.PackOptions{}, output)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "the `FILE` to write (default NAME.npk)")
	return c
}

// pack writes the package of a directory to a file, which appears when it is
// whole.
func (a *app) pack(dir string, r *npk.Recipe, o npk.PackOptions, output string) error {
	root, err := a.signingRoot()
	if err != nil {
		return err
	}
	if o.Key, err = ownKey(root); err != nil {
		return err
	}
	if output == "" {
		output = r.Name + ".npk"
	}
	p := a.progress()
	o.Progress = func(done, total int64) { p.update("pack "+r.Name, done, total) }
	var notes []string
	o.Note = func(text string) { notes = append(notes, text) }
	var m *npk.Manifest
	err = writeFile(output, func(f *os.File) (err error) {
		if m, err = npk.Pack(f, dir, r, o); err != nil {
			return &packError{err}
		}
		return nil
	})
	p.done()
	if err != nil {
		return err
	}
	for _, n := range notes {
		a.say("note: %s", printable(n))
	}
	fi, err := os.Stat(output)
	if err != nil {
		return err
	}
	a.say("%s: %s %s, %s, %s packed to %s", output, m.Name, m.Version, count(m.Files, "file"), bytesText(m.Size), bytesText(fi.Size()))
	return nil
}

// packError reports a tree and a recipe that make no package.
type packError struct{ err error }

func (e *packError) Error() string { return e.err.Error() }
func (e *packError) Unwrap() error { return e.err }

// writeFile makes a file whose content write provides. It has its name only
// once it is whole and on the disk.
func writeFile(path string, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		if p := new(os.PathError); errors.As(err, &p) {
			err = p.Err // not the name of a file that nobody knows
		}
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
