package capability

import (
	"math"
	"strconv"
	"strings"
)

// Budget is what a cell may use; zero fields are unlimited (SPEC section 5).
type Budget struct {
	Spectrum string // photon, matter, gravity, void; empty: not limited
	Memory   int64  // bytes
	Fibers   int    // processes and threads
	CPU      int    // per cent of one core
	Disk     int64  // bytes in /Cell and /Data
	IO       int64  // bytes a second
	Energy   int64  // millijoules a second
}

// ParseBudget reads memory=256M,fibers=64,cpu=50%,disk=1G,io=20M/s,energy=2.5J/s,spectrum=gravity:
// any of these, each once, in any order. The empty string is the empty budget.
// The error is a *SyntaxError.
func ParseBudget(s string) (Budget, error) {
	var b Budget
	if strings.TrimSpace(s) == "" {
		return b, nil
	}
	seen := make([]string, 0, 7)
	for item := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok {
			return Budget{}, &SyntaxError{What: "budget", Text: item, Why: "want key=value"}
		}
		for _, k := range seen {
			if k == key {
				return Budget{}, &SyntaxError{What: "budget", Text: key, Why: "given twice"}
			}
		}
		seen = append(seen, key)
		if err := b.Put(key, value); err != nil {
			return Budget{}, err
		}
	}
	return b, nil
}

// Put sets one item of the budget from its text: memory, disk and io as sizes
// (io may end in /s), fibers as a count, cpu in per cent of a core (a % may
// follow), energy in joules a second (J/s or W may follow), spectrum as a name. The error
// is a *SyntaxError and leaves b as it was.
func (b *Budget) Put(key, value string) (err error) {
	switch key {
	case "memory":
		err = putSize(&b.Memory, value)
	case "disk":
		err = putSize(&b.Disk, value)
	case "io":
		err = putSize(&b.IO, strings.TrimSuffix(value, "/s"))
	case "fibers":
		err = putCount(&b.Fibers, value, value)
	case "cpu":
		err = putCount(&b.CPU, value, strings.TrimSuffix(value, "%"))
	case "energy":
		err = putEnergy(&b.Energy, value)
	case "spectrum":
		if SpectrumRank(value) == 0 {
			return &SyntaxError{What: "budget", Text: "spectrum=" + value, Why: "want photon, matter, gravity or void"}
		}
		b.Spectrum = value
	default:
		return &SyntaxError{What: "budget", Text: key, Why: "no such item: there are memory, fibers, cpu, disk, io, energy and spectrum"}
	}
	if e, ok := err.(*SyntaxError); ok {
		return &SyntaxError{What: "budget", Text: key + "=" + value, Why: e.Why}
	}
	return err
}

func putSize(dst *int64, text string) error {
	n, err := ParseSize(text)
	if err != nil {
		return err
	}
	if n == 0 {
		return &SyntaxError{What: "size", Text: text, Why: "must be more than 0"}
	}
	*dst = n
	return nil
}

