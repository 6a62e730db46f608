// Nip packs, installs, runs and removes applications in cells.
//
// This command holds flags, output and exit statuses, one file a verb; what the
// verbs do is in the internal packages. `nip run` is dispatched before anything
// else, because its start-up time is the product's: nothing it does not need may
// do work when the program starts.
package main

import "os"

// Exit statuses of nip itself. A program's own status is what `nip run` ends
// with.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	exitRun   = 125 // `nip run` could not start the program, or lost it
)

func main() { os.Exit(dispatch(os.Args[1:])) }

// dispatch runs the verb and returns the exit status.
func dispatch(args []string) int {
	if run, ok := cutRun(args); ok {
		return runMain(run)
	}
	if len(args) > 0 {
		switch args[0] { // nip calling itself
		case guardVerb:
			return guardMain(args[1:])
		case detachedVerb:
			return detachedMain(args[1:])
		}
	}
	return cliMain(args)
}

// cutRun looks for the verb run behind nothing but global flags, and returns the
// arguments that follow it with these flags put before them.
func cutRun(args []string) ([]string, bool) {
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "run":
			return append(args[:i:i], args[i+1:]...), true
		case a == "--root":
			i++
		case a == "-q" || a == "--quiet" || len(a) > 7 && a[:7] == "--root=":
		default:
			return nil, false
		}
	}
	return nil, false
}
