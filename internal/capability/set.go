package capability

// Set is all that a cell may do, or all that somebody may hand to a cell.
type Set struct {
	Pledge Pledge
	Unveil []Unveil
	Net    []Net // whom the sockets of INET and UDP may reach
	Budget Budget
}

// Everything returns the set that limits nothing: the neutral element of
// Intersect.
func Everything() Set {
	return Set{Pledge: AllPledges, Unveil: []Unveil{{Path: "/", Rights: AllRights}}, Net: AllNets()}
}

// Intersect returns what both sets allow. It yields no right that one of them
// lacks, does not depend on the order, and its result is canonical: equal sets
// of rights are equal values.
func (s Set) Intersect(t Set) Set {
	return Set{
		Pledge: s.Pledge.Intersect(t.Pledge) & AllPledges,
		Unveil: IntersectUnveils(s.Unveil, t.Unveil),
		Net:    IntersectNets(s.Net, t.Net),
		Budget: s.Budget.Intersect(t.Budget),
	}
}

// Changes is what a person changes of a manifest when starting a cell. The zero
// value changes nothing.
type Changes struct {
	Pledge     Pledge   // replaces the manifest's mask if SetsPledge
	SetsPledge bool     // --pledge was given
	Unveil     []Unveil // is added
	Net        []Net    // replaces the manifest's rules, unless it is nil
	Budget     Budget   // narrows
}

// With returns the manifest's set s with a person's changes.
func (s Set) With(c Changes) Set {
	if c.SetsPledge {
		s.Pledge = c.Pledge
	}
	all := make([]Unveil, 0, len(s.Unveil)+len(c.Unveil))
	s.Unveil = NormalizeUnveils(append(append(all, s.Unveil...), c.Unveil...))
	if c.Net != nil {
		s.Net = c.Net
	}
	s.Budget = s.Budget.Intersect(c.Budget)
	return s
}

// Effective returns what a cell is given: the manifest with the person's
// changes, cut down to what every cap allows (host policy, the caller's own
// rights). Without caps nothing is cut.
func Effective(manifest Set, c Changes, caps ...Set) Set {
	s := manifest.With(c).Intersect(Everything())
	for _, limit := range caps {
		s = s.Intersect(limit)
	}
	return s
}