// putEnergy reads joules a second, with three decimals at most.
func putEnergy(dst *int64, text string) error {
	bad := &SyntaxError{What: "energy", Text: text, Why: "want joules a second, such as 2.5J/s"}
	number := strings.TrimSuffix(strings.TrimSuffix(text, "J/s"), "W")
	whole, part, dot := strings.Cut(number, ".")
	const decimals = 3
	if len(part) > decimals || dot && part == "" || strings.ContainsFunc(whole+part, func(r rune) bool { return r < '0' || r > '9' }) {
		return bad
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", decimals-len(part)), 10, 48)
	if err != nil || whole == "" {
		return bad
	}
	if n == 0 {
		return &SyntaxError{What: "energy", Text: text, Why: "must be more than 0"}
	}
	*dst = n
	return nil
}

// FormatEnergy writes n millijoules a second, n not negative, exactly and as short as a
// budget can have it: 2500 is 2.5J/s.
func FormatEnergy(n int64) string {
	text := strconv.FormatInt(n/1000, 10)
	if part := n % 1000; part > 0 {
		text += "." + strings.TrimRight(strconv.FormatInt(1000+part, 10)[1:], "0")
	}
	return text + "J/s"
}

func putCount(dst *int, text, digits string) error {
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || digits[0] == '+' {
		return &SyntaxError{What: "count", Text: text, Why: "want a whole number below 2147483648"}
	}
	if n == 0 {
		return &SyntaxError{What: "count", Text: text, Why: "must be more than 0"}
	}
	*dst = int(n)
	return nil
}

// String returns the canonical form, which ParseBudget reads; the empty budget
// is the empty string.
func (b Budget) String() string {
	var set []string
	for _, i := range b.items() {
		if i.value != "" {
			set = append(set, i.key+"="+i.value)
		}
	}
	return strings.Join(set, ",")
}

// budgetItem is an item as text; value is empty where there is no limit.
type budgetItem struct{ key, value string }

func (b Budget) items() [7]budgetItem {
	text := func(n int64, write func(int64) string) string {
		if n <= 0 {
			return ""
		}
		return write(n)
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return [7]budgetItem{
		{"memory", text(b.Memory, FormatSize)},
		{"fibers", text(int64(b.Fibers), number)},
		{"cpu", text(int64(b.CPU), func(n int64) string { return number(n) + "%" })},
		{"disk", text(b.Disk, FormatSize)},
		{"io", text(b.IO, func(n int64) string { return FormatSize(n) + "/s" })},
		{"energy", text(b.Energy, FormatEnergy)},
		{"spectrum", b.Spectrum},
	}
}

// Intersect returns the tighter of both budgets, item by item. A spectrum that
// is no spectrum counts as void, the lowest.
func (b Budget) Intersect(c Budget) Budget {
	return Budget{
		Spectrum: lowerSpectrum(b.Spectrum, c.Spectrum),
		Memory:   tighter(b.Memory, c.Memory),
		Fibers:   tighter(b.Fibers, c.Fibers),
		CPU:      tighter(b.CPU, c.CPU),
		Disk:     tighter(b.Disk, c.Disk),
		IO:       tighter(b.IO, c.IO),
		Energy:   tighter(b.Energy, c.Energy),
	}
}

// tighter returns the smaller limit, where zero is no limit.
func tighter[T int | int64](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// SpectrumRank orders the spectrums from the highest, 4, to the lowest, 1. It is
// 0 for what is none.
func SpectrumRank(s string) int {
	switch s {
	case "photon":
		return 4
	case "matter":
		return 3
	case "gravity":
		return 2
	case "void":
		return 1
	}
	return 0
}

func lowerSpectrum(a, b string) string {
	switch {
	case a == "" && b == "":
		return ""
	case a == "":
		a = b
	case b == "":
		b = a
	}
	switch ra, rb := SpectrumRank(a), SpectrumRank(b); {
	case ra == 0 || rb == 0:
		return "void"
	case rb < ra:
		return b
	default:
		return a
	}
}

// ParseSize reads a number of bytes: digits and one of K, M, G, T (powers of
// 1024, upper or lower case) or none. The error is a *SyntaxError.
func ParseSize(s string) (int64, error) {
	digits, shift := s, 0
	if s != "" {
		switch s[len(s)-1] {
		case 'K', 'k':
			shift = 10
		case 'M', 'm':
			shift = 20
		case 'G', 'g':
			shift = 30
		case 'T', 't':
			shift = 40
		}
	}
	if shift > 0 {
		digits = s[:len(s)-1]
	}
	if digits == "" {
		return 0, &SyntaxError{What: "size", Text: s, Why: "want a number such as 256M"}
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, &SyntaxError{What: "size", Text: s, Why: "want a number such as 256M"}
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, &SyntaxError{What: "size", Text: s, Why: "too large"}
	}
	return n << shift, nil
}

// FormatSize writes n bytes, n not negative, exactly and as short as ParseSize
// can read it: 268435456 is 256M, 1000 is 1000.
func FormatSize(n int64) string {
	for _, u := range [4]struct {
		shift  int
		letter string
	}{{40, "T"}, {30, "G"}, {20, "M"}, {10, "K"}} {
		if n > 0 && n&(1<<u.shift-1) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.letter
		}
	}
	return strconv.FormatInt(n, 10)
}
