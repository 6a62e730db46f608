package policy

import (
	"slices"
	"strings"
	"testing"

	"nipcells/internal/capability"
)

// TestParse says what policies mean, and where those are wrong that mean
// nothing.
func TestParse(t *testing.T) {
	full := capability.Everything()
	for _, tt := range []struct {
		src, err string
		want     capability.Set
	}{
		{src: "", want: full},
		{src: "// nothing\n", want: full},
		{src: `pledge "STDIO" "RPATH"`, want: capability.Set{Pledge: capability.Stdio | capability.Rpath, Unveil: full.Unveil}},
		{src: `unveil "/srv" "r"` + "\n" + `unveil "/srv/x" "rw"`, want: capability.Set{Pledge: full.Pledge, Unveil: []capability.Unveil{
			{Path: "/srv", Rights: capability.Read}, {Path: "/srv/x", Rights: capability.Read | capability.Write | capability.Create}}}},
		{src: `budget memory="4G" fibers=512`, want: capability.Set{Pledge: full.Pledge, Unveil: full.Unveil, Budget: capability.Budget{Memory: 4 << 30, Fibers: 512}}},
		{src: `pledge "STDOI"`, err: "policy.kdl:1:1: "},
		{src: "\n" + `  pledges "STDIO"`, err: "policy.kdl:2:3: unknown node pledges"},
		{src: `pledge "STDIO"` + "\n" + `pledge "INET"`, err: "policy.kdl:2:1: second pledge"},
		{src: `pledge "STDIO" { x }`, err: "policy.kdl:1:1: pledge takes no block"},
		{src: `pledge "STDIO" a="b"`, err: "policy.kdl:1:1: pledge has no properties"},
		{src: `unveil "srv" "r"`, err: "not an absolute, clean path"},
		{src: `unveil "/srv/../etc" "r"`, err: "not an absolute, clean path"},
		{src: `unveil "/srv/" "r"`, err: "not an absolute, clean path"},
		{src: `unveil "/srv" "q"`, err: "policy.kdl:1:1: "},
		{src: `unveil "/srv"`, err: "unveil takes a path and rights"},
		{src: `budget "4G"`, err: "budget takes properties only"},
		{src: `budget colour="red"`, err: "policy.kdl:1:1: "},
		{src: `pledge "STDIO`, err: "policy.kdl:1:"},
	} {
		got, err := Parse("policy.kdl", []byte(tt.src))
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %s", tt.src, err, tt.err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.src, err)
		case got.Pledge != tt.want.Pledge || !slices.Equal(got.Unveil, tt.want.Unveil) || got.Budget != tt.want.Budget:
			t.Errorf("%s: %+v, want %+v", tt.src, got, tt.want)
		}
	}
}
