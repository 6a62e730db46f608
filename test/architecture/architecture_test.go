// Package architecture checks that the repository is what DESIGN.md says it is:
// who may import whom, and what must not be in the sources at all.
package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nipcells/test/rig"
)

const module = "nipcells/"

// room is a row of the table in DESIGN.md.
type room struct {
	level   int
	imports []string // paths below the module; nil with all set means any
	all     bool
}

// rooms reads the table of DESIGN.md.
func rooms(t *testing.T) map[string]room {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(rig.Source(), "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\| `([a-z/]+)` \\|.*\\| ([^|]*) \\|$")
	found := make(map[string]room)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		level, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		r := room{level: level, all: m[3] == "all"}
		if !r.all && m[3] != "nothing of ours" {
			for name := range strings.SplitSeq(m[3], ", ") {
				if name = strings.TrimSpace(name); !strings.HasPrefix(name, "cmd/") {
					name = "internal/" + name
				}
				r.imports = append(r.imports, name)
			}
		}
		found[m[2]] = r
	}
	if len(found) < 10 {
		t.Fatalf("only %d rooms found in DESIGN.md: the table has changed its form", len(found))
	}
	return found
}

// source is a Go file of the program itself, not of its tests.
type source struct {
	path string // below the repository
	dir  string // of its package
	file *ast.File
	text string
}

// sources parses every Go file below cmd, internal, ion and nexus that is no test.
func sources(t *testing.T, set *token.FileSet) []source {
	t.Helper()
	var all []source
	for _, top := range []string{"cmd", "internal", "ion", "nexus"} {
		walk(t, top, func(path string) {
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return
			}
			text, err := os.ReadFile(filepath.Join(rig.Source(), path))
			if err != nil {
				t.Fatal(err)
			}
			f, err := parser.ParseFile(set, path, text, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, source{path, filepath.Dir(path), f, string(text)})
		})
	}
	if len(all) == 0 {
		t.Fatal("no sources found")
	}
	return all
}

// walk calls visit with the path of every regular file below top.
func walk(t *testing.T, top string, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(rig.Source(), top), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "build" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			short, err := filepath.Rel(rig.Source(), path)
			if err != nil {
				return err
			}
			visit(short)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// roomOf returns the room that dir is or lies in.
func roomOf(rooms map[string]room, dir string) (string, bool) {
	for ; dir != "."; dir = filepath.Dir(dir) {
		if _, ok := rooms[dir]; ok {
			return dir, true
		}
	}
	return "", false
}

// isGenerator reports whether a file belongs to a program of its own inside a
// room, run by hand or by go generate: it is in nobody's imports.
func isGenerator(s source) bool {
	return s.file.Name.Name == "main" && !strings.HasPrefix(s.path, "cmd/")
}

func TestRooms(t *testing.T) {
	plan := rooms(t)
	for name, r := range plan {
		for _, to := range r.imports {
			other, ok := plan[to]
			if !ok {
				t.Errorf("DESIGN.md: %s may import %s, which is in no row", name, to)
			} else if other.level > r.level {
				t.Errorf("DESIGN.md: %s on level %d may import %s on level %d", name, r.level, to, other.level)
			}
		}
	}
	for _, s := range sources(t, token.NewFileSet()) {
		from, ok := roomOf(plan, s.dir)
		if !ok {
			t.Errorf("%s: its package is in no row of DESIGN.md", s.path)
			continue
		}
		if isGenerator(s) {
			continue
		}
		for _, i := range s.file.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			dir, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			to, ok := roomOf(plan, dir)
			if !ok || to != from && !plan[from].all && !slices.Contains(plan[from].imports, to) {
				t.Errorf("%s imports %s, which DESIGN.md does not allow %s", s.path, dir, from)
			}
		}
	}
}

// TestRunPath: what `nip run` is made of opens no database and parses no
// recipe: neither the rooms that DESIGN.md names, nor anything below them.
func TestRunPath(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(rig.Source(), "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile("(?s)`nip run` uses only (.*?):").FindSubmatch(text)
	if line == nil {
		t.Fatal("DESIGN.md does not say what `nip run` uses")
	}
	var allowed []string
	for _, m := range regexp.MustCompile("`([a-z]+)`").FindAllSubmatch(line[1], -1) {
		allowed = append(allowed, module+"internal/"+string(m[1]))
	}
	plan := rooms(t)
	for _, dir := range allowed {
		for _, to := range plan[strings.TrimPrefix(dir, module)].imports {
			// What they import must be as light: the leaves are.
			if !slices.Contains(allowed, module+to) && len(plan[to].imports) > 0 {
				t.Errorf("`nip run` uses %s, and that %s, which is no leaf", dir, to)
			}
		}
	}
	list := exec.Command("go", "list", "-deps", "./cmd/nip/front")
	list.Dir = rig.Source()
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v: %v", list, err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, module+"internal/cell") {
		t.Fatalf("%v does not list internal/cell: this test looks at the wrong program", list)
	}
	heavy := regexp.MustCompile(`json|kdl|zstd|xz|^compress/|database|sql|ed25519|cobra|pflag|^net$|^regexp$|template`)
	for _, dep := range deps {
		to, ours := strings.CutPrefix(dep, module)
		if ours && strings.HasPrefix(to, "internal/") && !slices.Contains(allowed, dep) && len(plan[to].imports) > 0 {
			t.Errorf("the program that starts cells holds %s, which is not among what `nip run` uses", dep)
		}
		if heavy.MatchString(dep) {
			t.Errorf("the program that starts cells holds %s, which costs every start", dep)
		}
	}
}

