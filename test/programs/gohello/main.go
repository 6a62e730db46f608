// Command gohello is a static Go program for the tests of packages: with no
// arguments it says hello, with names it hashes those files, with "wait" it
// reads its standard input to the end.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gohello:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 0:
		fmt.Println("hello from Go")
		return nil
	case args[0] == "wait":
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	return hash(args)
}

// hash prints the sum of each file that can be read, in a goroutine of its own,
// and returns the first error.
func hash(names []string) error {
	sums := make([]string, len(names))
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			var data []byte
			if data, errs[i] = os.ReadFile(name); errs[i] == nil {
				sums[i] = fmt.Sprintf("%x %s\n", sha256.Sum256(data), name)
			}
		})
	}
	all.Wait()
	var first error
	for i := range names {
		fmt.Print(sums[i])
		if first == nil {
			first = errs[i]
		}
	}
	return first
}
