// Package ratchet has programs take rights away from themselves, in real cells and
// outside of any, and then try what is left: nexus.h, the Go package nexus and
// nip-pledge.
package ratchet

import (
	"os/exec"
	"testing"

	"nipcells/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

func inCell(flags ...string) func(s *rig.TryStage, program string, args ...string) *exec.Cmd {
	return func(s *rig.TryStage, program string, args ...string) *exec.Cmd {
		return s.InCell(flags, program, args...)
	}
}
