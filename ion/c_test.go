package ion

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// compiled is testdata/peer.c, with checks of what it accesses if sanitize says so.
func compiled(t testing.TB, sanitize bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peer")
	flags := []string{"-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror"}
	if sanitize {
		flags = append(flags, "-fsanitize=address,undefined", "-fno-sanitize-recover")
	}
	if text, err := exec.Command("gcc", append(flags, "-o", path, "testdata/peer.c")...).CombinedOutput(); err != nil {
		t.Fatalf("gcc (package gcc): %v: %s", err, text)
	}
	return path
}

// peerC starts the peer in a role, as the other side of a segment.
func peerC(t *testing.T, path string, s *Segment, role ...string) (c *exec.Cmd, l *Link, out *bytes.Buffer) {
	t.Helper()
	return peerTelling(t, os.Stderr, path, s, role...)
}

// peerTelling is peerC with a place for what the peer complains of.
func peerTelling(t *testing.T, stderr io.Writer, path string, s *Segment, role ...string) (c *exec.Cmd, l *Link, out *bytes.Buffer) {
	t.Helper()
	a, b, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	out = new(bytes.Buffer)
	c = exec.Command(path, role...)
	c.Stdout, c.Stderr = out, stderr
	c.Env = append(os.Environ(), "ASAN_OPTIONS=detect_leaks=0") // it ends with what it has
	begin(t, c, b)
	b.Close()
	if l, err = Offer(a, s); err != nil {
		t.Fatal(err)
	}
	return c, l, out
}

// TestLayoutC: C reads the same of a segment, whatever its lanes.
func TestLayoutC(t *testing.T) {
	path := compiled(t, true)
	for _, lanes := range [][]Lane{
		{{ID: 1, From: Host, SlotSize: 64, Slots: 2}},
		attackedLanes(),
		{
			{ID: 1, From: Host, SlotSize: 64, Slots: 2, BufferSize: 4096, Buffers: 5},
			{ID: 1, From: Guest, SlotSize: 4096, Slots: 8},
			{ID: 2, From: Guest, SlotSize: 128, Slots: 4, BufferSize: 64, Buffers: 1},
			{ID: Files, From: Guest, SlotSize: 512, Slots: 65536, BufferSize: 1 << 20, Buffers: 17},
		},
	} {
		s, err := Create("layout", lanes...)
		if err != nil {
			t.Fatal(err)
		}
		c, l, out := peerC(t, path, s, "layout")
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("layout %x %d 1\n", s.layout.serial, s.layout.size)
		for i, lane := range lanes {
			p := s.layout.places[i]
			want += fmt.Sprintln(lane.ID, uint32(lane.From), lane.SlotSize, lane.Slots, lane.BufferSize, lane.Buffers, p.control, p.slots, p.returns, p.held, p.arena)
		}
		if out.String() != want {
			t.Errorf("C reads\n%s, want\n%s", out, want)
		}
		l.Close()
		s.Close()
	}
}

// TestFormatC: C refuses what is no segment: each bit of header and directory counts but
// for those of serial and name.
func TestFormatC(t *testing.T) {
	path := compiled(t, true)
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		s, err := Create("spoilt", attackedLanes()...)
		if err != nil {
			t.Fatal(err)
		}
		at := random.IntN(24)
		if random.IntN(2) == 0 {
			at = HeaderSize + random.IntN(len(s.layout.lanes))*EntrySize + 8 + random.IntN(EntrySize-8)
		}
		s.mem[at] ^= 1 << random.IntN(8)
		var told bytes.Buffer
		c, l, out := peerTelling(t, &told, path, s, "layout")
		if err := c.Wait(); err == nil || told.String() != "peer: accept: -1 \n" {
			t.Errorf("C accepts a segment with another byte %d: %v: %s%s", at, err, out, &told)
		}
		l.Close()
		s.Close()
	}
}

// TestAnswersC: messages go round between Go and C, however both wait.
func TestAnswersC(t *testing.T) {
	path := compiled(t, true)
	for _, size := range []uint32{64, 256} {
		s, err := Create("answers", Duplex(honestChannel, Lane{SlotSize: size, Slots: 16})...)
		if err != nil {
			t.Fatal(err)
		}
		c, l, _ := peerC(t, path, s, "answer")
		r := ringOf(t, s, honestChannel)
		var wg sync.WaitGroup
		const count = 20000
		wg.Go(func() {
			for n := range uint64(count) {
				m := numbered(16+int(n)%(int(size)-16), n)
				binary.LittleEndian.PutUint64(m[MessageHeader:], n)
				if err := r.Send(m); err != nil {
					t.Errorf("send %d: %v", n, err)
					return
				}
				if n%1000 == 999 {
					time.Sleep(time.Millisecond) // both sleep
				}
			}
		})
		m := make([]byte, size)
		for n := range uint64(count) {
			k, err := r.RecvFor(m, 10*time.Second)
			if err != nil || binary.LittleEndian.Uint64(m[MessageHeader:k]) != n || k != 16+int(n)%(int(size)-16) {
				t.Fatalf("answer %d: %d bytes, %v", n, k, err)
			}
		}
		wg.Wait()
		r.Close()
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
		l.Close()
		s.Close()
	}
}

