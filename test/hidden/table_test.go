package hidden

import (
	"os"
	"strings"
	"testing"
)

const tableFile = "testdata/calls"

// row is a call of the table: what it gives in a chroot, and where cells cannot
// give the same, what they give instead, by the ways that differ.
type row struct {
	before string // comments and empty lines above it
	call   string
	want   string
	differ map[string]string
	fields string // as differ stands in the table
}

// in returns what the call gives when made in one way.
func (r *row) in(way string) string {
	if d, ok := r.differ[way]; ok {
		return d
	}
	return r.want
}

// table reads the calls and what each gives: CALL, a tab, the answer, and for
// each difference a tab, its ways with commas between, "=" and the answer.
func table(t *testing.T) (rows []row, calls []string) {
	t.Helper()
	text, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	before := ""
	for line := range strings.Lines(string(text)) {
		if line == "\n" || line[0] == '#' {
			before += line
			continue
		}
		call, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		want, fields, more := strings.Cut(rest, "\t")
		r := row{before: before, call: call, want: want, differ: map[string]string{}}
		if more {
			r.fields = "\t" + fields
			for f := range strings.SplitSeq(fields, "\t") {
				ways, answer, _ := strings.Cut(f, "=")
				for way := range strings.SplitSeq(ways, ",") {
					r.differ[way] = answer
				}
			}
		}
		before = ""
		rows, calls = append(rows, r), append(calls, call)
	}
	if len(rows) < 300 {
		t.Fatalf("only %d calls in %s", len(rows), tableFile)
	}
	return rows, calls
}

// write writes the table again, as the chroot answered.
func write(t *testing.T, rows []row) {
	t.Helper()
	var text strings.Builder
	for _, r := range rows {
		text.WriteString(r.before + r.call + "\t" + r.want + r.fields + "\n")
	}
	if err := os.WriteFile(tableFile, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestCalls makes every path call with the table's arguments, by system calls
// that are asked, by a C library whose calls are native, and by the same library
// in a cell that asks everything. As root the same is done in a chroot, by both
// programs, which proves what the table says.
func TestCalls(t *testing.T) {
	rows, calls := table(t)
	s := newStage(t)
	compare := func(way string, got []string) {
		t.Helper()
		for i := range rows {
			if want := rows[i].in(way); got[i] != want {
				t.Errorf("%s: %s: %s, want %s", way, calls[i], got[i], want)
			}
		}
	}
	if os.Geteuid() == 0 {
		got := s.inChroot(t, "probe", calls)
		if os.Getenv("UPDATE") != "" {
			for i := range rows {
				rows[i].want = got[i]
			}
			write(t, rows)
		}
		compare("chroot", got)
		compare("chroot of C", s.inChroot(t, "native", calls))
	}
	compare("asked", s.inCell(t, "probe", "rw", calls))
	compare("native", s.inCell(t, "native", "rw", calls))
	compare("forced", s.inCell(t, "native", "rwx", calls))
}
