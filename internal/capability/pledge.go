// Package capability is the pure algebra of rights: pledges, unveils, budgets
// and how they compose. It makes no system calls. Rights only ever shrink: no
// intersection here yields a right that one of its inputs did not have.
package capability

import "strings"

// Pledge is a mask of allowed operations (SPEC section 4).
type Pledge uint64

// The promises. Wpath and Exec are wide: they contain sub-promises, which can
// be asked for alone or taken away. Ask with Has, not with &: p&Wpath is not
// zero for a cell that has only Cpath.
const (
	Stdio     Pledge = 0x01  // memory, threads, time, what is open already
	Rpath     Pledge = 0x02  // read what is unveiled
	WriteOnly Pledge = 0x04  // Wpath without its parts: change the bytes of files that exist
	Inet      Pledge = 0x08  // TCP over IPv4 and IPv6
	ExecOnly  Pledge = 0x10  // Exec without its part: execute, without fork
	Proc      Pledge = 0x20  // fork without exec (part of Exec)
	Cpath     Pledge = 0x40  // create, rename, remove (part of Wpath)
	Fattr     Pledge = 0x80  // modes and times (part of Wpath)
	Udp       Pledge = 0x100 // datagrams over IPv4 and IPv6
	Unix      Pledge = 0x200 // sockets with names in the cell's own directories
	Tty       Pledge = 0x400 // terminals of its own

	Wpath = WriteOnly | Cpath | Fattr
	Exec  = ExecOnly | Proc

	// AllPledges is every promise there is.
	AllPledges = Stdio | Rpath | Wpath | Inet | Exec | Udp | Unix | Tty
)

// promise is a word of a pledge: the bits it stands for and, for a wide
// promise, the bit that says that it is meant and not just all its parts.
type promise struct {
	word string
	own  Pledge
	all  Pledge
}

// promises lists the words in canonical order: wide ones before their parts.
func promises() [11]promise {
	return [11]promise{
		{"STDIO", Stdio, Stdio},
		{"RPATH", Rpath, Rpath},
		{"WPATH", WriteOnly, Wpath},
		{"CPATH", Cpath, Cpath},
		{"FATTR", Fattr, Fattr},
		{"INET", Inet, Inet},
		{"UDP", Udp, Udp},
		{"UNIX", Unix, Unix},
		{"TTY", Tty, Tty},
		{"EXEC", ExecOnly, Exec},
		{"PROC", Proc, Proc},
	}
}

// noPledge is the word for the empty mask. It stands alone.
const noPledge = "NONE"

// ParsePledge reads promises, one a word, in upper or lower case. A word with a
// minus in front takes a promise away again: WPATH -CPATH may write what exists
// and create nothing. NONE alone is the empty mask. The error is a *SyntaxError.
func ParsePledge(words []string) (Pledge, error) {
	if len(words) == 1 && strings.EqualFold(words[0], noPledge) {
		return 0, nil
	}
	var p Pledge
	for _, w := range words {
		name, minus := strings.CutPrefix(w, "-")
		bits, ok := lookupPromise(name)
		switch {
		case !ok:
			return 0, &SyntaxError{What: "pledge", Text: w, Why: "no such promise"}
		case minus:
			p &^= bits
		default:
			p |= bits
		}
	}
	return p, nil
}

// ParsePledgeList reads the form that String writes: promises with commas
// between them. The empty list is an error, since it looks like a slip; the
// empty mask is written NONE.
func ParsePledgeList(s string) (Pledge, error) {
	if strings.TrimSpace(s) == "" {
		return 0, &SyntaxError{What: "pledge", Text: s, Why: "empty"}
	}
	words := strings.Split(s, ",")
	for i, w := range words {
		words[i] = strings.TrimSpace(w)
	}
	return ParsePledge(words)
}

// PledgeWords are the promises that ParsePledge knows, wide ones before their parts.
func PledgeWords() (list []string) {
	for _, pr := range promises() {
		list = append(list, pr.word)
	}
	return list
}

func lookupPromise(word string) (Pledge, bool) {
	for _, pr := range promises() {
		if strings.EqualFold(pr.word, word) {
			return pr.all, true
		}
	}
	return 0, false
}

// Has reports whether p contains every bit of q.
func (p Pledge) Has(q Pledge) bool { return p&q == q }

// Intersect returns the promises that both p and q contain.
func (p Pledge) Intersect(q Pledge) Pledge { return p & q }

// Words returns the canonical words of p: wide promises stand for their parts,
// and parts that are missing follow with a minus. It never returns NONE; the
// empty mask has no words. Bits outside AllPledges have none either.
func (p Pledge) Words() []string {
	var out []string
	var said, wide Pledge
	for _, pr := range promises() {
		switch {
		case p.Has(pr.own) && !said.Has(pr.own):
			out = append(out, pr.word)
			said |= pr.all
			wide |= pr.all
		case !p.Has(pr.own) && wide.Has(pr.own):
			out = append(out, "-"+pr.word)
		}
	}
	return out
}

// String returns the canonical form, STDIO,RPATH,WPATH,-FATTR, which
// ParsePledgeList reads, or NONE.
func (p Pledge) String() string {
	if w := p.Words(); len(w) > 0 {
		return strings.Join(w, ",")
	}
	return noPledge
}
