package ledger

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"nipcells/internal/cid"
)

// TestMain lets the test binary be a writer process of its own.
func TestMain(m *testing.M) {
	if path := os.Getenv("LEDGER_TEST_WRITE"); path != "" {
		n, err := strconv.Atoi(os.Getenv("LEDGER_TEST_COUNT"))
		if err == nil {
			err = writer(path, n)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writer appends n records, or without end if n is 0, and says so after each.
func writer(path string, n int) error {
	l, key := Open(path), testKey(1)
	for i := 0; n == 0 || i < n; i++ {
		if _, err := l.Append("start", Number("pid", int64(os.Getpid())), Number("i", int64(i))); err != nil {
			return err
		}
		if i%16 == 7 {
			if _, err := l.Seal(sealer(key)); err != nil {
				return err
			}
		}
		if _, err := os.Stdout.Write([]byte{'.'}); err != nil {
			return err
		}
	}
	return nil
}

func writerCommand(path string, n int) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "LEDGER_TEST_WRITE="+path, "LEDGER_TEST_COUNT="+strconv.Itoa(n))
	c.Stderr = os.Stderr
	return c
}

func TestManyProcesses(t *testing.T) {
	const processes, each = 12, 200
	l := newLedger(t)
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			if err := writerCommand(l.Path(), each).Run(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	rep, err := l.Verify(VerifyOptions{Valid: valid, Keys: public(testKey(1))})
	if err != nil || rep.Torn != 0 || rep.Records-rep.Seals != processes*each {
		t.Fatalf("%+v, %v", rep, err)
	}
	next := map[string]int{} // each writer's records are in its order
	if err := l.Read(func(r Record) error {
		if r.Kind != "start" {
			return nil
		}
		if got := r.Field("i"); got != strconv.Itoa(next[r.Field("pid")]) {
			t.Errorf("writer %s: record %s, want %d", r.Field("pid"), got, next[r.Field("pid")])
		}
		next[r.Field("pid")]++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestKilledWriters(t *testing.T) {
	l := newLedger(t)
	said := 0
	for round := range 25 {
		c := writerCommand(l.Path(), 0)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(out)
		if _, err := io.CopyN(io.Discard, r, int64(5+7*round)); err != nil {
			t.Fatal(err)
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		rest, err := io.Copy(io.Discard, r)
		if err != nil {
			t.Fatal(err)
		}
		c.Wait() // killed: its status says nothing more
		said += 5 + 7*round + int(rest)
		rep, err := l.Verify(VerifyOptions{Valid: valid, Keys: public(testKey(1))})
		// A kill takes effect between two pages of a write: one piece a round at most.
		if err != nil || rep.Torn > round {
			t.Fatalf("round %d: %+v, %v", round, rep, err)
		}
		// Between the append and the word about it the writer may have died.
		if n := rep.Records - rep.Seals - rep.Torn; n < said || n > said+round+1 {
			t.Fatalf("round %d: %d records, but %d were reported", round, n, said)
		}
	}
}

// afterPowerCut checks that a ledger whose file holds b accepts an append and is
// valid then, with nothing of b gone.
func afterPowerCut(t *testing.T, dir string, b []byte, what string) {
	t.Helper()
	path := filepath.Join(dir, "cut")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l := Open(path)
	before, err := l.Verify(VerifyOptions{Valid: valid, Keys: public(testKey(1))})
	if err != nil {
		t.Fatalf("%s: before the append: %v", what, err)
	}
	if before.OpenEnd > 0 && !l.Unsealed() {
		t.Fatalf("%s: a torn end counts as sealed", what)
	}
	h := mustAppend(t, l, "start")
	after, err := l.Verify(VerifyOptions{Valid: valid, Keys: public(testKey(1)), Head: before.Head.Hash})
	if err != nil || after.OpenEnd != 0 || after.Head != h {
		t.Fatalf("%s: after the append: %+v, %v", what, after, err)
	}
	if !bytes.HasPrefix(content(t, l), b) {
		t.Fatalf("%s: the append changed what was there", what)
	}
	mustSeal(t, l, testKey(1))
	if _, err := l.Verify(VerifyOptions{Valid: valid, Keys: public(testKey(1))}); err != nil {
		t.Fatalf("%s: after the seal: %v", what, err)
	}
}

// lastLines returns where the last n lines of b begin.
func lastLines(b []byte, n int) int {
	at := len(b)
	for range n {
		at = bytes.LastIndexByte(b[:at-1], '\n') + 1
	}
	return at
}

func TestPowerCutAtEachByte(t *testing.T) {
	l, dir := newLedger(t), t.TempDir()
	fill(t, l, testKey(1))
	b := content(t, l)
	for cut := lastLines(b, 4); cut <= len(b); cut++ {
		afterPowerCut(t, dir, b[:cut], fmt.Sprintf("cut at %d", cut))
	}
}

func TestPowerCutLeavesZeroes(t *testing.T) {
	l, dir := newLedger(t), t.TempDir()
	fill(t, l, testKey(1))
	b := content(t, l)
	for from := lastLines(b, 2); from < len(b); from += 3 {
		z := append(bytes.Clone(b[:from]), make([]byte, len(b)-from)...)
		afterPowerCut(t, dir, z, fmt.Sprintf("zeroes from %d", from))
		z[len(z)-1] = '\n'
		afterPowerCut(t, dir, z, fmt.Sprintf("zeroes from %d to the newline", from))
	}
	afterPowerCut(t, dir, append(bytes.Clone(b), make([]byte, 40<<10)...), "ten pages of zeroes")
	afterPowerCut(t, dir, make([]byte, 100), "nothing but zeroes")
}

func TestPowerCutWhileClosingOff(t *testing.T) {
	l, dir := newLedger(t), t.TempDir()
	fill(t, l, testKey(1))
	b := content(t, l)
	start := lastLines(b, 1)
	for _, first := range []int{start + 1, len(b) - 100, len(b) - 1} {
		path := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(path, b[:first], 0o600); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, Open(path), "start", Text("args", `x"}`))
		twice := content(t, Open(path))
		for cut := first; cut <= len(twice); cut++ {
			afterPowerCut(t, dir, twice[:cut], fmt.Sprintf("cut at %d, then at %d", first, cut))
		}
	}
}

func TestTornPieceIsGuarded(t *testing.T) {
	l := newLedger(t)
	fill(t, l, testKey(1))
	b := content(t, l)
	if err := os.Truncate(l.Path(), int64(len(b)-30)); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "start")
	rep, err := l.Verify(VerifyOptions{Valid: valid})
	if err != nil || rep.Torn != 1 {
		t.Fatalf("%+v, %v", rep, err)
	}
	closed := content(t, l)
	for i := lastLines(b, 1); i < len(b)-30; i++ {
		bad := bytes.Clone(closed)
		bad[i] ^= 1
		if _, err := Verify(bytes.NewReader(bad), VerifyOptions{Valid: valid}); err == nil {
			t.Fatalf("byte %d of the torn piece changed: not found", i)
		}
	}
	var damaged int
	if err := l.Read(func(r Record) error { damaged += r.Damaged; return nil }); err != nil || damaged == 0 {
		t.Fatalf("reading passes over the torn piece: %d, %v", damaged, err)
	}
}

func TestMoreDamageThanAPowerCutDoes(t *testing.T) {
	l := newLedger(t)
	junk := append(bytes.Repeat([]byte("x"), maxFragment+2*MaxLine), '\n')
	if err := os.WriteFile(l.Path(), junk, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append("start"); err == nil {
		t.Fatal("appended to a file that is no ledger")
	}
	if got := content(t, l); !bytes.Equal(got, junk) {
		t.Fatal("the refused append changed the file")
	}
}

func BenchmarkAppend(b *testing.B) {
	l := newLedger(b)
	mustAppend(b, l, "start")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append("start", Text("fiber", "0badcafe"), Text("package", "python3"), Text("version", "3.11.2"),
			Text("command", "python3"), Number("pid", 12345)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	l, key := newLedger(b), testKey(1)
	for i := range 5000 {
		mustAppend(b, l, "start", Text("fiber", "0badcafe"), Text("package", "python3"), Text("of", cid.CID{}.String()))
		if i%100 == 0 {
			mustSeal(b, l, key)
		}
	}
	b.SetBytes(int64(len(content(b, l))))
	for b.Loop() {
		if _, err := l.Verify(VerifyOptions{Valid: valid, Keys: public(key)}); err != nil {
			b.Fatal(err)
		}
	}
}
