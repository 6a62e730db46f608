package wall

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

// What /proc says of ourselves is what we know of ourselves.
func TestFacts(t *testing.T) {
	pid := os.Getpid()
	got, err := Facts(pid, "status", "PPid", "Tgid", "Pid")
	if want := []string{fmt.Sprint(os.Getppid()), fmt.Sprint(pid), fmt.Sprint(pid)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if got, err := Facts(pid, "status", "Pid", "No such line"); err == nil {
		t.Errorf("%q of a line that is missing", got)
	}
	if got, err := Facts(1<<30, "status", "Pid"); err == nil {
		t.Errorf("%q of a process that there is not", got)
	}
}

// A name can hold anything but must not shift the fields.
func TestStatFields(t *testing.T) {
	for text, want := range map[string][]string{
		"7 (sh) S 1 7\n":        {"S", "1", "7"},
		"7 (a) S 1 (b) R 2 4\n": {"R", "2", "4"},
		"7 (\n) Z\t9) R 5\n":    {"R", "5"},
		"7 S 1":                 nil,
		"":                      nil,
	} {
		if got := StatFields([]byte(text)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Each process is met once, ourselves among them.
func TestEachProcess(t *testing.T) {
	met := make(map[int]int)
	if err := EachProcess(func(pid int) { met[pid]++ }); err != nil {
		t.Fatal(err)
	}
	if met[os.Getpid()] != 1 || met[1] != 1 {
		t.Errorf("met ourselves %d times, init %d times", met[os.Getpid()], met[1])
	}
}
