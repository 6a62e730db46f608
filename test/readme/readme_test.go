// Package readme does what README.md tells people to do, and compares what it
// says they will see.
package readme

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"nipcells/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// command is one command of the README and what it says follows.
type command struct {
	text string
	want []string // lines; "…" alone stands for any lines, at the beginning of a line for anything
}

// commands returns those of all console blocks, in order.
func commands(t *testing.T) []command {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(rig.Source(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var list []command
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		end := "" // of a here-document
		for line := range strings.Lines(block[1]) {
			line = strings.TrimSuffix(line, "\n")
			start, isCommand := strings.CutPrefix(line, "$ ")
			switch {
			case end != "":
				last := &list[len(list)-1]
				last.text += "\n" + line
				if line == end {
					end = ""
				}
			case isCommand:
				list = append(list, command{text: start})
				if m := regexp.MustCompile(`<<'(\w+)'`).FindStringSubmatch(start); m != nil {
					end = m[1]
				}
			case len(list) == 0:
				t.Fatalf("README.md: output before the first command: %s", line)
			default:
				last := &list[len(list)-1]
				last.want = append(last.want, line)
			}
		}
	}
	if len(list) < 20 {
		t.Fatalf("only %d commands found in README.md", len(list))
	}
	return list
}

// masked puts a fixed word for what differs from run to run: ids, hashes,
// times, numbers, and the blanks that align columns.
func masked(line string) string {
	for _, m := range [][2]string{
		{`\b[0-9a-f]{8}([0-9a-f]{56})?\b`, "ID"},
		{`\b[0-9]+(\.[0-9]+)?( (B|kB|MB)\b)?`, "N"},
		{`[ \t]+`, " "},
	} {
		line = regexp.MustCompile(m[0]).ReplaceAllString(line, m[1])
	}
	return strings.TrimSpace(line)
}

// fits reports whether got is what want says.
func fits(want, got []string) bool {
	switch {
	case len(want) == 0:
		return len(got) == 0
	case want[0] == "…":
		for i := range len(got) + 1 {
			if fits(want[1:], got[i:]) {
				return true
			}
		}
		return false
	case len(got) == 0:
		return false
	}
	w, g := masked(want[0]), masked(got[0])
	tail, any := strings.CutPrefix(w, "…")
	return (w == g || any && strings.HasSuffix(g, tail)) && fits(want[1:], got[1:])
}

func TestReadme(t *testing.T) {
	dir := t.TempDir()
	t.Cleanup(func() { // packages' directories, and files in them, are read-only
		if err := rig.RemoveAll(filepath.Join(dir, "tour")); err != nil {
			t.Error(err)
		}
	})
	bin := filepath.Join(dir, "bin")
	cache := os.Getenv("NIP_TEST_CACHE")
	if cache == "" {
		cache = filepath.Join(dir, "cache")
	}
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(rig.Nip(t), filepath.Join(bin, "nip")); err != nil {
		t.Fatal(err)
	}
	const mark = "=== end of command ==="
	list := commands(t)
	var script strings.Builder
	for _, c := range list {
		fmt.Fprintf(&script, "%s\n", c.text)
		if strings.HasPrefix(c.text, "nip run -d ") { // a person takes longer to look than it takes to say something
			script.WriteString(`for i in $(seq 600); do grep -q . "$NIP_ROOT"/Nexus/log/* && break; sleep 0.1; done` + "\n")
		}
		fmt.Fprintf(&script, "echo '%s'\n", mark)
	}
	shell := exec.Command("bash", "-c", script.String())
	shell.Dir = dir
	shell.Env = []string{"PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "XDG_CACHE_HOME=" + cache, "TMPDIR=" + os.TempDir(), "LANG=C.UTF-8"}
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := strings.Split(string(out), mark+"\n")
	if len(said) != len(list)+1 {
		t.Fatalf("%d commands, %d answers:\n%s", len(list), len(said)-1, out)
	}
	for i, c := range list {
		var got []string
		for line := range strings.Lines(said[i]) {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
		if !fits(c.want, got) {
			t.Errorf("$ %s\ngot:\n%s\nREADME.md says:\n%s", c.text, said[i], strings.Join(c.want, "\n"))
		}
	}
}
