// Command summary reads what `go test -json` prints, possibly several runs one
// after the other, and prints what a person wants to know: a line for each
// package, the whole output of what failed, and at the end the plain line
// "N passed, N failed". Lines that are not JSON pass through. It ends with 1 if
// anything failed, or if no test ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	s := summary{out: os.Stdout, output: make(map[string]*strings.Builder)}
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
	os.Exit(s.finish())
}

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

type summary struct {
	out                     io.Writer
	passed, failed, skipped int
	failures                []string
	output                  map[string]*strings.Builder // by package and test, until it is known how it ended
}

func (s *summary) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(s.out, lines.Text())
			continue
		}
		s.handle(e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read test results: %w", err)
	}
	return nil
}

func (s *summary) handle(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if s.output[key] == nil {
			s.output[key] = new(strings.Builder)
		}
		s.output[key].WriteString(e.Output)
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "pass", "fail", "skip":
		s.end(e, key)
	}
}

// end counts a test or a package that has ended.
func (s *summary) end(e event, key string) {
	text := ""
	if b := s.output[key]; b != nil {
		text = b.String()
	}
	delete(s.output, key)
	if e.Test == "" {
		s.endPackage(e, text)
		return
	}
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		fmt.Fprint(s.out, text)
	case "fail":
		s.failed++
		s.failures = append(s.failures, strings.TrimSpace(key))
		fmt.Fprint(s.out, text)
	}
}

func (s *summary) endPackage(e event, text string) {
	if e.Action == "fail" {
		fmt.Fprint(s.out, text)
		fmt.Fprintf(s.out, "FAIL  %-40s %6.1fs\n", e.Package, e.Elapsed)
		s.failed++ // a package can fail without a test: a panic, a build error
		s.failures = append(s.failures, e.Package)
		return
	}
	if !strings.Contains(text, "[no test files]") {
		fmt.Fprintf(s.out, "ok    %-40s %6.1fs\n", e.Package, e.Elapsed)
	}
}

// finish prints the count and returns the exit status.
func (s *summary) finish() int {
	if len(s.failures) > 0 {
		fmt.Fprintln(s.out, "failed:")
		for _, f := range s.failures {
			fmt.Fprintln(s.out, "  "+f)
		}
	}
	line := fmt.Sprintf("%d passed, %d failed", s.passed, s.failed)
	if s.skipped > 0 {
		line += fmt.Sprintf(", %d skipped", s.skipped)
	}
	fmt.Fprintln(s.out, line)
	if s.failed > 0 || s.passed == 0 {
		return 1
	}
	return 0
}
