package kinetic

import (
	"time"

	"nipcells/internal/capability"
)

// credit is the CPU time that a cell may still use. It comes in evenly, is carried
// over when it is negative, and is worth no more than burst windows.
//
// What is read and written, and energy, counts as the time that it takes at the rate of the
// budget, of which there are 100 per cent.
type credit struct {
	percent int // of one core; 0: it is not limited
	window  time.Duration
	left    time.Duration
}

const burst = 2

func newCredit(percent int, window time.Duration) credit {
	c := credit{percent: percent, window: window}
	c.left = c.share()
	return c
}

// newCredits are those of CPU time, of what is read and written, and of energy.
func newCredits(b capability.Budget) (cpu, flow, power credit) {
	percent := 0
	if LimitsCPU(b) {
		percent = b.CPU
	}
	all := func(limit int64) int {
		if limit > 0 {
			return 100
		}
		return 0
	}
	window := spectrumOf(b).window
	return newCredit(percent, window), newCredit(all(b.IO), window), newCredit(all(b.Energy), window)
}

// lasts is how long what is left, and what comes in meanwhile, lasts if so many per cent
// are used; the window if it lasts for ever.
func (c *credit) lasts(percent int) time.Duration {
	if loses := percent - c.percent; loses > 0 {
		return c.left * 100 / time.Duration(loses)
	}
	return c.window
}

// share is what a window brings.
func (c *credit) share() time.Duration { return c.window * time.Duration(c.percent) / 100 }

// pass adds what the time d has brought and takes what was used in it.
func (c *credit) pass(d, used time.Duration) {
	if c.percent == 0 {
		return
	}
	c.left = min(c.left+d*time.Duration(c.percent)/100-used, burst*c.share())
}

// some reports whether anything is left that is worth another look: a tenth of a share
// is not, and stays for the next window.
func (c *credit) some() bool { return c.percent == 0 || c.left > c.share()/10 }

// full reports whether a whole window's share is there, or almost: what is missing is not
// worth a look of its own.
func (c *credit) full() bool { return c.left >= c.share()-c.share()/10 }

// wait is how long it takes to have a whole window's share.
func (c *credit) wait() time.Duration {
	if c.percent == 0 {
		return 0
	}
	return max(0, c.share()-c.left)*100/time.Duration(c.percent) + time.Microsecond
}
