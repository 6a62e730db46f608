// Waiter is a program for tests: it says that it runs, and ends when its input
// does.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	fmt.Println("running")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		os.Exit(1)
	}
}