// TestWallAlone: the calls that make the wall are in one room, where they can be read in one go.
func TestWallAlone(t *testing.T) {
	call := regexp.MustCompile(`\b(unix|syscall)\.(SYS_LANDLOCK_[A-Z_]+|SYS_SECCOMP|PR_SET_NO_NEW_PRIVS|PR_SET_SECCOMP)\b`)
	inWall := 0
	for _, s := range sources(t, token.NewFileSet()) {
		found := call.FindAllString(s.text, -1)
		if strings.HasPrefix(s.dir, "internal/wall") {
			inWall += len(found)
		} else if len(found) > 0 {
			t.Errorf("%s makes a call of the wall: %s", s.path, found[0])
		}
	}
	if inWall == 0 {
		t.Error("internal/wall makes none of the calls either: this test looks for the wrong names")
	}
}

func TestSources(t *testing.T) {
	set := token.NewFileSet()
	for _, s := range sources(t, set) {
		for _, i := range s.file.Imports {
			if i.Path.Value == `"C"` {
				t.Errorf("%s uses cgo", s.path)
			}
		}
		for _, d := range s.file.Decls {
			checkDeclaration(t, set, s, d)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING && strings.Contains(strings.ToLower(text.Value), "failed to") {
				t.Errorf("%s: %s: say what was being done, without \"failed to\"", set.Position(text.Pos()), text.Value)
			}
			return true
		})
	}
}

// checkDeclaration looks for work at start-up and for functions that hide something.
func checkDeclaration(t *testing.T, set *token.FileSet, s source, d ast.Decl) {
	t.Helper()
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.Name == "init" && d.Recv == nil {
			t.Errorf("%s: an init function costs every start of nip", set.Position(d.Pos()))
		}
		if lines := set.Position(d.End()).Line - set.Position(d.Pos()).Line + 1; lines > 60 && !isGenerator(s) {
			t.Errorf("%s: function %s has %d lines", set.Position(d.Pos()), d.Name.Name, lines)
		}
	case *ast.GenDecl:
		if d.Tok != token.VAR || isGenerator(s) {
			return
		}
		for _, spec := range d.Specs {
			for _, value := range spec.(*ast.ValueSpec).Values {
				if call, ok := value.(*ast.CallExpr); ok && !cheap(call) {
					t.Errorf("%s: a package-level call costs every start of nip", set.Position(value.Pos()))
				}
			}
		}
	}
}

// cheap reports whether a package-level call is one of those that cost nothing.
func cheap(call *ast.CallExpr) bool {
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		x, ok := f.X.(*ast.Ident)
		return ok && (x.Name == "errors" && f.Sel.Name == "New" || x.Name == "syscall" && f.Sel.Name == "Errno")
	case *ast.Ident:
		return f.Name == "new" || f.Name == "len" || strings.HasSuffix(f.Name, "int") || strings.HasPrefix(f.Name, "int")
	case *ast.ArrayType:
		return true // a conversion
	}
	return false
}

// TestFiles looks at every text of the repository.
func TestFiles(t *testing.T) {
	reasonless := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b([^\n]*)`)
	for _, top := range []string{"cmd", "internal", "ion", "nexus", "test"} {
		walk(t, top, func(path string) {
			ext := filepath.Ext(path)
			if ext != ".go" && ext != ".c" && ext != ".h" && ext != ".sh" {
				return
			}
			data, err := os.ReadFile(filepath.Join(rig.Source(), path))
			if err != nil {
				t.Fatal(err)
			}
			text := string(data)
			generated := strings.Contains(text, "Code generated ") || strings.HasSuffix(path, "_table.go")
			if lines := strings.Count(text, "\n"); lines > 500 && !generated && !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s has %d lines: ask what it hides", path, lines)
			}
			if strings.HasPrefix(path, "test/architecture/") {
				return // it names what it looks for
			}
			for _, m := range reasonless.FindAllStringSubmatch(text, -1) {
				if len(strings.Fields(m[2])) < 3 {
					t.Errorf("%s: %s without a reason", path, m[1])
				}
			}
		})
	}
}
