package capability

import "strconv"

// Verb is one of the seven things that a cell does with its CSpace (SPEC
// section 4).
type Verb uint8

// The verbs.
const (
	Spawn Verb = iota // make another cell
	Send              // put into a channel
	Recv              // take out of a channel
	Map               // see a channel's memory
	Mask              // take permissions away from a slot of its own
	Tick              // end a turn
	Grant             // hand a slot on, weaker
)

// verbs is the table of the verbs: their words, and what each costs.
var verbs = [...]struct {
	word string
	cost Joule
}{
	Spawn: {"SPAWN", 500},
	Send:  {"SEND", 5},
	Recv:  {"RECV", 2},
	Map:   {"MAP", 10},
	Mask:  {"MASK", 3},
	Tick:  {"TICK", 1},
	Grant: {"GRANT", 20},
}

// Joule is an amount of energy (SPEC section 5).
type Joule int64

// Cost returns what the verb costs, whether or not it is then refused: asking
// must not be free. A verb that is none is a bug and panics.
func (v Verb) Cost() Joule { return verbs[v].cost }

// String returns the verb's word, such as SPAWN.
func (v Verb) String() string {
	if int(v) < len(verbs) {
		return verbs[v].word
	}
	return "verb " + strconv.Itoa(int(v))
}
