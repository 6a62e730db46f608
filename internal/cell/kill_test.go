package cell

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// orphans are programs that try to outlive their cell.
var orphans = map[string][]string{
	"a session of its own":             {"stay"},
	"without a first thread":           {"headless"},
	"forking successors":               {"chain"},
	"waiting for locks in all threads": {"locks", "1500"},
}

// TestNothingOutlivesTheProgram has the program end and leave an orphan.
func TestNothingOutlivesTheProgram(t *testing.T) {
	for name, words := range orphans {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			r := s.leave(words)
			r.stdin.Close()
			if status := r.wait(); status != 7 {
				t.Errorf("status %d, want 7; %q", status, r.lines())
			}
			s.clean(r.fiber)
		})
	}
}

// leave starts a cell whose program waits for the end of its input while an
// orphan does what words say.
func (s *site) leave(words []string) *running {
	s.t.Helper()
	r := s.start(spec{Args: append([]string{"leave"}, words...), Env: []string{"SELF=" + executable(s.t)}})
	line := r.line()
	if _, err := strconv.Atoi(line); err == nil {
		until(s.t, "the end of the first thread", func() bool {
			b, err := os.ReadFile("/proc/" + line + "/stat")
			return err != nil || strings.Contains(string(b), ") Z ")
		})
	}
	return r
}

func executable(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}
