package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"nipcells/cmd/nip/run"
	"nipcells/internal/capability"
	"nipcells/internal/cell"
	"nipcells/internal/graft"
	"nipcells/internal/hier"
	"nipcells/internal/keys"
	"nipcells/internal/ledger"
	"nipcells/internal/npk"
	"nipcells/internal/npk/kdl"
	"nipcells/internal/policy"
	"nipcells/internal/programs"
	"nipcells/internal/wall"
)

// report prints an error in two lines: what failed on what and why, then what to
// do about it.
func report(w io.Writer, err error) {
	fmt.Fprintf(w, "nip: %s\n", oneLine(err.Error()))
	if s := advice(err); s != "" {
		fmt.Fprintf(w, "     %s\n", oneLine(s))
	}
}

// oneLine makes an error that may quote a stranger's bytes harmless to a
// terminal.
func oneLine(s string) string {
	return printable(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}

// adviser is an error that knows best what to do about it.
type adviser interface {
	error
	advice() string
}

// advice says what a person can do about err; it is empty where nobody knows.
// The first rule that fits counts, so the narrow ones come first.
func advice(err error) string {
	var own adviser
	if errors.As(err, &own) {
		return own.advice()
	}
	for _, rule := range []func(error) string{adviceSyntax, adviceHeld, adviceCell, adviceSentinel, adviceSystem, adviceUsage} {
		if s := rule(err); s != "" {
			return s
		}
	}
	return ""
}

func adviceUsage(err error) string {
	u := new(usageError)
	switch {
	case !errors.As(err, &u):
		return ""
	case u.verb == "":
		return "see nip help"
	}
	return "see nip help " + u.verb
}

const promises = "the promises are STDIO, RPATH, WPATH, CPATH, FATTR, INET, EXEC, PROC, or NONE alone"

// adviceSyntax is about words that mean nothing: flags, recipes, policies.
func adviceSyntax(err error) string {
	if k := new(kdl.Error); errors.As(err, &k) {
		if strings.Contains(k.Msg, "no such promise") {
			return promises
		}
		return "correct the file at that line and column; nip help pack shows a recipe"
	}
	e := new(capability.SyntaxError)
	if !errors.As(err, &e) {
		return ""
	}
	switch e.What {
	case "pledge":
		return promises + ": --pledge STDIO,RPATH"
	case "unveil", "rights":
		return `write a path and rights out of r, w, x, c: --unveil "$PWD:rw"`
	}
	return "write for example --budget memory=256M,fibers=64,cpu=50%,disk=1G,io=20M/s,energy=2.5J/s,spectrum=gravity"
}

// adviceHeld is about an update that asks for more.
func adviceHeld(err error) string {
	if h := new(programs.HeldError); errors.As(err, &h) {
		return "if you agree to that: " + acceptLine(h.Version)
	}
	return ""
}

// adviceCell is about starting a cell.
func adviceCell(err error) string {
	if e := new(cell.CommandError); errors.As(err, &e) {
		return commandAdvice(e)
	}
	if e := new(cell.KernelError); errors.As(err, &e) {
		return kernelAdvice(e)
	}
	if e := new(cell.DescriptorError); errors.As(err, &e) {
		if e.FD == 0 {
			return "redirect it: nip run … </dev/null"
		}
		return fmt.Sprintf("redirect it: nip run … %d>FILE", e.FD)
	}
	if e := new(cell.ExecError); errors.As(err, &e) {
		return run.ExecAdvice
	}
	if e := new(cell.CwdError); errors.As(err, &e) && errors.Is(err, cell.ErrUnseen) {
		return "unveil it as well: --unveil " + shellQuote(e.Path+":r")
	}
	if e := new(cell.UnveilError); errors.As(err, &e) {
		return unveilAdvice(err)
	}
	if e := new(wall.SpawnError); errors.As(err, &e) && !errors.Is(err, wall.ErrListener) {
		return "nip doctor shows what this host lacks"
	}
	return ""
}

// kernelAdvice tells no Landlock, without which there is no wall, from one that
// is too old.
func kernelAdvice(e *cell.KernelError) string {
	if e.ABI == 0 {
		return "boot Linux 6.12 or newer with landlock in its lsm= list; nip doctor shows what this host has"
	}
	return fmt.Sprintf("use Linux 6.12 or newer; with --allow-degraded the cell would have no %s", strings.Join(e.Lacks, ", no "))
}

func unveilAdvice(err error) string {
	switch {
	case errors.Is(err, cell.ErrCoversRoot):
		return "unveil a directory that neither holds the root nor lies in it"
	case errors.Is(err, cell.ErrPolicy):
		return "leave it away, or have the host's policy.kdl allow it"
	case errors.Is(err, fs.ErrNotExist):
		return "check the path: only what exists can be unveiled"
	case errors.Is(err, fs.ErrPermission):
		return "check who owns the path: a cell gets no more than you may reach yourself"
	}
	return "check the path"
}

func commandAdvice(e *cell.CommandError) string {
	if len(e.Have) == 0 {
		return "it is there for packages that depend on it"
	}
	var choices []string
	for _, c := range e.Have {
		choices = append(choices, "nip run "+e.Package+"/"+c)
	}
	return "choose one: " + strings.Join(choices, ", ")
}

// remedy is what to do about errors that wrap a sentinel.
type remedy struct {
	is   error
	what string
}

func remedies() []remedy {
	const (
		space = "free some space (nip gc frees what nothing uses), then try again; nothing was changed"
		root  = "choose another root with --root DIRECTORY or NIP_ROOT"
	)
	return []remedy{
		{context.Canceled, "nothing was changed; try again when it suits"},
		{programs.ErrDamaged, "nip verify shows the damage; remove the package and install it again"},
		{programs.ErrNotInstalled, "nip list shows what is installed"},
		{programs.ErrNotHeld, "nip info PACKAGE shows the versions, and which are held"},
		{programs.ErrOnlyHeld, "accept one first: nip policy accept PACKAGE; or remove all versions: nip remove PACKAGE"},
		{policy.ErrTooLong, "decide about a directory above them instead"},
		{policy.ErrNotText, "rename it, or decide about the directory above"},
		{programs.ErrNoEarlier, "nip info PACKAGE shows the installed versions"},
		{programs.ErrDepends, "install what is missing first: nip install FILE"},
		{programs.ErrNeeded, "remove those first"},
		{programs.ErrRunning, "nip ps shows the cells; nip stop ends one"},
		{programs.ErrSpace, space},
		{syscall.ENOSPC, space},
		{syscall.EDQUOT, space},
		{syscall.EFBIG, space},
		{programs.ErrArch, "get the package for this machine"},
		{programs.ErrConflict, "remove what is installed first: nip remove PACKAGE"},
		{npk.ErrNotPackage, "give a file made by nip pack or nip graft"},
		{npk.ErrVersion, "pack it again, or use the nip it was made with"},
		{npk.ErrCorrupt, "get the file again: it was cut or changed on its way"},
		{npk.ErrSignature, "get the file again from where you trust it; do not install this one"},
		{npk.ErrLimit, "split the package: it may have 8 GiB and 1048576 names"},
		{keys.ErrSyntax, "a key is the line that nip key show prints, or a file that holds it"},
		{keys.ErrNotFound, "nip key list shows the keys that are trusted"},
		{keys.ErrAmbiguous, "give more digits of the id; nip key list shows it"},
		{keys.ErrExposed, "chmod 600 it if you are sure; else remove it, and nip makes a new one"},
		{graft.ErrSource, "for example: nip graft debian:jq -o jq.npk"},
		{graft.ErrNoApt, "use a Debian host, or graft a tarball: nip graft tar:FILE"},
		{graft.ErrNotInstalled, "run apt-get update, and check the name with apt-cache policy NAME"},
		{graft.ErrEmpty, "check the path of the source"},
		{graft.ErrNoCommand, "make the programs executable and put them in bin"},
		{cell.ErrNotRoot, "leave --user away, or run nip as root"},
		{cell.ErrSetID, "take the set-id bits off nip and run it as the user that it should run as"},
		{cell.ErrInside, "run it outside: what a cell may do only ever shrinks"},
		{cell.ErrNoStdio, "add it: --pledge STDIO"},
		{wall.ErrListener, "another supervisor answers for this process already, as some container managers do: run nip outside of it"},
		{cell.ErrNoCell, "nip ps shows the cells that run"},
		{cell.ErrAmbiguous, "give the fiber-id; nip ps shows it"},
		{ledger.ErrHeadMissing, "compare the head with the one you noted; if it is right, the ledger was tampered with: restore it from a backup"},
		{ledger.ErrDamaged, "keep a copy of the file as evidence and move it away; nip begins a new ledger"},
		{hier.ErrForeign, root},
		{hier.ErrNotDir, root},
		{hier.ErrPath, "give a root with --root DIRECTORY or NIP_ROOT: at most 183 bytes, no blanks"},
		{hier.ErrLocked, "wait until the other nip is done; its lock ends with it"},
	}
}

func adviceSentinel(err error) string {
	for _, r := range remedies() {
		if errors.Is(err, r.is) {
			return r.what
		}
	}
	if f := new(ledger.Fault); errors.As(err, &f) {
		return "keep a copy as evidence; records before this one are whole, what follows cannot be trusted"
	}
	return ""
}

func adviceSystem(err error) string {
	switch {
	case errors.Is(err, syscall.EROFS):
		return "choose a writable root with --root DIRECTORY or NIP_ROOT"
	case errors.Is(err, fs.ErrPermission):
		return "check who owns the path, or choose a root of your own with --root DIRECTORY or NIP_ROOT"
	case errors.Is(err, fs.ErrNotExist):
		return "check the path"
	}
	if p := new(packError); errors.As(err, &p) {
		return "change the recipe or the files, then pack again"
	}
	return ""
}
