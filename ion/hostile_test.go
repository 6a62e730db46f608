package ion

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hostileTime is how long the hostile process attacks: long under NIP_SOAK, where NIP_SEED
// repeats one attack.
func hostileTime() time.Duration {
	switch {
	case os.Getenv("NIP_SOAK") != "":
		return 30 * time.Minute
	case testing.Short():
		return 3 * time.Second
	}
	return 15 * time.Second
}

// victims counts what became of the rings under attack.
type victims struct {
	mu    sync.Mutex
	fates map[string]int
	alive atomic.Uint64 // messages that went round on honest channels
}

func (v *victims) count(what string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.fates[what]
}

func (v *victims) note(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if bad := new(ViolationError); errors.As(err, &bad) {
		v.fates[bad.What]++
	} else {
		v.fates[err.Error()]++
	}
}

// TestHostilePeer: a process writes random and cleverly wrong values into all fields of two
// channels at any time, in both directions. Nothing of what it does has a panic, an access
// out of bounds, an endless loop or growing memory for consequence; each attack ends with a
// clear error, and the third channel of the segment goes on.
func TestHostilePeer(t *testing.T) {
	a, b, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	attacker := process(t, "attacker", b)
	b.Close()
	carrier, err := newLink(a)
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("NIP_SEED"), 0, 64); err == nil {
		seed = s
	}
	v := &victims{fates: make(map[string]int)}
	var before runtime.MemStats
	rounds := 0
	// Attacks are random: it goes on until each check has been met, for so long at most.
	const patience = 6
	unmet := func() (names []string) {
		for _, what := range hostileChecks {
			if v.count(what) == 0 {
				names = append(names, what)
			}
		}
		return names
	}
	all := os.Getenv("NIP_SEED") == "" && !testing.Short()
	for start := time.Now(); !t.Failed(); rounds++ {
		if took := time.Since(start); took > patience*hostileTime() || took > hostileTime() && (!all || len(unmet()) == 0) {
			break
		}
		underAttack(t, carrier, v, seed+uint64(rounds))
		if rounds == 20 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
	}
	carrier.conn.Close()
	if err := attacker.Wait(); err != nil {
		t.Errorf("the attacker: %v", err)
	}
	t.Logf("%d attacks from seed %d, %d messages on honest channels, %v", rounds, seed, v.alive.Load(), v.fates)
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("memory has grown by %d bytes over %d attacks", grown, rounds)
	}
	if all && len(unmet()) > 0 {
		t.Errorf("no attack was noticed by %q: this test does not reach that check", unmet())
	}
}

// hostileChecks are what can be wrong with what the other side writes.
var hostileChecks = []string{
	"head", "tail", "the state of a lane", "a message's size", "a message's flags", "a grant without an arena, or without room for it", "a grant",
	"a returned buffer", "the index of returned buffers", "the index of taken returns",
}

// underAttack gives the attacker a segment and works on all its channels until both attacked
// ones are over, or for a while.
func underAttack(t *testing.T, carrier *Link, v *victims, seed uint64) {
	t.Helper()
	mine := Host
	s, err := Create("attacked", attackedLanes()...)
	if err != nil {
		t.Fatal(err)
	}
	if seed%2 == 1 { // the victim may as well be who was given the segment
		mine = Guest
		guest := attach(t, Options{}, s, Guest)
		s.Close()
		s = guest
		ringOf(t, s, honestChannel).peerReopens()
		ringOf(t, s, plainChannel).peerReopens()
		ringOf(t, s, arenaChannel).peerReopens()
	}
	x, y, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	if err := carrier.send(packet{kind: packetFile, token: seed}, y); err != nil {
		t.Fatalf("attack %d: %v", seed, err)
	}
	y.Close()
	l, err := Offer(x, s)
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); s.Peer().Epoch == 0 && time.Since(start) < 5*time.Second; {
		time.Sleep(50 * time.Microsecond)
	}

	end := time.Now().Add(100 * time.Millisecond)
	var wg sync.WaitGroup
	for _, id := range []uint32{plainChannel, arenaChannel} {
		r := ringOf(t, s, id)
		wg.Go(func() { sendUnderAttack(t, v, r, end, seed) })
		wg.Go(func() { receiveUnderAttack(t, v, r, end, seed) })
	}
	stop := make(chan struct{})
	var honest sync.WaitGroup
	honest.Go(func() { stayHonest(t, v, ringOf(t, s, honestChannel), stop, seed) })
	if seed%4 == 3 {
		wg.Go(func() { attachUnderAttack(t, s, mine, end) })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(stop); honest.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		buf := make([]byte, 1<<16)
		t.Fatalf("attack %d: a call does not end:\n%s", seed, buf[:runtime.Stack(buf, true)])
	}
	l.Close()
	s.Close()
}

// peerReopens undoes what the first host's Close has said.
func (r *Ring) peerReopens() {
	r.in.c.producerState.Store(laneOpen)
	r.out.c.consumerState.Store(laneOpen)
}

