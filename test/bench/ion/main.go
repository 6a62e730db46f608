// Command ion measures package ion between two processes, beside what programs use
// otherwise: a Unix socket, a pipe, an eventfd, memcpy, and a plain queue in C that checks
// nothing (its path is the argument).
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/ion"
)

const (
	channel  = 0x8000
	size     = 64 // bytes of a message
	batch    = 256
	pieces   = 16
	pageSize = 4 << 10
	bigSize  = 1 << 20
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "peer" {
		peer(os.Args[2])
		return
	}
	if len(os.Args) != 2 {
		fatal("usage: ion SPSC", nil)
	}
	plain := queue(os.Args[1])
	socket := socketRate()
	fmt.Printf("%-46s %14s %10s %12s\n", "messages of 64 bytes", "a second", "x socket", "x C queue")
	row := func(name string, rate, c float64) {
		fmt.Printf("%-46s %14.0f %10.1f %12.2f\n", name, rate, rate/socket, rate/c)
	}
	row("Unix stream socket, one by one", socket, plain[0])
	row("C queue without checks, one by one", plain[0], plain[0])
	row("C queue without checks, batches of 256", plain[1], plain[1])
	row("ION, one by one (want 40x)", ringRate("single"), plain[0])
	row("ION, batches of 256 (want 200x, 0.7x C)", ringRate("batch"), plain[1])

	socketTrip, eventTrip := socketRoundTrip(), eventRoundTrip()
	fmt.Printf("\n%-46s %14s %10s %12s\n", "round trips", "us", "x socket", "x eventfd")
	trip := func(name string, d time.Duration) {
		fmt.Printf("%-46s %14.2f %10.3f %12.2f\n", name, float64(d)/1e3, float64(d)/float64(socketTrip), float64(d)/float64(eventTrip))
	}
	trip("Unix stream socket", socketTrip)
	trip("two eventfds", eventTrip)
	trip("ION, polling (want 0.01x of the socket)", ringRoundTrip("polls", time.Hour))
	trip("ION, sleeping (want 1.2x of the eventfds)", ringRoundTrip("sleeps", -1))

	fmt.Printf("\n%-46s %14s %14s\n", "bytes, GB/s", "4 KB", "1 MB")
	both := func(name string, f func(n int) float64) {
		fmt.Printf("%-46s %14.2f %14.2f\n", name, f(pageSize), f(bigSize))
	}
	both("memcpy, one process", copyRate)
	both("pipe", func(n int) float64 { return streamRate("pipe", n) })
	both("Unix stream socket", func(n int) float64 { return streamRate("socket", n) })
	both("ION, written to buffers and copied out", bufferRate)

	fmt.Printf("\nidle: %v of CPU time in a second of both sides\n", idle())
}

func fatal(what string, err error) {
	fmt.Fprintln(os.Stderr, "ion:", what, err)
	os.Exit(1)
}

func check(what string, err error) {
	if err != nil {
		fatal(what, err)
	}
}

// queue runs the queue in C: messages a second one by one and in batches.
func queue(path string) (rates [2]float64) {
	out, err := exec.Command(path, strconv.Itoa(1<<24)).Output()
	check("the C queue", err)
	for i, line := range strings.Fields(string(out)) {
		rates[i], err = strconv.ParseFloat(line, 64)
		check("the C queue", err)
	}
	return rates
}

// begin starts a process in a role; its descriptors are from 3 on.
func begin(role string, files ...*os.File) *exec.Cmd {
	c := exec.Command("/proc/self/exe", "peer", role)
	c.Stderr, c.ExtraFiles = os.Stderr, files
	check(role, c.Start())
	return c
}

func peer(role string) {
	f := os.NewFile(3, "peer")
	switch role {
	case "single", "batch", "polls", "sleeps", "buffers":
		o := ion.Options{Patience: time.Hour}
		if role == "sleeps" {
			o.Patience = -1
		}
		s, _, err := ion.Accept(f, o)
		check(role, err)
		r, err := s.Ring(channel)
		check(role, err)
		serve(role, r)
	case "echo":
		take(f, make([]byte, size), func([]byte) bool { return true }, f, make([]byte, size))
	case "take":
		take(f, make([]byte, size), last, f, make([]byte, size))
	case "drain":
		n := make([]byte, 8)
		_, err := io.ReadFull(f, n)
		check(role, err)
		back := os.NewFile(4, "back")
		_, err = back.Write(n)
		check(role, err)
		take(f, make([]byte, binary.LittleEndian.Uint64(n)), last, back, n)
	case "events":
		ping, pong, b := 3, 4, make([]byte, 8)
		for {
			if _, err := unix.Read(ping, b); err != nil || b[7] != 0 {
				return
			}
			if _, err := unix.Write(pong, b); err != nil || b[1] != 0 {
				return
			}
		}
	}
}

