package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"nipcells/internal/capability"
	"nipcells/internal/cell"
	"nipcells/internal/graft"
	"nipcells/internal/hier"
	"nipcells/internal/keys"
	"nipcells/internal/ledger"
	"nipcells/internal/npk"
	"nipcells/internal/programs"
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
	var own adviser
	if errors.As(err, &own) {
		return own.advice()
	}
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

// adviser is an error that knows best what to do about it.
type adviser interface {
	error
	advice() string
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
		{cell.ErrNotRoot, "leave --user away, or run nip as root"},
		{cell.ErrInside, "run nip outside: what a cell may do only ever shrinks"},
		{graft.ErrSource, "for example: nip graft debian:jq -o jq.npk"},
		{graft.ErrNoApt, "use a Debian host, or graft a tarball: nip graft tar:FILE"},
		{graft.ErrNotInstalled, "run apt-get update, and check the name with apt-cache policy NAME"},
		{graft.ErrEmpty, "check the path of the source"},
		{graft.ErrNoCommand, "look for executables in the source; a package of libraries is made with --stage and nip pack"},
		{keys.ErrSyntax, "a key is the line that nip key show prints, or a file that holds it"},
		{keys.ErrNotFound, "nip key list shows the keys that are trusted"},
		{keys.ErrAmbiguous, "give more digits of the id; nip key list shows it"},
		{keys.ErrExposed, "make it yours alone (chmod 600), and make a new key if somebody may have read it"},
		{programs.ErrNotInstalled, "nip list shows what is installed"},
		{programs.ErrNoEarlier, "nip info PACKAGE shows the installed versions"},
		{programs.ErrDepends, "install what is missing first"},
		{programs.ErrNeeded, "remove those first, or both at once in that order"},
		{programs.ErrRunning, "nip ps shows the cells; nip stop ends one"},
		{programs.ErrSpace, "free some space (nip gc frees what nothing uses), then try again; nothing was changed"},
		{programs.ErrArch, "get the package for this machine"},
		{programs.ErrConflict, "remove one of the two: nip remove PACKAGE"},
		{programs.ErrDamaged, "nip verify shows the damage; remove the package and install it again"},
	} {
		if errors.Is(err, a.is) {
			return a.what
		}
	}
	if d := new(damageError); errors.As(err, &d) {
		return "remove the packages that are named and install them again"
	}
	if m := new(missingRootError); errors.As(err, &m) {
		return "nip install makes it; or choose another with --root DIRECTORY or NIP_ROOT"
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
