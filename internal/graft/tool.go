package graft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// toolTimeout ends a tool that hangs. Byte-compiling the largest Python
// packages takes minutes.
const toolTimeout = 30 * time.Minute

// ErrNoTool reports that Options.Tool is missing though a package's own program
// has to run.
var ErrNoTool = errors.New("nothing to run a package's own programs with")

// runTool runs a program of the tree, argv[0] being its path in the tree, with
// the tree's own loader and libraries and a clean environment. In the other
// arguments {tree} stands for the staging directory. It returns the program's
// standard output. All of a package's own code that graft ever runs runs here,
// in a cell that sees the tree and nothing else (Options.Tool).
func (g *grafting) runTool(ctx context.Context, env []string, argv ...string) ([]byte, error) {
	real, ok := g.tree.resolve(argv[0])
	if !ok {
		return nil, fmt.Errorf("run %s: not in the tree", argv[0])
	}
	program := filepath.Join(g.tree.dir, real)
	line := []string{program}
	if f := g.elves.byName[real]; f != nil && f.interp != "" {
		loader, ok := g.loader(f)
		if !ok {
			return nil, fmt.Errorf("run %s: %w", argv[0], ErrNoLoader)
		}
		// ld.so(8): the loader as a command, so that nothing of the host's is used.
		line = []string{filepath.Join(g.tree.dir, loader), "--inhibit-cache", "--argv0", filepath.Join(g.tree.dir, argv[0]), program}
	}
	for _, a := range argv[1:] {
		line = append(line, strings.ReplaceAll(a, "{tree}", g.tree.dir))
	}
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	if len(g.Tool) == 0 {
		return nil, fmt.Errorf("run %s: %w", argv[0], ErrNoTool)
	}
	line = append(append(slices.Clone(g.Tool), g.tree.dir), line...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + filepath.Join(g.tree.dir, "bin"), "HOME=" + filepath.Dir(g.tree.dir), "LC_ALL=C.UTF-8",
		"SOURCE_DATE_EPOCH=" + fmt.Sprint(sourceTime().Unix()), "XDG_DATA_DIRS=" + filepath.Join(g.tree.dir, "share")}
	for _, e := range env {
		cmd.Env = append(cmd.Env, strings.ReplaceAll(e, "{tree}", g.tree.dir))
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("run %s: %w", argv[0], ctx.Err())
		}
		last := strings.TrimSpace(errs.String() + out.String())
		if i := strings.LastIndexByte(last, '\n'); i >= 0 {
			last = last[i+1:]
		}
		return out.Bytes(), fmt.Errorf("run %s: %w: %s", argv[0], err, last)
	}
	return out.Bytes(), nil
}

// write puts a file into the tree that graft itself makes.
func (t *tree) write(name string, data []byte) error {
	return t.file(name, bytes.NewReader(data), false, "")
}

// tempLink makes usr -> . while a tool runs that has /usr compiled in.
func (t *tree) tempLink(run func() error) error {
	if err := t.root.Symlink(".", "usr"); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	err := run()
	if rerr := t.root.Remove("usr"); err == nil {
		err = rerr
	}
	return err
}
