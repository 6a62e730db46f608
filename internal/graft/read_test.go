package graft

import (
	"path"
	"reflect"
	"slices"
	"testing"

	"nipcells/internal/npk"
)

func TestParseAlternatives(t *testing.T) {
	const script = `#!/bin/sh
set -e
# update-alternatives --install /usr/bin/no no /usr/bin/comment 10
if [ "$1" = configure ]; then
	update-alternatives --install /usr/bin/editor editor /usr/bin/vim.tiny 15 \
	    --slave /usr/share/man/man1/editor.1.gz editor.1.gz /usr/share/man/man1/vim.1.gz \
	    --slave /usr/bin/second second /usr/bin/vim.second
	update-alternatives --quiet --install /usr/bin/awk awk /usr/bin/mawk 5
	for i in a b; do update-alternatives --install /usr/bin/$i $i /usr/bin/vim 10; done
	dir=/usr/lib/tools
	tools='c d'
	level=7
	[ -z "$2" ] || level=$(expr $level - 1)
	for i in $tools; do
		for kind in x "$2"; do
			unset slave || true
			update-alternatives \
			    --install /usr/bin/$i-$kind $i $dir/bin/${i} $level $slave
		done
	done
	update-alternatives --install /usr/bin/$i $i $dir/bin/$i 10
	update-alternatives --install /usr/bin/e e $unknown/e 10
	update-alternatives --install /usr/bin/x x /usr/bin/../../etc/x 10
	update-alternatives --install /usr/bin/y y /usr/bin/y.real much
	update-alternatives --remove z /usr/bin/z
fi
`
	want := []alternative{
		{link: "/usr/bin/editor", target: "/usr/bin/vim.tiny", priority: 15},
		{link: "/usr/share/man/man1/editor.1.gz", target: "/usr/share/man/man1/vim.1.gz", priority: 15},
		{link: "/usr/bin/second", target: "/usr/bin/vim.second", priority: 15},
		{link: "/usr/bin/awk", target: "/usr/bin/mawk", priority: 5},
		{link: "/usr/bin/a", target: "/usr/bin/vim", priority: 10},
		{link: "/usr/bin/b", target: "/usr/bin/vim", priority: 10},
		{link: "/usr/bin/c-x", target: "/usr/lib/tools/bin/c", priority: 7},
		{link: "/usr/bin/d-x", target: "/usr/lib/tools/bin/d", priority: 7},
	}
	if got := parseAlternatives(script); !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestParseShebang(t *testing.T) {
	tests := []struct{ head, interp, program string }{
		{"#!/bin/sh\n", "/bin/sh", "sh"},
		{"#! /usr/bin/perl -w\nuse x", "/usr/bin/perl", "perl"},
		{"#!/usr/bin/env python3", "/usr/bin/env", "python3"},
		{"#!/usr/bin/env -S node --x\n", "/usr/bin/env", "node"},
		{"#!/usr/bin/env\n", "/usr/bin/env", "env"},
		{"#!sh\n", "", ""},
		{"\x7fELF", "", ""},
		{"", "", ""},
	}
	for _, test := range tests {
		interp, arg, ok := parseShebang([]byte(test.head))
		if ok != (test.interp != "") || ok && interp != test.interp {
			t.Errorf("parseShebang(%q) = %q, %v", test.head, interp, ok)
		}
		if s := (script{interp: interp, arg: arg}); ok && s.program() != test.program {
			t.Errorf("%q is run by %q, want %q", test.head, s.program(), test.program)
		}
	}
}

func TestParseStanza(t *testing.T) {
	d := parseStanza(`Package: git
Version: 1:2.39.5-0+deb12u3
Architecture: amd64
Source: git-core (1:2.39)
Provides: git-completion, git-core (= 1:2)
Pre-Depends: libc6 (>= 2.34)
Depends: perl:any, mawk | awk (>> 1), liberror-perl
Description: fast
 and more: text
SHA256: ABCD
Size: 12
`)
	want := &deb{Name: "git", Version: "1:2.39.5-0+deb12u3", Arch: "amd64", Source: "git-core", Summary: "fast", SHA256: "abcd", Size: 12,
		Provides: []string{"git-completion", "git-core"}, Depends: [][]string{{"libc6"}, {"perl"}, {"mawk", "awk"}, {"liberror-perl"}}}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("got %+v\nwant %+v", d, want)
	}
}

