package native_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nipcells/internal/elfimage"
	"nipcells/internal/view/native"
	"nipcells/internal/view/zone"
)

// glibc is what a C library and loader must give up at least.
func glibc() []struct {
	path       string
	sites, any int // with a number that is proven, and that is known at run time only
} {
	return []struct {
		path       string
		sites, any int
	}{
		{"/lib/x86_64-linux-gnu/libc.so.6", 25, 4},
		{"/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", 9, 0},
		{"/usr/aarch64-linux-gnu/lib/libc.so.6", 27, 4},
		{"/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1", 11, 0},
	}
}

// TestRewriteGlibc: every path call of Debian's C library goes to the shim, the
// same way each time, and nothing else of it changes.
func TestRewriteGlibc(t *testing.T) {
	for _, g := range glibc() {
		data, err := os.ReadFile(g.path)
		if errors.Is(err, os.ErrNotExist) && strings.Contains(g.path, "x86_64") && elfMachine(t) != elf.EM_X86_64 {
			continue
		}
		if err != nil {
			t.Fatalf("%v (package libc6-dev-arm64-cross)", err)
		}
		out, r, err := native.Rewrite(data)
		if err != nil {
			t.Errorf("%s: %v", g.path, err)
			continue
		}
		for _, s := range r.Sites {
			if !s.Taken {
				t.Errorf("%s: %s at %#x: %s", g.path, s.Call, s.Addr, s.Why)
			}
		}
		syscallTaken(t, g.path, data, r)
		if r.Taken() != g.sites+g.any || anyCalls(r) != g.any || !native.Shimmed(out) || native.Shimmed(data) {
			t.Errorf("%s: %d sites taken, %d of them of any call, want %d and %d; native %v, before %v", g.path, r.Taken(), anyCalls(r), g.sites+g.any, g.any, native.Shimmed(out), native.Shimmed(data))
		}
		second, _, err := native.Rewrite(data)
		if err != nil || !bytes.Equal(second, out) {
			t.Errorf("%s: not the same twice: %v", g.path, err)
		}
		again, _, err := native.Rewrite(out)
		if err != nil || !bytes.Equal(again, out) {
			t.Errorf("%s: changes its own result: %v", g.path, err)
		}
		sameCode(t, g.path, data, out, r)
	}
}

// anyCalls counts the sites whose number is known at run time only.
func anyCalls(r *native.Rewriting) (n int) {
	for _, s := range r.Sites {
		if s.Call == native.AnyCall {
			n++
		}
	}
	return n
}

// syscallTaken: the function syscall(2) of a C library is one of them.
func syscallTaken(t *testing.T, path string, data []byte, r *native.Rewriting) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, sym := range symbols {
		if sym.Name == "syscall" && !slices.ContainsFunc(r.Sites, func(s native.Site) bool {
			return s.Taken && s.Call == native.AnyCall && sym.Value <= s.Addr && s.Addr < sym.Value+sym.Size
		}) {
			t.Errorf("%s: syscall(2) is not taken", path)
		}
	}
}

func elfMachine(t *testing.T) elf.Machine {
	t.Helper()
	self, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	return self.Machine
}

// sameCode compares the code of two images but for the sites.
func sameCode(t *testing.T, path string, before, after []byte, r *native.Rewriting) {
	t.Helper()
	const most = 16 // bytes that one site changes
	a, err := elf.NewFile(bytes.NewReader(before))
	if err != nil {
		t.Fatal(err)
	}
	text := a.Section(".text")
	b, _ := text.Data()
	changed := 0
	for i := range b {
		if after[text.Offset+uint64(i)] == b[i] {
			continue
		}
		changed++
		at, near := text.Addr+uint64(i), false
		for _, s := range r.Sites {
			near = near || at < s.Addr+4 && at+most > s.Addr
		}
		if !near {
			t.Fatalf("%s: byte at %#x has changed, where no site is", path, at)
		}
	}
	if changed == 0 {
		t.Errorf("%s: no byte has changed", path)
	}
}

