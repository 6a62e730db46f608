package capability

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// foldMost is how many paths of the same rights below one directory are each
// worth a line.
const foldMost = 3

// FoldUnveils returns a shorter canonical list that gives at least the rights of
// list at every path of list: where more than a few paths below a directory have the
// same rights, the directory has them, unless within does not give them there.
func FoldUnveils(list, within []Unveil) []Unveil {
	root := &fold{}
	for _, u := range list {
		at := root
		for c := range strings.SplitSeq(u.Path, "/") {
			if c != "" {
				at = at.child(c)
			}
		}
		at.rights |= u.Rights.closed()
	}
	return NormalizeUnveils(root.unveils("/", 0, within)) // a directory between may say again now what one above says
}

// fold is a directory, or a file, that paths of a list lead to.
type fold struct {
	rights Rights
	below  map[string]*fold
}

func (f *fold) child(name string) *fold {
	if f.below == nil {
		f.below = map[string]*fold{}
	}
	if f.below[name] == nil {
		f.below[name] = &fold{}
	}
	return f.below[name]
}

// unveils returns the list for what is at and below p, where above has the rights
// above already.
func (f *fold) unveils(p string, above Rights, within []Unveil) []Unveil {
	own := f.rights | above
	var below []Unveil
	count := map[Rights]int{}
	for _, name := range slices.Sorted(maps.Keys(f.below)) {
		for _, u := range f.below[name].unveils(path.Join(p, name), own, within) {
			below = append(below, u)
			count[u.Rights]++
		}
	}
	for r, n := range count {
		if n > foldMost && RightsAt(within, p).Has(r) {
			own |= r
		}
	}
	var out []Unveil
	if own != above {
		out = append(out, Unveil{Path: p, Rights: own})
	}
	for _, u := range below {
		if u.Rights |= own; u.Rights != own {
			out = append(out, u)
		}
	}
	return out
}
