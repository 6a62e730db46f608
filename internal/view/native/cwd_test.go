package native_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/test/bench/view/scratch"
)

// TestKeptDirectory: a program with the stub begins in the directory that the
// supervisor keeps for its process, and not at all if it cannot get there.
func TestKeptDirectory(t *testing.T) {
	for _, kind := range []string{"dynamic", "static", "static-pie"} {
		t.Run(kind, func(t *testing.T) {
			var flags []string
			if kind != "dynamic" {
				flags = append(flags, "-"+kind)
			}
			program := compile(t, "cwd", flags...)
			if kind != "dynamic" {
				stub(t, program)
			}
			tr := tree(t, nil, nil, program)
			for dir, mode := range map[string]os.FileMode{"kept": 0o755, "closed": 0o444} {
				path := filepath.Join(tr.Asked, scratch.Home, dir)
				if err := os.Mkdir(path, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path+"/here", []byte("text"), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range []struct {
				virtual, want      string
				exit, open, fchdir int
			}{
				{"", "/tmp, -1 , kernel's\n", 0, 0, 0},
				{scratch.Home + "/kept", scratch.Home + "/kept, 4 text, kernel's\n", 0, 1, 1},
				{scratch.Home + "/missing", "", 125, 1, 0}, // it cannot be opened
				{scratch.Home + "/closed", "", 125, 1, 1},  // nor be gone to
			} {
				var out strings.Builder
				r, err := tr.Run(scratch.Native, scratch.Command{Args: []string{"/usr/bin/cwd", "where"}, Dir: "/tmp", Virtual: c.virtual, Stdout: &out, Stderr: &out})
				if err != nil {
					t.Fatal(err)
				}
				if kind != "dynamic" && c.exit == 0 {
					c.open++ // its own, of "here"
				}
				if out.String() != c.want || r.Exit != c.exit || r.Asked[unix.SYS_OPENAT] != c.open || r.Asked[unix.SYS_FCHDIR] != c.fchdir {
					t.Errorf("kept %q: exit %d, %q, want %q; asked %s", c.virtual, r.Exit, out.String(), c.want, counts(r))
				}
			}
		})
	}
}

// TestLeaveKeptDirectory: the shim ends it that the supervisor keeps a directory.
func TestLeaveKeptDirectory(t *testing.T) {
	tr := tree(t, nil, nil, compile(t, "cwd"))
	if err := os.WriteFile(filepath.Join(tr.Asked, scratch.Work, "here"), []byte("work"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"go", "back"} {
		var out strings.Builder
		r, err := tr.Run(scratch.Native, scratch.Command{Args: []string{"/usr/bin/cwd", how, scratch.Work}, Env: []string{"LD_BIND_NOW=1"}, Virtual: "/tmp", Stdout: &out, Stderr: &out})
		if err != nil {
			t.Fatal(err)
		}
		if want := scratch.Work + ", 4 work, kernel's\n"; r.Exit != 0 || out.String() != want || r.Asked[unix.SYS_FCHDIR] != 2 {
			t.Errorf("%s: exit %d, %q, want %q; asked %s", how, r.Exit, out.String(), want, counts(r))
		}
	}
}
