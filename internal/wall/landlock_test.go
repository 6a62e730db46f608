package wall

import (
	"os"
	"path/filepath"
	"testing"

	"nipcells/internal/capability"
)

// TestRuleset tries files inside and outside of the rules, in a real domain.
func TestRuleset(t *testing.T) {
	const rp, wp = capability.Rpath, capability.Wpath
	base := capability.Stdio | capability.Exec
	for _, tt := range []struct {
		name   string
		rights capability.Rights
		pledge capability.Pledge
		words  []string // paths below the stage's directory
		want   int
	}{
		{"read", capability.Read, rp, []string{"read", "scratch/file"}, helperDone},
		{"read without RPATH", capability.Read, 0, []string{"read", "scratch/file"}, helperRefused},
		{"read outside", capability.AllRights, rp | wp, []string{"read", "outside/file"}, helperRefused},
		{"read by a link outside", capability.AllRights, rp | wp, []string{"read", "scratch/link"}, helperRefused},
		{"read what write alone gives", capability.Write, rp | wp, []string{"read", "scratch/file"}, helperRefused},
		{"write", capability.Write, rp | wp, []string{"write", "scratch/file"}, helperDone},
		{"write without WPATH", capability.Write, rp, []string{"write", "scratch/file"}, helperRefused},
		{"write what read gives", capability.Read, rp | wp, []string{"write", "scratch/file"}, helperRefused},
		{"write outside", capability.AllRights, rp | wp, []string{"write", "outside/file"}, helperRefused},
		{"truncate", capability.Write, rp | wp, []string{"truncate", "scratch/file"}, helperDone},
		{"truncate what read gives", capability.Read, rp | wp, []string{"truncate", "scratch/file"}, helperRefused},
		{"create", capability.Write, rp | wp, []string{"create", "scratch/new"}, helperDone},
		{"create without CPATH", capability.Write, rp | wp&^capability.Cpath, []string{"create", "scratch/new"}, helperRefused},
		{"create outside", capability.AllRights, rp | wp, []string{"create", "outside/new"}, helperRefused},
		{"remove", capability.Create, rp | wp, []string{"remove", "scratch/file"}, helperDone},
		{"remove outside", capability.AllRights, rp | wp, []string{"remove", "outside/file"}, helperRefused},
		{"execute", capability.Execute, rp, []string{"execute", "scratch/program"}, helperDone},
		{"execute what read gives", capability.Read, rp, []string{"execute", "scratch/program"}, helperRefused},
		{"execute outside", capability.AllRights, rp, []string{"execute", "outside/program"}, helperRefused},
		{"signal the parent", 0, rp, []string{"kill", ""}, helperRefused},
	} {
		s := newStage(t)
		if err := os.Symlink(s.outside+"/file", s.scratch+"/link"); err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(executable(t))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(s.scratch)
		words := append([]string(nil), tt.words...)
		switch words[0] {
		case "execute":
			if err := os.WriteFile(filepath.Join(dir, words[1]), program, 0o755); err != nil {
				t.Fatal(err)
			}
			words[1] = filepath.Join(dir, words[1])
		case "kill":
			words[1] = itoa(os.Getpid())
		default:
			words[1] = filepath.Join(dir, words[1])
		}
		s.rules = []Rule{{Path: s.scratch, Access: AccessOf(tt.rights, base|tt.pledge)}, {Path: executable(t), Access: Package}}
		sp := s.helper(base|tt.pledge|capability.Wpath|capability.Rpath, words...) // the filter lets all through, the rules decide
		if got := run(t, sp).ExitStatus(); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestResolvedRules: a path that was judged must not lead elsewhere by now.
func TestResolvedRules(t *testing.T) {
	s := newStage(t)
	link := s.scratch + "/link"
	if err := os.Symlink(s.outside, link); err != nil {
		t.Fatal(err)
	}
	abi, err := LandlockABI()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		rule Rule
		ok   bool
	}{
		{Rule{Path: s.outside, Access: Config, Resolved: true}, true},
		{Rule{Path: link, Access: Config}, true},
		{Rule{Path: link, Access: Config, Resolved: true}, false},
		{Rule{Path: link + "/file", Access: Config, Resolved: true}, false},
		{Rule{Path: s.scratch + "/none", Access: Config}, false},
		{Rule{Path: s.scratch + "/none", Access: Config, Optional: true}, true},
		{Rule{Path: s.scratch + "/file/none", Access: Config, Optional: true}, true},
		{Rule{Path: s.scratch + "/file", Access: Scratch | Package}, true}, // a file takes what files can have
	} {
		fd, err := NewRuleset([]Rule{tt.rule}, Network{}, abi)
		if (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt.rule, err)
		}
		if err == nil {
			os.NewFile(uintptr(fd), "ruleset").Close()
		}
	}
}

func TestLacks(t *testing.T) {
	if n := len(Lacks(0)); n != newestKnownABI {
		t.Errorf("version 0 lacks %d things, want %d", n, newestKnownABI)
	}
	if l := Lacks(newestKnownABI); l != nil {
		t.Errorf("the newest version lacks %q", l)
	}
	for v := range newestKnownABI {
		if len(Lacks(v)) != len(Lacks(v+1))+1 {
			t.Errorf("version %d lacks %q", v, Lacks(v))
		}
	}
}
