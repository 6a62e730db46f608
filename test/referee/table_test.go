package referee

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nipcells/test/rig"
)

// reference is a test that a table names: package.Test, or package.Test/row.
var reference = regexp.MustCompile("`([a-z]+)\\.(Test\\w+)(?:/([^`]+))?`")

// rooms are the packages of tests that are not below test.
var rooms = map[string]string{"wall": "internal/wall", "cell": "internal/cell", "nip": "cmd/nip"}

// sources returns all that is written in the tests of a package.
func sources(t *testing.T, name string) string {
	t.Helper()
	dir := rooms[name]
	if dir == "" {
		dir = "test/" + name
	}
	files, err := filepath.Glob(filepath.Join(rig.Source(), dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
	return text.String()
}

// faults says what is wrong with a line of a table; result is its last column's first word.
func faults(t *testing.T, line string) (list []string, result string) {
	t.Helper()
	columns := strings.Split(strings.Trim(line, "| \n"), " | ")
	if len(columns) != 4 {
		return []string{fmt.Sprintf("%d columns", len(columns))}, ""
	}
	result, _, _ = strings.Cut(columns[3], " ")
	result = strings.TrimRight(result, ":;,")
	switch named := reference.MatchString(columns[2]); {
	case result == "not" && strings.HasPrefix(columns[3], "not ours: ") && !named:
	case (result == "holds" || result == "differs") && named:
	default:
		list = append(list, "no test, or no result")
	}
	if rest := strings.TrimSpace(reference.ReplaceAllString(columns[2], "")); rest != "" {
		list = append(list, "no test's name: "+rest)
	}
	for _, m := range reference.FindAllStringSubmatch(line, -1) {
		text := sources(t, m[1])
		if !strings.Contains(text, "\nfunc "+m[2]+"(") {
			list = append(list, "no test "+m[1]+"."+m[2])
		} else if m[3] != "" && !strings.Contains(text, strconv.Quote(m[3])) {
			list = append(list, "no row "+m[3]+" in "+m[1])
		}
	}
	return list, result
}

// TestTable: every test that README.md names is there, and every row of this package
// is named.
func TestTable(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(rig.Source(), "test/referee/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	count := map[string]int{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| case |") {
			continue
		}
		list, result := faults(t, line)
		for _, f := range list {
			t.Errorf("%s\n%s", f, line)
		}
		count[result]++
	}
	if said := fmt.Sprintf("\n%d cases: %d hold, %d differ, %d are not ours.\n", count["holds"]+count["differs"]+count["not"], count["holds"], count["differs"], count["not"]); !strings.Contains(text, said) {
		t.Errorf("README.md does not say %q", said)
	}
	for _, m := range regexp.MustCompile(`\{(?:name: )?"([^"]+)", (?:steps|pledge): `).FindAllStringSubmatch(sources(t, "referee"), -1) {
		if !strings.Contains(text, "/"+m[1]+"`") {
			t.Errorf("no table names the row %q", m[1])
		}
	}
	// The control: a table can be wrong.
	for _, line := range []string{
		"| a | b | `escape.TestNone` | holds |", "| a | b | `escape.TestFiles/read a file that there is none` | holds |", "| a | b | | holds |",
		"| a | b | `escape.TestFiles` | not ours: c |", "| a | b | `escape.TestFiles` | is fine |", "| a | b | TestFiles | holds |",
	} {
		if list, _ := faults(t, line); list == nil {
			t.Errorf("nothing is found wrong with %s", line)
		}
	}
	if list, _ := faults(t, "| a | b | `escape.TestFiles/read a file` | holds |"); list != nil {
		t.Errorf("a good line: %v", list)
	}
}
