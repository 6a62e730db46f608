package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"nipcells/internal/capability"
	"nipcells/internal/hier"
	"nipcells/internal/ledger"
	"nipcells/internal/npk"
)

// report prints an error in two lines: what failed on what and why, then what to
// do about it.
func report(w io.Writer, err error) {
	fmt.Fprintf(w, "nip: %s\n", oneLine(err.Error()))
	if s := advice(err); s != "" {
		fmt.Fprintf(w, "     %s\n", s)
	}
}

// oneLine makes an error that may quote a stranger's bytes harmless to a
// terminal.
func oneLine(s string) string {
	return printable(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}

// advice says what a person can do about err; it is empty where the error says
// it all. The first rule that fits counts, so the narrow ones come first.
func advice(err error) string {
	for _, rule := range []func(error) string{adviceUsage, adviceSyntax, adviceSentinel, adviceSystem} {
		if s := rule(err); s != "" {
			return s
		}
	}
	return ""
}

func adviceUsage(err error) string {
	u := new(usageError)
	if !errors.As(err, &u) {
		return ""
	}
	if s := adviceSyntax(err); s != "" {
		return s
	}
	if u.verb == "" {
		return "see nip help"
	}
	return "see nip help " + u.verb
}

func adviceSyntax(err error) string {
	e := new(capability.SyntaxError)
	if !errors.As(err, &e) {
		return ""
	}
	switch e.What {
	case "pledge":
		return "the promises are STDIO, RPATH, WPATH, CPATH, FATTR, INET, EXEC, PROC, or NONE alone: --pledge STDIO,RPATH"
	case "unveil", "rights":
		return `write a path and rights out of r, w, x, c: --unveil "$PWD:rw"`
	case "budget", "size", "count":
		return "write for example --budget memory=256M,fibers=64,cpu=50%,disk=1G,io=20M/s,spectrum=gravity"
	}
	return ""
}

func adviceSentinel(err error) string {
	for _, a := range [...]struct {
		is   error
		what string
	}{
		{hier.ErrForeign, "choose another root with --root DIRECTORY or NIP_ROOT"},
		{hier.ErrPath, "choose a shorter or plainer path with --root DIRECTORY or NIP_ROOT"},
		{hier.ErrLocked, "wait until the other nip is done; its lock ends with it"},
		{ledger.ErrHeadMissing, "compare the head with the one you noted; if it is right, the ledger was tampered with: restore it from a backup"},
		{ledger.ErrDamaged, "keep a copy of the file as evidence, move it away, and nip begins a new ledger"},
		{npk.ErrNotPackage, "give a file made by nip pack or nip graft"},
		{npk.ErrVersion, "pack it again, or use the nip it was made with"},
		{npk.ErrCorrupt, "get the file again: it was cut or changed on its way"},
		{npk.ErrSignature, "get the file again from where you trust it; do not install this one"},
		{npk.ErrLimit, "split the package: nip packs at most 8 GiB and 1048576 names"},
		{errNotRoot, "leave --user away, or run nip as root"},
	} {
		if errors.Is(err, a.is) {
			return a.what
		}
	}
	if f := new(ledger.Fault); errors.As(err, &f) {
		return "keep a copy as evidence; records before this one are whole, what follows cannot be trusted"
	}
	return ""
}

func adviceSystem(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return "free some space (nip gc frees what nothing uses), then try again; nothing was changed"
	case errors.Is(err, syscall.EROFS):
		return "choose a writable root with --root DIRECTORY or NIP_ROOT"
	case errors.Is(err, fs.ErrPermission):
		return "check who owns the path, or choose a root of your own with --root DIRECTORY or NIP_ROOT"
	}
	return ""
}
