package wall

import (
	"testing"

	"nipcells/internal/capability"
)

func TestSizes(t *testing.T) {
	for _, a := range []string{"amd64", "arm64"} {
		arch, err := ArchOf(a)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []capability.Pledge{capability.Stdio, capability.AllPledges, capability.Stdio | capability.Rpath | capability.Wpath | capability.Exec} {
			t.Log(a, p, len(Compile(arch, p)))
		}
	}
}
