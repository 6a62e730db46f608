package elfimage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func mustParse(t testing.TB, b []byte) *Image {
	t.Helper()
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestApplySample(t *testing.T) {
	for _, s := range []sample{
		{machine: AMD64, spare: 2}, // room for DT_RUNPATH in place of DT_RPATH
		{machine: AMD64, spare: 1},
		{machine: ARM64, spare: 1, phdrPad: 56}, // padding is room for a header
		{machine: AMD64, spare: 1, phdrPad: 24},
	} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			original := s.build()
			e := Edit{Runpath: "$ORIGIN/../lib/somewhere", Interp: "lib64/ld.so"}
			out, err := e.Apply(mustParse(t, original))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(original, s.build()) {
				t.Fatal("Apply changed its input")
			}
			checkEdited(t, original, out, e)
			if s.phdrPad >= phdrSize {
				if i := bytes.Index(out[sampleText+0x200:], []byte("note: ")); i >= 0 {
					t.Error("the note moved though there was room")
				}
			}
		})
	}
}

// checkEdited holds for every result of Apply.
func checkEdited(t testing.TB, original, out []byte, e Edit) {
	t.Helper()
	m, r := mustParse(t, original), mustParse(t, out)
	if e.Runpath != "" && r.Runpath() != e.Runpath {
		t.Errorf("Runpath() = %q, want %q", r.Runpath(), e.Runpath)
	}
	if _, ok := r.dynValue(dtRpath); ok && e.Runpath != "" {
		t.Error("DT_RPATH is still there")
	}
	if !slices.Equal(r.Needed(), m.Needed()) || r.Soname() != m.Soname() || r.Entry() != m.Entry() {
		t.Error("libraries, name or entry point changed")
	}
	if e.Interp != "" {
		off, ok := InterpField(out[:min(len(out), HeaderPeek)], int64(len(out)))
		if !ok {
			t.Fatal("no interpreter field")
		}
		if !bytes.Equal(out[off:off+InterpFieldSize], interpField(e.Interp)) {
			t.Error("interpreter field holds something else")
		}
	}
	again, err := e.Apply(r)
	if len(e.Segments) == 0 && (err != nil || !bytes.Equal(again, out)) {
		t.Errorf("a second Apply changed the file: %v", err)
	}
	for i, s := range m.sections {
		if !m.Dynamic() || s.typ != shtDynamic || s.off != m.segs[m.dynSeg].off || s.size != m.segs[m.dynSeg].size || s.addr != m.segs[m.dynSeg].addr {
			continue
		}
		if d := r.segs[r.dynSeg]; s.allocated && (r.sections[i].addr != d.addr || r.sections[i].off != d.off) {
			t.Error("the section header of .dynamic is wrong")
		}
	}
}

// TestApplyMovesDynamic covers an image without a free entry.
func TestApplyMovesDynamic(t *testing.T) {
	b := sample{machine: AMD64, spare: 1}.build()
	le.PutUint64(b[sampleText+3*dynSize:], 0x6ffffef9) // DT_RPATH becomes DT_RELACOUNT
	out, err := Edit{Runpath: "$ORIGIN"}.Apply(mustParse(t, b))
	if err != nil {
		t.Fatal(err)
	}
	checkEdited(t, b, out, Edit{Runpath: "$ORIGIN"})
	r := mustParse(t, out)
	d := r.segs[r.dynSeg]
	i := slices.IndexFunc(r.segs, func(s segment) bool { return s.typ == ptLoad && s.addr <= d.addr && d.addr < s.addr+s.size })
	if d.addr == sampleText || i < 0 || r.segs[i].flags&FlagWrite == 0 {
		t.Error("the dynamic section did not move to memory that the loader can write")
	}
	second, err := Edit{Runpath: "$ORIGIN/x"}.Apply(r)
	if err != nil {
		t.Fatal(err)
	}
	if r := mustParse(t, second); r.segs[r.dynSeg].addr != d.addr {
		t.Errorf("the second edit did not use the spare entries: %v", err)
	}
}

