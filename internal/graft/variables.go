package graft

import (
	"os"
	"regexp"
	"slices"
	"strings"
)

// shellVars are the variables of a script that is read and not run, as far as it
// says their values literally. Conditions are not looked at.
type shellVars struct {
	values map[string]string
	loops  []loop // those that are open, the outermost first
}

// loop is a variable that takes one value after the other.
type loop struct {
	name  string
	words []string
}

// maxTurns bounds what loops in loops make of a line.
const maxTurns = 256

// read takes note of a line, and returns it with the values of its variables: once
// for each turn of the loops that it stands in. What is not known stays.
func (v *shellVars) read(line string) []string {
	assignment := regexp.MustCompile(`^(\w+)=(?:'([^']*)'|"([^"$\\\x60]*)"|([\w./+:-]*))$`)
	if m := assignment.FindStringSubmatch(line); m != nil {
		if v.values == nil {
			v.values = map[string]string{}
		}
		v.values[m[1]] = m[2] + m[3] + m[4]
		return nil
	}
	head := regexp.MustCompile(`^for +(\w+) +in +([^;]*);? *(?:do\b)?(.*)$`)
	if m := head.FindStringSubmatch(line); m != nil {
		v.loops = append(v.loops, loop{m[1], strings.Fields(fill(m[2], v.values))})
		line = m[3]
	}
	lines := v.unroll(line)
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ';' })
	if slices.Contains(words, "done") && len(v.loops) > 0 {
		v.loops = v.loops[:len(v.loops)-1]
	}
	return lines
}

// unroll returns a line for each turn of the open loops, or nothing if these are
// too many.
func (v *shellVars) unroll(line string) []string {
	lines := []string{line}
	for _, l := range v.loops {
		var turns []string
		for _, line := range lines {
			for _, w := range l.words {
				turns = append(turns, fill(line, map[string]string{l.name: w}))
			}
		}
		if len(turns) > maxTurns {
			return nil
		}
		lines = turns
	}
	for i := range lines {
		lines[i] = fill(lines[i], v.values)
	}
	return lines
}

// fill puts values in the place of variables.
func fill(line string, values map[string]string) string {
	return os.Expand(line, func(name string) string {
		if value, ok := values[name]; ok {
			return value
		}
		return "${" + name + "}"
	})
}
