package native_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/view/native"
	"nipcells/test/bench/view/scratch"
)

// enable rewrites a static program where native views run it, and nowhere else.
func enable(t *testing.T, tr *scratch.Tree, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, r, err := native.Rewrite(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Sites {
		if !s.Taken {
			t.Errorf("%s: %s at %#x: %s", path, s.Call, s.Addr, s.Why)
		}
	}
	if out, err = native.Stub(out); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{tr.Asked, tr.View} {
		to := filepath.Join(root, "usr/bin", filepath.Base(path))
		if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) { // it may be a hard link
			t.Fatal(err)
		}
		if err := os.WriteFile(to, out, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStaticPathCalls: a program that is linked statically makes its path calls
// natively, with the results that it has in a chroot.
func TestStaticPathCalls(t *testing.T) {
	for _, kind := range []string{"-static", "-static-pie"} {
		program := compile(t, "paths", kind)
		tr := tree(t, nil, nil, program)
		enable(t, tr, program)
		want, r := run(t, tr, scratch.AsIs, "/usr/bin/paths")
		if r.Exit != 0 || strings.Count(want, "\n") < 1000 {
			t.Fatalf("%s: exit %d: %s", kind, r.Exit, want)
		}
		got, r := run(t, tr, scratch.Counted, "/usr/bin/paths")
		sameLines(t, want, got)
		if r.Exit != 0 || r.Native < 1000 || r.Asked[unix.SYS_CHDIR] > 4 {
			t.Errorf("%s: exit %d, %d openat2 calls native, asked %s", kind, r.Exit, r.Native, counts(r))
		}
	}
}

// TestBusybox: Debian's busybox-static does its jobs natively.
func TestBusybox(t *testing.T) {
	const busybox = "/bin/busybox"
	if out, err := exec.Command("dpkg", "-S", busybox).Output(); err != nil || !strings.HasPrefix(string(out), "busybox-static:") {
		t.Fatalf("%s: %q, %v (package busybox-static)", busybox, out, err)
	}
	tr := tree(t, nil, nil, busybox)
	enable(t, tr, busybox)
	for _, root := range []string{tr.Native, tr.Asked} {
		for i := range 100 {
			dir := filepath.Join(root, scratch.Home, "d"+itoa(i%10))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, itoa(i)), []byte(itoa(i)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, script := range []string{
		"find . -type f | sort; cat d3/*; ls d1; cd d2; pwd; cat 12; cd ..; pwd; ls -d /usr/bin /tmp /home; test -e /none || echo none",
		"cd /; pwd; ls -1; cd home/user/x; pwd; cat file; cd ..; ls",
		"for i in 1 2 3; do busybox cp d$i/$i copy$i; busybox stat -c '%n %s %a' copy$i; done; busybox sh -c 'cat copy2; exec busybox echo $0'",
		"busybox tar c d4 | busybox tar t | sort; busybox grep -r 55 d5; busybox du -a d6 | busybox wc -l; realpath d7/../d8; readlink -f /alias; rm -r d9; ls -d d9",
	} {
		args := []string{"/usr/bin/busybox", "sh", "-c", script}
		want, r := run(t, tr, scratch.AsIs, args...)
		if r.Exit > 1 {
			t.Fatalf("%s: exit %d: %s", script, r.Exit, want)
		}
		exit := r.Exit
		got, r := run(t, tr, scratch.Counted, args...)
		if r.Exit != exit || got != want {
			t.Errorf("%s: exit %d, not %d:\n%s\nas it is:\n%s", script, r.Exit, exit, got, want)
		}
		t.Logf("%d native, asked %s", r.Native, counts(r))
		if r.Native < 10 {
			t.Errorf("%s: %d calls native, asked %s", script, r.Native, counts(r))
		}
	}
}

// TestUnproven: programs whose stacks or sections are not known stay as they are.
func TestUnproven(t *testing.T) {
	program := compile(t, "cwd", "-static")
	stripped := filepath.Join(t.TempDir(), "stripped")
	if out, err := exec.Command("objcopy", "--strip-all", "--remove-section=.note.ABI-tag", program, stripped+"1").CombinedOutput(); err != nil {
		t.Fatalf("objcopy: %v: %s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	end := uint64(0)
	for _, s := range f.Progs {
		end = max(end, s.Off+s.Filesz)
	}
	data = data[:end]
	clear(data[40:48]) // e_shoff
	clear(data[58:64]) // e_shentsize, e_shnum, e_shstrndx
	if err := os.WriteFile(stripped+"2", data, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"a Go program": "/proc/self/exe", "no note": stripped + "1", "no sections": stripped + "2"} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, r, err := native.Rewrite(data); !errors.Is(err, native.ErrUnproven) {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
		if out, err := native.Stub(data); err != nil || !native.Stubbed(out) {
			t.Errorf("%s: no stub: %v", name, err)
		}
	}
}

// TestRewriteFixedAddress: in code that is linked to one address, a number may
// be what something jumps to.
func TestRewriteFixedAddress(t *testing.T) {
	const note = "\n .section .note.ABI-tag,\"a\",@note\n .long 4,16,1\n .asciz \"GNU\"\n .long 0,3,2,0\n"
	for name, c := range map[string]struct {
		text           string
		taken, unknown int
	}{
		"plain":     {"mov $2,%eax\n syscall\n ret", 1, 0},
		"immediate": {"mov $1f,%edx\n jmp *%rdx\n mov $2,%eax\n 1: syscall\n ret", 0, 1},
		"pushed":    {"push $1f\n ret\n mov $2,%eax\n 1: syscall\n ret", 0, 1},
		"loaded":    {"movabs $1f,%rdx\n jmp *%rdx\n mov $2,%eax\n 1: syscall\n ret", 0, 1},
		"table":     {"jmp *t(,%rdi,8)\n mov $2,%eax\n 1: syscall\n ret\n .section .rodata\n .balign 8\n t: .quad 1b\n .text", 0, 1},
		"distances": {"movslq t(,%rdi,4),%rdx\n add $t,%rdx\n jmp *%rdx\n mov $2,%eax\n 1: syscall\n ret\n .section .rodata\n t: .long 1b-t\n .text", 0, 1},
	} {
		dir := t.TempDir()
		source, out := filepath.Join(dir, "s.S"), filepath.Join(dir, "s")
		if err := os.WriteFile(source, []byte(".globl _start\n_start:\n "+c.text+note), 0o644); err != nil {
			t.Fatal(err)
		}
		if msg, err := exec.Command("x86_64-linux-gnu-gcc", "-static", "-no-pie", "-nostdlib", "-o", out, source).CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v: %s", err, msg)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if _, r, err := native.Rewrite(data); err != nil || r.Taken() != c.taken || r.Unknown != c.unknown || len(r.Sites) != c.taken {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
}
