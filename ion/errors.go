package ion

import (
	"errors"
	"fmt"
)

// Errors that callers decide on.
var (
	ErrClosed     = errors.New("the ring is closed")
	ErrPeerClosed = errors.New("the other side has closed the ring")
	ErrPeerAbort  = errors.New("the other side says that this one broke the rules of the ring")
	ErrPeerGone   = errors.New("the other side is gone")      // it may come back: the ring stays as it is
	ErrTimeout    = errors.New("nothing happened in time")    // the ring stays as it is
	ErrMessage    = errors.New("no message of this ring")     // no header, or larger than a slot
	ErrDirection  = errors.New("the ring does not go there")  // it has no lane in this direction, or no arena
	ErrShort      = errors.New("less room than a slot takes") // where a message shall be put
	ErrBuffer     = errors.New("the buffer is not held")      // it was granted or returned already
	ErrNoChannel  = errors.New("no such channel")
)

// ViolationError reports that the other side broke the rules of a channel, which is closed
// then, both ways. Other channels of the segment go on.
type ViolationError struct {
	Channel uint32
	What    string // the field that was wrong
}

func (e *ViolationError) Error() string {
	return fmt.Sprintf("channel %#x: the other side broke the rules: %s", e.Channel, e.What)
}
