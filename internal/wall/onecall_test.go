package wall

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// TestOneSystemCall: spawn makes all system calls of a vforked child from one
// place in the code, or the child destroys its parent's way back. What was
// compiled into this test is looked at in memory.
func TestOneSystemCall(t *testing.T) {
	start := reflect.ValueOf(spawn).UnsafePointer()
	entry, size := uintptr(start), 0
	for f := runtime.FuncForPC(entry); runtime.FuncForPC(entry+uintptr(size)) != nil && runtime.FuncForPC(entry+uintptr(size)).Entry() == f.Entry(); {
		size++
	}
	code := unsafe.Slice((*byte)(start), size)
	calls := 0
	for at := 0; at < len(code); {
		size, target := instruction(t, code[at:], entry+uintptr(at))
		if f := runtime.FuncForPC(target); f != nil && target == f.Entry() && strings.HasSuffix(f.Name(), ".RawSyscall6") {
			calls++
		}
		at += size
	}
	if calls != 1 {
		t.Errorf("spawn has %d calls of RawSyscall6 in %d bytes, want 1", calls, len(code))
	}
}

// instruction returns an instruction's size and, of a call, its target.
func instruction(t *testing.T, code []byte, pc uintptr) (size int, target uintptr) {
	t.Helper()
	if runtime.GOARCH == "arm64" {
		in, err := arm64asm.Decode(code)
		if err == nil && in.Op == arm64asm.BL {
			return 4, pc + uintptr(int64(in.Args[0].(arm64asm.PCRel)))
		}
		return 4, 0 // data between functions
	}
	in, err := x86asm.Decode(code, 64)
	if err != nil {
		t.Fatalf("at %#x: %v", pc, err)
	}
	if rel, ok := in.Args[0].(x86asm.Rel); ok && in.Op == x86asm.CALL {
		target = pc + uintptr(in.Len) + uintptr(int64(rel))
	}
	return in.Len, target
}

// TestOneSystemCallElsewhere compiles spawn for both machines, where there is a
// Go toolchain with the modules at hand; without one, the test above is it.
func TestOneSystemCallElsewhere(t *testing.T) {
	source, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("go", "list", "-deps", ".")
	list.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=mod")
	list.Dir = source
	if out, err := list.CombinedOutput(); err != nil {
		t.Logf("no toolchain to compile with: %v: %s", err, out)
		return
	}
	call := regexp.MustCompile(`(?m)\bCALL.*RawSyscall6`)
	for _, arch := range []string{"amd64", "arm64"} {
		archive := filepath.Join(t.TempDir(), "wall.a")
		build := exec.Command("go", "build", "-o", archive, ".")
		build.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0", "GOPROXY=off")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", arch, err, out)
		}
		out, err := exec.Command("go", "tool", "objdump", "-s", `wall\.spawn$`, archive).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", arch, err, out)
		}
		if n := len(call.FindAll(out, -1)); n != 1 {
			t.Errorf("%s: spawn has %d calls of RawSyscall6, want 1:\n%s", arch, n, out)
		}
	}
}
