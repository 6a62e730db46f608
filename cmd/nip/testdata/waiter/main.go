// Waiter is a program for tests: it says that it runs, and ends when its input
// does. With the name of a system call as argument it makes that call instead.
package main

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

func main() {
	if len(os.Args) > 1 {
		call(os.Args[1])
		return
	}
	fmt.Println("running")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		os.Exit(1)
	}
}

func call(name string) {
	err := fmt.Errorf("%s: no such call", name)
	switch name {
	case "socket":
		_, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	case "mount":
		err = syscall.Mount("none", "/", "tmpfs", 0, "")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
