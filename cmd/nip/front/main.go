// The front is what people call nip: the verb run, with nothing in the binary
// that this verb does not need, and the whole nip (cmd/nip) carried along as
// data. Go initialises every package of a program before main, and the other
// verbs' packages take longer for that than the start of a cell does.
//
// The front starts a cell if there is a valid launch plan and nothing goes
// wrong. Everything else - another verb, help, a plan that has to be computed,
// a mistake - it hands to the whole nip, with the same arguments.
package main

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"nipcells/cmd/nip/run"
	"nipcells/internal/cell"
	"nipcells/internal/hier"
	"nipcells/internal/plan"
	"nipcells/internal/wall"
)

// whole holds the whole nip, if the build put it there.
//
//go:embed whole
var whole embed.FS

// frontVariable is what package launch calls FrontVariable.
const frontVariable = "NIP_FRONT"

func main() {
	deepen(false)
	p := run.Program{Plan: readPlan, Report: report, Help: func() int { return handOver() }}
	if status, ok := p.Main(os.Args[1:]); ok {
		os.Exit(status)
	}
	os.Exit(handOver())
}

// deepen makes the goroutine's stack as large as a start comes to need, in one
// step. It would be doubled until it is, and each time the frames be moved and the
// pages of a row of stacks be touched, which takes 3 % of a start.
//
//go:noinline
func deepen(never bool) {
	if never { // no byte of the room is cleared
		var room [20 << 10]byte
		use(room[:])
	}
}

//go:noinline
func use([]byte) {}

// errNoPlan reports that there is no valid plan.
var errNoPlan = errors.New("no launch plan")

func readPlan(own *hier.Root, name string) (*plan.Plan, error) {
	if p, ok := plan.Read(own.Plans(name), name); ok {
		return p, nil
	}
	return nil, errNoPlan
}

// report hands mistakes over to the whole nip, which words them and knows what
// to do about them. Only what went wrong with the program itself is told here:
// its start is in the ledger, and must not be tried again.
func report(w io.Writer, err error) {
	var exec *cell.ExecError
	if errors.As(err, &exec) {
		fmt.Fprintf(w, "nip: %v\n     %s\n", err, run.ExecAdvice)
		return
	}
	os.Exit(handOver())
}

// handOver replaces this program with the whole nip, in a memory file. It
// returns only if that fails, as it would in a cell, where programs may not be
// executed.
func handOver() int {
	if _, inside := wall.OwnMark(); inside {
		fmt.Fprintf(os.Stderr, "nip: %v\n     run it outside: what a cell may do only ever shrinks\n", cell.ErrInside)
		return run.Failed
	}
	if err := execWhole(); err != nil {
		fmt.Fprintf(os.Stderr, "nip: %v\n", err)
	}
	return run.Failed
}

func execWhole() error {
	image, err := whole.ReadFile("whole/nip")
	if err != nil {
		return errors.New("this program was built without its other verbs: build it with make build")
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the running program: %w", err)
	}
	fd, err := unix.MemfdCreate("nip", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err != nil {
		return fmt.Errorf("make a memory file to run from (sysctl vm.memfd_noexec must not be 2): %w", err)
	}
	for len(image) > 0 {
		n, err := unix.Write(fd, image)
		if err != nil {
			return fmt.Errorf("fill a memory file: %w", err)
		}
		image = image[n:]
	}
	err = syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), os.Args, append(os.Environ(), frontVariable+"="+self))
	return fmt.Errorf("run the whole nip: %w", err)
}
