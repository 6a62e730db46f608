// Command threads gives up rights while other threads of it run, and has each of them
// try what is left: threads ALLOWED-DIRECTORY FORBIDDEN-FILE.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"nipcells/nexus"
)

const threads = 6

func main() {
	allowed, forbidden := os.Args[1], os.Args[2]
	everywhere("before", func() error { return read(forbidden) })
	must("unveil", nexus.Unveil(allowed+":r"))
	must("unveil again", nexus.Unveil(allowed+":rw"))
	everywhere("unveiled", func() error { return read(allowed + "/b") })
	everywhere("not unveiled", func() error { return read(forbidden) })
	everywhere("not writable", func() error { return write(allowed + "/b") })
	must("pledge", nexus.PledgeDeny("stdio rpath"))
	fmt.Println("more:", errors.Is(nexus.Pledge("stdio inet"), nexus.ErrNotHeld), errors.Is(nexus.Pledge("stdio inet"), syscall.EPERM))
	everywhere("socket", func() error {
		_, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		return err
	})
	everywhere("still", func() error { return read(allowed + "/b") })
	fmt.Println("exec:", exec.Command("/proc/self/exe").Run() != nil)
	fmt.Println("word:", nexus.Pledge("stdio everything") != nil)
	must("pledge less", nexus.PledgeDeny("stdio"))
	everywhere("read", func() error { return read(allowed + "/b") })
}

func must(what string, err error) {
	if err != nil {
		fmt.Println(what+":", err)
		os.Exit(1)
	}
}

// everywhere does f on several threads at once and tells how it ended on all.
func everywhere(what string, f func() error) {
	var all, ready sync.WaitGroup
	results := make([]string, threads)
	ready.Add(threads)
	for i := range results {
		all.Go(func() {
			runtime.LockOSThread() // each goroutine has a thread, as all wait for all
			defer runtime.UnlockOSThread()
			ready.Done()
			ready.Wait()
			results[i] = fmt.Sprint(f())
		})
	}
	all.Wait()
	for _, r := range results {
		if r != results[0] {
			fmt.Println(what+":", results)
			return
		}
	}
	fmt.Println(what+":", results[0])
}

func read(path string) error {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err == nil {
		syscall.Close(fd)
	}
	return err
}

func write(path string) error {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err == nil {
		syscall.Close(fd)
	}
	return err
}
