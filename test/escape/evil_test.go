package escape

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"nipcells/internal/view/native"
	"nipcells/internal/view/native/shim"
	"nipcells/test/rig"
)

// evilPackage is a row: a package that somebody has made by hand.
type evilPackage struct {
	files []forgedFile
	// info is what nip info says of native views; where the package is not
	// installed, refused is why.
	info, refused string
	// said is what the program says in a cell: whether the memory in the zone's
	// place is its own, and how the calls ended for a hidden file and for none.
	// Where it does not come so far, status is how it ends.
	said   string
	status int
	// alone is the program for the control outside, if it is not the last file.
	alone []byte
}

// What evil.c says: ENOENT for both names, with its own memory there or without.
const (
	toldNothing = " m 1 h 2 a 2\n"
	sealedAway  = " m 0 h 2 a 2\n"
)

// TestEvilPackages: whatever a package brings that does not begin with the stub, a
// cell of it asks everything, so that an openat2 with a structure of the program's
// own is never carried out; and what has the stub has no memory of its own there.
// Outside each of the programs tells a hidden file from none.
func TestEvilPackages(t *testing.T) {
	r := rig.NewRoot(t)
	hidden, absent := r.Base+"/hidden", r.Base+"/absent"
	r.Write(hidden, hiddenText, 0o644)
	plain, loader := evil(t, "static"), evil(t, "static-pie")
	over := []string{"-DFORGED", "-Wl,--section-start=.forged=0x11000"}
	apart := []string{"-DFORGED", "-Wl,--section-start=.forged=0x31000"}
	host := r.Base + "/host-evil" // of no package
	r.Write(host, string(plain), 0o755)
	one := func(name string, content []byte) []forgedFile { return []forgedFile{{name: name, content: content}} }
	script := func(interpreter string) []byte { return []byte("#!" + interpreter + " " + hidden + "\n") }
	const noStub = " has no stub of this version"

	rows := map[string]evilPackage{
		// The control in a cell: what has the stub has native views, and no memory of its own.
		"stubbed":       {files: one("stubbed", stubbed(t, plain)), info: "partly (bin/stubbed: without shim)", said: sealedAway, alone: plain},
		"static":        {files: one("static", plain), info: "no (bin/static" + noStub + ")", said: toldNothing},
		"static-pie":    {files: one("static-pie", loader), info: "no (bin/static-pie" + noStub + ")", said: toldNothing},
		"behind-stub":   {files: one("behind-stub", enterBehind(t, stubbed(t, plain))), info: "no (bin/behind-stub begins outside of its own code)", said: toldNothing},
		"jump-over":     {files: one("jump-over", jumpOver(t, stubbed(t, plain))), info: "no (bin/jump-over" + noStub + ")", said: toldNothing},
		"writable-stub": {files: one("writable-stub", writable(t, stubbed(t, plain))), info: "no (bin/writable-stub begins outside of its own code)", said: toldNothing, alone: plain},
		"over-zone":     {files: one("over-zone", evil(t, "static", over...)), info: "no (bin/over-zone is loaded where the zone must be)", said: toldNothing},
		"over-stubbed": {files: one("over-stubbed", moved(t, stubbed(t, evil(t, "static", apart...)))), info: "no (bin/over-stubbed is loaded where the zone must be)",
			status: 125, alone: plain},
		"own-loader": {files: []forgedFile{{name: "loader", content: loader}, {name: "own-loader", content: located(t, evil(t, "dynamic")), loader: "loader"}},
			info: "no (bin/loader" + noStub + ", bin/own-loader names a loader of its own)", said: toldNothing, alone: loader},
		"beside": {files: append(one("beside", stubbed(t, plain)), one("without", plain)...), info: "no (bin/without" + noStub + ")", said: toldNothing},
		"script": {files: append(one("script", script(inView(r, "script")+"/without")), one("without", plain)...), info: "no (bin/without" + noStub + ")",
			said: toldNothing},
		"script-of-host": {files: one("script-of-host", script(host)), info: "native", status: 126},
	}
	if runtime.GOARCH == "amd64" {
		rows["bits"] = evilPackage{files: one("bits", evil32(t)), refused: "bin/bits: ELF file is not 64-bit little-endian"}
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			args := []string{hidden, absent}
			if strings.HasPrefix(name, "script") {
				args = args[1:]
			}
			res := forge(t, r, name, row.files...)
			switch {
			case row.refused != "":
				if res.Code == 0 || !strings.Contains(res.Stderr, row.refused) {
					t.Errorf("install: exit status %d, %s, want %q", res.Code, res.Stderr, row.refused)
				}
			case res.Code != 0:
				t.Fatalf("install: exit status %d, %s", res.Code, res.Stderr)
			default:
				if info := r.Must("info", name); !strings.Contains(info, "native views "+row.info+"\n") {
					t.Errorf("info does not say %q: %s", row.info, info)
				}
				res := rig.Run(t, r.Command(append([]string{"run", "--deny", name, "--"}, args...)...))
				if row.status == 0 && res.Code != attackRefused || row.status != 0 && res.Code != row.status || res.Stdout != row.said {
					t.Errorf("exit status %d, %q, want %q\n%s", res.Code, res.Stdout, row.said, res.Stderr)
				}
			}
			alone := row.alone
			if alone == nil {
				alone = row.files[len(row.files)-1].content
			}
			if alone[0] != '#' {
				args = []string{hidden, absent}
			}
			control := r.Command(args...)
			control.Path = filepath.Join(r.Base, "alone-"+name)
			r.Write(control.Path, string(alone), 0o755)
			if res := rig.Run(t, control); res.Code != attackDone {
				t.Errorf("the control outside ended with %d: %s%s", res.Code, res.Stdout, res.Stderr)
			}
		})
	}
}

