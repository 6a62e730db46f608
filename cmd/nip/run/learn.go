package run

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
	"nipcells/internal/cell"
)

// learnTo is where --learn says what was used: a file, learnHere for the person,
// or "" for nowhere.
type learnTo string

const learnHere learnTo = "true" // what package flag gives a flag without value

func (l *learnTo) String() string     { return string(*l) }
func (l *learnTo) Set(s string) error { *l = learnTo(s); return nil }

// IsBoolFlag says that the value may be left out, and Type so to the help.
func (l *learnTo) IsBoolFlag() bool { return true }
func (l *learnTo) Type() string     { return "bool" }

// open opens where it is said, before the program runs: later the program, which may
// see the directory, could have put something else there. The descriptor is above
// those that a cell needs.
func (l learnTo) open(messages io.Writer) (io.WriteCloser, error) {
	if l == learnHere {
		return stay{messages}, nil
	}
	f, err := os.OpenFile(string(l), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the copy stays
	const above = 64
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		return nil, fmt.Errorf("keep %s open: %w", l, err)
	}
	return os.NewFile(uintptr(fd), string(l)), nil
}

// stay is a writer that is not closed.
type stay struct{ io.Writer }

func (stay) Close() error { return nil }

// learning makes the cell tell what it used.
func (l learnTo) learning(o *cell.Options, target string, messages io.Writer) error {
	if l == "" {
		return nil
	}
	to, err := l.open(messages)
	if err != nil {
		return err
	}
	ceiling := o.Plan.Ceiling
	o.Learn = func(lesson cell.Lesson) {
		_, err := to.Write(fragment(ceiling, target, &lesson))
		if e := to.Close(); err == nil {
			err = e
		}
		if err != nil {
			reportTo(messages)(err.Error())
		}
	}
	return nil
}

// hiddenMost is how many paths are suggested that the program looked for.
const hiddenMost = 20

// fragment is the part of a recipe that gives a program what it used. What it lacked
// stands in comments.
func fragment(ceiling capability.Pledge, target string, l *cell.Lesson) []byte {
	w := new(bytes.Buffer)
	fmt.Fprintf(w, "// used by %s\n", target)
	fmt.Fprintf(w, "pledge \"%s\"\n", strings.Join(l.Pledge.Words(), `" "`))
	unsaid := 0
	for _, u := range l.Unveil {
		if sayable(u.Path) {
			fmt.Fprintln(w, unveilLine(u))
		} else {
			unsaid++
		}
	}
	for _, n := range l.Net {
		fmt.Fprintf(w, "net \"%s\"\n", n)
	}
	if unsaid > 0 {
		fmt.Fprintf(w, "// and %d more, whose names no recipe can hold\n", unsaid)
	}
	switch {
	case l.Lacked == 0:
	case !ceiling.Has(l.Lacked):
		fmt.Fprintf(w, "// It was refused %s; the host's policy allows no cell that.\n", l.Lacked)
	default:
		fmt.Fprintf(w, "// It was refused %s, and may want more when it has that: run it again with --pledge %s\n", l.Lacked, l.Pledge)
	}
	if len(l.Never) > 0 {
		fmt.Fprintf(w, "// No cell may call %s.\n", strings.Join(l.Never, ", "))
	}
	if len(l.Closed) > 0 {
		fmt.Fprintln(w, "// It was not let to these addresses; this would open them:")
		for i, n := range l.Closed {
			if i == hiddenMost {
				fmt.Fprintf(w, "//   and %d more\n", len(l.Closed)-i)
				break
			}
			fmt.Fprintf(w, "//   net \"%s\"\n", n)
		}
	}
	comment(w, "It wanted more rights than were unveiled; this would give them:", l.Narrow)
	comment(w, "It looked for these, which are hidden from it:", l.Hidden)
	return w.Bytes()
}

func comment(w io.Writer, head string, list []capability.Unveil) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w, "// "+head)
	for i, u := range list {
		if i == hiddenMost {
			fmt.Fprintf(w, "//   and %d more\n", len(list)-i)
			return
		}
		if sayable(u.Path) {
			fmt.Fprintln(w, "//   "+unveilLine(u))
		}
	}
}

func unveilLine(u capability.Unveil) string {
	return fmt.Sprintf("unveil \"%s\" \"%s\"", strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(u.Path), u.Rights)
}

// sayable reports whether a recipe can hold a path, and a terminal show it.
func sayable(path string) bool {
	return utf8.ValidString(path) && strings.IndexFunc(path, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) < 0
}
