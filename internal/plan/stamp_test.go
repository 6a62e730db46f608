package plan

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRead: a plan is true until one of the things that it was computed from
// changes in any way.
func TestRead(t *testing.T) {
	changes := map[string]func(dir string) error{
		"content": func(dir string) error { return os.WriteFile(dir+"/file", []byte("longer than before"), 0o644) },
		"time":    func(dir string) error { return os.Chtimes(dir+"/file", time.Time{}, time.Unix(1e9, 1)) },
		"gone":    func(dir string) error { return os.Remove(dir + "/file") },
		"replaced by the like": func(dir string) error {
			at := time.Unix(1e9, 0)
			if err := os.WriteFile(dir+"/new", []byte("content"), 0o644); err != nil {
				return err
			}
			if err := os.Chtimes(dir+"/new", at, at); err != nil {
				return err
			}
			return os.Rename(dir+"/new", dir+"/file")
		},
		"link": func(dir string) error {
			if err := os.Remove(dir + "/link"); err != nil {
				return err
			}
			return os.Symlink("2.0", dir+"/link")
		},
		"link becomes a file": func(dir string) error {
			if err := os.Remove(dir + "/link"); err != nil {
				return err
			}
			return os.WriteFile(dir+"/link", []byte("1.0"), 0o644)
		},
		"missing appears": func(dir string) error { return os.WriteFile(dir+"/missing", nil, 0o644) },
		"plan is damaged": func(dir string) error { return os.Truncate(dir+"/plan", 100) },
		"plan is gone":    func(dir string) error { return os.Remove(dir + "/plan") },
	}
	for name, change := range changes {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/file", []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1e9, 0)
		if err := os.Chtimes(dir+"/file", at, at); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("1.0", dir+"/link"); err != nil {
			t.Fatal(err)
		}
		p := sample()
		p.Kernel = Kernel()
		p.Stamps = nil
		for _, f := range []string{"file", "link", "missing"} {
			p.Stamps = append(p.Stamps, Look(filepath.Join(dir, f)))
		}
		if err := os.WriteFile(dir+"/plan", p.Encode(), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, ok := Read(dir+"/plan", p.Package); !ok {
			t.Fatalf("%s: the plan is not true before the change", name)
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if _, ok := Read(dir+"/plan", p.Package); ok {
			t.Errorf("%s: the plan passes for true", name)
		}
	}
}

func TestReadAnothers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan")
	for name, change := range map[string]func(*Plan){
		"kernel":  func(p *Plan) { p.Kernel = "5.10 #1" },
		"package": func(p *Plan) { p.Package = "other" },
	} {
		p := sample()
		p.Kernel, p.Stamps = Kernel(), nil
		change(p)
		if err := os.WriteFile(path, p.Encode(), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, ok := Read(path, "git"); ok {
			t.Errorf("another %s: the plan passes for true", name)
		}
	}
}
