package main

import (
	"errors"
	"os"

	"github.com/spf13/pflag"
)

// runMain runs `nip run` with the arguments after the verb and returns the exit
// status.
func runMain(args []string) int {
	o, err := parseRun(args)
	if errors.Is(err, pflag.ErrHelp) {
		return cliMain([]string{"help", "run"})
	}
	if err == nil {
		_, err = o.openRoot()
	}
	if err != nil {
		report(os.Stderr, err)
	}
	return exitRun
}
