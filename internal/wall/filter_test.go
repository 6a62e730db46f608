package wall

import (
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

func TestMissing(t *testing.T) {
	const few = capability.Stdio | capability.Rpath
	tests := []struct {
		call  string
		args  [6]uint64
		given capability.Pledge
		want  capability.Pledge
	}{
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM}, few, capability.Inet},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_DGRAM}, few, capability.Udp},
		{"socket", [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, few, capability.Unix},
		{"connect", [6]uint64{}, few, capability.Inet},
		{"connect", [6]uint64{}, few | capability.Inet, capability.Udp},
		{"listen", [6]uint64{}, few, capability.Inet},
		{"fork", [6]uint64{}, few, capability.Proc},
		{"mount", [6]uint64{}, few, 0},
		{"read", [6]uint64{}, few, 0},
	}
	for _, test := range tests {
		nr, ok := Host().Number(test.call)
		if !ok {
			continue // this machine has no such call
		}
		if got := Missing(Host(), test.given, nr, test.args); got != test.want {
			t.Errorf("%s %v lacks %v, want %v", test.call, test.args, got, test.want)
		}
	}
}
