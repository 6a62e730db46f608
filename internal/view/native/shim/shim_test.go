package shim

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nipcells/internal/view/native/shim/build"
	"nipcells/internal/view/zone"
)

// TestCompiled: what is in the repository is what its sources give. Another
// compiler than the one that is noted writes other code for the same sources:
// then only its form is checked, and the tests of package view, which run it.
func TestCompiled(t *testing.T) {
	for arch := range build.Compilers() {
		noted, err := os.ReadFile("compiler_" + arch + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		here, err := build.CompilerVersion(arch)
		if err != nil {
			t.Fatalf("%v (packages gcc and gcc-aarch64-linux-gnu)", err)
		}
		for piece := range build.Pieces(arch) {
			want, err := os.ReadFile(piece + "_" + arch + ".bin")
			if err != nil {
				t.Fatal(err)
			}
			got, err := build.Compile("src", arch, piece)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := build.Compile("src", arch, piece); err != nil || !bytes.Equal(got, again) {
				t.Errorf("%s for %s is compiled to something else each time (%v)", piece, arch, err)
			}
			switch {
			case bytes.Equal(got, want):
			case here == strings.TrimSpace(string(noted)):
				t.Errorf("%s for %s is not what its sources give: run go run ./build/gen", piece, arch)
			default:
				t.Logf("%s for %s: %d bytes here, %d in the repository; compiled by %q, that by %q", piece, arch, len(got), len(want), here, noted)
			}
		}
	}
	if Code("riscv64") != "" || Stub("riscv64") != "" {
		t.Error("code for a machine that there is none for")
	}
}

// TestSlotFunction: C and Go find the same slot for every combination of flags
// that matters and for every mode.
func TestSlotFunction(t *testing.T) {
	for i, f := range zone.Machines() {
		bits := []uint64{1, 2, f.Creat, f.Excl, f.Noctty, f.Trunc, f.Append, f.Nonblock, f.Directory, f.Nofollow, f.Cloexec,
			f.Largefile, f.Path, 0o10000, 0o20000000}
		dir := t.TempDir()
		var table strings.Builder
		for _, b := range bits {
			fmt.Fprintf(&table, "%#xUL,", b)
		}
		program := fmt.Sprintf("#define ZONE_%s\n#include <stdio.h>\n#include \"slot.h\"\n"+
			"static const unsigned long bits[] = {%s}, modes[] = {0, 0666, 0644, 0600, 0755, 0444, 0777, 0100644};\n"+
			"int main(void) { for (unsigned long n = 0; n < 1UL << %d; n++) for (int m = 0; m < 8; m++) {\n"+
			" unsigned long f = 0; for (int i = 0; i < %d; i++) if (n >> i & 1) f |= bits[i];\n"+
			" short s = zone_slot(f | 1UL << 40, modes[m]); fwrite(&s, 2, 1, stdout); } return 0; }\n", f.Arch, table.String(), len(bits), len(bits))
		for name, text := range map[string][]byte{"t.c": []byte(program), "zone.h": build.Header()} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("gcc", "-O2", "-static", "-I"+dir, "-Isrc", "-o", filepath.Join(dir, "t"), filepath.Join(dir, "t.c"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v: %s", err, out)
		}
		out, err := exec.Command(filepath.Join(dir, "t")).Output()
		if err != nil {
			t.Fatal(err)
		}
		compareSlots(t, zone.Machines()[i], bits, out)
	}
}

func compareSlots(t *testing.T, f zone.Flags, bits []uint64, out []byte) {
	t.Helper()
	modes := []uint64{0, 0o666, 0o644, 0o600, 0o755, 0o444, 0o777, 0o100644}
	if len(out) != 2*len(modes)<<len(bits) {
		t.Fatalf("%d bytes of slots", len(out))
	}
	found := map[int]bool{}
	classes := f.Table()
	for n := range 1 << len(bits) {
		flags := uint64(0)
		for i, b := range bits {
			if n>>i&1 != 0 {
				flags |= b
			}
		}
		for m, mode := range modes {
			want, ok := classes.Slot(flags, mode, true)
			if !ok {
				want = -1
			}
			k := 2 * (n*len(modes) + m)
			got := int(int16(uint16(out[k]) | uint16(out[k+1])<<8))
			if got != want {
				t.Fatalf("%s: flags %#o mode %#o: slot %d in C, %d in Go", f.Arch, flags, mode, got, want)
			}
			found[got] = true
		}
	}
	if len(found) != f.Slots()/2+1 {
		t.Errorf("%s: %d slots were found of %d", f.Arch, len(found)-1, f.Slots()/2)
	}
}
