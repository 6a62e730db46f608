package run

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"nipcells/internal/cell"
)

// statistics counts the path calls of a cell (--stats).
type statistics struct {
	mutex         sync.Mutex // calls are counted on the listener's thread
	native, asked map[string]int
	why           string // the cell has no native views; "" if it may have
}

// newStatistics makes the cell count.
func newStatistics(o *cell.Options) *statistics {
	s := &statistics{native: map[string]int{}, asked: map[string]int{}, why: o.Plan.Asked}
	o.Count = func(call string, native bool) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		if native {
			s.native[call]++
		} else {
			s.asked[call]++
		}
	}
	return s
}

// print says what was counted; nil counts nothing.
func (s *statistics) print(w io.Writer) {
	if s == nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.why != "" {
		fmt.Fprintln(w, "nip: no native views: "+s.why)
	}
	calls := maps.Clone(s.asked)
	maps.Copy(calls, s.native)
	natives, asks := 0, 0
	fmt.Fprintf(w, "%-18s %8s %8s\n", "call", "native", "asked")
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		fmt.Fprintf(w, "%-18s %8d %8d\n", name, s.native[name], s.asked[name])
		natives, asks = natives+s.native[name], asks+s.asked[name]
	}
	fmt.Fprintf(w, "%-18s %8d %8d\n", "all", natives, asks)
}