// TestArenaC: buffers go to C and come back changed, and C's come here.
func TestArenaC(t *testing.T) {
	s, err := Create("arena", Duplex(arenaChannel, Lane{SlotSize: 64, Slots: 4, BufferSize: 1024, Buffers: 3})...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, l, _ := peerC(t, compiled(t, true), s, "arena")
	defer l.Close()
	r := ringOf(t, s, arenaChannel)
	in := make([]byte, r.RecvSize())
	for n := range 3000 {
		b, err := r.Take()
		if err != nil {
			t.Fatal(err)
		}
		length := n % 1025
		fill(b.Bytes[:length], uint64(n))
		want := slices.Clone(b.Bytes[:length])
		slices.Reverse(want)
		if err := r.SendGrant(numbered(16, 0), b, length); err != nil {
			t.Fatal(err)
		}
		back, k, err := r.Returned(10 * time.Second)
		if err != nil || k != length || back.Index != b.Index || !bytes.Equal(back.Bytes[:k], want) {
			t.Fatalf("buffer %d came back with %d bytes of %d: %v", n, k, length, err)
		}
		if err := r.Put(back); err != nil {
			t.Fatal(err)
		}
		if _, err := r.RecvFor(in, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		theirs, ok := r.Granted(in)
		if !ok || len(theirs.Bytes) != 8 || binary.LittleEndian.Uint64(theirs.Bytes) != uint64(n+1) {
			t.Fatalf("C granted %v", theirs)
		}
		binary.LittleEndian.PutUint64(theirs.Bytes, 2*uint64(n+1))
		if err := r.Return(theirs, 8); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// TestKilledC is TestKilled with the peer in C: whoever comes next goes on where it was.
func TestKilledC(t *testing.T) {
	path := compiled(t, false)
	killed(t, 100, func(link *os.File) *exec.Cmd {
		c := exec.Command(path, "answer")
		c.Stderr = os.Stderr
		begin(t, c, link)
		return c
	})
}

// TestHostilePeerC: Go attacks C, which looks at each access, and its honest channel goes on.
func TestHostilePeerC(t *testing.T) {
	path := compiled(t, true)
	seed := uint64(time.Now().UnixNano())
	total := map[string]int{}
	for start, round := time.Now(), uint64(0); time.Since(start) < hostileTime() && !t.Failed(); round++ {
		s, err := Create("attacked", attackedLanes()...)
		if err != nil {
			t.Fatal(err)
		}
		c, l, out := peerC(t, path, s, "victim")
		for s.Peer().Epoch == 0 {
			time.Sleep(time.Millisecond)
		}
		attacker := newAttack(s, seed+round)
		if attacker.pace == 0 && round%4 > 0 { // so that something works in between
			attacker.pace = 100 * time.Microsecond
		}
		end := time.Now().Add(200 * time.Millisecond)
		var wg sync.WaitGroup
		wg.Go(func() {
			for k := 0; time.Now().Before(end); k++ {
				if attacker.strike(); k%16 == 0 {
					attacker.heal()
				}
			}
		})
		r, m, n := ringOf(t, s, honestChannel), numbered(64, 0), uint64(0)
		for ; time.Now().Before(end); n++ {
			binary.LittleEndian.PutUint64(m[MessageHeader:], n)
			if err := r.SendFor(m, 10*time.Second); err != nil {
				t.Errorf("seed %d: the honest channel: %v", seed+round, err)
				break
			}
			k, err := r.RecvFor(m, 10*time.Second)
			if err != nil || binary.LittleEndian.Uint64(m[MessageHeader:k]) != n {
				t.Errorf("seed %d: the honest channel: %v", seed+round, err)
				break
			}
		}
		wg.Wait()
		l.Close()
		if err := c.Wait(); err != nil {
			t.Errorf("seed %d: %v", seed+round, err)
		}
		words := strings.Fields(out.String())
		for i := 0; i+1 < len(words); i += 2 {
			var k int
			if _, err := fmt.Sscan(words[i+1], &k); err == nil {
				total[words[i]] += k
			}
		}
		s.Close()
	}
	t.Logf("%v", total)
	for _, what := range []string{"answered", "opened", "violations", "closed", "aborted", "sent", "received", "granted", "returned"} {
		if total[what] == 0 {
			t.Errorf("nothing was %s: this test does not reach that", what)
		}
	}
}

// heal makes what was spoilt a segment again that somebody can go on with.
func (a *attack) heal() {
	for _, i := range a.lanes {
		c := controlAt(a.s.mem, a.s.layout.places[i].control)
		c.producerState.Store(laneOpen)
		c.consumerState.Store(laneOpen)
		c.head.Store(c.tail.Load())
		c.returnHead.Store(c.returnTail.Load())
	}
}
