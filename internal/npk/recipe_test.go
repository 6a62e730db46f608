package npk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	kdlgo "github.com/sblinch/kdl-go"

	"nipcells/internal/capability"
	"nipcells/internal/npk/kdl"
)

// full is a recipe with everything, in its canonical form.
const full = `package "firefox" version="120.0~b1+deb_2-1" {
    summary "Web browser, \"the\" one"
    title "Firefox"
    arch "amd64"
    source "debian:firefox-esr=140.12.0esr-1"
    depends "fonts-base" "zlib1g"
    command "firefox" exec="bin/firefox"
    command "Safe" exec="lib/safe mode/é" {
        args "--safe-mode" "" "two\nlines"
    }
    pledge "STDIO" "RPATH" "WPATH" "-FATTR" "INET" "EXEC"
    unveil "/Data/users/downloads" "rw"
    unveil "/" "r"
    unveil "/Data/bin" "xc"
    bus "hud" "open-file"
    budget spectrum="matter" memory="2G" fibers=256 cpu="50%" disk="1000" io="20M/s"
    env "MOZ_HOME" "{prefix}/lib"
    env "EMPTY" ""
    native "bin/firefox" "stub"
    native "lib/ld.so" "shim" "stub"
    files "build/out"
    exclude "*.o" "share/doc/*"
}
`

