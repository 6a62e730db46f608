package ion

import "sync/atomic"

// control is a lane's control block (ABI.md, Control block). Each line has one writer; the
// bells alone are also counted up by whoever wakes its own process.
type control struct {
	tail atomic.Uint64 // producer: index of the next message to be sent
	_    [line - 8]byte

	dataEvent     atomic.Uint64 // consumer: ring when tail passes this
	consumerState atomic.Uint32
	roomBell      atomic.Uint32 // counted up by the consumer when it rings
	_             [line - 16]byte

	head atomic.Uint64 // consumer: index of the next message to be taken
	_    [line - 8]byte

	roomEvent     atomic.Uint64 // producer: ring when head passes this
	returnEvent   atomic.Uint64 // producer: ring when returnTail passes this
	producerState atomic.Uint32
	dataBell      atomic.Uint32 // counted up by the producer when it rings
	_             [line - 24]byte

	returnTail atomic.Uint64 // consumer
	_          [line - 8]byte
	returnHead atomic.Uint64 // producer
	_          [line - 8]byte

	producer statistics
	consumer statistics
	latency  [latencyBuckets]atomic.Uint64 // consumer
}

// statistics are what a side counts for people; nothing depends on them.
type statistics struct {
	sampleIndex atomic.Uint64 // producer: message whose sending was timed
	sampleTime  atomic.Uint64 // producer: CLOCK_MONOTONIC of that, ns
	rings       atomic.Uint64 // how often the other side was woken
	waits       atomic.Uint64 // how often this side slept
	_           [line - 32]byte
}

// What the two sides say of a lane (producerState, consumerState). Any other value is a
// violation.
const (
	laneOpen     = 0
	laneClosed   = 1 // in order: what was sent before can be taken
	laneViolated = 2 // the other side broke the rules
)

const (
	controlSize    = 10 * line // bytes
	latencyBuckets = 32        // bucket b: 2^b ns up to 2^(b+1); the last one has all beyond
)

// peerBlock is what a side says of itself, at sideOffset in the header.
type peerBlock struct {
	epoch atomic.Uint32 // how often this side was attached; 0: never
	state atomic.Uint32
	pid   atomic.Uint32 // for people
	_     atomic.Uint32
	since atomic.Uint64 // CLOCK_REALTIME of the attaching, ns, for people
}

// States of a side.
const (
	sideAbsent   = 0
	sideAttached = 1
	sideLeft     = 2 // in order
)

// sideOffset is where a side's block lies.
func sideOffset(s Side) uint64 { return line + uint64(s)*line }