// last reports whether a piece is the last one.
func last(piece []byte) bool { return piece[0] == 1 }

// take reads pieces to the end, and writes an answer for some of them.
func take(from io.Reader, piece []byte, asks func(piece []byte) bool, to io.Writer, answer []byte) {
	for {
		if _, err := io.ReadFull(from, piece); err != nil {
			return
		}
		if asks(piece) {
			_, err := to.Write(answer)
			check("answer", err)
		}
	}
}

// serve is the other side of a ring: it answers messages of kind 2.
func serve(role string, r *ion.Ring) {
	slots := make([]byte, batch*r.RecvSize())
	buffer := make([]byte, bigSize)
	for {
		n := 1
		var err error
		if role == "batch" {
			n, err = r.RecvBatch(slots)
		} else {
			_, err = r.Recv(slots)
		}
		if err != nil {
			return
		}
		for i := range n {
			m := slots[i*r.RecvSize():]
			if b, ok := r.Granted(m); ok {
				copy(buffer, b.Bytes)
				check(role, r.Return(b, 0))
			}
			if kind, _ := ion.Kind(m); kind == 2 {
				answer := make([]byte, 16)
				ion.PutHeader(answer, 2, 1)
				if r.Send(answer) != nil {
					return
				}
			}
		}
	}
}

// ring starts the other side of a new ring, which has that process number.
func ring(role string, patience time.Duration, lane ion.Lane) (r *ion.Ring, other int, end func()) {
	s, err := ion.CreateWith(ion.Options{Patience: patience}, "bench", ion.Duplex(channel, lane)...)
	check("create", err)
	a, b, err := ion.Pair()
	check("pair", err)
	c := begin(role, b)
	b.Close()
	l, err := ion.Offer(a, s)
	check("offer", err)
	r, err = s.Ring(channel)
	check("ring", err)
	return r, c.Process.Pid, func() {
		s.Close()
		l.Close()
		check(role, c.Wait())
	}
}

func message(n int, kind uint16) []byte {
	m := make([]byte, n)
	ion.PutHeader(m, kind, 1)
	return m
}

// ask has the other side say that it has taken all.
func ask(r *ion.Ring) {
	check("ask", r.Send(message(size, 2)))
	_, err := r.Recv(make([]byte, r.RecvSize()))
	check("answer", err)
}

func ringRate(role string) float64 {
	r, _, end := ring(role, time.Hour, ion.Lane{SlotSize: size, Slots: 4096})
	defer end()
	ask(r)
	const count = 1 << 24
	one, many := message(size, 1), make([]byte, 0, batch*size)
	for range batch {
		many = append(many, one...)
	}
	begin := time.Now()
	if role == "batch" {
		for range count / batch {
			_, err := r.SendBatch(many)
			check("send", err)
		}
	} else {
		for range count {
			check("send", r.Send(one))
		}
	}
	ask(r)
	return count / time.Since(begin).Seconds()
}

func pairOf(kind int) (a, b *os.File) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	check("socketpair", err)
	return os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
}

func socketRate() float64 {
	a, b := pairOf(unix.SOCK_STREAM)
	c := begin("take", b)
	b.Close()
	m := make([]byte, size)
	finish := func() {
		m[0] = 1
		_, err := a.Write(m)
		check("write", err)
		_, err = io.ReadFull(a, m)
		check("read", err)
		m[0] = 0
	}
	finish()
	const count = 500_000
	begin := time.Now()
	for range count {
		_, err := a.Write(m)
		check("write", err)
	}
	finish()
	rate := count / time.Since(begin).Seconds()
	a.Close()
	check("take", c.Wait())
	return rate
}

const trips = 50_000

func socketRoundTrip() time.Duration {
	a, b := pairOf(unix.SOCK_STREAM)
	c := begin("echo", b)
	b.Close()
	m := make([]byte, size)
	trip := func() {
		_, err := a.Write(m)
		check("write", err)
		_, err = io.ReadFull(a, m)
		check("read", err)
	}
	trip()
	begin := time.Now()
	for range trips {
		trip()
	}
	took := time.Since(begin) / trips
	a.Close()
	check("echo", c.Wait())
	return took
}

