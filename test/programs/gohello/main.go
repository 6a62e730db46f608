// Command gohello is a static Go program for the tests of packages: with no
// arguments it says hello, with a name it hashes that file, with "empty" it
// does nothing.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"sync"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "empty" {
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gohello:", err)
		os.Exit(1)
	}
}

// run hashes each named file in a goroutine of its own.
func run(names []string) error {
	if len(names) == 0 {
		fmt.Println("hello from Go")
	}
	sums := make([]string, len(names))
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			data, err := os.ReadFile(name)
			sums[i], errs[i] = fmt.Sprintf("%x  %s", sha256.Sum256(data), name), err
		})
	}
	all.Wait()
	for i := range names {
		if errs[i] != nil {
			return errs[i]
		}
		fmt.Println(sums[i])
	}
	return nil
}