func TestParseRecipe(t *testing.T) {
	r, err := ParseRecipe("r.kdl", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := &Recipe{
		Name: "firefox", Version: "120.0~b1+deb_2-1", Title: "Firefox", Summary: `Web browser, "the" one`,
		Arch: "amd64", Source: "debian:firefox-esr=140.12.0esr-1", Depends: []string{"fonts-base", "zlib1g"},
		Commands: []Command{
			{Name: "firefox", Exec: "bin/firefox"},
			{Name: "Safe", Exec: "lib/safe mode/é", Args: []string{"--safe-mode", "", "two\nlines"}},
		},
		Pledge: (capability.Stdio | capability.Rpath | capability.Wpath | capability.Inet | capability.Exec) &^ capability.Fattr,
		Unveil: []capability.Unveil{
			{Path: "/Data/users/downloads", Rights: capability.Read | capability.Write | capability.Create},
			{Path: "/", Rights: capability.Read},
			{Path: "/Data/bin", Rights: capability.Execute | capability.Create},
		},
		Bus:    []string{"hud", "open-file"},
		Budget: capability.Budget{Spectrum: "matter", Memory: 2 << 30, Fibers: 256, CPU: 50, Disk: 1000, IO: 20 << 20},
		Env:    []EnvVar{{"MOZ_HOME", "{prefix}/lib"}, {"EMPTY", ""}},
		Native: []Native{{"bin/firefox", false, true}, {"lib/ld.so", true, true}},
		Dir:    "build/out", Exclude: []string{"*.o", "share/doc/*"},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	if got := string(r.KDL()); got != full {
		t.Errorf("canonical text is\n%s", got)
	}
	if got, want := r.FilesDir("x/r.kdl"), filepath.Join("x", "build", "out"); got != want {
		t.Errorf("files are in %s, want %s", got, want)
	}
}

func TestParseRecipeSmall(t *testing.T) {
	r, err := ParseRecipe("r.kdl", []byte(`package "a" version="1"`))
	if err != nil || !reflect.DeepEqual(r, &Recipe{Name: "a", Version: "1", Title: "a"}) {
		t.Fatalf("got %+v, %v", r, err)
	}
	if got := r.FilesDir("hello/recipe.kdl"); got != "hello/files" {
		t.Errorf("files are in %s", got)
	}
	// Freedom of form: one line, lower case, several lists, numbers.
	r, err = ParseRecipe("r.kdl", []byte(`package "a" version="1" { depends "b"; depends "c"; pledge "stdio"; budget cpu=50 memory=1024; command "a" exec="a" { args "x"; }; }`))
	want := &Recipe{Name: "a", Version: "1", Title: "a", Depends: []string{"b", "c"}, Pledge: capability.Stdio,
		Budget: capability.Budget{CPU: 50, Memory: 1024}, Commands: []Command{{Name: "a", Exec: "a", Args: []string{"x"}}}}
	if err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestParseRecipeRefuses(t *testing.T) {
	// Each body stands in line 2 and on of a package node.
	tests := []struct{ name, body, want string }{
		{"unknown node", "  sumary \"x\"", `r.kdl:2:3: unknown node "sumary"`},
		{"node twice", "summary \"x\"\n summary \"y\"", `r.kdl:3:2: node "summary" given twice, first in line 2`},
		{"unknown property", `summary "x" lang="en"`, `r.kdl:2:13: summary has no property "lang"`},
		{"too many arguments", `title "x" "y"`, "r.kdl:2:11: title takes no more than 1 argument"},
		{"no argument", `title`, "r.kdl:2:1: title wants 1 argument, has 0"},
		{"number for string", `title 5`, "r.kdl:2:7: title wants a string in quotes, not a number"},
		{"children", `title "x" { y; }`, "r.kdl:2:1: title takes no children"},
		{"empty summary", `summary ""`, "r.kdl:2:9: summary is empty"},
		{"summary of two lines", `summary "a\nb"`, "r.kdl:2:9: \"a\\nb\" holds a control character"},
		{"long summary", `summary "` + strings.Repeat("x", 1025) + `"`, "r.kdl:2:9: has 1025 bytes"},
		{"title with slash", `title "a/b"`, `r.kdl:2:7: "a/b" is no title`},
		{"title that hides", `title ".a"`, `r.kdl:2:7: ".a" is no title`},
		{"title with space", `title "a b"`, `r.kdl:2:7: "a b" is no title`},
		{"architecture", `arch "x86"`, `r.kdl:2:6: "x86" is no architecture`},
		{"native without words", `native "a"`, "r.kdl:2:1: native wants 2 arguments, has 1"},
		{"native word", `native "a" "shim" "stubs"`, `r.kdl:2:19: native wants "shim", "stub" or both, not "stubs"`},
		{"native word twice", `native "a" "shim" "shim"`, `r.kdl:2:19: native wants "shim", "stub" or both, not "shim"`},
		{"native path", `native "/a" "shim"`, `r.kdl:2:8: path "/a" is absolute`},
		{"native twice", "native \"a\" \"shim\"\nnative \"a\" \"stub\"", `r.kdl:3:8: native "a" given twice, first in line 2`},
		{"native unsorted", "native \"b\" \"shim\"\nnative \"a\" \"stub\"", `r.kdl:1:1: recipe "a": native: is not sorted`},
		{"dependency", `depends "b" "C"`, `r.kdl:2:13: "C" is no package name`},
		{"dependency twice", "depends \"b\"\ndepends \"b\"", `r.kdl:3:9: depends "b" given twice, first in line 2`},
		{"own dependency", `depends "a"`, `r.kdl:2:9: "a" depends on itself`},
		{"no dependency", `depends`, "r.kdl:2:1: depends wants 1 argument"},
		{"command without exec", `command "x"`, `r.kdl:2:1: command "x" has no exec=`},
		{"command name", `command "a/b" exec="x"`, `r.kdl:2:9: "a/b" is no command name`},
		{"command that hides", `command ".x" exec="x"`, `r.kdl:2:9: ".x" is no command name`},
		{"command option", `command "-x" exec="x"`, `r.kdl:2:9: "-x" is no command name`},
		{"absolute exec", `command "x" exec="/bin/x"`, `r.kdl:2:18: path "/bin/x" is absolute`},
		{"exec that leaves", `command "x" exec="bin/../../x"`, `r.kdl:2:18: path "bin/../../x" has .. in it`},
		{"exec not clean", `command "x" exec="bin//x"`, `r.kdl:2:18: path "bin//x": "" is no file name`},
		{"exec with dot", `command "x" exec="./x"`, `r.kdl:2:18: path "./x": "." is no file name`},
		{"exec is a number", `command "x" exec=1`, "r.kdl:2:18: wants a string in quotes"},
		{"command twice", "command \"x\" exec=\"a\"\ncommand \"x\" exec=\"b\"", `r.kdl:3:9: command "x" given twice, first in line 2`},
		{"unknown in command", `command "x" exec="x" { arg "y"; }`, `r.kdl:2:24: unknown node "arg" in a command`},
		{"args twice", `command "x" exec="x" { args "y"; args "z"; }`, "r.kdl:2:34: args given twice"},
		{"NUL in args", `command "x" exec="x" { args "\u{0}"; }`, `r.kdl:2:29: "\x00" holds a NUL byte`},
		{"promise", `pledge "STDIO" "NET"`, `r.kdl:2:16: pledge "NET": no such promise`},
		{"promise twice", `pledge "STDIO" "STDIO"`, `r.kdl:2:16: pledge "STDIO" given twice`},
		{"nothing and something", `pledge "STDIO" "NONE"`, `r.kdl:2:1: pledge "NONE": no such promise`},
		{"pledge twice", "pledge \"STDIO\"\npledge \"RPATH\"", `r.kdl:3:1: node "pledge" given twice`},
		{"rights", `unveil "/x" "rwz"`, `r.kdl:2:13: rights "rwz"`},
		{"no rights", `unveil "/x" ""`, `r.kdl:2:13: rights ""`},
		{"rights missing", `unveil "/x"`, "r.kdl:2:1: unveil wants 2 arguments, has 1"},
		{"relative unveil", `unveil "x" "r"`, `r.kdl:2:8: path "x" is not absolute`},
		{"unveil that goes up", `unveil "/x/../y" "r"`, `r.kdl:2:8: path "x/../y" has .. in it`},
		{"unveil twice", "unveil \"/x\" \"r\"\nunveil \"/x\" \"w\"", `r.kdl:3:8: unveil "/x" given twice, first in line 2`},
		{"bus name", `bus "Hud"`, `r.kdl:2:5: "Hud" is no bus endpoint`},
		{"budget item", `budget mem="1G"`, `r.kdl:2:8: budget has no property "mem"`},
		{"budget size", `budget memory="lots"`, `r.kdl:2:15: budget "memory=lots"`},
		{"budget of nothing", `budget memory=0`, `r.kdl:2:15: budget "memory=0"`},
		{"budget below nothing", `budget fibers=-1`, `r.kdl:2:15: budget "fibers=-1"`},
		{"budget is a truth", `budget memory=true`, "r.kdl:2:15: memory wants a string or a number, not true or false"},
		{"budget twice", `budget memory=1 memory=2`, "r.kdl:2:17: property memory given twice"},
		{"budget argument", `budget "1G"`, "r.kdl:2:8: budget takes no more than 0 arguments"},
		{"empty budget", `budget`, "r.kdl:2:1: budget limits nothing"},
		{"spectrum", `budget spectrum="light"`, `r.kdl:2:17: budget "spectrum=light"`},
		{"variable", `env "A=B" "c"`, `r.kdl:2:5: "A=B" is no variable name`},
		{"variable without value", `env "A"`, "r.kdl:2:1: env wants 2 arguments, has 1"},
		{"NUL in variable", `env "A" "x\u{0}"`, `r.kdl:2:9: "x\x00" holds a NUL byte`},
		{"variable twice", "env \"A\" \"b\"\nenv \"A\" \"c\"", `r.kdl:3:5: env "A" given twice, first in line 2`},
		{"files elsewhere", `files "../x"`, `r.kdl:2:7: path "../x" has .. in it`},
		{"files absolute", `files "/etc"`, `r.kdl:2:7: path "/etc" is absolute`},
		{"pattern", `exclude "[a"`, `r.kdl:2:9: "[a" is no pattern`},
		{"linux cell", "linux \"x\" {\n kernel \"y\"\n}", "r.kdl:2:1: linux cells are not supported by this version of nip"},
		{"grammar", `title "x`, "r.kdl:2:7: string is not closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseRecipe("r.kdl", []byte("package \"a\" version=\"1\" {\n"+tt.body+"\n}\n"))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v\nwant one that begins with %s", err, tt.want)
			}
			if e := new(kdl.Error); !errors.As(err, &e) {
				t.Errorf("error is a %T", err)
			}
		})
	}
}

