package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// stage is a root with the packages installed, and the trees that programs work
// on.
type stage struct {
	settings
	base, root, work string
	empty            string // a directory that is unveiled for execution, so that all is asked
}

func newStage(set settings, base string) (*stage, error) {
	base, err := filepath.EvalSymlinks(base)
	if err != nil {
		return nil, err
	}
	s := &stage{settings: set, base: base, root: base + "/root", work: base + "/work", empty: base + "/empty"}
	for _, p := range []*string{&s.nip, &s.fixtures, &s.packages} {
		if *p, err = filepath.Abs(*p); err != nil {
			return nil, err
		}
	}
	return s, errors.Join(os.Mkdir(s.work, 0o755), os.Mkdir(s.empty, 0o755))
}

// debian are the packages that are grafted. What a program starts by name, or
// by way of a shell, must come with it.
var debian = map[string][]string{
	"python3": {"debian:python3.11"},
	"git":     {"debian:git"},
	"make":    {"debian:make", "--keep", "--with", "gcc", "--with", "libc6-dev", "--with", "dash", "--with", "coreutils"},
	"node":    {"debian:nodejs"},
	"bash":    {"debian:bash", "--with", "coreutils"},
	"tar":     {"debian:tar"},
}

// graftAll makes the packages, and leaves the key they are signed with beside
// them.
func (s *stage) graftAll() error {
	for name, source := range debian {
		if err := s.nipDo(append([]string{"graft", "-q", "--name", name, "-o", s.npk(name)}, source...)...); err != nil {
			return err
		}
	}
	if err := s.graftTimers(); err != nil {
		return err
	}
	if err := s.packTrue(); err != nil {
		return err
	}
	key, err := s.nipCommand("key", "show").Output()
	if err != nil {
		return fmt.Errorf("nip key show: %w", err)
	}
	return os.WriteFile(s.key(), key, 0o644)
}

// graftTimers makes packages of the programs that time calls and the host's C
// library, which they go by in all ways.
func (s *stage) graftTimers() error {
	libc, loader := library()
	for name, pledge := range map[string]string{"calls": "STDIO,RPATH,WPATH,EXEC", "wall": "STDIO,RPATH,WPATH,INET"} {
		dir := s.base + "/" + name
		for from, to := range map[string]string{s.fixtures + "/" + name: "/bin/" + name, libc: libc, loader: loader} {
			if err := copyFile(from, dir+to); err != nil {
				return err
			}
		}
		if err := s.nipDo("graft", "-q", "--pledge", pledge, "-o", s.npk(name), "dir:"+dir); err != nil {
			return err
		}
	}
	return nil
}

// library returns the names of the C library and its loader.
func library() (libc, loader string) {
	if runtime.GOARCH == "arm64" {
		return "/lib/aarch64-linux-gnu/libc.so.6", "/lib/ld-linux-aarch64.so.1"
	}
	return "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"
}

// packTrue makes a package of the static program that ends at once.
func (s *stage) packTrue() error {
	dir := s.base + "/true"
	if err := copyFile(s.fixtures+"/true", dir+"/files/bin/true"); err != nil {
		return err
	}
	recipe := "package \"true\" version=\"1.0\" {\n    command \"true\" exec=\"bin/true\"\n    pledge \"STDIO\"\n}\n"
	if err := os.WriteFile(dir+"/recipe.kdl", []byte(recipe), 0o644); err != nil {
		return err
	}
	return s.nipDo("pack", "-q", dir+"/recipe.kdl", "-o", s.npk("true"))
}

func (s *stage) npk(name string) string { return s.packages + "/" + name + ".npk" }
func (s *stage) key() string            { return s.packages + "/key.pub" }

// prepare installs the packages and makes the trees.
func (s *stage) prepare() error {
	list, err := filepath.Glob(s.packages + "/*.npk")
	if err != nil {
		return err
	}
	for _, npk := range list {
		if err := s.nipDo("install", "-q", "--trust", s.key(), npk); err != nil {
			return err
		}
	}
	for dir, files := range map[string]int{"many": s.files, "git": s.tracked, "tar": 20000, "few": 1} {
		if err := fill(s.work+"/"+dir, files, 100); err != nil {
			return err
		}
	}
	return errors.Join(repository(s.work+"/git"), project(s.work+"/c"))
}

