package kinetic

import (
	"sync"
	"time"

	"nipcells/internal/capability"
)

// A strike is pressure that goes on after refusals for three seconds (SPEC section 10): a
// burst is none. The first is a warning, the second takes the cell to the next lower
// spectrum, the third ends it. One is forgotten after a minute without pressure.
const (
	patience = 3 * time.Second
	pause    = time.Second // without a refusal for so long, the pressure is over
	forgiven = time.Minute
)

// Strike is what a cell is to suffer.
type Strike int

// The strikes, in their order.
const (
	NoStrike Strike = iota
	Warn
	Demote
	Terminate
)

func (s Strike) String() string { return [...]string{"none", "warn", "demote", "terminate"}[s] }

// Strikes counts those of a cell. Its zero value is that of a cell without any. Its
// methods are safe for concurrent use.
type Strikes struct {
	mutex   sync.Mutex
	count   Strike
	begin   time.Time // of the pressure
	last    time.Time // refusal
	changed time.Time // when the count last changed
}

// Refused notes a refusal, or a kill in the place of one, and returns the strike that it
// makes, mostly none.
func (s *Strikes) Refused(now time.Time) Strike {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.forget(now)
	if s.last.IsZero() || now.Sub(s.last) > pause {
		s.begin = now
	}
	s.last = now
	if now.Sub(s.begin) < patience {
		return NoStrike
	}
	s.begin, s.changed = now, now
	s.count = min(s.count+1, Terminate)
	return s.count
}

// Count is how many strikes the cell has now.
func (s *Strikes) Count(now time.Time) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.forget(now)
	return int(s.count)
}

// forget takes back a strike for each minute that has passed without pressure.
func (s *Strikes) forget(now time.Time) {
	since := s.changed
	if s.last.After(since) {
		since = s.last
	}
	for s.count > NoStrike && now.Sub(since) >= forgiven {
		since = since.Add(forgiven)
		s.count, s.changed = s.count-1, since
	}
}

// Lower is the next lower spectrum of a budget; void is the lowest. A budget that names
// none is matter's.
func Lower(b capability.Budget) string {
	switch b.Spectrum {
	case "photon":
		return "matter"
	case "gravity", "void":
		return "void"
	}
	return "gravity"
}
