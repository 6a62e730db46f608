// Nip packs, installs, runs and removes applications in cells.
//
// This command holds flags, output and exit statuses, one file a verb; what the
// verbs do is in the internal packages. The verb run is a package of its own
// (cmd/nip/run), which the small program in front of this one holds too: see
// cmd/nip/front.
package main

import (
	"io"
	"os"

	"nipcells/cmd/nip/run"
	"nipcells/internal/launch"
)

// Exit statuses of nip itself. A program's own status is what `nip run` ends
// with.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() { os.Exit(dispatch(os.Args[1:])) }

// dispatch runs the verb and returns the exit status.
func dispatch(args []string) int {
	p := run.Program{
		Plan: launch.Load, Lookup: lookup, CreateRoot: true,
		Report: func(w io.Writer, err error) { report(w, runUsage(err)) },
		Help:   func() int { return cliMain([]string{"help", "run"}) },
	}
	if status, ok := p.Main(args); ok {
		return status
	}
	return cliMain(args)
}
