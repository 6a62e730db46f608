package capability

import (
	"slices"
	"strings"
)

// Override is what a person has decided once and for all about the rights of a
// package, or of all packages, whatever the manifests ask. The zero value
// decides nothing. Where one Override both gives and takes, taking wins.
type Override struct {
	Give Pledge // given beyond what the manifest asks
	Take Pledge // never given; holds nothing that Give holds

	Unveil []Unveil // made visible beside what the manifest asks
	// Limit is the most that is given at a path and below it, which may be
	// nothing. An unveiled directory above the path is cut down with it, since
	// what is granted on a directory holds for everything below.
	Limit []Unveil

	// Net are the rules for the network instead of the manifest's, if there are any.
	Net []Net

	Budget Budget // narrows
}

// IsZero reports whether o decides nothing.
func (o Override) IsZero() bool {
	return o.Give|o.Take == 0 && len(o.Unveil)+len(o.Limit)+len(o.Net) == 0 && o.Budget == Budget{}
}

// SetPledge gives promises and, with a minus in front, takes them, word after
// word: a later word has the last say on what it names. What no word names stays
// undecided, which is why NONE says nothing here. The error is a *SyntaxError
// and leaves o as it was.
func (o *Override) SetPledge(words []string) error {
	give, take := o.Give, o.Take
	for _, w := range words {
		name, minus := strings.CutPrefix(w, "-")
		bits, ok := lookupPromise(name)
		switch {
		case !ok:
			return &SyntaxError{What: "pledge", Text: w, Why: "no such promise"}
		case minus:
			give, take = give&^bits, take|bits
		default:
			give, take = give|bits, take&^bits
		}
	}
	o.Give, o.Take = give, take
	return nil
}

// PledgeWords returns the words that SetPledge makes Give and Take of.
func (o Override) PledgeWords() []string {
	var words []string
	var wideGiven, wideTaken Pledge // what the words so far say
	for _, pr := range promises() {
		if o.Give.Has(pr.own) && !wideGiven.Has(pr.own) {
			words = append(words, pr.word)
			wideGiven, wideTaken = wideGiven|pr.all, wideTaken&^pr.all
		}
		if o.Take.Has(pr.own) && !wideTaken.Has(pr.own) {
			words = append(words, "-"+pr.word)
			wideGiven, wideTaken = wideGiven&^pr.all, wideTaken|pr.all
		}
	}
	return words
}

// SetUnveil makes a path visible, in place of what was decided about that path.
func (o *Override) SetUnveil(u Unveil) {
	o.ClearPath(u.Path)
	o.Unveil = insertUnveil(o.Unveil, Unveil{u.Path, u.Rights.closed()})
}

// SetLimit limits a path, in place of what was decided about that path.
func (o *Override) SetLimit(u Unveil) {
	o.ClearPath(u.Path)
	o.Limit = insertUnveil(o.Limit, Unveil{u.Path, u.Rights.closed()})
}

// ClearPath forgets what was decided about a path and reports whether there was
// anything.
func (o *Override) ClearPath(path string) (found bool) {
	for _, list := range []*[]Unveil{&o.Unveil, &o.Limit} {
		kept := slices.DeleteFunc(slices.Clone(*list), func(u Unveil) bool { return u.Path == path })
		found = found || len(kept) < len(*list)
		*list = kept
	}
	return found
}

func insertUnveil(list []Unveil, u Unveil) []Unveil {
	list = append(slices.Clone(list), u)
	slices.SortFunc(list, func(a, b Unveil) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// SetBudget sets those limits that b has.
func (o *Override) SetBudget(b Budget) { o.Budget = b.or(o.Budget) }

// or returns b with the limits that it lacks taken from c.
func (b Budget) or(c Budget) Budget {
	if b.Spectrum == "" {
		b.Spectrum = c.Spectrum
	}
	return Budget{b.Spectrum, first(b.Memory, c.Memory), first(b.Fibers, c.Fibers), first(b.CPU, c.CPU), first(b.Disk, c.Disk), first(b.IO, c.IO), first(b.Energy, c.Energy)}
}

func first[T int | int64](a, b T) T {
	if a != 0 {
		return a
	}
	return b
}

// String says in one line all that is decided: pledge INET,-EXEC; unveil
// /srv:rw; limit /home:r; hide /mnt; budget memory=64M. It is empty where
// nothing is.
func (o Override) String() string {
	var parts []string
	if words := o.PledgeWords(); len(words) > 0 {
		parts = append(parts, "pledge "+strings.Join(words, ","))
	}
	for _, u := range o.Unveil {
		parts = append(parts, "unveil "+u.String())
	}
	for _, u := range o.Limit {
		parts = append(parts, LimitText(u))
	}
	for _, n := range o.Net {
		parts = append(parts, "net "+n.String())
	}
	if b := o.Budget.String(); b != "" {
		parts = append(parts, "budget "+b)
	}
	return strings.Join(parts, "; ")
}

// LimitText says what a limit does: limit /home:r, or hide /mnt where nothing is
// left.
func LimitText(u Unveil) string {
	if u.Rights == 0 {
		return "hide " + u.Path
	}
	return "limit " + u.String()
}

// Given returns what a package is given: what its manifest asks, changed by one
// layer of overrides after the other, cut down to what every cap allows. A layer
// has the last say over those before it, as what a person decides about one
// package is meant to be an exception to what he decides about all. No override
// passes a cap.
//
// The order within a layer and among the caps does not matter, and one
// restriction more never yields more: limits cut each unveil that was asked for
// or added by itself, before lists are merged or intersected.
func Given(manifest Set, layers []Override, caps ...Set) Set {
	given := manifest
	for _, o := range layers {
		given.Pledge = (given.Pledge | o.Give) &^ o.Take
		given.Budget = given.Budget.Intersect(o.Budget)
		if len(o.Net) > 0 {
			given.Net = o.Net
		}
		given.Unveil = slices.Concat(given.Unveil, o.Unveil)
		for i, u := range given.Unveil {
			given.Unveil[i].Rights = u.Rights.closed() & limitAt(o.Limit, u.Path)
		}
	}
	given = given.Intersect(Everything())
	for _, limit := range caps {
		given = given.Intersect(limit)
	}
	return given
}

// limitAt returns the most that limits leave at a path: those of the paths it
// lies below, and those of the paths below it.
func limitAt(limits []Unveil, path string) Rights {
	r := AllRights
	for _, l := range limits {
		if l.Contains(path) || contains(path, l.Path) {
			r &= l.Rights.closed()
		}
	}
	return r
}