// TestRewriteAssembly: what is no proof is not taken for one.
func TestRewriteAssembly(t *testing.T) {
	for name, c := range map[string]struct {
		text                      string
		taken, left, unknown, any int
	}{
		"plain":              {"mov $2,%eax\n syscall\n ret", 1, 0, 0, 0},
		"moved":              {"mov $257,%eax\n mov %rdi,%rsi\n mov $-100,%edi\n syscall\n ret", 1, 0, 0, 0},
		"another call":       {"mov $39,%eax\n syscall\n ret", 0, 0, 0, 0},
		"number changed":     {"mov $2,%eax\n add $1,%eax\n syscall\n ret", 1, 0, 0, 1},
		"number by a call":   {"mov $2,%eax\n call f\n syscall\n ret\nf: ret", 0, 0, 1, 0},
		"number from memory": {"mov (%rdi),%eax\n syscall\n ret", 0, 0, 1, 0},
		"jump to syscall":    {"test %edi,%edi\n jz 1f\n mov $2,%eax\n 1: syscall\n ret", 0, 0, 1, 0},
		"jump past number":   {"jmp 1f\n mov $2,%eax\n 1: mov %rdi,%rsi\n syscall\n ret", 1, 0, 0, 1},
		"jump to number":     {"test %edi,%edi\n jz 1f\n nop\n 1: mov $2,%eax\n syscall\n ret", 1, 0, 0, 0},
		"relative operand":   {"mov $2,%eax\n lea f(%rip),%rdi\n syscall\n ret\nf: ret", 0, 1, 0, 0},
		"pointer to syscall": {"mov $2,%eax\n 1: syscall\n ret\n .data\n .balign 8\n .quad 1b\n .text", 0, 0, 1, 0},
		"switch to syscall": {"lea t(%rip),%rdx\n movslq (%rdx,%rdi,4),%rax\n add %rdx,%rax\n jmp *%rax\n mov $2,%eax\n 1: syscall\n ret\n" +
			" .section .rodata\n t: .long 1b-t\n .text", 0, 0, 1, 0},
		"64 bits":            {"mov $2,%rax\n syscall\n ret", 1, 0, 0, 0},
		"return of a signal": {"mov $15,%rax\n syscall\n ret", 0, 0, 0, 0}, // unwinders know its bytes
		"number given":       {"mov %rdi,%rax\n mov 8(%rsp),%r9\n syscall\n ret", 1, 0, 0, 1},
		"number in memory":   {"mov 16(%rdi),%rax\n mov %rdx,%rsi\n syscall\n ret", 1, 0, 0, 1},
		"given, jump to it":  {"mov %rdi,%rax\n test %rsi,%rsi\n jz 1f\n mov 8(%rsp),%r9\n 1: syscall\n ret", 0, 0, 1, 0},
		"given, relative":    {"mov %rdi,%rax\n mov f(%rip),%r9\n syscall\n ret\nf: ret", 0, 0, 1, 0},
		"zero":               {"mov %rdx,%rsi\n xor %eax,%eax\n syscall\n ret", 0, 0, 0, 0},
		"hardly a path call": {"mov $202,%r9d\n 1: mov %r9d,%eax\n mov %rdx,%rsi\n syscall\n jmp 1b", 0, 0, 1, 0},
		"perhaps one":        {"mov $257,%r9d\n 1: mov %r9d,%eax\n mov %rdx,%rsi\n syscall\n jmp 1b", 1, 0, 0, 1},
	} {
		path := assemble(t, "x86_64-linux-gnu-gcc", ".globl start\nstart:\n "+c.text+"\n")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, r, err := native.Rewrite(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Taken() != c.taken || len(r.Sites) != c.taken+c.left || r.Unknown != c.unknown || anyCalls(r) != c.any {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// assemble makes a shared object of some assembly.
func assemble(t testing.TB, compiler, text string) string {
	t.Helper()
	dir := t.TempDir()
	source, out := filepath.Join(dir, "s.S"), filepath.Join(dir, "s.so")
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command(compiler, "-shared", "-nostdlib", "-Wl,-z,notext", "-o", out, source).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s\n%s", compiler, err, msg, text)
	}
	return out
}

// TestRewriteAssemblyARM64 does the same for the other machine.
func TestRewriteAssemblyARM64(t *testing.T) {
	for name, c := range map[string]struct {
		text                string
		taken, unknown, any int
	}{
		"plain":            {"mov x8,#56\n svc #0\n ret", 1, 0, 0},
		"stores between":   {"mov x8,#56\n stp x0,x1,[sp,#16]\n svc #0\n ret", 1, 0, 0},
		"another call":     {"mov x8,#172\n svc #0\n ret", 0, 0, 0},
		"number changed":   {"mov x8,#56\n add x8,x8,#1\n svc #0\n ret", 1, 0, 1},
		"number loaded":    {"mov x8,#56\n ldp x7,x8,[sp]\n svc #0\n ret", 0, 1, 0},
		"written back":     {"mov x8,#56\n ldr x7,[x8],#8\n svc #0\n ret", 0, 1, 0},
		"number by a call": {"mov x8,#56\n bl f\n svc #0\n ret\nf: ret", 0, 1, 0},
		"jump to svc":      {"cbz x0,1f\n mov x8,#56\n 1: svc #0\n ret", 1, 0, 1},
		"test and jump":    {"tbnz x0,#3,1f\n mov x8,#56\n 1: svc #0\n ret", 1, 0, 1},
		"number given":     {"mov w8,w0\n mov x0,x1\n svc #0\n ret", 1, 0, 1},
		"data":             {"ret\n .word 0x00001234\n svc #0\n ret", 0, 1, 0},
	} {
		data, err := os.ReadFile(assemble(t, "aarch64-linux-gnu-gcc", ".globl start\nstart:\n "+c.text+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, r, err := native.Rewrite(data)
		if err != nil || r.Taken() != c.taken || len(r.Sites) != c.taken || r.Unknown != c.unknown || anyCalls(r) != c.any {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
}

// TestStub: loaders and static programs get it once, others not at all.
func TestStub(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	libc, err := os.ReadFile(glibc()[2].path)
	if err != nil {
		t.Fatal(err)
	}
	loader, err := os.ReadFile(glibc()[3].path)
	if err != nil {
		t.Fatal(err)
	}
	rewritten, _, err := native.Rewrite(loader)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"a Go program": self, "a loader": loader, "a rewritten loader": rewritten} {
		out, err := native.Stub(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := native.Stub(out)
		if err != nil || !bytes.Equal(again, out) || !native.Stubbed(out) || native.Stubbed(data) {
			t.Errorf("%s: %v, stubbed %v, before %v", name, err, native.Stubbed(out), native.Stubbed(data))
		}
	}
	if _, err := native.Stub(libc); !errors.Is(err, native.ErrUnproven) {
		t.Errorf("a program with a loader: %v", err)
	}
}

// FuzzRewrite: no file makes the rewriter panic or write something that is no ELF file.
func FuzzRewrite(f *testing.F) {
	for compiler, text := range map[string]string{
		"x86_64-linux-gnu-gcc": "start: .cfi_startproc\n mov $257,%eax\n mov %rdi,%rsi\n mov $-100,%edi\n syscall\n ret\n" +
			" vzeroupper\n lea t(%rip),%rdx\n jz start\n .cfi_endproc\n .section .rodata\n t: .long start-t\n",
		"aarch64-linux-gnu-gcc": "start: .cfi_startproc\n cbz x0,start\n mov x8,#56\n stp x0,x1,[sp,#16]\n svc #0\n ret\n .cfi_endproc\n",
	} {
		data, err := os.ReadFile(assemble(f, compiler, text))
		if err != nil {
			f.Fatal(err)
		}
		if out, r, err := native.Rewrite(data); err != nil || r.Taken() != 1 || len(out) <= len(data) {
			f.Fatalf("the seed has no site: %v, %+v", err, r)
		}
		for _, at := range []uint32{24, 32, 40, 54, 56, 60, 64, 72, 80, 96, 104, 120, 200, 300, 0x1000, 0x1004} {
			f.Add(data, at, uint64(0))
			f.Add(data, at, uint64(0xff))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint32, value uint64) {
		data = bytes.Clone(data)
		if len(data) > 8 {
			data[int(at)%(len(data)-8)] ^= byte(value)
		}
		for _, change := range []func([]byte) ([]byte, error){
			native.Stub,
			func(b []byte) ([]byte, error) { out, _, err := native.Rewrite(b); return out, err },
		} {
			out, err := change(data)
			if err != nil {
				continue
			}
			if _, err := elfimage.Parse(out); err != nil {
				t.Errorf("result: %v", err)
			}
		}
	})
}

// TestNoZone: a program with the stub does not begin without a zone, or with
// something else in its place.
func TestNoZone(t *testing.T) {
	tr := tree(t, nil, nil)
	other, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for name, file := range map[string]*os.File{"none": nil, "another file": other} {
		cmd := exec.Command("/usr/bin/echo", "begun")
		cmd.Dir, cmd.SysProcAttr = "/", chroot(tr.Asked)
		if file != nil {
			cmd.ExtraFiles = make([]*os.File, zone.FD-2)
			cmd.ExtraFiles[zone.FD-3] = file
		}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 125 || len(out) > 0 {
			t.Errorf("zone %s: %v, %q", name, err, out)
		}
	}
}

// chroot starts a command in a chroot, by a user namespace where it must be.
func chroot(root string) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Chroot: root}
	if os.Getuid() != 0 {
		attr.Cloneflags = syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	}
	return attr
}
