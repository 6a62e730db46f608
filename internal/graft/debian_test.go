package graft

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nipcells/internal/capability"
)

// The tests in this file fetch packages through the machine's apt, once: the
// downloads stay in DefaultCache.

// TestGraftDebian grafts jq and runs it from its tree.
func TestGraftDebian(t *testing.T) {
	t.Parallel()
	status, err := os.Stat("/var/lib/dpkg/status")
	if err != nil {
		t.Fatal(err)
	}
	r := graftAll(t, Options{Source: "debian:jq"})
	locate(t, r.Dir)
	if said := run(t, r, "jq", "-n", "[1,2]|add"); said != "3\n" {
		t.Errorf("jq said %q", said)
	}
	if r.Recipe.Pledge != capability.Stdio|capability.Rpath|capability.Wpath {
		t.Errorf("pledge is %v", r.Recipe.Pledge)
	}
	if !strings.HasPrefix(r.Recipe.Source, "debian:jq=") || r.SourceCID.IsZero() || strings.Contains(r.Recipe.Version, ":") {
		t.Errorf("recipe is %+v", r.Recipe)
	}
	var names []string
	for _, d := range r.Deps {
		names = append(names, d.Name)
	}
	if !slices.Contains(names, "libc6") || slices.Contains(names, "jq") || !slices.IsSorted(names) || slices.ContainsFunc(names, func(n string) bool { return isPlumbing(n) && n != localePackage }) {
		t.Errorf("dependencies are %v", names)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "lib/locale/C.utf8/LC_CTYPE")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "bin/iconv")); !os.IsNotExist(err) {
		t.Errorf("more than the locale of %s was taken: %v", localePackage, err)
	}
	if after, err := os.Stat("/var/lib/dpkg/status"); err != nil || after.ModTime() != status.ModTime() {
		t.Error("the host's list of packages changed")
	}
}

// TestGraftPython checks byte code, and that two grafts are the same.
func TestGraftPython(t *testing.T) {
	t.Parallel()
	r := graftAll(t, Options{Source: "debian:python3.11-minimal", Name: "python3"})
	again := graftAll(t, Options{Source: "debian:python3.11-minimal", Name: "python3"})
	same(t, r.Dir, again.Dir)
	locate(t, r.Dir)
	said := run(t, r, "python3", "-c", "import sys, re\nprint(re.__cached__, sys.prefix, sys.executable)\nprint(open(re.__cached__, 'rb').read(8)[4])\nprint([m for m in open('/proc/self/maps') if '.so' in m and '"+r.Dir+"' not in m])")
	lines := strings.Split(said, "\n")
	cached := filepath.Join(r.Dir, "lib/python3.11/re/__pycache__/__init__.cpython-311.pyc")
	if len(lines) < 3 || !strings.HasPrefix(lines[0], cached+" "+r.Dir+" ") || lines[1] != "1" || lines[2] != "[]" {
		t.Errorf("python said %q", said)
	}
	if info, err := os.Stat(cached); err != nil || !info.ModTime().Equal(sourceTime()) {
		t.Errorf("byte code: %v", err)
	}
}

// same fails if two trees differ in names, contents, modes or times.
func same(t *testing.T, a, b string) {
	t.Helper()
	describe := func(dir string) map[string]string {
		tree := map[string]string{}
		err := filepath.Walk(dir, func(name string, fi os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			text := fi.Mode().String()
			switch {
			case fi.Mode()&os.ModeSymlink != 0:
				target, err := os.Readlink(name)
				if err != nil {
					return err
				}
				text += target
			case fi.Mode().IsRegular():
				sum, err := fileSHA256(name)
				if err != nil {
					return err
				}
				text += sum + fi.ModTime().String()
			default:
				text += fi.ModTime().String()
			}
			tree[strings.TrimPrefix(name, dir)] = text
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	one, two := describe(a), describe(b)
	for _, name := range sortedKeys(one) {
		if one[name] != two[name] {
			t.Errorf("%s is %q in one graft and %q in the other", name, one[name], two[name])
		}
	}
	if len(one) != len(two) {
		t.Errorf("one graft has %d names, the other %d", len(one), len(two))
	}
}

// TestGraftScript gives a shell script a shell.
func TestGraftScript(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "hello")
	writeFile(t, filepath.Join(source, "hello"), "#!/bin/sh\necho hello \"$@\"\n")
	r := graftAll(t, Options{Source: "dir:" + source, With: []string{"dash"}})
	if c := r.Recipe.Commands; len(c) != 1 || c[0].Exec != "hello" || r.Recipe.Pledge&capability.Exec == 0 {
		t.Errorf("recipe is %+v", r.Recipe)
	}
	if r.Recipe.Arch == "all" {
		t.Error("a tree with a shell in it is for all architectures")
	}
	locate(t, r.Dir)
	r.Recipe.Commands[0].Args = []string{filepath.Join(r.Dir, r.Recipe.Commands[0].Exec)}
	r.Recipe.Commands[0].Exec = "bin/sh"
	if said := run(t, r, "hello", "you"); said != "hello you\n" {
		t.Errorf("the script said %q", said)
	}
}

// TestGraftDebianMistakes asks for what is not there.
func TestGraftDebianMistakes(t *testing.T) {
	t.Parallel()
	for source, says := range map[string]string{
		"debian:no-such-package-anywhere": "Unable to locate package no-such-package-anywhere",
		"debian:jq=0.0.1":                 "Version '0.0.1' for 'jq' was not found",
		"debian:jq-":                      "jq-",
	} {
		_, err := Graft(t.Context(), Options{Source: source, Work: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Graft(%s) = %v, want %q", source, err, says)
		}
	}
}
