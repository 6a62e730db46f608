package rig

import (
	"strings"
	"testing"
)

// Told counts lines that say "refused" and such that say "works"; any other fails
// the test.
func Told(t *testing.T, text string) (attempts, controls int) {
	t.Helper()
	for line := range strings.Lines(text) {
		switch {
		case strings.HasSuffix(line, " refused\n"):
			attempts++
		case strings.HasSuffix(line, " works\n"):
			controls++
		default:
			t.Error(strings.TrimSpace(line))
		}
	}
	return attempts, controls
}
