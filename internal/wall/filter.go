package wall

import (
	"cmp"
	"strings"

	"nipcells/internal/capability"
)

// compile makes a filter of a pledge's rows. Where one of a promise allows a call
// for which ask holds, it is asked.
func compile(a Arch, pledge capability.Pledge, list []promise, ask func(*promise, string) bool) Filter {
	calls := make(map[uint32][]clause, len(a.calls))
	for i := range list {
		p := &list[i]
		if pledge&p.bit != p.bit {
			continue
		}
		for _, r := range p.rows {
			for name := range strings.FieldsSeq(r.names) {
				nr, ok := a.Number(name)
				if !ok || settled(calls[nr]) {
					continue
				}
				verdict := r.verdict
				if verdict == Allow && ask(p, name) {
					verdict = Ask
				}
				calls[nr] = append(calls[nr], clause{tests: r.tests, verdict: verdict})
			}
		}
	}
	if nr, ok := a.Number("execve"); ok && !settled(calls[nr]) {
		calls[nr] = append(calls[nr], clause{tests: presented(), verdict: Allow})
	}
	return assemble(a, calls, Fault).share()
}

// settled reports whether a clause without conditions ends the list: what
// comes later can never hold.
func settled(list []clause) bool {
	return len(list) > 0 && list[len(list)-1].final()
}

// Missing names the promise whose rows would have permitted the call with these
// arguments, or if none would with any, and "" if none would at all. Where several
// would it is the first, but INET before UDP: what is proposed should be what is meant. It
// is for messages; it takes no decision.
func Missing(a Arch, pledge capability.Pledge, nr uint32, args [6]uint64) capability.Pledge {
	name, first, byName := a.CallName(nr), capability.Pledge(0), capability.Pledge(0)
	for _, p := range promises() {
		if p.bit == 0 || pledge&p.bit == p.bit {
			continue
		}
		for i := range p.rows {
			r := &p.rows[i]
			switch {
			case r.verdict != Allow && r.verdict != Ask || !r.about(name):
			case r.hold(&args):
				if first == 0 || p.bit == capability.Inet && first == capability.Udp {
					first = p.bit
				}
			case byName == 0:
				byName = p.bit
			}
		}
	}
	return cmp.Or(first, byName)
}