func TestReachable(t *testing.T) {
	all := []*deb{
		{Name: "app", Depends: [][]string{{"lib"}, {"debconf", "debconf-2.0"}, {"virtual"}}},
		{Name: "lib"},
		{Name: "real", Provides: []string{"virtual"}},
		{Name: "debconf", Depends: [][]string{{"perl-base"}}},
		{Name: "perl-base"},
		{Name: "gcc-12-base"},
	}
	names := func(debs []*deb) (n []string) {
		for _, d := range debs {
			n = append(n, d.Name)
		}
		return n
	}
	if got, want := names(reachable(all, []string{"app"})), []string{"app", "lib", "real"}; !slices.Equal(got, want) {
		t.Errorf("app needs %q, want %q", got, want)
	}
	if got, want := names(reachable(all, []string{"debconf"})), []string{"debconf", "perl-base"}; !slices.Equal(got, want) {
		t.Errorf("debconf, asked for by name, needs %q, want %q", got, want)
	}
}

// TestWithLocale: the locale comes with a C library and alone.
func TestWithLocale(t *testing.T) {
	for _, c := range []struct{ chosen, want []string }{
		{[]string{"app", "libc6"}, []string{"app", "libc6", "libc-bin/lib/locale"}},
		{[]string{"app"}, []string{"app"}},
		{[]string{"libc-bin", "libc6"}, []string{"libc-bin", "libc6"}}, // asked for by name: all of it
	} {
		var all, chosen []*deb
		for _, name := range []string{"app", "libc-bin", "libc6"} {
			all = append(all, &deb{Name: name})
		}
		for _, name := range c.chosen {
			chosen = append(chosen, all[slices.IndexFunc(all, func(d *deb) bool { return d.Name == name })])
		}
		var got []string
		for _, d := range withLocale(all, chosen) {
			got = append(got, path.Join(d.Name, d.only))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("with %q come %q, want %q", c.chosen, got, c.want)
		}
	}
}

func TestWithin(t *testing.T) {
	p := rootPlacing().within("lib/locale")
	for _, c := range []struct {
		name, place string
		ok          bool
	}{
		{"./usr/lib/locale/C.utf8/LC_CTYPE", "lib/locale/C.utf8/LC_CTYPE", true},
		{"./usr/lib/locale", "lib/locale", true},
		{"./usr/lib/locales", "lib/locales", false},
		{"./usr/bin/ldd", "bin/ldd", false},
		{"./usr", ".", false},
	} {
		if place, ok := p.name(c.name); place != c.place || ok != c.ok {
			t.Errorf("%s is placed at %s, %v", c.name, place, ok)
		}
	}
}

func TestRelative(t *testing.T) {
	tests := []struct{ dir, name, want string }{
		{"bin", "lib/x", "../lib/x"}, {".", "lib/x", "lib/x"}, {"lib/a", "lib/a", "."}, {"lib/a/b", "lib", "../.."}, {"a/b", "a/b/c", "c"}, {"a", ".", ".."},
	}
	for _, test := range tests {
		if got := relative(test.dir, test.name); got != test.want {
			t.Errorf("relative(%q, %q) = %q, want %q", test.dir, test.name, got, test.want)
		}
	}
}

func TestAlias(t *testing.T) {
	tests := []struct {
		source, name string
		files        []string
		want         string // what the command with the package's name runs, "": there is none
	}{
		{"python3.11", "python3", []string{"pdb3.11", "python3.11"}, "bin/python3.11"},
		{"vim-tiny", "vim-tiny", []string{"helpztags", "vim.tiny"}, "bin/vim.tiny"},
		{"busybox-static", "busybox-static", []string{"busybox", "other"}, "bin/busybox"},
		{"jq", "jq", []string{"jq"}, "bin/jq"},
		{"ripgrep", "ripgrep", []string{"rg"}, "bin/rg"},
		{"coreutils", "coreutils", []string{"cat", "ls"}, ""},
	}
	for _, test := range tests {
		g := &grafting{kind: "debian", what: test.source, tree: emptyTree(t)}
		g.recipe.Name = test.name
		for _, f := range test.files {
			if err := g.tree.write("bin/"+f, []byte("#!/bin/sh")); err != nil {
				t.Fatal(err)
			}
			g.recipe.Commands = append(g.recipe.Commands, npk.Command{Name: f, Exec: "bin/" + f})
		}
		g.alias()
		got := ""
		for _, c := range g.recipe.Commands {
			if c.Name == test.name {
				got = c.Exec
			}
		}
		if got != test.want {
			t.Errorf("%s as %s runs %q, want %q", test.source, test.name, got, test.want)
		}
	}
}
