package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// table prints the rows as they are measured, and counts the limits that are
// broken.
type table struct {
	*stage
	broken int
}

// sample is what was measured of one thing in each way.
type sample [ways][]float64

// quartile is the lower one of a way, and median what its name says.
func (s *sample) quartile(w way) float64 { return at(s[w], 4) }
func (s *sample) median(w way) float64   { return at(s[w], 2) }

func at(list []float64, part int) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	return sorted[len(sorted)/part]
}

// of is the ratio of two ways.
func (s *sample) of(a, b way) float64 { return s.quartile(a) / s.quartile(b) }

// times is the ratio in words, a dash where one was not measured.
func (s *sample) times(a, b way) string {
	if len(s[a]) == 0 || len(s[b]) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", s.of(a, b))
}

func (t *table) heading() {
	fmt.Printf("%-24s", "lower quartile (median)")
	for w := range ways {
		fmt.Printf(" %18s", w)
	}
	fmt.Printf("  %9s %8s %9s  %s\n", "of native", "of bwrap", "all asked", "limits")
}

// row prints one line; the limits are what the cell may take at most of the
// native time and of bwrap's.
func (t *table) row(name, unit string, s *sample, ofNative, ofBwrap float64) {
	fmt.Printf("%-24s", name)
	for w := range ways {
		text := "-"
		if len(s[w]) > 0 {
			text = fmt.Sprintf("%.2f (%.2f) %s", s.quartile(w), s.median(w), unit)
		}
		fmt.Printf(" %18s", text)
	}
	verdict := ""
	if ofNative > 0 {
		verdict += t.limit("native", s.of(cell, native), ofNative)
	}
	if ofBwrap > 0 {
		verdict += t.limit("bwrap", s.of(cell, bwrap), ofBwrap)
	}
	fmt.Printf("  %9s %8s %9s  %s\n", s.times(cell, native), s.times(cell, bwrap), s.times(asked, native), verdict)
}

// limit says whether a limit holds.
func (t *table) limit(what string, is, most float64) string {
	text := fmt.Sprintf("%s %.2fx ", what, most)
	if is <= most {
		return text + "holds; "
	}
	t.broken++
	return text + "BROKEN; "
}

// note prints a line below a row.
func (t *table) note(format string, args ...any) {
	fmt.Printf("%-24s %s\n", "", fmt.Sprintf(format, args...))
}

// calls times single path calls, by a program that times itself: of a file of the
// package, and of ones that are unveiled, four directories down.
func (t *table) calls() error {
	libc, _ := library()
	for _, c := range []struct {
		where, dir, file, rights string
		limits                   map[string]float64
		below                    string // the directory that a cell has a descriptor of
	}{
		{"package", "many", "/usr" + libc, "", map[string]float64{"open+close": 1.25, "stat": 2.6, "missing": 2}, "/usr/lib"},
		{"unveiled", "few", t.work + "/few/0/0/0", "", map[string]float64{"open+close": 1.25, "stat": 2.6}, t.work},
		{"unveiled to read", "few", t.work + "/few/0/0/0", "r", map[string]float64{"open+close": 1.25}, ""},
	} {
		j := &job{name: "calls, " + c.where, program: t.fixtures + "/calls", command: "calls", dir: c.dir, args: []string{c.file}, rights: c.rights}
		if t.only != "" && !strings.Contains(j.name, t.only) {
			continue
		}
		names, samples, err := t.selfTimed(j, native, bwrap, cell, asked)
		if err != nil {
			return err
		}
		for _, name := range names {
			if l := c.limits[name]; l > 0 || c.where == "package" {
				t.row(name+", "+c.where, "us", samples[name], l, 0)
			}
		}
		if c.below == "" {
			continue
		}
		j.args = []string{c.below, c.file[len(c.below)+1:]}
		_, kernel, err := t.selfTimed(j, native)
		if err != nil {
			return err
		}
		part := func(name string) float64 { return kernel[name].quartile(native) / samples[name].quartile(native) }
		t.note("openat2 below a descriptor, without any wall: open+close %.2fx, stat %.2fx of native", part("open+close"), part("stat"))
	}
	return nil
}

// mostAsked is how much longer than natively a stat may take that is asked.
const mostAsked = 10

// wall times what does not go by paths, and a stat that is asked.
func (t *table) wall() error {
	if t.only != "" && !strings.Contains("wall", t.only) {
		return nil
	}
	server, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen on loopback: %w", err)
	}
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return // closed
			}
			c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(server.Addr().String())
	if err != nil {
		return err
	}
	j := &job{name: "wall", program: t.fixtures + "/wall", command: "wall", args: []string{t.work, port}, net: "127.0.0.1"}
	names, samples, err := t.selfTimed(j, native, cell)
	if err != nil {
		return err
	}
	limits := map[string]float64{"read-64K": 1.02, "write-64K": 1.02, "connect": 1.5}
	for _, name := range names {
		t.row(name, "us", samples[name], limits[name], 0)
	}
	j = &job{name: "stat, asked", program: t.fixtures + "/calls", command: "calls", dir: "few", args: []string{t.work + "/few/0/0/0"}}
	if _, samples, err = t.selfTimed(j, native, asked); err != nil {
		return err
	}
	stat := samples["stat"]
	fmt.Printf("%-24s %.2f us of %.2f: %.1fx; %s\n", j.name, stat.quartile(asked), stat.quartile(native), stat.of(asked, native), t.limit("native", stat.of(asked, native), mostAsked))
	return nil
}

// askedRounds says that all asked, which takes long, has part in every fourth round
// only.
const askedRounds = 4

// selfTimed does a job whose output are lines of names and nanoseconds.
func (t *table) selfTimed(j *job, ways ...way) (names []string, samples map[string]*sample, err error) {
	samples = map[string]*sample{}
	for round := range max(t.rounds/2, 4) {
		for _, w := range ways {
			if w == asked && round%askedRounds != 0 {
				continue
			}
			_, out, err := t.once(j, w)
			if err != nil {
				return nil, nil, err
			}
			for line := range strings.Lines(out) {
				name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
				ns, err := strconv.ParseFloat(text, 64)
				if err != nil {
					return nil, nil, fmt.Errorf("%s (%s): %w", j.name, w, err)
				}
				if samples[name] == nil {
					names, samples[name] = append(names, name), new(sample)
				}
				samples[name][w] = append(samples[name][w], ns/1000)
			}
		}
	}
	return names, samples, nil
}

// measure does jobs in turn in all ways and returns the milliseconds.
func (t *table) measure(rounds int, jobs ...*job) ([]sample, error) {
	samples := make([]sample, len(jobs))
	for round := range rounds + 1 {
		for i, j := range jobs {
			for w := range ways {
				if w == asked && round > 0 && round%askedRounds != 1 {
					continue
				}
				took, _, err := t.once(j, w)
				if err != nil {
					return nil, err
				}
				if round > 0 { // the first fills caches and computes plans
					samples[i][w] = append(samples[i][w], took.Seconds()*1000)
				}
			}
		}
	}
	return samples, nil
}

// counted prints what a job asks, and checks how much it may.
func (t *table) counted(j *job) error {
	n, err := t.count(j)
	if err != nil {
		return err
	}
	verdict := ""
	if j.asked > 0 {
		verdict = t.atMost(n.asked, j.asked)
	}
	t.note("%d path calls native, %d asked%s%s", n.native, n.asked, n.which, verdict)
	return nil
}

func (t *table) atMost(is, most int) string {
	if is <= most {
		return fmt.Sprintf("; at most %d: holds", most)
	}
	t.broken++
	return fmt.Sprintf("; at most %d: BROKEN", most)
}
