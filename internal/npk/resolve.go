package npk

import (
	"errors"
	"fmt"
	"strings"
)

const (
	maxLinks = 40      // symlinks on one way, as in the kernel
	maxWork  = 1 << 30 // bytes of paths handled for one package's symlinks
)

// tree looks paths up in a package as the kernel would in its directory.
type tree struct {
	entries []Entry
	byPath  map[string]int32
	work    int // bytes of paths handled so far
}

func newTree(entries []Entry) tree {
	t := tree{entries: entries, byPath: make(map[string]int32, len(entries))}
	for i := range entries {
		t.byPath[entries[i].Path] = int32(i)
	}
	return t
}

// walk follows target from the directory dir ("" is the root). It returns the
// path where it ends and its entry, nil if there is none or the path is the
// root. A way that leaves the package at any point, also one through names that
// do not exist, is an error.
func (t *tree) walk(dir, target string) (string, *Entry, error) {
	at, todo := dir, target
	var last *Entry
	for links := 0; todo != ""; {
		name, rest, _ := strings.Cut(todo, "/")
		todo = rest
		if t.work += len(at) + len(name) + 16; t.work > maxWork {
			return "", nil, errors.New("symlinks are too tangled to follow")
		}
		switch name {
		case "", ".":
			continue
		case "..":
			if at == "" {
				return "", nil, fmt.Errorf("%q leads out of the package", target)
			}
			at, last = parent(at), nil
			if i, ok := t.byPath[at]; ok {
				last = &t.entries[i]
			}
			continue
		}
		dir := at
		if at == "" {
			at = name
		} else {
			at += "/" + name
		}
		i, ok := t.byPath[at]
		if !ok {
			if last = nil; len(at) > maxPathLen {
				return "", nil, fmt.Errorf("%q is longer than %d bytes", target, maxPathLen)
			}
			continue
		}
		if last = &t.entries[i]; last.Kind != Symlink {
			continue
		}
		if links++; links > maxLinks {
			return "", nil, fmt.Errorf("%q goes round in a circle of symlinks", target)
		}
		at, todo, last = dir, last.Target+"/"+todo, nil
		t.work += len(todo)
	}
	return at, last, nil
}

func parent(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}

// follow returns the entry that path leads to.
func (t *tree) follow(path string) (*Entry, error) {
	if strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%q is absolute", path)
	}
	_, e, err := t.walk("", path)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, fmt.Errorf("%q is not in the package", path)
	}
	return e, nil
}

// checkLinks makes sure that every symlink stays in the package.
func (t *tree) checkLinks() error {
	for i := range t.entries {
		if e := &t.entries[i]; e.Kind == Symlink {
			if err := t.checkLink(e); err != nil {
				return fmt.Errorf("symlink %s: %w", e.Path, err)
			}
		}
	}
	return nil
}

func (t *tree) checkLink(e *Entry) error {
	switch {
	case e.Target == "" || len(e.Target) > maxPathLen:
		return fmt.Errorf("target of %d bytes", len(e.Target))
	case e.Target[0] == '/':
		return fmt.Errorf("target %q is absolute", e.Target)
	}
	for name := range strings.SplitSeq(e.Target, "/") {
		if name == "" || name == "." || name == ".." {
			continue
		}
		if err := checkFileName(name); err != nil {
			return err
		}
	}
	_, _, err := t.walk(parent(e.Path), e.Target)
	return err
}

// checkCommands makes sure that every command's program is there and executable.
func (t *tree) checkCommands(commands []Command) error {
	for _, c := range commands {
		e, err := t.follow(c.Exec)
		if err != nil {
			return fmt.Errorf("command %s: %w", c.Name, err)
		}
		if e.Kind != File || !e.Exec {
			return fmt.Errorf("command %s: %s is no executable file", c.Name, c.Exec)
		}
	}
	return nil
}

// checkNative makes sure that what has something for native views is there.
func (t *tree) checkNative(list []Native) error {
	for _, n := range list {
		i, ok := t.byPath[n.Path]
		if !ok || t.entries[i].Kind != File {
			return fmt.Errorf("native: %s is no file of the package", n.Path)
		}
	}
	return nil
}
