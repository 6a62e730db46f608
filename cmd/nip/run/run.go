package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"nipcells/internal/cell"
	"nipcells/internal/hier"
	"nipcells/internal/launch"
	"nipcells/internal/wall"
)

// runMain runs `nip run` with the arguments after the verb and returns the exit
// status.
func runMain(args []string) int {
	o, err := parseRun(args)
	if errors.Is(err, pflag.ErrHelp) {
		return cliMain([]string{"help", "run"})
	}
	if err != nil {
		report(os.Stderr, err)
		return exitRun
	}
	if o.detach {
		return runDetached(args)
	}
	return o.run(os.Stderr, func(*cell.Options) {})
}

// run starts the cell and waits for it. What nip has to say goes to messages;
// adjust has the last word on how the cell is started.
func (o *runOptions) run(messages io.Writer, adjust func(*cell.Options)) int {
	options, err := o.cellOptions(messages)
	if err == nil {
		adjust(options)
		var status int
		if status, err = cell.Run(*options); err == nil {
			return status
		}
	}
	report(messages, err)
	return cell.ExitStatus(err)
}

// cellOptions turns flags into what package cell needs.
func (o *runOptions) cellOptions(messages io.Writer) (*cell.Options, error) {
	root, err := o.ownRoot()
	if err != nil {
		return nil, err
	}
	name, command := o.packageAndCommand()
	p, err := launch.Load(root, name)
	if err != nil {
		return nil, err
	}
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "/" // removed or out of sight: relative paths mean nothing then
	}
	changes, err := o.changes(cwd)
	if err != nil {
		return nil, err
	}
	env, err := o.environment()
	if err != nil {
		return nil, err
	}
	uid, gid, other, err := o.credentials()
	if err != nil {
		return nil, err
	}
	options := &cell.Options{
		Root: root, Plan: p, Command: command, Args: o.args, Unveil: changes.Unveil, Pledge: changes.Pledge,
		Replace: changes.SetsPledge, Env: env, Cwd: o.cwd, Deny: o.deny, Degraded: o.degraded,
		Report: reportTo(messages), Guard: []string{"nip", guardVerb},
	}
	if other {
		options.User = &wall.Identity{UID: uid, GID: gid}
	}
	return options, nil
}

// reportTo writes the supervisor's lines.
func reportTo(w io.Writer) func(string) {
	return func(line string) { fmt.Fprintln(w, "nip: "+printable(line)) }
}

// ownRoot returns the caller's root. It is made if it is missing: programs of
// the system-wide root keep their cells, data and ledger in the caller's own.
func (o *runOptions) ownRoot() (*hier.Root, error) {
	root, err := openRoot(o.root)
	if !errors.Is(err, os.ErrNotExist) {
		return root, err
	}
	path, err := hier.Default(o.root, os.Getenv("NIP_ROOT"), os.Geteuid())
	if err != nil {
		return nil, err
	}
	return hier.Create(path)
}
