package cell

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nipcells/internal/hier"
)

// Who may write in /Cell/<fiber-id> can ask its supervisor for something: the request is
// a file there, a signal says that there is one, and the answer is another file. Nothing
// listens as long as nobody asks. A request is a verb, a blank, and text; an answer
// "ok " and text, or "error " and why.
const (
	requestSignal = unix.Signal(40) // a real-time signal that nothing else uses (signal(7))
	requestPrefix = "ask-"
	answerPrefix  = "answer-"
	longestAsked  = 4096 // bytes
)

// ErrNoAnswer reports a supervisor that does not answer: it is stopped, or hangs.
var ErrNoAnswer = errors.New("its supervisor does not answer")

// Ask sends a request to a running cell's supervisor and returns the answer.
func Ask(root *hier.Root, c Info, verb, text string, patience time.Duration) (string, error) {
	supervisor, err := unix.PidfdOpen(c.Supervisor, 0)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.Fiber, ErrNoCell)
	}
	defer unix.Close(supervisor)
	// While the cell's lock is held the number is its supervisor's, and who has said
	// which program runs takes the signal.
	now, err := read(root, c.Fiber)
	if err != nil || now.Dead || now.Supervisor != c.Supervisor {
		return "", fmt.Errorf("%s: %w", c.Fiber, ErrNoCell)
	}
	if now.First == 0 {
		return "", fmt.Errorf("cell %s is only starting", c.Fiber)
	}
	dir := root.Cell(c.Fiber)
	f, err := os.CreateTemp(dir, "new-")
	if err != nil {
		return "", fmt.Errorf("ask cell %s: %w", c.Fiber, err)
	}
	id := strings.TrimPrefix(filepath.Base(f.Name()), "new-")
	_, err = f.WriteString(verb + " " + text)
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("ask cell %s: %w", c.Fiber, err)
	}
	request, answer := filepath.Join(dir, requestPrefix+id), filepath.Join(dir, answerPrefix+id)
	if err := os.Rename(f.Name(), request); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("ask cell %s: %w", c.Fiber, err)
	}
	defer os.Remove(answer)
	defer os.Remove(request)
	if err := unix.PidfdSendSignal(supervisor, requestSignal, nil, 0); err != nil {
		return "", fmt.Errorf("ask cell %s: signal its supervisor: %w", c.Fiber, err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		reply, err := os.ReadFile(answer)
		if err != nil {
			continue
		}
		if why, failed := strings.CutPrefix(string(reply), "error "); failed {
			return "", errors.New(why)
		}
		return strings.TrimPrefix(string(reply), "ok "), nil
	}
	return "", fmt.Errorf("ask cell %s: %w", c.Fiber, ErrNoAnswer)
}

// answerRequests answers all that there are.
func (c *cell) answerRequests() {
	entries, err := os.ReadDir(c.state.dir)
	if err != nil {
		return // it is gone, and so is who asks
	}
	for _, e := range entries {
		id, ok := strings.CutPrefix(e.Name(), requestPrefix)
		if !ok {
			continue
		}
		answer := "ok "
		reply, err := c.answer(filepath.Join(c.state.dir, e.Name()))
		if err != nil {
			answer, reply = "error ", err.Error()
		}
		path := filepath.Join(c.state.dir, "new-"+answerPrefix+id)
		err = os.WriteFile(path, []byte(answer+reply), 0o600)
		if err == nil {
			err = os.Rename(path, filepath.Join(c.state.dir, answerPrefix+id))
		}
		if err != nil {
			c.Report("answer a request: " + err.Error())
		}
	}
}

// answer takes a request away and answers it.
func (c *cell) answer(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, longestAsked))
	if err != nil {
		return "", err
	}
	switch verb, rest, _ := strings.Cut(string(text), " "); verb {
	case "budget":
		return c.change(rest)
	default:
		return "", fmt.Errorf("a cell of this version does not know %q", verb)
	}
}
