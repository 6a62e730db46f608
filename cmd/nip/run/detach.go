package run

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"nipcells/internal/cell"
	"nipcells/internal/hier"
)

// Verbs that nip calls itself by; no person does.
const (
	guardVerb    = "supervisor-guard"
	detachedVerb = "detached-run"
	ToolVerb     = "tool-cell" // TREE PROGRAM [ARGUMENTS]: see cell.Tool
)

// announceFD is the descriptor on which a detached supervisor says how its
// start went: "ok FIBER", or its exit status.
const announceFD = 3

// runDetached starts this command again in the background, waits until the
// program runs, and prints the fiber-id.
func (p Program) runDetached(args []string) int {
	status, err := startDetached(args)
	if err != nil {
		p.Report(os.Stderr, fmt.Errorf("start in the background: %w", err))
		return Failed
	}
	return status
}

func startDetached(args []string) (status int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	c := exec.Command("/proc/self/exe", append([]string{detachedVerb}, args...)...)
	c.Args[0] = "nip"
	c.Stderr = os.Stderr
	c.ExtraFiles = []*os.File{w}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = c.Start()
	w.Close()
	if err != nil {
		return 0, err
	}
	said, err := io.ReadAll(io.LimitReader(r, 64))
	if err != nil {
		return 0, err
	}
	if fiber, ok := strings.CutPrefix(string(said), "ok "); ok {
		fmt.Println(fiber)
		return 0, nil
	}
	if status, err = strconv.Atoi(string(said)); err != nil {
		return 0, errors.New("the supervisor ended without a word")
	}
	return status, nil
}

// detachedMain is the supervisor in the background. Until the program runs,
// what goes wrong is told on standard error; the program's output, and what nip
// has to say later, go to the cell's log.
func (p Program) detachedMain(args []string) int {
	o, err := Parse(args)
	if err != nil {
		p.Report(os.Stderr, err)
		return Failed
	}
	messages, err := dupStderr()
	if err != nil {
		p.Report(os.Stderr, err)
		return Failed
	}
	announce := os.NewFile(announceFD, "announce")
	status := p.start(o, messages, func(options *cell.Options) {
		options.Detached = true
		options.Prepared = func(fiber string) error { return cell.SendToLog(options.Root, fiber) }
		options.Started = func(fiber string) {
			options.Report = reportTo(os.Stderr)
			fmt.Fprint(announce, "ok "+fiber)
			announce.Close()
			messages.Close()
		}
	})
	fmt.Fprint(announce, status) // nobody listens any more if the program ran
	return status
}

// dupStderr keeps the caller's standard error while descriptor 2 becomes the log.
func dupStderr() (*os.File, error) {
	fd, err := syscall.Dup(2)
	if err != nil {
		return nil, fmt.Errorf("duplicate standard error: %w", err)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "stderr"), nil
}

// guardMain is the guard: nip supervisor-guard ROOT FIBER SUPERVISOR [WORD…]. Nobody is
// there to be told of an error; the next nip command tries again.
func guardMain(args []string) int {
	if len(args) < 3 {
		return Failed
	}
	root, err := hier.Open(args[0])
	if err != nil {
		return Failed
	}
	supervisor, err := strconv.Atoi(args[2])
	if err != nil {
		return Failed
	}
	if err := cell.Guard(root, args[1], supervisor, args[3:]...); err != nil {
		return Failed
	}
	return 0
}

// toolMain runs a program of a tree that is being grafted.
func toolMain(args []string) int {
	if len(args) < 2 {
		return Failed
	}
	status, err := cell.Tool(args[0], args[1:], reportTo(os.Stderr))
	if err != nil {
		fmt.Fprintf(os.Stderr, "nip: %v\n", err)
		return cell.ExitStatus(err)
	}
	return status
}
