package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// progress shows how far a piece of work is: a bar that is redrawn where stderr
// is a terminal, else one line when a phase begins, and nothing with -q. A bar
// library would do the same for 0.15 ms of every start of nip.
type progress struct {
	w       io.Writer
	bar     bool
	width   int
	phase   string
	shown   string
	started time.Time
	drawn   time.Time
}

// redraw is how often a bar changes at most.
const redraw = 100 * time.Millisecond

// progress returns a display; the caller calls done at the end.
func (a *app) progress() *progress {
	p := &progress{w: a.err, started: time.Now()}
	if a.quiet {
		p.w = io.Discard
		return p
	}
	if f, ok := a.err.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			p.bar, p.width = true, w
		}
	}
	return p
}

// update says that done of total units of a phase are done; total is 0 where it
// is not known.
func (p *progress) update(phase string, done, total int64) {
	now := time.Now()
	if phase != p.phase {
		p.phase, p.started = phase, now
		if !p.bar {
			fmt.Fprintf(p.w, "%s …\n", phase)
		}
	} else if now.Sub(p.drawn) < redraw && done != total {
		return
	}
	if p.bar {
		p.drawn = now
		p.draw(p.line(done, total, now))
	}
}

// line returns the bar: phase, bar, per cent, and the time left once a second
// has shown how quick it is.
func (p *progress) line(done, total int64, now time.Time) string {
	if total <= 0 {
		return p.phase + " …"
	}
	part := min(max(float64(done)/float64(total), 0), 1)
	tail := fmt.Sprintf(" %3d %%", int(100*part))
	if spent := now.Sub(p.started); spent > time.Second && part > 0 {
		left := time.Duration(float64(spent) * (1 - part) / part)
		tail += fmt.Sprintf("  %s left", left.Round(time.Second))
	}
	room := min(p.width-len([]rune(p.phase))-len(tail)-4, 40)
	if room < 8 {
		return p.phase + tail
	}
	full := int(float64(room) * part)
	return p.phase + " [" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + "]" + tail
}

func (p *progress) draw(s string) {
	if r := []rune(s); len(r) >= p.width {
		s = string(r[:p.width-1])
	}
	if s != p.shown {
		fmt.Fprint(p.w, "\r\x1b[K"+s)
		p.shown = s
	}
}

// done takes a bar away: what follows is printed on a clean line.
func (p *progress) done() {
	if p.shown != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = ""
	}
}
