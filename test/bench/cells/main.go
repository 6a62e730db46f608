// Command cells times path calls and real programs in four ways: as the host has
// them, under bwrap, in a cell with native views, and in a cell in which every
// path call is asked. Both kinds of cells are those of `nip run`. The ways take
// turns, so that a busy machine hits all of them alike; of each the lower quartile
// counts, which other work disturbs less than the median.
//
//	cells -nip FILE -packages DIRECTORY -fixtures DIRECTORY -graft
//	cells -nip FILE -packages DIRECTORY -fixtures DIRECTORY [-rounds N] [-limits]
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// settings are what the flags say.
type settings struct {
	nip, fixtures, packages string
	rounds, files, tracked  int
	only                    string
}

func main() {
	var s settings
	flag.StringVar(&s.nip, "nip", "bin/nip", "the nip to time")
	flag.StringVar(&s.fixtures, "fixtures", "", "directory of test/fixtures.sh, with the compiled calls.c")
	flag.StringVar(&s.packages, "packages", "", "directory of the grafted packages")
	flag.IntVar(&s.rounds, "rounds", 21, "how often each program is run in each way")
	flag.IntVar(&s.files, "files", 50000, "files in the tree that is walked")
	flag.IntVar(&s.tracked, "tracked", 10000, "files in the git tree")
	flag.StringVar(&s.only, "only", "", "measure only rows whose names contain this")
	graft := flag.Bool("graft", false, "make the packages and measure nothing")
	limits := flag.Bool("limits", false, "end with 1 where a limit is broken")
	flag.Parse()
	broken, err := run(s, *graft)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cells:", err)
		os.Exit(2)
	}
	if *limits && broken > 0 {
		fmt.Fprintf(os.Stderr, "cells: %d limits are broken\n", broken)
		os.Exit(1)
	}
}

// run returns how many limits are broken.
func run(set settings, graft bool) (broken int, err error) {
	// An interrupt ends the program that runs, and with it the benchmark, which
	// cleans up after itself.
	signal.Ignore(syscall.SIGINT)
	base, err := os.MkdirTemp("", "nip-cells-")
	if err != nil {
		return 0, err
	}
	defer removeTree(base)
	s, err := newStage(set, base)
	if err != nil {
		return 0, err
	}
	if graft {
		return 0, s.graftAll()
	}
	if err := s.prepare(); err != nil {
		return 0, err
	}
	t := &table{stage: s}
	t.heading()
	for _, part := range []func() error{t.calls, t.wall, t.programs} {
		if err := part(); err != nil {
			return 0, err
		}
	}
	return t.broken, nil
}
