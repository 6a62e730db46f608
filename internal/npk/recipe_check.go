package npk

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"nipcells/internal/capability"
)

// Limits of what a recipe may hold. They are far above anything real and keep
// a hostile manifest from being a burden.
const (
	maxName    = 64   // bytes of a package's, command's, promise's or endpoint's name, version or title
	maxText    = 1024 // bytes of a summary, source, argument or value
	maxList    = 1024 // commands, dependencies, unveils …
	maxPathLen = 2048 // bytes of a path in a package
	maxNative  = 8192 // files with something for native views: a name each for the programs of busybox and more
)

// Check reports what is wrong with a recipe, however it came to be: all that
// ParseRecipe refuses, except that an empty Arch is fine. A recipe that Check
// accepts survives KDL and ParseRecipe unchanged.
func (r *Recipe) Check() error {
	checks := []struct {
		what string
		err  error
	}{
		{"name", checkPackageName(r.Name)},
		{"version", checkVersion(r.Version)},
		{"title", checkTitle(r.Title)},
		{"summary", checkText(r.Summary)},
		{"arch", checkArch(r.Arch)},
		{"source", checkText(r.Source)},
		{"pledge", checkPledge(r.Pledge)},
		{"budget", checkBudget(r.Budget)},
		{"files", checkFilesDir(r.Dir)},
		{"depends", checkList(r.Depends, checkDependency(r.Name))},
		{"bus", checkList(r.Bus, checkEndpoint)},
		{"exclude", checkList(r.Exclude, checkPattern)},
		{"command", checkCommands(r.Commands)},
		{"unveil", checkUnveils(r.Unveil)},
		{"net", checkNets(r.Net)},
		{"env", checkEnvs(r.Env)},
		{"native", checkNatives(r.Native)},
	}
	for _, c := range checks {
		if c.err != nil {
			return fmt.Errorf("recipe %q: %s: %w", r.Name, c.what, c.err)
		}
	}
	return nil
}

// word reports whether s is 1 to maxName characters, the first out of first and
// the others out of rest. In both sets a, A and 0 stand for all letters and
// digits of their kind.
func word(s, first, rest string) bool {
	set := first
	for i := range len(s) {
		class := s[i]
		switch {
		case class >= 'a' && class <= 'z':
			class = 'a'
		case class >= 'A' && class <= 'Z':
			class = 'A'
		case class >= '0' && class <= '9':
			class = '0'
		}
		if strings.IndexByte(set, class) < 0 {
			return false
		}
		set = rest
	}
	return s != "" && len(s) <= maxName
}

func checkPackageName(s string) error {
	if !word(s, "a0", "a0+.-") {
		return fmt.Errorf("%q is no package name: want up to %d of a-z 0-9 + . - and a letter or digit first", s, maxName)
	}
	return nil
}

func checkVersion(s string) error {
	if !word(s, "aA0", "aA0.+~_-") {
		return fmt.Errorf("%q is no version: want up to %d of A-Z a-z 0-9 . + ~ _ - and a letter or digit first", s, maxName)
	}
	if s == "Current" {
		return errors.New(`"Current" is no version: it is the name of the link to the active one`)
	}
	return nil
}

func checkTitle(s string) error {
	if !word(s, "aA0", "aA0.+_-") {
		return fmt.Errorf("%q is no title: want up to %d of A-Z a-z 0-9 . + _ - and a letter or digit first", s, maxName)
	}
	return nil
}

func checkArch(s string) error {
	switch s {
	case "", "amd64", "arm64", "all":
		return nil
	}
	return fmt.Errorf("%q is no architecture: want amd64, arm64 or all", s)
}

// checkText accepts one line of text, also an empty one.
func checkText(s string) error {
	switch {
	case len(s) > maxText:
		return fmt.Errorf("has %d bytes, more than %d", len(s), maxText)
	case !utf8.ValidString(s):
		return fmt.Errorf("%q is not UTF-8", s)
	case strings.IndexFunc(s, unicode.IsControl) >= 0:
		return fmt.Errorf("%q holds a control character", s)
	}
	return nil
}

func checkDependency(self string) func(string) error {
	return func(s string) error {
		if s == self {
			return fmt.Errorf("%q depends on itself", s)
		}
		return checkPackageName(s)
	}
}

func checkEndpoint(s string) error {
	if !word(s, "a", "a0-") {
		return fmt.Errorf("%q is no bus endpoint: want up to %d of a-z 0-9 - and a letter first", s, maxName)
	}
	return nil
}

// checkPattern accepts a path whose elements are patterns of path.Match.
func checkPattern(s string) error {
	if err := checkPath(s); err != nil {
		return err
	}
	if _, err := path.Match(s, ""); err != nil {
		return fmt.Errorf("%q is no pattern", s)
	}
	return nil
}

func checkFilesDir(s string) error {
	if s == "" || s == "." {
		return nil
	}
	return checkPath(s)
}

// checkPath accepts a relative, clean path of names that checkFileName accepts.
func checkPath(s string) error {
	switch {
	case s == "":
		return errors.New("empty path")
	case len(s) > maxPathLen:
		return fmt.Errorf("path of %d bytes, more than %d", len(s), maxPathLen)
	case s[0] == '/':
		return fmt.Errorf("path %q is absolute: want one relative to the package", s)
	}
	for name := range strings.SplitSeq(s, "/") {
		if name == ".." {
			return fmt.Errorf("path %q has .. in it", s)
		}
		if err := checkFileName(name); err != nil {
			return fmt.Errorf("path %q: %w", s, err)
		}
	}
	return nil
}

