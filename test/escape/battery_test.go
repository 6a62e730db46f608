package escape

import (
	"slices"
	"testing"
)

// absent is the number of no System V queue.
const absent = 1 << 30

// battery lists the attempts by family. Every one has a positive control. Beside
// them there are those of programs that make many by themselves: the zone and the
// view (zone_test.go), descriptors of the cell's own (handed_test.go), packages made
// by hand (evil_test.go), and what lives on after the cell (TestOutliving).
func battery(t *testing.T) map[string][]attempt {
	return map[string][]attempt{
		"paths":       slices.Concat(fileRows(), nameRows(), ownTreeRows(), executionRows(t), mountRows()),
		"metadata":    metadataRows(),
		"processes":   slices.Concat(processRows(), kernelRows(), entryRows(), credentialRows()),
		"signals":     slices.Concat(signalRows(), terminalRows()),
		"sockets":     slices.Concat(socketRows(), queueRows(absent, absent, absent, "/nip-escape-none", "/nip-escape-none")),
		"network":     networkRows(),
		"descriptors": slices.Concat(inheritedRows(), descriptorRows()),
		"races":       swapRows(),
	}
}

// mechanism is what an attempt does, whatever it is aimed at, and with which flags: the
// name that the attack program has for it, and for raw calls also which call.
func (a attempt) mechanism() string {
	switch a.args[0] {
	case "sys", "int80", "swap":
		return a.args[0] + " " + a.args[1]
	}
	return a.args[0]
}

// TestBattery counts attempts that differ in their mechanism: none is counted twice,
// and each has a control.
func TestBattery(t *testing.T) {
	all := battery(t)
	rows, of := 0, map[string]string{}
	for family, list := range all {
		own := 0
		for _, a := range list {
			rows++
			if a.control.args == nil {
				t.Errorf("%s: %s has no control", family, a.name)
			}
			if of[a.mechanism()] == "" {
				of[a.mechanism()] = family
				own++
			}
		}
		t.Logf("%-12s %3d attempts, %3d mechanisms", family, len(list), own)
		if own < 8 {
			t.Errorf("the family %s has %d attempts", family, own)
		}
	}
	t.Logf("%-12s %3d attempts, %3d mechanisms", "all", rows, len(of))
	if len(of) < 150 || len(all) != 8 {
		t.Errorf("%d attempts in %d families, want 150 in 8", len(of), len(all))
	}
}