func TestApplyRefuses(t *testing.T) {
	fill := func(uint64) ([]byte, []Patch, error) { return make([]byte, 8), nil, nil }
	tests := []struct {
		name  string
		edit  Edit
		spoil func(b []byte) []byte
	}{
		{"payload at the end", Edit{Runpath: "x"}, func(b []byte) []byte { return append(b, "payload"...) }},
		{"long interpreter", Edit{Interp: strings.Repeat("x", InterpFieldSize)}, nil},
		{"NUL in a path", Edit{Runpath: "a\x00b"}, nil},
		{"no interpreter", Edit{Interp: "x"}, func(b []byte) []byte { b[64+phdrSize] = 0; return b }},
		{"static", Edit{Runpath: "x"}, func(b []byte) []byte { b[64+4*phdrSize] = 0; return b }},
		{"static PIE", Edit{Runpath: "x"}, func(b []byte) []byte {
			b[64+phdrSize] = 0
			le.PutUint64(b[sampleText+3*dynSize:], dtFlags1)
			le.PutUint64(b[sampleText+3*dynSize+8:], flag1PIE)
			return b
		}},
		{"empty segment", Edit{Segments: []Segment{{Flags: FlagRead, Fill: fill}}}, nil},
		{"segment of another size", Edit{Segments: []Segment{{Flags: FlagRead, Size: 9, Fill: fill}}}, nil},
		{"patch of other bytes", Edit{Segments: []Segment{{Flags: FlagRead, Size: 8, Fill: func(uint64) ([]byte, []Patch, error) {
			return make([]byte, 8), []Patch{{0x900, []byte{1}, []byte{2}}}, nil
		}}}}, nil},
		{"patch outside", Edit{Segments: []Segment{{Flags: FlagRead, Size: 8, Fill: func(uint64) ([]byte, []Patch, error) {
			return make([]byte, 8), []Patch{{1 << 40, []byte{0}, []byte{2}}}, nil
		}}}}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := sample{machine: AMD64, spare: 2}.build()
			if test.spoil != nil {
				b = test.spoil(b)
			}
			if _, err := test.edit.Apply(mustParse(t, b)); !errors.Is(err, ErrRefused) {
				t.Errorf("Apply() = %v, want %v", err, ErrRefused)
			}
		})
	}
}