// checkFileName accepts one name in a directory: 1 to 255 bytes of UTF-8
// without slash and control characters, not "." or "..".
func checkFileName(s string) error {
	if s == "" || s == "." || s == ".." || len(s) > 255 {
		return fmt.Errorf("%q is no file name", s)
	}
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '/' || c == 0x7f {
			return fmt.Errorf("file name %q holds a slash or control character", s)
		} else if c >= utf8.RuneSelf {
			plain = false
		}
	}
	if plain {
		return nil
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("file name %q is not UTF-8", s)
	}
	if strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return fmt.Errorf("file name %q holds a control character", s)
	}
	return nil
}

func checkPledge(p capability.Pledge) error {
	if p&^capability.AllPledges != 0 {
		return fmt.Errorf("mask %#x has bits that are no promise", uint64(p))
	}
	return nil
}

func checkBudget(b capability.Budget) error {
	if back, err := capability.ParseBudget(b.String()); err != nil || back != b {
		return fmt.Errorf("%+v is no budget", b)
	}
	return nil
}

func checkCommand(c Command) error {
	if !word(c.Name, "aA0", "aA0+._-") {
		return fmt.Errorf("%q is no command name: want up to %d of A-Z a-z 0-9 + . _ - and a letter or digit first", c.Name, maxName)
	}
	if err := checkPath(c.Exec); err != nil {
		return fmt.Errorf("%s: exec: %w", c.Name, err)
	}
	if len(c.Args) > maxList {
		return fmt.Errorf("%s: %d arguments, more than %d", c.Name, len(c.Args), maxList)
	}
	for _, a := range c.Args {
		if err := checkArgument(a); err != nil {
			return fmt.Errorf("%s: argument: %w", c.Name, err)
		}
	}
	return nil
}

// checkArgument accepts what a program can be given: text without NUL. Line ends
// and tabs are fine.
func checkArgument(s string) error {
	switch {
	case len(s) > maxText:
		return fmt.Errorf("has %d bytes, more than %d", len(s), maxText)
	case !utf8.ValidString(s):
		return fmt.Errorf("%q is not UTF-8", s)
	case strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("%q holds a NUL byte", s)
	}
	return nil
}

func checkUnveil(u capability.Unveil) error {
	p := u.Path
	if p == "" || p[0] != '/' {
		return fmt.Errorf("path %q is not absolute", p)
	}
	if p != "/" {
		if err := checkPath(p[1:]); err != nil {
			return err
		}
	}
	if back, err := capability.ParseRights(u.Rights.String()); err != nil || back != u.Rights {
		return fmt.Errorf("%s: mask %#x is no set of rights", p, uint8(u.Rights))
	}
	return nil
}

func checkEnv(e EnvVar) error {
	if !word(e.Name, "aA_", "aA0_") {
		return fmt.Errorf("%q is no variable name: want up to %d of A-Z a-z 0-9 _ and no digit first", e.Name, maxName)
	}
	if err := checkArgument(e.Value); err != nil {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	return nil
}

func checkCommands(list []Command) error {
	return checkAll(list, checkCommand, func(c Command) string { return c.Name })
}

func checkUnveils(list []capability.Unveil) error {
	return checkAll(list, checkUnveil, func(u capability.Unveil) string { return u.Path })
}

func checkNet(n capability.Net) error {
	if back, err := capability.ParseNet(n.String()); err != nil || len(back) != 1 || back[0] != n {
		return fmt.Errorf("%q is no rule", n.String())
	}
	return nil
}

func checkNets(list []capability.Net) error {
	return checkAll(list, checkNet, func(n capability.Net) string { return n.String() })
}

func checkEnvs(list []EnvVar) error {
	return checkAll(list, checkEnv, func(e EnvVar) string { return e.Name })
}

func checkNative(n Native) error {
	if err := checkPath(n.Path); err != nil {
		return err
	}
	if !n.Shim && !n.Stub {
		return fmt.Errorf("%s: has nothing", n.Path)
	}
	return nil
}

func checkNatives(list []Native) error {
	if !slices.IsSortedFunc(list, func(a, b Native) int { return strings.Compare(a.Path, b.Path) }) {
		return errors.New("is not sorted")
	}
	return checkAllUpTo(maxNative, list, checkNative, func(n Native) string { return n.Path })
}

func checkList(list []string, check func(string) error) error {
	return checkAll(list, check, func(s string) string { return s })
}

// checkAll checks each item, their number and that no key comes twice.
func checkAll[T any](list []T, check func(T) error, key func(T) string) error {
	return checkAllUpTo(maxList, list, check, key)
}

func checkAllUpTo[T any](limit int, list []T, check func(T) error, key func(T) string) error {
	if len(list) > limit {
		return fmt.Errorf("%d given, more than %d", len(list), limit)
	}
	seen := make(map[string]bool, len(list))
	for _, item := range list {
		if err := check(item); err != nil {
			return err
		}
		if seen[key(item)] {
			return fmt.Errorf("%q given twice", key(item))
		}
		seen[key(item)] = true
	}
	return nil
}
