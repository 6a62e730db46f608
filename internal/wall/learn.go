package wall

import (
	"slices"
	"strings"

	"nipcells/internal/capability"
)

// learnt reports whether the promise's calls of this name are asked by a cell that
// learns. What makes processes is not, for the reason that proc says; that it was
// used is learnt from the processes.
func (p *promise) learnt(name string) bool {
	if p.asIs || p.bit == 0 || p.bit == capability.Stdio {
		return false
	}
	return !slices.Contains(Forks, name)
}

// Permitting returns the promise of the pledge that permits a call with these
// arguments; 0 if none does, or every cell may. free says that the call is only asked
// to be learnt of, and can go on in the kernel: the promise is not STDIO, and the
// registers alone decide, which no program can change while it waits.
func Permitting(a Arch, pledge capability.Pledge, nr uint32, args [6]uint64) (by capability.Pledge, free bool) {
	name := a.CallName(nr)
	for _, p := range promises() {
		if !pledge.Has(p.bit) {
			continue
		}
		for _, r := range p.rows {
			if !r.decides(name, &args) {
				continue
			}
			if r.verdict == Allow || r.verdict == Ask {
				return p.bit, r.verdict == Allow && p.bit != 0 && p.bit != capability.Stdio
			}
			return 0, false
		}
	}
	return 0, false
}

// decides reports whether the row says what becomes of a call.
func (r *row) decides(name string, args *[6]uint64) bool { return r.about(name) && r.hold(args) }

// about reports whether the row is one of a call's.
func (r *row) about(name string) bool {
	for n := range strings.FieldsSeq(r.names) {
		if n == name {
			return true
		}
	}
	return false
}

func (r *row) hold(args *[6]uint64) bool {
	for i := range r.tests {
		if !r.tests[i].fits(args) {
			return false
		}
	}
	return true
}

// fits reports whether the test holds, as the filter finds out.
func (t *test) fits(args *[6]uint64) bool {
	v := uint32(args[t.arg])
	if t.high {
		v = uint32(args[t.arg] >> 32)
	}
	in := false
	for _, s := range t.values {
		in = in || v&t.mask >= s.from && v&t.mask <= s.to
	}
	return in != t.not
}
