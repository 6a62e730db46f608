package ion

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// roleVar makes the test binary play another process of a test: one of the roles.
const roleVar = "ION_TEST_ROLE"

var roles = map[string]func() error{
	"attacker": attackerMain,
	"honest":   honestMain,
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		if err := roles[role](); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process starts the test binary in a role; files are its descriptors from 3 on.
func process(t *testing.T, role string, files ...*os.File) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), roleVar+"="+role)
	c.Stderr = os.Stderr
	begin(t, c, files...)
	return c
}

// begin starts a process that does not outlive the test.
func begin(t *testing.T, c *exec.Cmd, files ...*os.File) {
	t.Helper()
	c.ExtraFiles = files
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()
	})
}
