package membrane

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenerThatNeverBegan: a waiter whose caller has gone before its first try closes
// nothing, least of all descriptor 0.
func TestOpenerThatNeverBegan(t *testing.T) {
	if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != nil {
		t.Fatalf("descriptor 0 before: %v", err)
	}
	waiter := opener{alone: true}
	waiter.stop()
	if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != nil {
		t.Fatalf("descriptor 0 after: %v", err)
	}
}
