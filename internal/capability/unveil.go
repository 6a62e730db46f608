package capability

import (
	"path"
	"slices"
	"strings"
)

// Rights says what may be done below an unveiled path.
type Rights uint8

// The letters of --unveil PATH:rwxc. Write contains Create: who may write below
// a directory may make, rename and remove names there. Create alone makes and
// removes names, but does not touch the contents of files that exist. Every
// function of this package returns masks in which Write comes with Create.
const (
	Read    Rights = 1 << iota // r
	Write                      // w
	Execute                    // x
	Create                     // c

	// AllRights is every right there is.
	AllRights = Read | Write | Execute | Create
)

// ParseRights reads letters out of rwxc, in any order. No letter at all is an
// error. The error is a *SyntaxError.
func ParseRights(s string) (Rights, error) {
	r, ok := parseRights(s)
	if !ok {
		return 0, &SyntaxError{What: "rights", Text: s, Why: "want letters out of r, w, x, c"}
	}
	return r, nil
}

func parseRights(s string) (Rights, bool) {
	var r Rights
	for i := range len(s) {
		switch s[i] {
		case 'r':
			r |= Read
		case 'w':
			r |= Write
		case 'x':
			r |= Execute
		case 'c':
			r |= Create
		default:
			return 0, false
		}
	}
	return r.closed(), s != ""
}

// closed adds what the rights of r contain.
func (r Rights) closed() Rights {
	if r&Write != 0 {
		r |= Create
	}
	return r & AllRights
}

// Has reports whether r contains every right of q.
func (r Rights) Has(q Rights) bool { return r.closed()&q == q }

// Intersect returns the rights that both r and q contain.
func (r Rights) Intersect(q Rights) Rights { return r.closed() & q.closed() }

// String returns the canonical letters: r, w, x, and c where w does not say it.
func (r Rights) String() string {
	b := make([]byte, 0, 4)
	if r&Read != 0 {
		b = append(b, 'r')
	}
	if r&Write != 0 {
		b = append(b, 'w')
	}
	if r&Execute != 0 {
		b = append(b, 'x')
	}
	if r&Create != 0 && r&Write == 0 {
		b = append(b, 'c')
	}
	return string(b)
}

// Unveil makes one path, and all below it, visible.
type Unveil struct {
	Path   string // absolute and clean
	Rights Rights
}

// ParseUnveil reads PATH:rwxc. What follows the last colon is rights only if it
// is made of these letters alone, so that a path may hold colons; without such
// a suffix the right is r. (A path that itself ends in :r is written PATH:r:r.)
// A relative path is taken below cwd, which is absolute; with an empty cwd only
// absolute paths are accepted. The path is cleaned by its text: symbolic links
// are not looked at. The error is a *SyntaxError.
func ParseUnveil(s, cwd string) (Unveil, error) {
	u := Unveil{Path: s, Rights: Read}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		if r, ok := parseRights(s[i+1:]); ok {
			u = Unveil{Path: s[:i], Rights: r}
		}
	}
	switch {
	case u.Path == "":
		return Unveil{}, &SyntaxError{What: "unveil", Text: s, Why: "no path"}
	case strings.IndexByte(u.Path, 0) >= 0:
		return Unveil{}, &SyntaxError{What: "unveil", Text: s, Why: "a path cannot hold a NUL byte"}
	case !path.IsAbs(u.Path) && !path.IsAbs(cwd):
		return Unveil{}, &SyntaxError{What: "unveil", Text: s, Why: "want an absolute path"}
	case !path.IsAbs(u.Path):
		u.Path = path.Join(cwd, u.Path)
	}
	u.Path = path.Clean(u.Path)
	return u, nil
}

// String returns PATH:rights, which ParseUnveil reads.
func (u Unveil) String() string { return u.Path + ":" + u.Rights.String() }

// Contains reports whether the path p is u's path or lies below it. Both are
// absolute and clean.
func (u Unveil) Contains(p string) bool { return contains(u.Path, p) }

func contains(dir, p string) bool {
	if dir == "/" || dir == p {
		return true
	}
	return len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir
}

// RightsAt returns the rights that a list gives at path p: those of every entry
// that contains it, together.
func RightsAt(list []Unveil, p string) Rights {
	var r Rights
	for _, u := range list {
		if u.Contains(p) {
			r |= u.Rights.closed()
		}
	}
	return r
}

// NormalizeUnveils returns the canonical list that gives the same rights at
// every path: sorted by path, one entry a path, each with all the rights that
// hold there, and none that only repeats what holds above it.
func NormalizeUnveils(list []Unveil) []Unveil {
	paths := make([]string, 0, len(list))
	for _, u := range list {
		if u.Rights&AllRights != 0 {
			paths = append(paths, u.Path)
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	var out []Unveil
	for _, p := range paths {
		r := RightsAt(list, p)
		if p == "/" || RightsAt(list, path.Dir(p)) != r {
			out = append(out, Unveil{Path: p, Rights: r})
		}
	}
	return out
}

// IntersectUnveils returns the canonical list that gives, at every path, the
// rights that both lists give there. A path that one list has below a path of
// the other stays, with the rights of both.
func IntersectUnveils(a, b []Unveil) []Unveil {
	var both []Unveil
	for _, x := range a {
		for _, y := range b {
			u := Unveil{Rights: x.Rights.Intersect(y.Rights)}
			switch {
			case x.Contains(y.Path):
				u.Path = y.Path
			case y.Contains(x.Path):
				u.Path = x.Path
			default:
				continue
			}
			both = append(both, u)
		}
	}
	return NormalizeUnveils(both)
}
