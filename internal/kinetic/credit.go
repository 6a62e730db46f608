package kinetic

import (
	"time"

	"nipcells/internal/capability"
)

// credit is the CPU time that a cell may still use. It comes in evenly, is carried
// over when it is negative, and is worth no more than burst windows.
type credit struct {
	percent int // of one core
	window  time.Duration
	left    time.Duration
}

const burst = 2

func newCredit(b capability.Budget) credit {
	c := credit{percent: b.CPU, window: spectrumOf(b).window}
	c.left = c.share()
	return c
}

// share is what a window brings.
func (c *credit) share() time.Duration { return c.window * time.Duration(c.percent) / 100 }

// pass adds what the time d has brought and takes what was used in it.
func (c *credit) pass(d, used time.Duration) {
	c.left = min(c.left+d*time.Duration(c.percent)/100-used, burst*c.share())
}

// some reports whether anything is left that is worth another look: a tenth of a share
// is not, and stays for the next window.
func (c *credit) some() bool { return c.left > c.share()/10 }

// full reports whether a whole window's share is there.
func (c *credit) full() bool { return c.left >= c.share() }

// wait is how long it takes to have a whole window's share.
func (c *credit) wait() time.Duration {
	return max(0, c.share()-c.left)*100/time.Duration(c.percent) + time.Microsecond
}
