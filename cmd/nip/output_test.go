package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"git 2.39":           "git 2.39",
		"žluťoučký 鯨":        "žluťoučký 鯨",
		"a\x1b[31mred":       `a\u001b[31mred`,
		"two\nlines\there":   `two\u000alines\u0009here`,
		"c1 \u009b31m":       `c1 \u009b31m`,
		"bidi \u202egpj.x":   `bidi \u202egpj.x`,
		"bad utf-8 \xff\xfe": "bad utf-8 \ufffd\ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q is shown %q, want %q", in, got, want)
		}
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1449: "1.4 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 48_211_933: "48.2 MB",
		5_000_000_000: "5.0 GB", 7_000_000_000_000: "7.0 TB", 7_000_000_000_000_000: "7000.0 TB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestWriteTable(t *testing.T) {
	var b bytes.Buffer
	if err := writeTable(&b, []string{"NAME", "SIZE", "NOTE"}, [][]string{{"a", "10 B", ""}, {"long\x1bname", "1 B", "x"}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME            SIZE  NOTE\na               10 B\nlong\\u001bname  1 B   x\n"
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

// What a shell makes of the quoted text is the text.
func TestShellQuote(t *testing.T) {
	for _, s := range []string{"", "/usr/bin", "a b", "it's", `$HOME "x" \ !`, "a\nb", "-n", "é"} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellQuote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q is quoted %s, which is %q, %v", s, shellQuote(s), out, err)
		}
	}
}

func TestProgressLine(t *testing.T) {
	now := time.Now()
	p := &progress{phase: "pack git", width: 80, started: now.Add(-10 * time.Second)}
	for _, c := range []struct {
		done, total int64
		width       int
		want        string
	}{
		{0, 0, 80, "pack git …"},
		{0, 100, 80, "pack git [" + strings.Repeat(" ", 40) + "]   0 %"},
		{50, 100, 80, "pack git [" + strings.Repeat("=", 20) + strings.Repeat(" ", 20) + "]  50 %  10s left"},
		{200, 100, 80, "pack git [" + strings.Repeat("=", 40) + "] 100 %  0s left"},
		{-5, 100, 80, "pack git [" + strings.Repeat(" ", 40) + "]   0 %"},
		{50, 100, 30, "pack git  50 %  10s left"},
		{1 << 60, 1 << 61, 80, "pack git [" + strings.Repeat("=", 20) + strings.Repeat(" ", 20) + "]  50 %  10s left"},
	} {
		p.width = c.width
		if got := p.line(c.done, c.total, now); got != c.want {
			t.Errorf("%d of %d on %d columns: %q, want %q", c.done, c.total, c.width, got, c.want)
		}
	}
}

// Every verb that a person sees has a line about it, an example and a page.
func TestEveryVerbExplainsItself(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || !strings.Contains(c.Example, "nip ") {
			t.Errorf("%s: short %q, example %q", c.CommandPath(), c.Short, c.Example)
		}
		if strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: the short text ends in a full stop", c.CommandPath())
		}
		page := string(manualPage(c))
		for _, want := range []string{".TH ", ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH EXAMPLES\n"} {
			if !strings.Contains(page, want) {
				t.Errorf("page of %s has no %q", c.CommandPath(), want)
			}
		}
		for _, sub := range shownCommands(c) {
			walk(sub)
		}
	}
	walk(newRootCommand(&app{}))
}
