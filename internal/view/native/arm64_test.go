package native_test

import (
	"bytes"
	"encoding/binary"
	"errors"
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
	var printed []string
	for _, rewritten := range []bool{false, true} {
		out, err := emulate(t, emulated(t, rewritten, nil), nil, "/paths")
		if err != nil {
			t.Fatalf("%v: %.500s", err, out)
		}
		printed = append(printed, out)
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

// TestARM64AnyCall: the same for system calls whose number is known at run time only.
func TestARM64AnyCall(t *testing.T) {
	want, err := emulate(t, emulated(t, false, nil), nil, "/anycall")
	if err != nil || !strings.Contains(want, "registers 1 1 1\n") || !strings.Contains(want, "mmap second") {
		t.Fatalf("%v: %s", err, want)
	}
	if got, err := emulate(t, emulated(t, true, nil), nil, "/anycall"); err != nil || got != want {
		t.Errorf("%v:\n%s\nas it is:\n%s", err, got, want)
	}
}

// TestARM64Keep: the descriptors that must stay do so also where all is asked.
func TestARM64Keep(t *testing.T) {
	if out, err := emulate(t, emulated(t, true, nil), nil, "/cwd", "keep"); err != nil || out != "0 -1\n" && out != "0 0\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// TestARM64KeptDirectory: the stub of the other machine goes where the supervisor
// says. Where memory cannot be sealed it would not get there: its call is made
// another one, that works.
func TestARM64KeptDirectory(t *testing.T) {
	movX8 := func(nr uint32) []byte { return binary.LittleEndian.AppendUint32(nil, 0xd2800008|nr<<5) }
	const mseal, schedYield = 462, 124
	root := emulated(t, true, func(loader []byte) []byte {
		if bytes.Count(loader, movX8(mseal)) != 1 {
			t.Fatal("mseal is not in the loader once")
		}
		return bytes.Replace(loader, movX8(mseal), movX8(schedYield), 1)
	})
	all := []zone.Root{{Prefix: "/", FD: zone.Ask}}
	kept := func(fn func()) {
		var old unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_LOCKS, &old); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setrlimit(unix.RLIMIT_LOCKS, &unix.Rlimit{Cur: zone.VirtualCwd, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		fn()
		if err := unix.Setrlimit(unix.RLIMIT_LOCKS, &old); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := emulate(t, root, all, "/cwd", "where"); err != nil || !strings.HasSuffix(out, "kernel's\n") {
		t.Errorf("%v: %s", err, out)
	}
	kept(func() { // nobody ends it here that it is kept, but the stub has tried
		if out, err := emulate(t, root, all, "/cwd", "where"); err != nil || !strings.HasSuffix(out, "kept\n") {
			t.Errorf("%v: %s", err, out)
		}
	})
	if err := os.Chmod(root+scratch.Home, 0); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		return // who may go anywhere
	}
	kept(func() {
		var exit *exec.ExitError
		if out, err := emulate(t, root, all, "/cwd", "where"); !errors.As(err, &exit) || exit.ExitCode() != 125 {
			t.Errorf("a directory that cannot be opened: %v: %s", err, out)
		}
	})
}

// emulated makes a root directory with the emulator, programs, and the C library
// and the loader of the other machine, which change may change.
func emulated(t *testing.T, rewritten bool, change func([]byte) []byte) string {
	t.Helper()
	emulator, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		t.Fatalf("%v (package qemu-user-static)", err)
	}
	root, programs := t.TempDir(), t.TempDir()
	t.Cleanup(func() { exec.Command("chmod", "-R", "u+rwx", root).Run() }) // a directory of mode 0 is in the way of nobody else
	files := map[string]string{"/lib/libc.so.6": glibc()[2].path, "/lib/ld-linux-aarch64.so.1": glibc()[3].path, "/emulator": emulator}
	for _, name := range []string{"paths", "cwd", "anycall"} {
		files["/"+name] = filepath.Join(programs, name)
		if out, err := exec.Command("aarch64-linux-gnu-gcc", "-O2", "-o", files["/"+name], "testdata/"+name+".c").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s (package libc6-dev-arm64-cross)", err, out)
		}
	}
	for to, from := range files {
		data, err := os.ReadFile(from)
		if err == nil && rewritten && strings.HasPrefix(to, "/lib/") {
			data, _, err = native.Rewrite(data)
		}
		if err == nil && rewritten && strings.HasPrefix(to, "/lib/ld-") {
			if data, err = native.Stub(data); change != nil {
				data = change(data)
			}
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
	for _, dir := range []string{scratch.Home, "/tmp", "/dev"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// emulate runs a program in a chroot, in an empty directory, with a zone that
// has these roots; without any, all is asked.
func emulate(t *testing.T, root string, roots []zone.Root, args ...string) (string, error) {
	t.Helper()
	table, err := zone.BuildTable(roots, nil)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := zone.Create(table)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cmd := exec.Command("/emulator", args...)
	cmd.Dir, cmd.Env = scratch.Home, []string{}
	cmd.SysProcAttr = chroot(root)
	cmd.ExtraFiles = make([]*os.File, zone.FD-2)
	cmd.ExtraFiles[zone.FD-3] = os.NewFile(uintptr(dup(t, fd)), "zone")
	defer cmd.ExtraFiles[zone.FD-3].Close()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String() + errs.String(), err
}

func dup(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
