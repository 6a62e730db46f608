package capability

import "strconv"

// SyntaxError reports text that does not say what a right, path or amount is.
type SyntaxError struct {
	What string // pledge, rights, unveil, budget, size
	Text string // what was written
	Why  string
}

// Error returns one line such as: pledge "STDOI": no such promise.
func (e *SyntaxError) Error() string {
	return e.What + " " + strconv.Quote(e.Text) + ": " + e.Why
}
