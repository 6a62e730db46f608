package kinetic

import (
	"testing"
	"time"

	"nipcells/internal/capability"
)

func TestStrikes(t *testing.T) {
	begin := time.Unix(1000, 0)
	var s Strikes
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	// press refuses ten times a second, and returns the strikes that this makes.
	press := func(from, to float64) (got []Strike) {
		for ; from < to; from += 0.1 {
			if strike := s.Refused(at(from)); strike != NoStrike {
				got = append(got, strike)
			}
		}
		return got
	}
	if got := press(0, 2.9); len(got) > 0 {
		t.Errorf("a burst of 2.9 s: %v", got)
	}
	if got := press(5, 7.9); len(got) > 0 {
		t.Errorf("another, after 2 s: %v", got)
	}
	if got := press(10, 13.5); len(got) != 1 || got[0] != Warn {
		t.Errorf("3.5 s: %v, want a warning", got)
	}
	if got := press(13.5, 19.5); len(got) != 2 || got[0] != Demote || got[1] != Terminate {
		t.Errorf("9.5 s: %v, want to be demoted and ended", got)
	}
	for _, want := range []struct {
		at    float64
		count int
	}{{20, 3}, {79, 3}, {80, 2}, {139, 2}, {140, 1}, {200, 0}, {1000, 0}} {
		if got := s.Count(at(want.at)); got != want.count {
			t.Errorf("after %v s: %d strikes, want %d", want.at, got, want.count)
		}
	}
	if got := press(2000, 2003.5); len(got) != 1 || got[0] != Warn {
		t.Errorf("after a long time: %v, want a warning", got)
	}
	if got := s.Count(at(2062)); got != 1 {
		t.Errorf("%d strikes within a minute, want 1", got)
	}
}

func TestLower(t *testing.T) {
	for spectrum, want := range map[string]string{"photon": "matter", "matter": "gravity", "": "gravity", "gravity": "void", "void": "void"} {
		if got := Lower(capability.Budget{Spectrum: spectrum}); got != want {
			t.Errorf("below %q comes %q, want %q", spectrum, got, want)
		}
	}
}
