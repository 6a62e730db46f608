package main

import (
	"os/exec"
	"strings"
)

// walk is a tree walk as scripts do it. What C makes of it is among the single calls.
const walk = `import os
for dir, _, names in os.walk("."):
    for n in names:
        os.lstat(os.path.join(dir, n))`

// programs times whole programs, the start of the cell or of bwrap included.
func (t *table) programs() error {
	if err := t.imports(); err != nil {
		return err
	}
	for _, j := range []*job{
		{name: "python3 walk+lstat", program: "/usr/bin/python3.11", command: "python3", dir: "many", args: []string{"-I", "-c", walk}, ofNative: 1.6},
		{name: "git status", program: "/usr/bin/git", command: "git", dir: "git", args: []string{"status", "--porcelain"}, ofNative: 1.7},
		{name: "make -j2, 41 C files", program: "/usr/bin/make", command: "make", dir: "c", args: []string{"-s", "-j2", "CC=gcc"}, before: t.clean, ofNative: 1.1},
		{name: "node -e 0", program: "/usr/bin/node", command: "node/node", args: []string{"-e", "0"}},
		{name: "bash, 200 forks", program: "/usr/bin/bash", command: "bash", args: []string{"-c", `for ((i = 0; i < 200; i++)); do (:); done`}},
		{name: "bash, 200 programs", program: "/usr/bin/bash", command: "bash", args: []string{"-c", `for ((i = 0; i < 200; i++)); do sleep 0; done`}},
		{name: "tar of 20,000 files", program: "/usr/bin/tar", command: "tar", dir: "tar", args: []string{"-cf", t.work + "/out.tar", "."}, before: t.clean},
	} {
		if t.only != "" && !strings.Contains(j.name, t.only) {
			continue
		}
		samples, err := t.measure(t.rounds, j)
		if err != nil {
			return err
		}
		t.row(j.name, "ms", &samples[0], j.ofNative, j.ofBwrap)
		t.compareVersions(j)
		if err := t.counted(j); err != nil {
			return err
		}
	}
	return nil
}

// compareVersions says where the host's program is not the package's.
func (t *table) compareVersions(j *job) {
	name, _, _ := strings.Cut(j.command, "/")
	host, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", strings.TrimPrefix(debian[name][0], "debian:")).Output()
	if err != nil {
		host = []byte("unknown")
	}
	info, _ := t.nipCommand("info", name).Output()
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "version" && !strings.HasSuffix(string(host), f[1]) {
			t.note("not the same program: the host has %s, the package is %s", host, f[1])
		}
	}
}

// added is how much longer than natively Python's import may take in a cell, apart
// from what the start of any program does.
const added = 1.05

// imports times Python's import against a static program that ends at once, which
// tells what of it is the start of the cell.
func (t *table) imports() error {
	static := &job{name: "static true", program: t.fixtures + "/true", command: "true"}
	python := &job{name: "python3 import", program: "/usr/bin/python3.11", command: "python3", args: []string{"-c", "import ssl,json"}, ofBwrap: 0.98, asked: 5}
	if t.only != "" && !strings.Contains(python.name, t.only) {
		return nil
	}
	samples, err := t.measure(3*t.rounds, static, python)
	if err != nil {
		return err
	}
	t.row(static.name, "ms", &samples[0], 0, 0)
	t.row(python.name, "ms", &samples[1], python.ofNative, python.ofBwrap)
	var rest sample
	for w := range ways {
		for i := range samples[1][w] {
			rest[w] = append(rest[w], samples[1][w][i]-samples[0].quartile(w))
		}
	}
	t.row("python3 import - start", "ms", &rest, added, 0)
	return t.counted(python)
}
