package cell

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nipcells/internal/capability"
)

// TestMetadata changes modes, times, attributes and locks where the cell may
// write, and where it may not though the name looks like it. The root is used
// by its own name and by one that leads through a symbolic link.
func TestMetadata(t *testing.T) {
	for _, linked := range []bool{false, true} {
		s := newSite(t)
		if linked {
			s.symlink(s.root.Path(), "link")
			s.name = filepath.Join(s.base, "link")
		}
		home := s.mkdir("root/Data/apps/tool")
		for _, dir := range []string{home, s.mkdir("root/Data/apps/tool2"), s.mkdir("given"), s.mkdir("given-not"), s.mkdir("seen")} {
			if err := os.WriteFile(dir+"/file", nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+" (deleted)", nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s.symlink(s.base+"/given-not/file", "given/out")
		see := []capability.Unveil{{Path: s.base + "/given", Rights: capability.Read | capability.Write}, {Path: s.base + "/seen", Rights: capability.Read}}
		for _, tt := range []struct {
			words []string
			want  string
		}{
			{[]string{"chmod", "file", "700"}, "<nil>"},
			{[]string{"chmod", ".", "700"}, "<nil>"},
			{[]string{"chmod", home + "/file", "600"}, "<nil>"},
			{[]string{"chmod", "file", "4755"}, "operation not permitted"},
			{[]string{"chmod", "file", "2755"}, "operation not permitted"},
			{[]string{"chmod", "../tool2/file", "600"}, "operation not permitted"},
			{[]string{"chmod", "../tool2", "700"}, "operation not permitted"},
			{[]string{"chmod", "../tool (deleted)", "600"}, "operation not permitted"},
			{[]string{"chmod", s.base + "/given/file", "600"}, "<nil>"},
			{[]string{"chmod", s.base + "/given", "755"}, "<nil>"},
			{[]string{"chmod", s.base + "/given-not/file", "600"}, "operation not permitted"},
			{[]string{"chmod", s.base + "/given (deleted)", "600"}, "operation not permitted"},
			{[]string{"chmod", s.base + "/given/out", "600"}, "operation not permitted"},
			{[]string{"chmod", s.base + "/given/../given-not/file", "600"}, "operation not permitted"},
			{[]string{"chmod", s.base + "/seen/file", "600"}, "operation not permitted"},
			{[]string{"chmod", strings.Repeat("x/", 2100), "600"}, "file name too long"},
			{[]string{"chmod", "", "600"}, "no such file or directory"},
			{[]string{"chmod", "none", "600"}, "no such file or directory"},
			{[]string{"touch", "file"}, "<nil>"},
			{[]string{"touch", s.base + "/seen/file"}, "operation not permitted"},
			{[]string{"setxattr", "file", "user.nip"}, "<nil>"},
			{[]string{"setxattr", "file", "security.capability"}, "operation not supported"},
			{[]string{"setxattr", "file", "trusted.nip"}, "operation not supported"},
			{[]string{"setxattr", "file", "system.posix_acl_access"}, "operation not supported"},
			{[]string{"setxattr", "file", "user." + strings.Repeat("x", 251)}, "numerical result out of range"},
			{[]string{"setxattr", s.base + "/seen/file", "user.nip"}, "operation not permitted"},
			{[]string{"flock", "file"}, "<nil>"},
			{[]string{"flock", s.base + "/given/file"}, "<nil>"},
			{[]string{"flock", s.base + "/seen/file"}, "permission denied"},
		} {
			r := s.start(spec{Args: tt.words, Unveil: see})
			got := r.line()
			// Whether such a path is there is not the cell's to know: both will do.
			hidden := tt.want == "operation not permitted" && slices.Contains([]string{"no such file or directory", "permission denied"}, got)
			if status := r.wait(); got != tt.want && !hidden || status != 0 {
				t.Errorf("linked %t: %q: %s (%d), want %s; %q", linked, tt.words, got, status, tt.want, r.lines())
			}
		}
	}
}