func eventRoundTrip() time.Duration {
	ping, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	check("eventfd", err)
	pong, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	check("eventfd", err)
	x, y := os.NewFile(uintptr(ping), "ping"), os.NewFile(uintptr(pong), "pong")
	c := begin("events", x, y)
	b := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	trip := func() {
		_, err := unix.Write(ping, b)
		check("write", err)
		_, err = unix.Read(pong, b)
		check("read", err)
	}
	trip()
	begin := time.Now()
	for range trips {
		trip()
	}
	took := time.Since(begin) / trips
	b[1] = 1 // the last
	trip()
	x.Close()
	y.Close()
	_ = c.Process.Kill() // it waits for another
	_ = c.Wait()
	return took
}

func ringRoundTrip(role string, patience time.Duration) time.Duration {
	r, _, end := ring(role, patience, ion.Lane{SlotSize: size, Slots: 64})
	defer end()
	m, answer := message(size, 2), make([]byte, size)
	trip := func() {
		check("send", r.Send(m))
		_, err := r.Recv(answer)
		check("recv", err)
	}
	trip()
	begin := time.Now()
	for range trips {
		trip()
	}
	return time.Since(begin) / trips
}

// times is how often n bytes are moved to measure that.
func times(n int) int { return 2 << 30 / n }

func gigabytes(n, count int, begin time.Time) float64 {
	return float64(n) * float64(count) / time.Since(begin).Seconds() / 1e9
}

func copyRate(n int) float64 {
	from, to := make([]byte, n*pieces), make([]byte, n)
	count := times(n)
	begin := time.Now()
	for i := range count {
		copy(to, from[i%pieces*n:][:n])
	}
	return gigabytes(n, count, begin)
}

func streamRate(kind string, n int) float64 {
	var a, b *os.File
	if kind == "pipe" {
		var err error
		b, a, err = os.Pipe()
		check("pipe", err)
		_, err = unix.FcntlInt(a.Fd(), unix.F_SETPIPE_SZ, bigSize)
		check("pipe", err)
	} else {
		a, b = pairOf(unix.SOCK_STREAM)
	}
	back, theirs, err := os.Pipe()
	check("pipe", err)
	c := begin("drain", b, theirs)
	b.Close()
	theirs.Close()
	number := binary.LittleEndian.AppendUint64(nil, uint64(n))
	_, err = a.Write(number)
	check("write", err)
	_, err = io.ReadFull(back, number)
	check("read", err)
	from := make([]byte, n*pieces)
	count := times(n) / 4
	begin := time.Now()
	for i := range count {
		piece := from[i%pieces*n:][:n]
		if piece[0] = 0; i == count-1 {
			piece[0] = 1
		}
		_, err := a.Write(piece)
		check("write", err)
	}
	_, err = io.ReadFull(back, number)
	check("read", err)
	rate := gigabytes(n, count, begin)
	a.Close()
	back.Close()
	check("drain", c.Wait())
	return rate
}

func bufferRate(n int) float64 {
	r, _, end := ring("buffers", time.Hour, ion.Lane{SlotSize: size, Slots: 64, BufferSize: uint32(n), Buffers: pieces})
	defer end()
	ask(r)
	from, m := make([]byte, n*pieces), message(16, 1)
	count := times(n) / 4
	begin := time.Now()
	for i := range count {
		b, err := r.Take()
		check("take", err)
		copy(b.Bytes, from[i%pieces*n:][:n])
		check("send", r.SendGrant(m, b, n))
	}
	ask(r)
	return gigabytes(n, count, begin)
}

// idle is what both sides of a ring use in a second in which nothing comes.
func idle() time.Duration {
	r, other, end := ring("sleeps", 0, ion.Lane{SlotSize: size, Slots: 64})
	ask(r)
	go func() { _, _ = r.Recv(make([]byte, size)) }() // until the end
	time.Sleep(100 * time.Millisecond)                // until all have gone to sleep
	// What looking costs this side is not counted.
	theirs, ours := used(other), own()
	time.Sleep(time.Second) // what is measured
	took := own() - ours
	took += used(other) - theirs
	end()
	return took
}

// own is the CPU time of this process.
func own() time.Duration {
	var t unix.Timespec
	check("clock", unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

// used is the CPU time of all threads of another process (proc_pid_schedstat(5)).
func used(pid int) (sum time.Duration) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	check("schedstat", err)
	for _, name := range threads {
		text, err := os.ReadFile(name)
		check("schedstat", err)
		var ns int64
		_, err = fmt.Sscan(string(text), &ns)
		check("schedstat", err)
		sum += time.Duration(ns)
	}
	return sum
}