func TestParseRecipeRefusesWhole(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"empty", "", "r.kdl:1:1: no package node"},
		{"other node", "pakage \"a\"", `r.kdl:1:1: unknown node "pakage"`},
		{"two packages", "package \"a\" version=\"1\"\n  package \"b\" version=\"1\"", `r.kdl:2:3: a second node "package"`},
		{"no name", "package version=\"1\"", "r.kdl:1:1: package wants 1 argument, has 0"},
		{"no version", "package \"a\"", `r.kdl:1:1: package "a" has no version=`},
		{"version is a number", "package \"a\" version=1", "r.kdl:1:21: wants a string in quotes, not a number"},
		{"bad version", `package "a" version="1/2"`, `r.kdl:1:21: "1/2" is no version`},
		{"epoch", `package "a" version="1:2"`, `r.kdl:1:21: "1:2" is no version`},
		{"version is a link", `package "a" version="Current"`, `r.kdl:1:21: "Current" is no version`},
		{"bad name", `package "A" version="1"`, `r.kdl:1:9: "A" is no package name`},
		{"name that leaves", `package ".." version="1"`, `r.kdl:1:9: ".." is no package name`},
		{"long name", `package "` + strings.Repeat("a", 65) + `" version="1"`, "r.kdl:1:9: "},
		{"no pledge", `package "a" version="1" { command "a" exec="a"; }`, `r.kdl:1:1: package "a" has commands but no pledge`},
		{"unknown property", `package "a" version="1" epoch="2"`, `r.kdl:1:25: package has no property "epoch"`},
		{"too many", "package \"a\" version=\"1\" {\n" + many(maxList+1) + "}", "r.kdl:1:1: recipe \"a\": depends: 1025 given"},
		{"too long", strings.Repeat(" ", kdl.MaxSize+1), "r.kdl: has 1048577 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseRecipe("r.kdl", []byte(tt.src))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v\nwant one that begins with %s", err, tt.want)
			}
		})
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "depends \"p%d\"\n", i)
	}
	return b.String()
}

