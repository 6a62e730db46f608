package native_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/view/native"
	"nipcells/internal/view/zone"
	"nipcells/test/bench/view/scratch"
)

// TestARM64: the rewritten C library and loader of the other machine run every
// path call under an emulator. It has no openat2 and cannot seal memory, so that
// the zone is one that sends all on: stub, trampolines and entry are what is
// tested, and that the shim leaves registers and results alone.
func TestARM64(t *testing.T) {
	program := filepath.Join(t.TempDir(), "paths")
	if out, err := exec.Command("aarch64-linux-gnu-gcc", "-O2", "-o", program, "testdata/paths.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (package libc6-dev-arm64-cross)", err, out)
	}
	emulator, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Fatalf("%v (package qemu-user-static)", err)
	}
	var printed []string
	for _, rewritten := range []bool{false, true} {
		root := t.TempDir()
		t.Cleanup(func() { exec.Command("chmod", "-R", "u+rwx", root).Run() }) // a directory of mode 0 is in the way of nobody else
		for to, from := range map[string]string{"/lib/libc.so.6": glibc()[2].path, "/lib/ld-linux-aarch64.so.1": glibc()[3].path,
			"/paths": program, "/emulator": emulator} {
			data, err := os.ReadFile(from)
			if err == nil && rewritten && strings.HasPrefix(to, "/lib/") {
				data, _, err = native.Rewrite(data)
			}
			if err == nil && rewritten && strings.HasPrefix(to, "/lib/ld-") {
				data, err = native.Stub(data)
			}
			if err == nil {
				err = os.MkdirAll(filepath.Dir(root+to), 0o755)
			}
			if err == nil {
				err = os.WriteFile(root+to, data, 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		printed = append(printed, emulate(t, root))
	}
	if printed[0] != printed[1] {
		a, b := strings.Split(printed[0], "\n"), strings.Split(printed[1], "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("line %d:\nunchanged %s\nrewritten %s", i, a[i], b[i])
			}
		}
		t.Fatalf("%d lines unchanged, %d rewritten", len(a), len(b))
	}
	if strings.Count(printed[0], "\n") < 1000 {
		t.Errorf("only %s", printed[0])
	}
}

// emulate runs /paths in a chroot, in an empty directory, with a zone that asks
// for all.
func emulate(t *testing.T, root string) string {
	t.Helper()
	table, err := zone.BuildTable(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := zone.Create(table)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, dir := range []string{scratch.Home, "/tmp", "/dev"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/emulator", "/paths")
	cmd.Dir, cmd.Env = scratch.Home, []string{}
	cmd.SysProcAttr = chroot(root)
	cmd.ExtraFiles = make([]*os.File, zone.FD-2)
	cmd.ExtraFiles[zone.FD-3] = os.NewFile(uintptr(dup(t, fd)), "zone")
	defer cmd.ExtraFiles[zone.FD-3].Close()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s%s", err, out.String()[:min(out.Len(), 500)], errs.String())
	}
	return out.String()
}

func dup(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
