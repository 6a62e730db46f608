package wall

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nipcells/internal/capability"
)

//go:generate go test -run TestPledgesDocument . -args -write-pledges

var writePledges = flag.Bool("write-pledges", false, "write docs/PLEDGES.md instead of comparing it")

const pledgesDocument = "../../docs/PLEDGES.md"

// TestPledgesDocument keeps docs/PLEDGES.md the same as the sets in promises.go.
func TestPledgesDocument(t *testing.T) {
	want := pledgesText(t)
	if *writePledges {
		if err := os.WriteFile(pledgesDocument, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(pledgesDocument)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/PLEDGES.md is not what promises.go says: run go generate ./internal/wall")
	}
}

func pledgesText(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# The promises, call by call

Made by ` + "`go generate ./internal/wall`" + ` from internal/wall/promises.go; a test compares the two.

The seccomp filter of a cell is made of the sets below: of every set that belongs to its pledge, in this order. The first row that
names a call and whose conditions all hold decides about it. What no row decides is a **capability fault**. All sets are given for
both architectures; names that one of them lacks are passed over. Calls of another architecture, and of the x32 ABI, are faults.

- **allow**: the kernel carries it out; Landlock still decides about files, TCP ports, signals and abstract sockets.
- **ask**: the supervisor decides (internal/membrane).
- an error's name: the call fails with it, without being made.

What is allowed here and takes a path, or depends on the working directory, is asked, and openat2 is, too, except what a cell with native
views may do by way of its zone (the last section; internal/wall/sight.go). Only the tools that grafting runs see files by the host's
names; landlock_add_rule and landlock_restrict_self are asked in all others, as what is opened for a program must keep to its domain, too.
The launching child's own execve is allowed in every cell (internal/wall/pass.go). prctl(0x6e697070, promise) fails with EPERM where the
promise is not held, and with EINVAL where it is: so a program can find out. A cell that learns (nip run --learn) also asks about what
another promise than STDIO allows, except fork, vfork and clone, and then goes on (internal/wall/learn.go).

Conditions are on the arguments, counted from 0, on their low 32 bits (` + "`high`" + `: the upper ones), as the filter compares them.
A range includes both its ends.
`)
	section := func(title string, rows []row) {
		fmt.Fprintf(&b, "\n## %s\n\n| calls | if | then |\n|---|---|---|\n", title)
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(strings.Fields(r.names), " "), testsText(r.tests), verdictText(t, r.verdict))
		}
	}
	for i, p := range promises() {
		section(promiseTitle(i, p.bit), p.rows)
	}
	amd64, err := ArchOf("amd64")
	if err != nil {
		t.Fatal(err)
	}
	section("Native views on amd64: before all others", append(native(amd64, Allow), nativeExec()...))
	b.WriteString("\nThe last row is EXEC's. On arm64 the last slot is at another address.\n")
	b.WriteString(ratchetText)
	return b.String()
}

const ratchetText = `
## Programs that pledge by themselves

What nexus_pledge (nexus/c/nexus.h), the Go package nexus and nip-pledge take away is gone by a filter of the same sets
(internal/wall/ratchet.go), without those that hold a cell together. What would be asked is allowed by it, and so still asked in a cell.
In addition, without RPATH, WPATH or CPATH open and openat are refused by their flags, and openat2 works for those slots of the zone
only that do no more:

| without | refused |
|---|---|
| RPATH | opening for reading, a directory too, and O_PATH; files of the package are no exception. Names and what stat tells stay |
| WPATH | opening for writing, O_TRUNC, creat, truncate |
| CPATH | O_CREAT and O_TMPFILE, whether the file is there or not; creat, and all that makes, renames or removes names |

exit, exit_group and rt_sigreturn are always allowed. A refused call ends the process with SIGSYS, or fails with EPERM where the program asked
for that. No supervisor hears of it, as the kernel asks no listener about a call that another filter refuses.
`

func promiseTitle(i int, bit capability.Pledge) string {
	switch {
	case bit == 0 && i == 0:
		return "Refusals: in every cell, before all promises"
	case bit == 0 && i < len(promises())-1:
		return "Refusals that hold a cell together: in every cell"
	case bit == 0:
		return "Quiet refusals: in every cell, after all promises"
	case bit == capability.WriteOnly:
		return "WPATH, besides CPATH and FATTR which it contains"
	case bit == capability.ExecOnly:
		return "EXEC, besides PROC which it contains"
	}
	return bit.String()
}

func testsText(tests []test) string {
	var parts []string
	for _, t := range tests {
		arg := fmt.Sprintf("%d", t.arg)
		if t.high {
			arg += " high"
		}
		if t.mask != ^uint32(0) {
			arg += fmt.Sprintf(" & %#x", t.mask)
		}
		var values []string
		for _, v := range t.values {
			text := fmt.Sprintf("%#x", v.from)
			if v.to != v.from {
				text += fmt.Sprintf("..%#x", v.to)
			}
			values = append(values, text)
		}
		relation := " is "
		if t.not {
			relation = " is not "
		}
		parts = append(parts, arg+relation+strings.Join(values, ", "))
	}
	return strings.Join(parts, "; ")
}

func verdictText(t *testing.T, v Verdict) string {
	switch {
	case v == Allow:
		return "allow"
	case v == Ask:
		return "ask"
	case v == Errno(0):
		return "success, without being made"
	}
	name := unix.ErrnoName(unix.Errno(v & 0xffff))
	if name == "" || v&^0xffff != Errno(0) {
		t.Fatalf("verdict %#x has no words", v)
	}
	return name
}