// TestRecipeKDL makes recipes at random: those that Check accepts must survive
// their text, and their text must be KDL to others too.
func TestRecipeKDL(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	accepted := 0
	for range 3000 {
		r := randomRecipe(rng)
		err := r.Check()
		text := r.KDL()
		back, perr := ParseRecipe("r.kdl", text)
		if err != nil {
			if perr == nil && reflect.DeepEqual(back, r) {
				t.Fatalf("Check refuses what ParseRecipe takes: %v\n%s", err, text)
			}
			continue
		}
		accepted++
		if perr != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("recipe does not survive: %v\n%s\ngot  %+v\nwant %+v", perr, text, back, r)
		}
		if _, err := kdlgo.Parse(bytes.NewReader(text)); err != nil {
			t.Fatalf("another reader does not take it: %v\n%s", err, text)
		}
	}
	if accepted < 300 {
		t.Errorf("only %d of the recipes were valid: the test tests little", accepted)
	}
}

func randomRecipe(rng *rand.Rand) *Recipe {
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	word := func() string {
		return one("a", "b2", "c+d", "e.f", "g-h", "x"+fmt.Sprint(rng.IntN(100)), one("a", "", "B", "a/b", ".x"))
	}
	text := func() string { return one("", "x", `"\`, "é ☜", "a\tb", "two\nlines", "{prefix}/a=b;c//d", "/-") }
	list := func(make func() string) (out []string) {
		for range rng.IntN(3) {
			out = append(out, make())
		}
		return out
	}
	r := &Recipe{Name: one("a", "n+1", "0.x"), Version: one("1", "1.0~rc-1", "A_b"), Title: "a", Summary: one("", "x", `"q" é`),
		Arch: one("", "amd64", "all"), Source: one("", "dir:x"), Depends: list(word), Bus: list(word),
		Pledge: capability.Pledge(rng.Uint64()) & capability.AllPledges, Dir: one("", ".", "x/y"), Exclude: list(word)}
	if rng.IntN(2) == 0 {
		r.Title = r.Name
	}
	for range rng.IntN(3) {
		r.Commands = append(r.Commands, Command{Name: word(), Exec: one("bin/x", "a b/é", "c"), Args: list(text)})
	}
	for range rng.IntN(3) {
		r.Unveil = append(r.Unveil, capability.Unveil{Path: one("/", "/a/b", "/c d"), Rights: capability.Rights(rng.IntN(16))})
	}
	for range rng.IntN(3) {
		r.Env = append(r.Env, EnvVar{Name: one("A", "b_C", "_"), Value: text()})
	}
	if rng.IntN(2) == 0 {
		r.Budget = capability.Budget{Spectrum: one("", "void", "matter"), Memory: rng.Int64N(1 << 40), Fibers: rng.IntN(10),
			CPU: rng.IntN(200), Disk: rng.Int64N(3) << 30, IO: rng.Int64N(1 << 20)}
	}
	return r
}

func TestCheckRefuses(t *testing.T) {
	tests := []struct {
		name string
		edit func(r *Recipe)
		want string
	}{
		{"no name", func(r *Recipe) { r.Name = "" }, "name"},
		{"no title", func(r *Recipe) { r.Title = "" }, "title"},
		{"promise", func(r *Recipe) { r.Pledge = 1 << 40 }, "mask 0x10000000000 has bits that are no promise"},
		{"rights", func(r *Recipe) { r.Unveil = []capability.Unveil{{Path: "/x"}} }, "no set of rights"},
		{"open rights", func(r *Recipe) { r.Unveil = []capability.Unveil{{Path: "/x", Rights: capability.Write}} }, "no set of rights"},
		{"budget", func(r *Recipe) { r.Budget.Memory = -1 }, "no budget"},
		{"command twice", func(r *Recipe) { r.Commands = append(r.Commands, r.Commands...) }, `"firefox" given twice`},
		{"exec", func(r *Recipe) { r.Commands[0].Exec = "../x" }, "has .. in it"},
		{"not UTF-8", func(r *Recipe) { r.Summary = "\xff" }, "not UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ParseRecipe("r.kdl", []byte(full))
			if err != nil {
				t.Fatal(err)
			}
			tt.edit(r)
			if err := r.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func FuzzParseRecipe(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`package "a" version="1" { command "a" exec="b" { args "c" }; pledge "NONE" }`))
	f.Fuzz(func(t *testing.T, src []byte) {
		r, err := ParseRecipe("r.kdl", src)
		if err != nil {
			return
		}
		if err := r.Check(); err != nil {
			t.Fatalf("parsed, but %v", err)
		}
		text := r.KDL()
		back, err := ParseRecipe("r.kdl", text)
		if err != nil || !reflect.DeepEqual(back, r) || !bytes.Equal(back.KDL(), text) {
			t.Fatalf("recipe does not survive (%v):\n%s", err, text)
		}
	})
}