// TestApplyHost edits the programs and libraries of this machine: what linkers
// really write.
func TestApplyHost(t *testing.T) {
	const enough = 250
	edited, executables, inPlace := 0, 0, 0
	var names []string
	for _, glob := range []string{"/usr/bin/*", "/usr/lib/*/*.so*", "/usr/aarch64-linux-gnu/lib/*"} {
		found, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		step := max(1, len(found)/enough)
		for i := 0; i < len(found); i += step {
			names = append(names, found[i])
		}
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil || len(b) > 16<<20 {
			continue // a directory, or too much for a quick test
		}
		m, err := Parse(b)
		if err != nil || !m.Dynamic() || m.StaticPIE() {
			continue
		}
		e := Edit{Runpath: "$ORIGIN/../lib/a/directory/that/is/new"}
		if m.HasInterp() {
			e.Interp = "lib64/ld-linux-x86-64.so.2"
			executables++
		}
		out, err := e.Apply(m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkEdited(t, b, out, e)
		edited++
		if mustParse(t, out).phoff == m.phoff {
			inPlace++
		}
	}
	t.Logf("edited %d files, %d with an interpreter, %d with the program headers in place", edited, executables, inPlace)
	if edited < 50 || executables < 20 {
		t.Error("there was too little to edit on this machine")
	}
}

// world is a directory with a program, its loader and its libraries, away from
// where any loader looks by itself.
type world struct {
	dir  string
	emu  []string // what runs the programs
	libc []byte
}

// worlds returns one for this machine's programs and one for arm64's.
func worlds(t *testing.T) map[Machine]world {
	t.Helper()
	const cross = "/usr/aarch64-linux-gnu/lib/"
	all := map[Machine]world{}
	build := func(m Machine, emu []string, ld, libc string) {
		w := world{dir: t.TempDir(), emu: emu}
		for to, from := range map[string]string{"ld.so": ld, "libc.so.6": libc} {
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatalf("%v (packages: libc6, gcc-aarch64-linux-gnu)", err)
			}
			if to == "libc.so.6" {
				w.libc = b
			}
			if err := os.MkdirAll(filepath.Join(w.dir, "lib"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(w.dir, "lib", to), b, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		all[m] = w
	}
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Fatalf("%v (package: qemu-user-static)", err)
	}
	if runtime.GOARCH == "amd64" { // on arm64 both would be the same
		build(AMD64, nil, "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6")
	}
	build(ARM64, []string{qemu, "-L", "/usr/aarch64-linux-gnu"}, cross+"ld-linux-aarch64.so.1", cross+"libc.so.6")
	return all
}

func (w world) run(t *testing.T, env []string, name string) (string, int) {
	t.Helper()
	line := append(slices.Clone(w.emu), name)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestEditedRuns runs edited programs: glibc's libc.so.6, which is a program
// too, through another loader, on both machines.
func TestEditedRuns(t *testing.T) {
	for machine, w := range worlds(t) {
		t.Run(machine.String(), func(t *testing.T) {
			m := mustParse(t, w.libc)
			e := Edit{Runpath: "$ORIGIN/../lib", Interp: filepath.Join(w.dir, "lib/ld.so")}
			out, err := e.Apply(m)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(w.dir, "program")
			if err := os.WriteFile(name, out, 0o755); err != nil {
				t.Fatal(err)
			}
			if said, code := w.run(t, nil, name); code != 0 || !strings.Contains(said, "GNU C Library") {
				t.Errorf("ended with %d: %s", code, said)
			}
			bad := slices.Clone(out) // a control: is it our field that counts?
			off, _ := InterpField(bad, int64(len(bad)))
			copy(bad[off:], "/nonexistent\x00")
			if err := os.WriteFile(name+"2", bad, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(append(slices.Clone(w.emu), name+"2")[0], append(slices.Clone(w.emu), name+"2")[1:]...)
			if err := cmd.Run(); err == nil {
				t.Error("a program with a missing loader ran")
			}
		})
	}
}

// TestRunpathFindsLibraries runs a program of this machine whose C library is
// only where its new DT_RUNPATH says.
func TestRunpathFindsLibraries(t *testing.T) {
	machine := ARM64
	if runtime.GOARCH == "amd64" {
		machine = AMD64
	}
	w := worlds(t)[machine]
	w.emu = nil
	b, err := os.ReadFile("/usr/bin/env")
	if err != nil {
		t.Fatal(err)
	}
	out, err := Edit{Runpath: "$ORIGIN/../lib", Interp: filepath.Join(w.dir, "lib/ld.so")}.Apply(mustParse(t, b))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(w.dir, "bin/env")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, out, 0o755); err != nil {
		t.Fatal(err)
	}
	said, code := w.run(t, []string{"LD_TRACE_LOADED_OBJECTS=1"}, name)
	if want := w.dir + "/bin/../lib/libc.so.6"; code != 0 || !strings.Contains(said, want) {
		t.Errorf("ended with %d; want %s in:\n%s", code, want, said)
	}
	if said, code := w.run(t, []string{"A=it runs"}, name); code != 0 || said != "A=it runs\n" {
		t.Errorf("ended with %d: %s", code, said)
	}
}

// TestAddedCodeRuns patches a program's first instruction to jump into an
// added segment that ends the process with status 42.
func TestAddedCodeRuns(t *testing.T) {
	for machine, w := range worlds(t) {
		t.Run(machine.String(), func(t *testing.T) {
			m := mustParse(t, w.libc)
			code := []byte{0xbf, 42, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05} // mov edi,42; mov eax,exit_group; syscall
			jump := func(from, to uint64) []byte {
				return le.AppendUint32([]byte{0xe9}, uint32(to-from-5)) // jmp rel32
			}
			if machine == ARM64 {
				code = le.AppendUint32(nil, 0xd2800540)  // mov x0, #42
				code = le.AppendUint32(code, 0xd2800bc8) // mov x8, #94
				code = le.AppendUint32(code, 0xd4000001) // svc #0
				jump = func(from, to uint64) []byte { return le.AppendUint32(nil, 5<<26|uint32(to-from)>>2&(1<<26-1)) }
			}
			e := Edit{Segments: []Segment{{Flags: FlagRead | FlagExec, Size: uint64(len(code)),
				Fill: func(addr uint64) ([]byte, []Patch, error) {
					to := jump(m.Entry(), addr)
					return code, []Patch{{m.Entry(), m.Bytes(m.Entry(), uint64(len(to))), to}}, nil
				}}}}
			out, err := e.Apply(m)
			if err != nil {
				t.Fatal(err)
			}
			r := mustParse(t, out)
			last := r.loads()[len(r.loads())-1]
			if last.off%machine.pageSize() != 0 || last.flags != FlagRead|FlagExec {
				t.Errorf("added code is at offset %#x with flags %d", last.off, last.flags)
			}
			name := filepath.Join(w.dir, "program")
			if err := os.WriteFile(name, out, 0o755); err != nil {
				t.Fatal(err)
			}
			if said, status := w.run(t, nil, name); status != 42 {
				t.Errorf("ended with %d, want 42: %s", status, said)
			}
		})
	}
}

// TestLoaderWithAddedSegment starts a program through a loader that has got a
// segment: a loader finds its own program headers by their offset in the file.
func TestLoaderWithAddedSegment(t *testing.T) {
	for machine, w := range worlds(t) {
		t.Run(machine.String(), func(t *testing.T) {
			name := filepath.Join(w.dir, "lib/ld.so")
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out, err := Edit{Segments: []Segment{{Flags: FlagRead | FlagExec, Size: 100, Fill: func(uint64) ([]byte, []Patch, error) {
				return make([]byte, 100), nil, nil
			}}}}.Apply(mustParse(t, b))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, out, 0o755); err != nil {
				t.Fatal(err)
			}
			program, err := Edit{Interp: name}.Apply(mustParse(t, w.libc))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(w.dir, "program"), program, 0o755); err != nil {
				t.Fatal(err)
			}
			if said, code := w.run(t, nil, filepath.Join(w.dir, "program")); code != 0 || !strings.Contains(said, "GNU C Library") {
				t.Errorf("ended with %d: %s", code, said)
			}
		})
	}
}

// TestToolsAccept lets binutils read an edited program.
func TestToolsAccept(t *testing.T) {
	b, err := os.ReadFile("/usr/bin/env")
	if err != nil {
		t.Fatal(err)
	}
	out, err := Edit{Runpath: "$ORIGIN/../lib/here", Interp: "lib64/ld.so"}.Apply(mustParse(t, b))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(name, out, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("readelf", "-aW", name)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("readelf: %v (package: binutils)\n%s", err, said)
	}
	for _, want := range []string{"Library runpath: [$ORIGIN/../lib/here]", "Requesting program interpreter: lib64/ld.so"} {
		if !bytes.Contains(said, []byte(want)) {
			t.Errorf("readelf does not say %q", want)
		}
	}
	for _, complaint := range []string{"readelf: Warning", "readelf: Error"} {
		if bytes.Contains(said, []byte(complaint)) {
			t.Errorf("%s in:\n%s", complaint, said)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	data, err := os.ReadFile("/proc/self/exe")
	if p, perr := filepath.Glob("/lib/*-linux-gnu/libc.so.6"); perr == nil && len(p) > 0 {
		data, err = os.ReadFile(p[0])
	}
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := (Edit{Runpath: "$ORIGIN", Interp: "lib64/ld.so"}).Apply(mustParse(b, data)); err != nil {
			b.Fatal(err)
		}
	}
}
