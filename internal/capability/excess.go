package capability

import "strings"

// Excess is what one set has beyond another.
type Excess struct {
	Pledge Pledge
	Unveil []Unveil // paths with the rights that are new there
	Net    []Net    // rules of which something is new
	Budget []Raise
}

// Raise is a limit of a budget that is higher, or gone.
type Raise struct{ Item, From, To string }

// String returns for example: memory 256M -> 1G.
func (r Raise) String() string { return r.Item + " " + r.From + " -> " + r.To }

// Beyond returns what s has that t has not. It is zero exactly if s allows
// nothing that t does not.
func (s Set) Beyond(t Set) Excess {
	e := Excess{Pledge: s.Pledge &^ t.Pledge & AllPledges, Budget: s.Budget.above(t.Budget)}
	// What s allows grows at the paths it names only, and what t allows never
	// shrinks on the way down: to look at these paths is enough.
	for _, u := range NormalizeUnveils(s.Unveil) {
		if r := u.Rights &^ RightsAt(t.Unveil, u.Path); r != 0 {
			e.Unveil = append(e.Unveil, Unveil{u.Path, r})
		}
	}
	if s.Pledge&(Inet|Udp) != 0 {
		e.Net = NetsBeyond(NormalizeNets(s.Net), t.Net)
	}
	return e
}

// IsZero reports whether there is nothing beyond.
func (e Excess) IsZero() bool { return e.Pledge == 0 && len(e.Unveil)+len(e.Net)+len(e.Budget) == 0 }

// Lines says what there is, a kind of right a line, each beginning with its
// word: pledge INET; unveil /srv:rw; budget memory 256M -> 1G.
func (e Excess) Lines() []string {
	var lines []string
	if e.Pledge != 0 {
		lines = append(lines, "pledge "+e.Pledge.String())
	}
	for _, u := range e.Unveil {
		lines = append(lines, "unveil "+u.String())
	}
	for _, n := range e.Net {
		lines = append(lines, "net "+n.String())
	}
	for _, r := range e.Budget {
		lines = append(lines, "budget "+r.String())
	}
	return lines
}

// String returns the lines on one.
func (e Excess) String() string { return strings.Join(e.Lines(), "; ") }

// above returns the items of which b allows more than c.
func (b Budget) above(c Budget) []Raise {
	mine, others := b.items(), c.items()
	higher := [...]bool{ // in the order of items
		raised(b.Memory, c.Memory), raised(b.Fibers, c.Fibers), raised(b.CPU, c.CPU), raised(b.Disk, c.Disk), raised(b.IO, c.IO), raised(b.Energy, c.Energy),
		lowerSpectrum(b.Spectrum, c.Spectrum) != b.Spectrum,
	}
	var raises []Raise
	for i, up := range higher {
		if up {
			raises = append(raises, Raise{mine[i].key, limitText(others[i].value), limitText(mine[i].value)})
		}
	}
	return raises
}

// raised compares two limits, where zero is no limit.
func raised[T int | int64](a, b T) bool { return b != 0 && (a == 0 || a > b) }

func limitText(s string) string {
	if s == "" {
		return "unlimited"
	}
	return s
}

// withRights returns s with the promises and paths of t beside its own. The
// budget stays that of s.
func (s Set) withRights(t Set) Set {
	s.Pledge |= t.Pledge
	s.Unveil = NormalizeUnveils(append(append([]Unveil{}, s.Unveil...), t.Unveil...))
	s.Net = NormalizeNets(append(append([]Net{}, s.Net...), t.Net...))
	return s
}

// Agreed returns what a person has agreed to by having a package with that
// manifest installed and active: all that it asks, also what is taken from it for
// now, and what his overrides give it beyond. A newer version that asks for more
// than this asks for something that nobody has agreed to.
func Agreed(manifest Set, layers []Override) Set {
	return manifest.withRights(Given(manifest, layers))
}