// fate checks an error of an attacked ring, and reports whether the ring is over.
func (v *victims) fate(t *testing.T, r *Ring, err error, seed uint64) bool {
	switch {
	case err == nil || errors.Is(err, ErrTimeout) || errors.Is(err, ErrBuffer):
		return false
	case errors.Is(err, ErrPeerClosed), errors.Is(err, ErrPeerAbort): // the attacker may say otherwise next
		v.note(err)
		return false
	case !IsOver(err):
		t.Errorf("attack %d: %v", seed, err)
		return true
	}
	v.note(err)
	// It stays so, in both directions.
	if _, again := r.TryRecv(make([]byte, r.RecvSize())); again != r.closed() || !IsOver(again) {
		t.Errorf("attack %d: after %v, received: %v", seed, err, again)
	}
	if _, again := r.TrySend(numbered(16, 0)); again != r.closed() || !IsOver(again) {
		t.Errorf("attack %d: after %v, sent: %v", seed, err, again)
	}
	return true
}

func sendUnderAttack(t *testing.T, v *victims, r *Ring, end time.Time, seed uint64) {
	batch := make([]byte, 5*r.SendSize())
	for n := uint64(0); time.Now().Before(end); n++ {
		var err error
		switch {
		case r.out.granter != nil && n%2 == 0:
			var b Buffer
			if b, _, err = r.Returned(time.Millisecond); errors.Is(err, ErrTimeout) {
				var ok bool
				if b, ok, err = r.TryTake(); !ok {
					break
				}
			}
			if err == nil {
				if len(b.Bytes) != int(r.out.granter.lane.BufferSize) || cap(b.Bytes) != len(b.Bytes) {
					t.Errorf("attack %d: a buffer of %d bytes", seed, cap(b.Bytes))
				}
				fill(b.Bytes, n)
				if sent, e := r.TrySend(numbered(24, n)); e != nil || !sent {
					err = errors.Join(e, r.Put(b))
				} else if err = r.SendGrantFor(numbered(24, n), b, int(n)%257, time.Millisecond); err != nil && !IsOver(err) {
					err = errors.Join(r.Put(b))
				}
			}
		case n%3 == 0:
			for i := range 5 {
				copy(batch[i*r.SendSize():], numbered(r.SendSize(), n))
			}
			_, err = r.TrySendBatch(batch)
		default:
			err = r.SendFor(numbered(8+int(n)%56, n), time.Millisecond)
		}
		if v.fate(t, r, err, seed) {
			return
		}
	}
}

func receiveUnderAttack(t *testing.T, v *victims, r *Ring, end time.Time, seed uint64) {
	size := r.RecvSize()
	dst := make([]byte, 7*size)
	var held []Buffer
	for n := 0; time.Now().Before(end); n++ {
		began := time.Now()
		var err error
		count := 1
		if n%2 == 0 {
			_, err = r.RecvFor(dst, 2*time.Millisecond)
		} else {
			count, err = r.RecvBatchFor(dst, 2*time.Millisecond)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("attack %d: a call took %v of its 2 ms", seed, took)
		}
		for i := 0; i < count && err == nil; i++ {
			m := dst[i*size:]
			if k := Size(m); k < MessageHeader || k > size {
				t.Errorf("attack %d: took a message of %d bytes", seed, k)
				return
			}
			if b, ok := r.Granted(m[:Size(m)]); ok {
				if cap(b.Bytes) != int(r.in.holder.lane.BufferSize) {
					t.Errorf("attack %d: a buffer of %d bytes", seed, cap(b.Bytes))
				}
				clear(b.Bytes)
				held = append(held, b)
			}
		}
		for len(held) > 0 && err == nil && (n%3 == 0 || len(held) > 5) {
			err = r.Return(held[0], len(held[0].Bytes))
			held = held[1:]
		}
		if v.fate(t, r, err, seed) {
			return
		}
		runtime.Gosched()
	}
}

// stayHonest sends numbers on the channel that is not attacked, and wants them back.
func stayHonest(t *testing.T, v *victims, r *Ring, stop chan struct{}, seed uint64) {
	m := make([]byte, 64)
	for n := uint64(0); ; n++ {
		err := r.SendFor(numbered(64, n), 10*time.Second)
		var k int
		if err == nil {
			k, err = r.RecvFor(m, 10*time.Second)
		}
		if err != nil || !sameNumber(m[:k], n) {
			t.Errorf("attack %d: the honest channel, message %d: %v", seed, n, err)
			return
		}
		v.alive.Add(1)
		select {
		case <-stop:
			return
		default:
		}
	}
}

// attachUnderAttack attaches to a segment while its header and indices change. It is on the
// attacker's own side, so that what it writes is one more attack.
func attachUnderAttack(t *testing.T, s *Segment, mine Side, end time.Time) {
	for time.Now().Before(end) {
		again, err := AttachWith(Options{}, dup(t, s.File()), mine.other())
		format := new(FormatError)
		if err != nil && !errors.As(err, &format) {
			t.Errorf("attached under attack: %v", err)
		}
		if err == nil {
			for _, r := range again.rings[1:] { // not the honest one
				_, _ = r.TryRecv(make([]byte, 4096)) // whatever it says
			}
			again.file.Close() // not Close: the honest channel goes on
		}
		time.Sleep(time.Millisecond)
	}
}
