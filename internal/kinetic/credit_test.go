package kinetic

import (
	"math/rand/v2"
	"testing"
	"time"

	"nipcells/internal/capability"
)

// However a cell uses its credit, in the long run it gets what the budget says, less
// what it left unused, and never more than a burst beyond.
func TestCreditHolds(t *testing.T) {
	for _, percent := range []int{1, 10, 25, 50, 150} {
		for _, spectrum := range []string{"", "photon", "matter", "gravity", "void"} {
			c := newCredit(percent, spectrumOf(capability.Budget{Spectrum: spectrum}).window)
			var clock, used time.Duration
			for range 20000 {
				d := time.Duration(rand.Int64N(int64(c.window)))
				var u time.Duration
				if c.full() { // runs on two processors until somebody looks
					u = 2 * d
				}
				clock, used = clock+d, used+u
				c.pass(d, u)
			}
			if most := clock*time.Duration(percent)/100 + (burst+1)*c.share(); used > most+2*c.window {
				t.Errorf("%d%% %s: used %v of %v", percent, spectrum, used, most)
			}
		}
	}
}

// Credit is not saved up.
func TestCreditIsNotSaved(t *testing.T) {
	c := newCredit(50, spectrumOf(capability.Budget{}).window)
	c.pass(time.Hour, 0)
	if c.left != burst*c.share() {
		t.Errorf("an hour brings %v, want %v", c.left, burst*c.share())
	}
	c.pass(0, time.Second)
	if c.some() || c.full() {
		t.Error("what was used beyond is not owed")
	}
	if wait := c.wait(); wait < 1900*time.Millisecond || wait > 2*time.Second+time.Millisecond {
		t.Errorf("a second at 50%% is paid back in %v", wait)
	}
}

// A long step in which all was used, and more, loses none of what it brought.
func TestCreditOfALongStep(t *testing.T) {
	c := newCredit(50, spectrumOf(capability.Budget{}).window)
	before := c.left
	c.pass(100*time.Millisecond, 80*time.Millisecond)
	if want := before + 50*time.Millisecond - 80*time.Millisecond; c.left != want {
		t.Errorf("left %v, want %v", c.left, want)
	}
}