// fill makes n small files in directories of per each.
func fill(dir string, n, per int) error {
	for i := range n {
		sub := filepath.Join(dir, strconv.Itoa(i/per/20), strconv.Itoa(i/per))
		if i%per == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(sub, strconv.Itoa(i)), []byte{'x'}, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// repository has git track the files of a directory.
func repository(dir string) error {
	past := time.Now().Add(-time.Hour) // or git would read files as young as its index
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Chtimes(path, past, past)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-q", "."}, {"add", "."}} {
		cmd := exec.Command("/usr/bin/git", args...)
		cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git: %w: %s", err, out)
		}
	}
	return nil
}

// project makes a C program of 40 files, each with some headers of its own and of
// the system's.
func project(dir string) error {
	const files = 40
	makefile := "CFLAGS = -O1 -Iinclude\nobjects ="
	sum, list := "", ""
	for i := range files {
		n := strconv.Itoa(i)
		header := fmt.Sprintf("#ifndef PART%s_H\n#define PART%s_H\n#include \"part%d.h\"\nint part%s(int x);\n#endif\n", n, n, max(i-1, 0)/2, n)
		if i == 0 {
			header = "#ifndef PART0_H\n#define PART0_H\nint part0(int x);\n#endif\n"
		}
		source := "#include <errno.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/stat.h>\n#include <unistd.h>\n#include \"part" + n + ".h\"\n"
		for f := range 12 {
			source += fmt.Sprintf("static int step%d(int x)\n{\n\tchar b[64];\n\tint i;\n\n\tfor (i = 0; i < x; i++)\n\t\tx += snprintf(b, sizeof(b), \"%%d %d\", i) ^ (int)strlen(b);\n\treturn x;\n}\n\n", f, f)
		}
		source += "int part" + n + "(int x)\n{\n\treturn step0(x)"
		for f := 1; f < 12; f++ {
			source += fmt.Sprintf(" + step%d(x)", f)
		}
		source += ";\n}\n"
		if err := write(dir+"/include/part"+n+".h", header); err != nil {
			return err
		}
		if err := write(dir+"/src/part"+n+".c", source); err != nil {
			return err
		}
		makefile += " src/part" + n + ".o"
		list += "#include \"part" + n + ".h\"\n"
		sum += " + part" + n + "(1)"
	}
	makefile += " src/main.o\n\nprogram: $(objects)\n\t$(CC) -o $@ $(objects)\n"
	return errors.Join(write(dir+"/Makefile", makefile), write(dir+"/src/main.c", list+"int main(void)\n{\n\treturn (0"+sum+") & 1;\n}\n"))
}

func write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// clean removes what make has made.
func (s *stage) clean() error {
	made, err := filepath.Glob(s.work + "/c/src/*.o")
	for _, name := range append(made, s.work+"/c/program", s.work+"/out.tar") {
		if e := os.Remove(name); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// env is the environment of every command: the same in all ways.
func (s *stage) env() []string {
	return []string{"PATH=/usr/bin:/bin", "HOME=" + s.work, "LC_ALL=C", "NIP_ROOT=" + s.root, "GIT_OPTIONAL_LOCKS=0", "TMPDIR=" + s.base}
}

func (s *stage) nipCommand(args ...string) *exec.Cmd {
	c := exec.Command(s.nip, args...)
	c.Env = s.env()
	return c
}

func (s *stage) nipDo(args ...string) error {
	var errs bytes.Buffer
	c := s.nipCommand(args...)
	c.Stderr = &errs
	if err := c.Run(); err != nil {
		return fmt.Errorf("nip %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// removeTree removes a tree with directories in which nobody may write.
func removeTree(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	})
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "cells: clean up:", err)
	}
}