// inView is where the cell's own name for a package's bin directory leads.
func inView(r *rig.Root, name string) string {
	return r.Path("System/Views", name, "1", "Programs", name, "1", "bin")
}

// evil compiles testdata/evil.c.
func evil(t *testing.T, kind string, flags ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "evil")
	flags = append(flags, "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-Wl,--build-id=none")
	if kind == "dynamic" {
		flags = append(flags, "-pie", "-fpie", "-Wl,--dynamic-linker="+strings.Repeat("x", 255))
	}
	if kind == "static-pie" {
		flags = append(flags, "-fpie")
	}
	gcc(t, "test/escape/testdata/evil.c", out, kind, flags...)
	return read(t, out)
}

func evil32(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "evil32")
	gcc(t, "test/escape/testdata/evil32.S", out, "static", "-m32", "-nostdlib", "-Wl,--build-id=none")
	return read(t, out)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// located empties the field for the loader's name.
func located(t *testing.T, image []byte) []byte {
	t.Helper()
	out := bytes.ReplaceAll(image, bytes.Repeat([]byte("x"), 255), make([]byte, 255))
	if bytes.Equal(out, image) {
		t.Fatal("there is no field for the loader's name")
	}
	return out
}

// stubbed puts the stub before a program, without asking whether that is any use.
func stubbed(t *testing.T, image []byte) []byte {
	t.Helper()
	out, err := native.Stub(image)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const entryField = 24 // of e_entry (elf(5))

// enterBehind makes a program with a stub begin behind it.
func enterBehind(t *testing.T, image []byte) []byte {
	t.Helper()
	out := bytes.Clone(image)
	entry := binary.LittleEndian.Uint64(out[entryField:]) + uint64(len(shim.Stub(runtime.GOARCH)))
	binary.LittleEndian.PutUint64(out[entryField:], entry)
	return out
}

// jumpOver puts the jump behind the stub in the place of its first instruction, where the rest of it stays.
func jumpOver(t *testing.T, image []byte) []byte {
	t.Helper()
	out := bytes.Clone(image)
	at := bytes.Index(out, []byte(shim.Stub(runtime.GOARCH)))
	if at < 0 {
		t.Fatal("there is no stub")
	}
	size := len(shim.Stub(runtime.GOARCH))
	if runtime.GOARCH == "arm64" {
		word := binary.LittleEndian.Uint32(out[at+size:])
		binary.LittleEndian.PutUint32(out[at:], word&^0x03ffffff|(word+uint32(size)/4)&0x03ffffff)
		return out
	}
	out[at] = 0xe9
	binary.LittleEndian.PutUint32(out[at+1:], binary.LittleEndian.Uint32(out[at+size+1:])+uint32(size))
	return out
}

// writable makes the segment of the stub writable.
func writable(t *testing.T, image []byte) []byte {
	t.Helper()
	return changed(t, image, func(f *elf.File, p *elf.Prog, header []byte) bool {
		binary.LittleEndian.PutUint32(header[4:], uint32(p.Flags|elf.PF_W)) // p_flags
		return p.Vaddr <= f.Entry && f.Entry < p.Vaddr+p.Filesz
	})
}

// moved moves the first segment of a program, which is to be at 0x30000, to where the zone is.
func moved(t *testing.T, image []byte) []byte {
	t.Helper()
	return changed(t, image, func(_ *elf.File, p *elf.Prog, header []byte) bool {
		binary.LittleEndian.PutUint64(header[16:], 0x10000) // p_vaddr
		return p.Vaddr == 0x30000
	})
}

// changed changes the program header of the one segment for which edit, which gets
// a copy of the header to change, says so.
func changed(t *testing.T, image []byte, edit func(f *elf.File, p *elf.Prog, header []byte) bool) []byte {
	t.Helper()
	const size = 56 // of an Elf64_Phdr
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.Clone(image)
	for i, p := range f.Progs {
		header := out[binary.LittleEndian.Uint64(out[32:])+uint64(i)*size:][:size] // e_phoff
		copied := bytes.Clone(header)
		if p.Type == elf.PT_LOAD && edit(f, p, copied) {
			copy(header, copied)
			return out
		}
	}
	t.Fatal("no segment is the one to be changed")
	return nil
}
